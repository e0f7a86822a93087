//! The order of the queue, its deadlines and its promises, in virtual time.

use std::time::{Duration, Instant};

use super::*;
use crate::domain::{Deployment, DeploymentKey, Tokens};

mod order;

const A: InstanceId = InstanceId(0);
const B: InstanceId = InstanceId(1);

fn start() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn newcomer(ticket: u64, since: Instant, patience: u64, model: &str) -> Newcomer {
    Newcomer {
        ticket: Ticket(ticket),
        since,
        patience: secs(patience),
        model: ModelKey::of(model),
        spelled: None,
        is_known: false,
        deployments: [A, B]
            .map(|at| (at, DeploymentKey::of(&Deployment::new(model))))
            .into(),
        tried: Vec::new(),
    }
}

fn offer(instance: InstanceId, tokens: u64, wait: u64) -> Option<Offer> {
    Some(Offer {
        instance,
        tokens: Tokens(tokens),
        wait: secs(wait),
        is_of_all: true,
    })
}

/// What one request takes, or none.
fn share(tokens: u64) -> Share {
    Share {
        tokens: Tokens(tokens),
        calls: u64::from(tokens > 0),
    }
}

/// Lets a request in that no instance takes now, and makes it wait for this offer.
fn wait(queue: &mut Queue<()>, now: Instant, newcomer: Newcomer, offer: Option<Offer>) {
    let ticket = newcomer.ticket;
    queue.join(now, newcomer, ());
    for _ in 0..2 {
        if queue.next(now).is_some() {
            assert_eq!(queue.judge(now, ticket, offer), Judgement::Waits);
        }
    }
    assert_eq!(queue.next(now), None);
}

#[test]
fn nobody_waits_in_an_empty_queue() {
    let now = start();
    let mut queue: Queue<()> = Queue::new(10, now);

    assert_eq!(queue.next(now), None);
    assert_eq!(queue.wake_at(), None);
    assert!(queue.take(now, Ticket(1)).is_none());
    assert!(queue.is_empty());
}

#[test]
fn only_the_head_of_a_line_is_tried() {
    let now = start();
    let mut queue = Queue::new(10, now);
    wait(&mut queue, now, newcomer(1, now, 15, "m"), offer(A, 10, 5));
    wait(&mut queue, now, newcomer(2, now, 15, "m"), offer(A, 10, 6));

    assert_eq!(queue.next(now + secs(4)), None);
    assert_eq!(queue.wake_at(), Some(now + secs(5)));
    assert_eq!(queue.next(now + secs(5)), Some(Job::Try(Ticket(1))));
    let first = queue.take(now + secs(5), Ticket(1)).unwrap();

    assert_eq!(first.waited, Some(secs(5)));
    assert_eq!(queue.next(now + secs(5)), Some(Job::Try(Ticket(2))));
}

#[test]
fn a_request_that_came_earlier_takes_its_place_again() {
    let now = start();
    let later = now + secs(1);
    let mut queue = Queue::new(10, now);
    wait(
        &mut queue,
        later,
        newcomer(1, later, 15, "m"),
        offer(A, 10, 5),
    );

    queue.join(later, newcomer(2, now, 15, "m"), ());

    assert_eq!(queue.next(later), Some(Job::Try(Ticket(2))));
    queue.judge(later, Ticket(2), offer(A, 10, 5));
    queue.judge(later, Ticket(2), offer(A, 10, 5));
    queue.stir(later);
    assert_eq!(queue.next(later), Some(Job::Try(Ticket(2))));
}

#[test]
fn lines_of_other_models_are_tried_by_age_and_leave_the_older_what_they_wait_for() {
    let now = start();
    let mut queue = Queue::new(10, now);
    wait(&mut queue, now, newcomer(1, now, 15, "m"), offer(A, 700, 5));
    let later = now + secs(1);
    wait(
        &mut queue,
        later,
        newcomer(2, later, 15, "o"),
        offer(B, 30, 4),
    );
    queue.stir(later);

    assert_eq!(queue.next(later), Some(Job::Try(Ticket(1))));
    for instance in [A, B] {
        assert_eq!(queue.ahead(Ticket(1), instance), Ahead::default());
    }
    let ahead = queue.ahead(Ticket(2), A);
    assert_eq!((ahead.all, ahead.same_deployment), (share(700), share(0)));
    assert_eq!(queue.ahead(Ticket(2), B), Ahead::default());
    queue.take(later, Ticket(1));
    assert_eq!(queue.ahead(Ticket(2), A), Ahead::default());
}

#[test]
fn those_who_failed_elsewhere_do_not_hold_up_the_others() {
    let now = start();
    let mut queue = Queue::new(10, now);
    let mut failed = newcomer(1, now, 15, "m");
    failed.tried = vec![A];
    wait(&mut queue, now, failed, offer(B, 50, 10));

    queue.join(now, newcomer(2, now, 15, "m"), ());

    assert_eq!(queue.next(now), Some(Job::Try(Ticket(2))));
    assert_eq!(queue.ahead(Ticket(2), B).same_deployment, share(50));
}

