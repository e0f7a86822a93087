//! Cooldowns, probes and parking on invented clocks.

use super::*;
use proptest::prelude::*;

fn start() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn model() -> ModelKey {
    ModelKey::of("gpt-4o")
}

fn is_open(health: &Health, now: Instant) -> bool {
    health.check(now, &model(), Tokens(100)).is_ok()
}

#[test]
fn a_429_closes_the_instance_for_the_time_it_names() {
    let now = start();
    let mut health = Health::default();
    let pass = health.admit();

    health.throttled(now, pass, Some(secs(7)), "429".to_owned());

    assert_eq!(health.status(now), Status::RateLimited);
    assert_eq!(
        health.check(now, &model(), Tokens(1)),
        Err(Closed {
            reason: Reason::Cooling(Cause::Throttled),
            wait: secs(7)
        })
    );
    assert!(!is_open(&health, now + secs(7) - Duration::from_millis(1)));
    assert!(is_open(&health, now + secs(7)));
    assert_eq!(health.status(now + secs(7)), Status::Healthy);
}

#[test]
fn a_429_without_a_time_closes_for_ten_seconds_and_a_day_counts_as_a_minute() {
    for (wait, expected) in [(None, secs(10)), (Some(secs(86_400)), secs(60))] {
        let now = start();
        let mut health = Health::default();
        let pass = health.admit();

        health.throttled(now, pass, wait, "429".to_owned());

        assert_eq!(
            health.cooldown(now),
            Some((Cause::Throttled, now + expected))
        );
    }
}

#[test]
fn after_a_cooldown_one_probe_goes_and_its_answer_opens_the_door() {
    let now = start();
    let mut health = Health::default();
    let pass = health.admit();
    health.throttled(now, pass, Some(secs(5)), "429".to_owned());
    let later = now + secs(6);

    let probe = health.admit();

    assert!(probe.is_probe());
    assert_eq!(
        health
            .check(later, &model(), Tokens(1))
            .map_err(|closed| closed.reason),
        Err(Reason::Probing)
    );
    health.answered(probe, &model());
    assert!(is_open(&health, later));
    assert!(!health.admit().is_probe());
}

#[test]
fn a_failed_probe_closes_the_door_again() {
    let now = start();
    let mut health = Health::default();
    let pass = health.admit();
    health.throttled(now, pass, Some(secs(5)), "429".to_owned());
    let later = now + secs(6);
    let probe = health.admit();

    health.throttled(later, probe, Some(secs(20)), "429".to_owned());

    assert!(!is_open(&health, later + secs(19)));
    assert!(is_open(&health, later + secs(20)));
}

#[test]
fn a_probe_whose_client_left_frees_its_place() {
    let now = start();
    let mut health = Health::default();
    let pass = health.admit();
    health.throttled(now, pass, Some(secs(5)), "429".to_owned());
    let later = now + secs(6);
    let probe = health.admit();

    health.abandoned(probe);

    assert!(is_open(&health, later));
    assert!(health.admit().is_probe());
}

#[test]
fn three_faults_in_a_row_make_an_error_and_an_answer_between_starts_over() {
    let now = start();
    let mut health = Health::default();

    for _ in 0..2 {
        let pass = health.admit();
        health.faulted(now, pass, "500".to_owned());
    }
    let pass = health.admit();
    health.answered(pass, &model());
    for _ in 0..2 {
        let pass = health.admit();
        health.faulted(now, pass, "500".to_owned());
    }

    assert_eq!(health.status(now), Status::Healthy);
    let pass = health.admit();
    health.faulted(now, pass, "500 third".to_owned());
    assert_eq!(health.status(now), Status::Error);
    assert_eq!(health.errors(), 5);
    assert_eq!(health.last_error(), Some("500 third"));
    assert!(!is_open(&health, now + secs(4)));
}

#[test]
fn each_failed_probe_doubles_the_cooldown_up_to_a_minute() {
    let mut now = start();
    let mut health = Health::default();
    for _ in 0..3 {
        let pass = health.admit();
        health.faulted(now, pass, "500".to_owned());
    }

    for expected in [5, 10, 20, 40, 60, 60] {
        let (cause, until) = health.cooldown(now).unwrap();
        assert_eq!((cause, until - now), (Cause::Faulty, secs(expected)));
        now = until;
        let probe = health.admit();
        health.faulted(now, probe, "500".to_owned());
    }
}

#[test]
fn faults_of_requests_that_were_already_out_do_not_lengthen_the_cooldown() {
    let now = start();
    let mut health = Health::default();
    let passes: Vec<Pass> = (0..50).map(|_| health.admit()).collect();

    for pass in passes {
        health.faulted(now + secs(1), pass, "500".to_owned());
    }

    assert_eq!(
        health.cooldown(now + secs(1)),
        Some((Cause::Faulty, now + secs(6)))
    );
}

