//! Calls against a model of Azure's log of them, in virtual time.

mod told;
mod window;

use super::*;
use proptest::prelude::*;

fn start() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn known(limit: u64, start: Instant) -> Calls {
    Calls::new(Some(limit), start)
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Makes all calls that fit; returns how many.
fn admitted(calls: &mut Calls, now: Instant) -> usize {
    let mut count = 0;
    while calls.fits_after(now, 0).is_zero() {
        calls.record(now);
        count += 1;
    }
    count
}

#[test]
fn sixty_a_minute_are_ten_in_ten_seconds_until_a_minute_is_seen() {
    let now = start();
    let mut calls = known(60, now);

    assert_eq!(admitted(&mut calls, now), 10);
    let wait = calls.fits_after(now, 0);
    assert!(wait >= SHORT && wait <= SHORT + Duration::from_millis(300));
    assert_eq!(admitted(&mut calls, now + wait), 10);
    let made = calls.record(now + wait);
    calls.heard(made, 60, Some(39));
    assert_eq!(admitted(&mut calls, now + wait), 39);
    assert_eq!(admitted(&mut calls, now + 3 * wait), 0);
}

#[test]
fn a_short_window_is_not_taken_for_a_minute() {
    let now = start();
    let mut calls = known(600, now);
    let mut later = now;

    for remaining in (0..100).rev() {
        later += SHORT + seconds(1);
        let made = calls.record(later);
        calls.heard(made, 60, Some(remaining % 10));
    }

    assert_eq!(calls.limit(), Some(60));
    assert_eq!(admitted(&mut calls, later + SHORT + seconds(1)), 10);
}

#[test]
fn few_calls_a_minute_are_counted_by_the_minute() {
    let now = start();
    let mut calls = known(3, now);

    assert_eq!(admitted(&mut calls, now), 3);
    assert_eq!(admitted(&mut calls, now + MINUTE), 0);
}

#[test]
fn calls_from_before_the_limit_was_known_count() {
    let now = start();
    let mut short = Calls::new(None, now);
    let made: Vec<Made> = (0..6).map(|_| short.record(now)).collect();
    short.heard(made[0], 60, Some(9));
    let mut minute = Calls::new(None, now);
    let made: Vec<Made> = (0..6).map(|_| minute.record(now)).collect();
    minute.heard(made[0], 60, Some(59));

    assert_eq!(admitted(&mut short, now), 4);
    assert_eq!(admitted(&mut minute, now), 54);
}

#[test]
fn every_newest_answer_tells_of_the_calls_of_others() {
    let now = start();
    let mut calls = known(60, now);
    let first = calls.record(now);
    calls.heard(first, 60, Some(9));
    let later = now + seconds(2);
    let second = calls.record(later);
    let third = calls.record(later);

    calls.heard(second, 60, Some(3));
    assert_eq!(calls.clone().fits_after(later, 0), Duration::ZERO);
    assert_eq!(admitted(&mut calls.clone(), later), 2, "the third is ours");
    calls.heard(third, 60, Some(7));
    assert_eq!(admitted(&mut calls.clone(), later), 7, "no others are left");
    calls.heard(second, 60, Some(0));
    assert_eq!(admitted(&mut calls, later), 7, "that is old news");
}

#[test]
fn calls_of_others_count_for_their_span_and_no_longer() {
    for (limit, seen, span) in [(60, 9, SHORT), (60, 59, MINUTE), (5, 3, MINUTE)] {
        let now = start();
        let mut calls = known(limit, now);
        for remaining in [seen, 0] {
            let made = calls.record(now);
            calls.heard(made, limit, Some(remaining));
        }

        let wait = calls.fits_after(now, 0);

        assert!(wait >= span && wait <= span + seconds(1), "{wait:?}");
        assert_eq!(calls.fits_after(now + wait, 0), Duration::ZERO);
    }
}

#[test]
fn what_may_be_a_window_of_a_second_gets_free_evenly() {
    let now = start();
    let mut calls = known(600, now);
    let made = calls.record(now);
    calls.heard(made, 600, Some(9));

    assert_eq!(admitted(&mut calls, now), 9);
    let wait = calls.fits_after(now, 0);
    assert!(
        wait > Duration::from_millis(50) && wait < Duration::from_millis(250),
        "{wait:?}"
    );
    assert_eq!(calls.fits_after(now + wait, 0), Duration::ZERO);
    let second = admitted(&mut calls, now + seconds(1));
    assert!((7..=10).contains(&second), "{second}");
}

#[test]
fn a_rest_without_its_limit_or_a_limit_without_its_rest_tells_of_nobody() {
    let now = start();
    let mut calls = known(60, now);
    let made = calls.record(now);

    calls.heard(made, 120, None);

    assert_eq!(admitted(&mut calls, now), 19);
}

/// A moment at which we would make a call.
#[derive(Clone, Copy, Debug)]
struct Ask {
    /// Milliseconds since the one before.
    pause: u64,
    /// Milliseconds from its arrival to the head of its answer.
    takes: u64,
    /// Calls of others that come just before it.
    others: u64,
    is_unsent: bool,
}

fn ask() -> impl Strategy<Value = Ask> {
    let others = prop_oneof![6 => Just(0u64), 1 => 1u64..6];
    let unsent = prop::bool::weighted(0.1);
    (0u64..900, 0u64..4_000, others, unsent).prop_map(|(pause, takes, others, is_unsent)| Ask {
        pause,
        takes,
        others,
        is_unsent,
    })
}

/// A call on its way, and when the newest call had arrived of which we had heard when it left.
#[derive(Clone, Copy, Debug)]
struct Sent {
    made: Made,
    takes: u64,
    told_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Arrives(Sent),
    Answers(Made, u64, Instant),
    Withdraws(Made, Mark),
}

/// Azure's log of calls, and ours in front of it.
struct Model {
    limit: u64,
    whole: u64,
    span: Duration,
    way: Duration,
    log: Vec<Instant>,
    calls: Calls,
    start: Instant,
    events: Vec<(Instant, Event)>,
    newest_others: Option<Instant>,
    told: Option<(u64, Instant)>,
    newest_refused: Option<Instant>,
    admitted: u64,
    others: u64,
    refused: u64,
    /// Calls that were refused although the newest answer had told of all others.
    in_vain: u64,
}

impl Model {
    fn new(limit: u64, is_by_minute: bool, way: u64) -> Self {
        let start = start();
        let mut calls = known(limit, start);
        let (whole, span) = match is_by_minute {
            true => (limit, MINUTE),
            false => (limit / SHARE, SHORT),
        };
        if is_by_minute {
            calls.by_minute.shown();
        }
        Self {
            limit,
            whole,
            span,
            way: Duration::from_millis(way),
            log: Vec::new(),
            calls,
            start,
            events: Vec::new(),
            newest_others: None,
            told: None,
            newest_refused: None,
            admitted: 0,
            others: 0,
            refused: 0,
            in_vain: 0,
        }
    }

    fn run(&mut self, asks: &[Ask]) {
        let mut now = self.start;
        for ask in asks {
            now += Duration::from_millis(ask.pause);
            self.happen_until(now);
            for _ in 0..ask.others {
                self.others += u64::from(self.arrive(now).is_some());
                self.newest_others = Some(now);
            }
            if !self.calls.fits_after(now, 0).is_zero() {
                continue;
            }
            let sent = Sent {
                made: self.calls.record(now),
                takes: ask.takes,
                told_at: self.told.map(|(_, at)| at),
            };
            let mark = Window::new(Tokens(1), self.start).record(now, Tokens(1));
            let event = match ask.is_unsent {
                true => Event::Withdraws(sent.made, mark),
                false => Event::Arrives(sent),
            };
            self.events.push((now + self.way, event));
        }
        self.happen_until(now + MINUTE);
    }

    fn happen_until(&mut self, until: Instant) {
        loop {
            let due = self.events.iter().enumerate();
            let due = due.filter(|(_, (at, _))| *at <= until);
            let Some((next, _)) = due.min_by_key(|(_, (at, _))| *at) else {
                return;
            };
            let (at, event) = self.events.remove(next);
            match event {
                Event::Arrives(sent) => self.ours_arrives(at, sent),
                Event::Answers(made, remaining, arrived) => {
                    self.calls.heard(made, self.limit, Some(remaining));
                    if self.told.is_none_or(|(turn, _)| turn < made.turn) {
                        self.told = Some((made.turn, arrived));
                    }
                }
                Event::Withdraws(made, mark) => self.calls.withdraw(at, mark, made),
            }
        }
    }

    fn ours_arrives(&mut self, at: Instant, sent: Sent) {
        let Some(remaining) = self.arrive(at) else {
            self.refused += 1;
            self.calls.refused(sent.made);
            // One that was refused stays in our log as if it had been counted, and may so hide one of others.
            let before = self.newest_refused.replace(at);
            let hides = 2 * self.span + Duration::from_secs(1);
            if before.is_some_and(|before| at < before + hides) {
                return;
            }
            let is_told = self.newest_others.is_none_or(|others| {
                let told_at = sent.told_at;
                told_at.is_some_and(|told_at| others < told_at)
            });
            self.in_vain += u64::from(is_told);
            return;
        };
        self.admitted += 1;
        let answers = at + Duration::from_millis(sent.takes);
        let answer = Event::Answers(sent.made, remaining, at);
        self.events.push((answers, answer));
    }

    /// Counts a call, or refuses it; returns what remains.
    fn arrive(&mut self, at: Instant) -> Option<u64> {
        self.log.retain(|made| at < *made + self.span);
        let used = self.log.len() as u64;
        let remaining = self.whole.checked_sub(used + 1)?;
        self.log.push(at);
        Some(remaining)
    }
}

proptest! {
    /// Alone at a deployment, no call is refused; beside others, none that an answer could have warned of.
    #[test]
    fn azure_refuses_no_call_that_could_have_been_known(
        asks in prop::collection::vec(ask(), 1..200),
        is_by_minute in any::<bool>(), limit in 6u64..60, way in 0u64..200
    ) {
        let mut model = Model::new(limit, is_by_minute, way);

        model.run(&asks);

        prop_assert_eq!(model.in_vain, 0, "of {} admitted, {} refused", model.admitted, model.refused);
    }
}

/// Others make two fifths of the calls, evenly: beside them all is used, and few of ours are refused.
#[test]
fn beside_others_nearly_all_calls_are_used_and_few_refused() {
    for is_by_minute in [false, true] {
        let mut model = Model::new(600, is_by_minute, 20);
        let ask = |number: u64| Ask {
            pause: 50,
            takes: 300,
            others: u64::from(number.is_multiple_of(5)),
            is_unsent: false,
        };
        let asks: Vec<Ask> = (0..12_000).map(ask).collect();

        model.run(&asks);

        let used = (model.admitted + model.others) as f64 / 6_000.0;
        let refused = model.refused as f64 / model.admitted as f64;
        assert!(used > 0.97, "{used}, {is_by_minute}");
        assert!(refused < 0.02, "{refused}, {is_by_minute}");
    }
}

/// Azure may count some models by the second: then three quarters go of what it admits, not the tenth of a longer span.
#[test]
fn windows_of_a_second_are_used_though_they_are_not_known() {
    let mut model = Model::new(600, false, 20);
    (model.whole, model.span) = (10, seconds(1));
    let ask = Ask {
        pause: 20,
        takes: 100,
        others: 0,
        is_unsent: false,
    };

    model.run(&[ask; 6_000]);

    let used = model.admitted as f64 / 1_200.0;
    let refused = model.refused as f64 / model.admitted as f64;
    assert!(used > 0.75, "{used}, {refused} refused");
    assert!(refused < 0.1, "{refused} refused, {used}");
}
