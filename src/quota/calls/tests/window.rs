//! What was shown of the window once, and the limit that was named once: how long they hold.

use super::*;

/// Makes a call each `pause` for `span`, and hears what a window of `whole` in `of` has left; returns how many went.
fn play(calls: &mut Calls, from: Instant, span: Duration, whole: u64, of: Duration) -> u64 {
    let mut log: Vec<Instant> = Vec::new();
    let mut now = from;
    while now < from + span {
        now += Duration::from_millis(100);
        if calls.fits_after(now, 0).is_zero() {
            let made = calls.record(now);
            log.push(now);
            let counted = log.iter().filter(|at| now < **at + of).count() as u64;
            calls.heard(made, 60, Some(whole.saturating_sub(counted)));
        }
    }
    log.len() as u64
}

/// Calls of 60 a minute, of which an answer has shown that they are counted by the minute.
fn by_minute(now: Instant) -> Calls {
    let mut calls = known(60, now);
    let made = calls.record(now);
    calls.heard(made, 60, Some(59));
    assert!(calls.is_by_minute());
    calls
}

#[test]
fn a_minute_that_was_shown_by_mistake_is_given_up() {
    let now = start();
    let mut calls = by_minute(now);

    let late = now + seconds(240);
    play(&mut calls, now, seconds(240), 10, SHORT);

    assert!(!calls.is_by_minute());
    let used = play(&mut calls, late, seconds(120), 10, SHORT);
    assert!(used >= 110, "{used} of 120");
}

#[test]
fn a_minute_that_our_own_calls_use_up_holds() {
    let now = start();
    let mut calls = by_minute(now);

    let used = play(&mut calls, now, seconds(600), 60, MINUTE);

    assert!(calls.is_by_minute());
    assert!(used >= 590, "{used} of 600");
}

#[test]
fn a_minute_that_others_nearly_use_up_holds() {
    let now = start();
    let mut calls = by_minute(now);

    for (second, remaining) in (1..=600).step_by(3).zip([0, 2, 5, 1].into_iter().cycle()) {
        let made = calls.record(now + seconds(second));
        calls.heard(made, 60, Some(remaining));
    }

    assert!(calls.is_by_minute());
}

#[test]
fn a_call_refused_beyond_a_short_window_while_the_minute_had_room_disproves_the_minute() {
    let now = start();
    for (before, holds) in [(8, true), (20, false)] {
        let mut calls = by_minute(now);
        for _ in 0..before {
            calls.record(now);
        }
        let refused = calls.record(now);

        calls.refused(refused);

        assert_eq!(calls.is_by_minute(), holds, "{before}");
    }
    let mut calls = by_minute(now);
    let made = calls.record(now);
    calls.heard(made, 60, Some(18));
    for _ in 0..12 {
        calls.record(now);
    }
    let refused = calls.record(now);
    calls.refused(refused);
    assert!(calls.is_by_minute(), "others had nearly used it up");
}

#[test]
fn the_newest_limit_wins_whether_it_is_higher_or_lower() {
    let now = start();
    let mut calls = Calls::new(None, now);
    let first = calls.record(now);
    let second = calls.record(now);
    let third = calls.record(now);

    calls.heard(first, 60, None);
    calls.heard(third, 600, None);
    calls.heard(second, 6, None);
    assert_eq!(calls.limit(), Some(600));
    let fourth = calls.record(now);
    calls.heard(fourth, 30, None);

    assert_eq!(calls.limit(), Some(30));
}

#[test]
fn a_limit_that_is_not_named_for_ten_minutes_is_forgotten_unless_it_is_configured() {
    let now = start();
    let mut learned = Calls::new(None, now);
    let made = learned.record(now);
    learned.heard(made, 5, Some(0));
    let mut configured = known(5, now);
    configured.record(now);

    let before = now + seconds(599);
    assert_eq!(admitted(&mut learned.clone(), before), 5);
    let after = now + seconds(601);
    assert_eq!(learned.fits_after(after, 100_000), Duration::ZERO);
    assert_eq!(learned.limit(), None);
    assert!(!learned.outlasts_a_second());
    assert_eq!(admitted(&mut configured, after), 5);
}