#[test]
fn an_answer_from_before_the_cooldown_does_not_end_it() {
    let now = start();
    let mut health = Health::default();
    let early = health.admit();
    let pass = health.admit();
    health.throttled(now + secs(1), pass, Some(secs(30)), "429".to_owned());

    health.answered(early, &model());

    assert_eq!(health.status(now + secs(2)), Status::RateLimited);
}

#[test]
fn a_late_429_lengthens_a_cooldown_but_never_shortens_it() {
    let now = start();
    let mut health = Health::default();
    let passes: Vec<Pass> = (0..3).map(|_| health.admit()).collect();

    health.throttled(now, passes[0], Some(secs(10)), "429".to_owned());
    health.throttled(now, passes[1], Some(secs(30)), "429".to_owned());
    health.throttled(now, passes[2], Some(secs(2)), "429".to_owned());

    assert_eq!(
        health.cooldown(now),
        Some((Cause::Throttled, now + secs(30)))
    );
}

#[test]
fn a_refused_key_closes_the_instance_for_long() {
    let now = start();
    let mut health = Health::default();
    let pass = health.admit();

    health.unauthorized(now, pass, "401".to_owned());

    assert_eq!(health.status(now), Status::Error);
    assert!(!is_open(&health, now + secs(299)));
    assert!(is_open(&health, now + secs(300)));
    assert_eq!(health.status(now + secs(300)), Status::Error);
}

#[test]
fn a_missing_deployment_parks_only_its_model_and_longer_each_time() {
    let mut now = start();
    let mut health = Health::default();

    for expected in [30, 60, 120, 240, 300, 300] {
        let pass = health.admit();
        health.missing(now, pass, &model(), "404".to_owned());
        assert_eq!(
            health.check(now, &model(), Tokens(1)),
            Err(Closed {
                reason: Reason::Missing,
                wait: secs(expected)
            })
        );
        assert!(health.check(now, &ModelKey::of("o3"), Tokens(1)).is_ok());
        assert_eq!(health.status(now), Status::Healthy);
        now += secs(expected);
    }
    let pass = health.admit();
    health.answered(pass, &model());
    health.missing(now, pass, &model(), "404".to_owned());
    assert!(health.check(now + secs(30), &model(), Tokens(1)).is_ok());
}

#[test]
fn no_capacity_keeps_away_requests_of_that_size_only() {
    let now = start();
    let mut health = Health::default();
    let pass = health.admit();

    health.no_capacity(now, pass, &model(), Tokens(5_000), None, "429".to_owned());

    assert!(health.check(now, &model(), Tokens(4_999)).is_ok());
    let closed = health.check(now, &model(), Tokens(5_000)).unwrap_err();
    assert_eq!(closed.reason, Reason::TooLargeNow);
    assert!(health.check(now + secs(5), &model(), Tokens(5_000)).is_ok());
    assert_eq!(health.status(now), Status::Healthy);
}

#[test]
fn invented_model_names_do_not_fill_the_memory() {
    let now = start();
    let mut health = Health::default();

    for number in 0..10_000 {
        let pass = health.admit();
        let invented = ModelKey::of(&format!("model {number}"));
        health.missing(now, pass, &invented, "404".to_owned());
    }

    let late = now + secs(1_000);
    let pass = health.admit();
    health.missing(late, pass, &model(), "404".to_owned());
    assert!(health.check(late, &model(), Tokens(1)).is_err());
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Answer,
    Throttle(u64),
    Fault,
    Leave,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Answer),
        (0u64..100_000).prop_map(Event::Throttle),
        Just(Event::Fault),
        Just(Event::Leave),
    ]
}

proptest! {
    /// Whatever happens, in whatever order: at most one probe is out, and the door opens again within its longest wait.
    #[test]
    fn one_probe_at_a_time_and_never_shut_for_good(
        steps in prop::collection::vec((0u64..90, 0usize..4, event()), 1..120)
    ) {
        let mut now = start();
        let mut health = Health::default();
        let mut open: Vec<Pass> = Vec::new();
        for (pause, which, event) in steps {
            now += secs(pause);
            if is_open(&health, now) {
                open.push(health.admit());
            }
            prop_assert!(open.iter().filter(|pass| pass.is_probe()).count() <= 1);
            if open.is_empty() {
                continue;
            }
            let pass = open.swap_remove(which % open.len());
            match event {
                Event::Answer => health.answered(pass, &model()),
                Event::Throttle(wait) => health.throttled(now, pass, Some(secs(wait)), String::new()),
                Event::Fault => health.faulted(now, pass, String::new()),
                Event::Leave => health.abandoned(pass),
            }
        }

        for pass in open {
            health.abandoned(pass);
        }
        prop_assert!(is_open(&health, now + UNAUTHORIZED));
    }
}