#[test]
fn a_head_is_tried_once_at_its_deadline_and_then_sent_away() {
    let now = start();
    let mut queue = Queue::new(10, now);
    wait(&mut queue, now, newcomer(1, now, 15, "m"), offer(A, 10, 15));
    let end = now + secs(15);

    assert_eq!(queue.next(end), Some(Job::Try(Ticket(1))));
    queue.judge(end, Ticket(1), offer(A, 10, 5));

    assert_eq!(queue.next(end), Some(Job::Expire(Ticket(1))));
}

#[test]
fn a_deadline_comes_before_other_heads_that_are_due() {
    let now = start();
    let mut queue = Queue::new(10, now);
    wait(&mut queue, now, newcomer(1, now, 20, "o"), offer(A, 10, 15));
    let late = now + secs(1);
    let mut next = newcomer(2, late, 14, "m");
    next.tried = vec![B];
    wait(&mut queue, late, next, offer(A, 10, 14));
    let end = now + secs(15);
    assert_eq!(queue.next(end), Some(Job::Try(Ticket(2))));
    queue.judge(end, Ticket(2), offer(A, 10, 5));

    assert_eq!(queue.next(end), Some(Job::Expire(Ticket(2))));
    queue.take(end, Ticket(2));
    assert_eq!(queue.next(end), Some(Job::Try(Ticket(1))));
}

#[test]
fn who_waits_in_vain_goes_at_once() {
    let now = start();
    let mut queue = Queue::new(10, now);
    wait(&mut queue, now, newcomer(1, now, 15, "m"), offer(A, 10, 5));

    let judged = queue.judge(now + secs(5), Ticket(1), None);

    assert_eq!(judged, Judgement::Refused(Why::InVain));
}

#[test]
fn who_waits_for_a_deployment_keeps_nothing_from_other_models() {
    let now = start();
    let mut queue = Queue::new(10, now);
    let of_lane = offer(A, 700, 5).map(|offer| Offer {
        is_of_all: false,
        ..offer
    });
    wait(&mut queue, now, newcomer(1, now, 15, "m"), of_lane);
    let later = now + secs(1);

    queue.join(later, newcomer(2, later, 15, "o"), ());
    queue.join(later, newcomer(3, later, 15, "m"), ());

    assert_eq!(queue.ahead(Ticket(2), A), Ahead::default());
    let same = queue.ahead(Ticket(3), A);
    assert_eq!(same.of_instance(), share(700));
}

#[test]
fn what_is_not_waited_for_any_more_wakes_the_younger_of_other_lines() {
    let now = start();
    let mut queue = Queue::new(10, now);
    wait(&mut queue, now, newcomer(1, now, 30, "m"), offer(A, 700, 5));
    wait(&mut queue, now, newcomer(2, now, 30, "o"), offer(A, 70, 20));
    let later = now + secs(5);
    assert_eq!(queue.next(later), Some(Job::Try(Ticket(1))));

    queue.judge(later, Ticket(1), offer(B, 700, 9));
    assert_eq!(queue.next(later), Some(Job::Try(Ticket(2))));
    queue.judge(later, Ticket(2), offer(A, 70, 20));
    assert_eq!(queue.next(later), None);
    queue.take(later, Ticket(1));

    assert_eq!(queue.next(later), Some(Job::Try(Ticket(2))));
}

#[test]
fn spellings_that_name_deployments_stand_in_lines_of_their_own() {
    let now = start();
    let mut queue = Queue::new(10, now);
    wait(&mut queue, now, newcomer(1, now, 15, "m"), offer(A, 10, 5));
    let mut spelled = newcomer(2, now, 15, "m");
    spelled.spelled = Some("m-".to_owned());

    queue.join(now, spelled, ());

    assert_eq!(queue.next(now), Some(Job::Try(Ticket(2))));
}

#[test]
fn names_beyond_the_lines_share_one_and_go_by_age() {
    let now = start();
    let mut queue = Queue::new(10_000, now);
    let names = || (0..1_000).map(|number| (number, format!("name{number}")));
    for (number, name) in names() {
        let since = now + Duration::from_micros(number);
        let ticket = Ticket(number);
        queue.join(now, newcomer(number, since, 15, &name), ());
        queue.judge(now, ticket, offer(A, 10, 5));
    }
    while let Some(Job::Try(ticket) | Job::Judge(ticket)) = queue.next(now) {
        queue.judge(now, ticket, offer(A, 10, 5));
    }
    assert_eq!(queue.lines.len(), MOST_LINES + 1);

    let later = now + secs(5);
    let again = newcomer(5_000, later, 15, "name999");
    queue.take(later, Ticket(0)).unwrap();
    queue.join(later, again, ());
    let mut served = Vec::new();
    while let Some(Job::Try(ticket) | Job::Judge(ticket)) = queue.next(later) {
        queue.take(later, ticket).unwrap();
        served.push(ticket.0);
    }

    let all: Vec<u64> = (1..1_000).chain([5_000]).collect();
    assert_eq!(served, all);
    assert!(queue.lines.is_empty() && queue.places.is_empty());
}

