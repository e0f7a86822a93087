//! What answers tell of calls beside what we know better: calls that were taken back, numbers that cannot be true.
//!
//! Whatever is wrongly taken for calls of others keeps ours away for a whole span.

use super::*;

#[test]
fn a_call_that_never_left_is_given_back_and_hides_no_others() {
    let now = start();
    let mut calls = known(60, now);
    let mark = Window::new(Tokens(1), now).record(now, Tokens(1));
    let unsent = calls.record(now);
    let answered = calls.record(now);
    calls.heard(answered, 60, Some(7));
    assert_eq!(admitted(&mut calls.clone(), now), 7);

    calls.withdraw(now, mark, unsent);

    // Azure has counted three, of which one is ours.
    assert_eq!(admitted(&mut calls, now), 7);
}

#[test]
fn calls_that_were_made_later_and_taken_back_were_never_part_of_an_answer() {
    let now = start();
    let mut calls = known(60, now);
    let answered = calls.record(now);
    let mark = Window::new(Tokens(1), now).record(now, Tokens(1));
    for _ in 0..5 {
        let unsent = calls.record(now);
        calls.withdraw(now, mark, unsent);
    }

    calls.heard(answered, 60, Some(9));

    assert!(calls.others(now).is_none(), "Azure has counted only ours");
}

#[test]
fn a_rest_above_its_limit_shows_nothing_and_no_low_limit_stays_in_mind() {
    let now = start();
    let mut calls = known(600, now);
    let made = calls.record(now);

    calls.heard(made, 50, Some(99));
    assert!(!calls.is_by_minute());
    assert!(calls.outlasts_a_second());
    calls.heard(made, 600, None);

    assert!(!calls.outlasts_a_second(), "it has been raised");
}