#[test]
fn a_model_of_the_configuration_has_its_own_line_however_many_names_there_are() {
    let now = start();
    let mut queue = Queue::new(1_000, now);
    for number in 0..200 {
        let name = format!("name{number}");
        queue.join(now, newcomer(number, now, 15, &name), ());
        queue.judge(now, Ticket(number), offer(A, 10, 5));
    }
    let mut known = newcomer(500, now, 15, "m");
    known.is_known = true;

    queue.join(now, known, ());

    let line = &queue.entries[&queue.places[&Ticket(500)]].line;
    assert_ne!(*line, LineKey::Common);
    queue.judge(now, Ticket(500), offer(B, 10, 5));
    assert_eq!(queue.lines.len(), MOST_LINES + 2);
}

#[test]
fn a_newcomer_waits_only_if_it_can_be_served_in_time_and_there_is_room() {
    let now = start();
    let mut queue = Queue::new(1, now);
    queue.join(now, newcomer(1, now, 15, "m"), ());
    let late = queue.judge(now, Ticket(1), offer(A, 10, 16));
    assert_eq!(late, Judgement::Refused(Why::TooLate));
    let never = queue.judge(now, Ticket(1), None);
    assert_eq!(never, Judgement::Refused(Why::TooLate));
    queue.take(now, Ticket(1));

    wait(&mut queue, now, newcomer(2, now, 15, "m"), offer(A, 10, 15));
    queue.join(now, newcomer(3, now, 15, "m"), ());

    assert_eq!(queue.next(now), Some(Job::Judge(Ticket(3))));
    let full = queue.judge(now, Ticket(3), offer(A, 10, 15));
    assert_eq!(full, Judgement::Refused(Why::Full));
    assert_eq!(queue.waiting(), 1);
}

#[test]
fn without_patience_nobody_waits() {
    let now = start();
    let mut queue = Queue::new(10, now);
    queue.join(now, newcomer(1, now, 0, "m"), ());

    let judgement = queue.judge(now, Ticket(1), offer(A, 10, 0));

    assert_eq!(judgement, Judgement::Refused(Why::TooLate));
}

#[test]
fn who_is_sent_away_before_any_job_was_asked_for_leaves_nothing() {
    let now = start();
    let mut queue = Queue::new(10, now);
    for number in 0..1_000 {
        queue.join(now, newcomer(number, now, 0, "m"), ());
        queue.judge(now, Ticket(number), None);
        queue.turn_away(now, Ticket(number), Duration::ZERO, None);
    }

    assert!(queue.is_empty() && queue.fresh.is_empty());
}

#[test]
fn whoever_is_sent_away_counts_until_it_is_expected_back() {
    let now = start();
    let mut queue = Queue::new(10, now);
    queue.join(now, newcomer(1, now, 0, "m"), ());
    let patience = Duration::ZERO;

    let (_, again_in) = queue
        .turn_away(now, Ticket(1), patience, offer(A, 300, 7))
        .unwrap();

    assert_eq!(again_in, Some(secs(7)));
    queue.join(now, newcomer(2, now, 0, "m"), ());
    assert_eq!(
        queue.ahead_of_return(now, Ticket(2), A).same_deployment,
        share(300)
    );
    assert_eq!(queue.ahead(Ticket(2), A), Ahead::default());
    let then = now + Duration::from_millis(6_800);
    assert_eq!(queue.ahead_of_return(then, Ticket(2), A).all, share(300));
    assert_eq!(
        queue.ahead_of_return(now + secs(7), Ticket(2), A),
        Ahead::default()
    );
}

#[test]
fn who_may_wait_is_told_to_come_back_for_a_place_in_the_queue() {
    let now = start();
    let mut queue = Queue::new(10, now);
    let mut told = |wait| {
        queue.join(now, newcomer(1, now, 15, "m"), ());
        let offer = offer(A, 300, wait);
        queue.turn_away(now, Ticket(1), secs(15), offer).unwrap().1
    };

    assert_eq!(told(20), Some(secs(5)));
    assert_eq!(told(10), Some(secs(5)), "there was no room");
    assert_eq!(told(15 + 300), Some(secs(60)), "the others are the reason");
}

#[test]
fn a_long_rest_is_told_as_it_is() {
    let now = start();
    let mut queue = Queue::new(10, now);
    queue.join(now, newcomer(1, now, 0, "m"), ());

    let offer = offer(A, 300, 300);
    let again = queue.turn_away(now, Ticket(1), Duration::ZERO, offer);

    assert_eq!(again.unwrap().1, Some(secs(300)));
}
