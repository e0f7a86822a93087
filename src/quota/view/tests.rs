//! What is believed of Azure's log, on invented clocks.

mod explained;

use super::*;

fn start() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn at(start: Instant, millis: u64) -> Instant {
    start + Duration::from_millis(millis)
}

fn said(limit: u64, remaining: u64) -> Said {
    Said {
        limit_tokens: Some(Tokens(limit)),
        remaining_tokens: Some(Tokens(remaining)),
        ..Said::default()
    }
}

fn fits_in(view: &mut View, now: Instant, tokens: Tokens) -> Duration {
    view.fits_after(now, tokens, Tokens::ZERO)
}

/// A view that has sent `tokens` at its start and heard that `remaining` of 1,000 remain.
fn view(tokens: u64, remaining: u64) -> (View, Instant) {
    let start = start();
    let mut view = View::new(start);
    let charge = view.sent(start, Tokens(tokens));
    view.answered(start, charge, said(1_000, remaining));
    (view, start)
}

/// Sends 100 tokens in each of so many seconds; the answers say nothing.
fn unheard(seconds: u64) -> (View, Instant) {
    let start = start();
    let mut view = View::new(start);
    for second in 0..seconds {
        let now = at(start, second * 1_000);
        let charge = view.sent(now, Tokens(100));
        view.answered(now, charge, Said::default());
    }
    (view, start)
}

/// A 429 without headers, from a deployment of which 1,000 tokens per minute are configured.
fn throttled(view: &mut View, now: Instant, charge: Charge, wait: Duration) {
    view.refused(now, charge);
    view.missing(now, charge, wait, Tokens(1_000), Said::default());
}

#[test]
fn nothing_is_believed_before_an_answer_and_a_minute_after_the_last() {
    let start = start();
    let mut view = View::new(start);
    let charge = view.sent(start, Tokens(5_000));
    assert_eq!((view.free(start), view.azure(start)), (None, None));
    assert_eq!(fits_in(&mut view, start, Tokens(9_000)), Duration::ZERO);

    view.answered(start, charge, Said::default());
    assert_eq!(view.free(start), None);
    view.answered(start, charge, said(6_000, 1_000));

    assert_eq!(view.free(at(start, 59_000)), Some(Tokens(1_000)));
    assert_eq!(view.free(at(start, 61_000)), None);
}

#[test]
fn what_left_after_an_answers_request_counts_on_top_of_it() {
    let (mut view, start) = view(100, 900);

    view.sent(at(start, 500), Tokens(300));

    let now = at(start, 500);
    assert_eq!(view.free(now), Some(Tokens(600)));
    assert_eq!(fits_in(&mut view, now, Tokens(600)), Duration::ZERO);
    let wait = fits_in(&mut view, now, Tokens(601));
    assert_eq!(now + wait, at(start, 60_100));
}

#[test]
fn an_answer_to_an_earlier_request_does_not_displace_what_a_later_one_said() {
    let start = start();
    let mut view = View::new(start);
    let slow = view.sent(start, Tokens(100));
    let fast = view.sent(at(start, 1_000), Tokens(100));

    view.answered(at(start, 1_500), fast, said(1_000, 300));
    view.answered(at(start, 9_000), slow, said(1_000, 900));

    let drift = view.azure(at(start, 1_500)).unwrap().drift;
    assert!((400..=500).contains(&drift), "{drift}");
}

#[test]
fn others_show_as_a_drift_that_fades_within_the_minute() {
    let (mut view, start) = view(100, 300);

    let drift = |view: &mut View, millis| view.azure(at(start, millis)).unwrap().drift;
    assert_eq!(drift(&mut view, 0), 600);
    assert_eq!(view.free(start), Some(Tokens(300)));
    assert_eq!(drift(&mut view, 30_000), 300);
    assert_eq!(view.free(at(start, 30_000)), Some(Tokens(600)));
    let wait = fits_in(&mut view, start, Tokens(600));
    assert_eq!(wait, Duration::from_secs(30));
}

#[test]
fn a_formula_that_asks_too_much_is_corrected_as_long_as_its_charges_count() {
    let start = start();
    let mut view = View::new(start);
    view.sent(start, Tokens(500));
    let later = at(start, 30_000);
    let charge = view.sent(later, Tokens(400));
    view.answered(later, charge, said(1_000, 910));

    assert_eq!(view.free(later), Some(Tokens(909)));
    let drift = view.azure(later).unwrap().drift;
    assert!(drift < -600, "{drift}");
    // More than half of the log is gone, and as much of what it was off by.
    let free = view.free(at(start, 61_000)).unwrap();
    assert!((955..=965).contains(&free.0), "{free}");
}

#[test]
fn charges_that_may_be_on_their_way_or_gone_are_no_drift() {
    let start = start();
    let mut view = View::new(start);
    view.sent(start, Tokens(200));
    view.sent(at(start, 59_900), Tokens(300));
    let now = at(start, 60_000);
    let charge = view.sent(now, Tokens(100));

    for remaining in [400, 600, 700, 900] {
        view.answered(now, charge, said(1_000, remaining));
        let azure = view.azure(now).unwrap();
        assert_eq!(
            (azure.drift, azure.remaining),
            (0, Tokens(400)),
            "{remaining}"
        );
    }
}

#[test]
fn a_charge_that_was_not_made_leaves_the_log_and_what_an_answer_said_stands() {
    let start = start();
    let mut view = View::new(start);
    let refused = view.sent(start, Tokens(400));
    let second = at(start, 1_000);
    let charge = view.sent(second, Tokens(100));
    view.answered(second, charge, said(1_000, 900));

    view.refused(second, refused);

    assert_eq!(view.free(second), Some(Tokens(900)));
    let third = view.sent(second, Tokens(50));
    view.refused(second, third);
    assert_eq!(view.free(second), Some(Tokens(900)));
}

#[test]
fn a_429_shows_what_is_free_by_what_leaves_until_the_time_that_it_names() {
    let start = start();
    let mut view = View::new(start);
    for second in 0..10 {
        let now = at(start, second * 1_000);
        let charge = view.sent(now, Tokens(100));
        view.answered(now, charge, said(1_000, 900 - second * 100));
    }
    let now = at(start, 20_000);
    let charge = view.sent(now, Tokens(500));
    view.refused(now, charge);

    // Azure names 42 s: by then the charges of the first three seconds have left.
    view.missing(
        now,
        charge,
        Duration::from_millis(42_200),
        Tokens(9),
        Said::default(),
    );

    assert_eq!(view.free(now), Some(Tokens(200)));
    assert_eq!(view.azure(now).unwrap().limit, Tokens(1_000));
}

#[test]
fn a_429_that_our_charges_do_not_explain_leaves_half_of_its_size() {
    let start = start();
    let mut view = View::new(start);
    let charge = view.sent(start, Tokens(300));
    throttled(&mut view, start, charge, Duration::from_secs(20));

    assert_eq!(view.free(start), Some(Tokens(150)));
    assert_eq!(view.azure(start).unwrap().drift, 850);
}

#[test]
fn a_charge_above_the_limit_waits_for_an_empty_log_and_no_longer() {
    let (mut view, start) = view(100, 900);

    assert_eq!(
        fits_in(&mut view, start, Tokens(5_000)),
        Duration::from_millis(60_100)
    );
    assert_eq!(
        fits_in(&mut view, at(start, 60_100), Tokens(5_000)),
        Duration::ZERO
    );
}

#[test]
fn without_headers_a_429_that_the_log_explains_makes_it_count_for_ten_minutes() {
    let (mut view, start) = unheard(10);
    let now = at(start, 10_000);
    let charge = view.sent(now, Tokens(50));
    throttled(&mut view, now, charge, Duration::from_secs(50));

    let later = at(start, 300_000);
    view.sent(later, Tokens(700));
    let free = view.free(later).unwrap();
    assert!((300..=310).contains(&free.0), "{free}");
    assert_eq!(view.azure(later), None);
    assert!(fits_in(&mut view, later, Tokens(320)) > Duration::from_secs(59));
    assert_eq!(view.free(at(start, 611_000)), None);
}

#[test]
fn a_429_that_the_log_does_not_explain_is_forgotten_after_its_minute() {
    let start = start();
    let mut view = View::new(start);
    let charge = view.sent(start, Tokens(300));
    throttled(&mut view, start, charge, Duration::from_secs(20));

    assert_eq!(view.free(at(start, 61_000)), None);
}

#[test]
fn what_others_have_first_takes_a_minute_for_each_limit() {
    let (mut view, start) = view(100, 900);

    for (ahead, minutes) in [(0, 0), (399, 0), (1_400, 1), (2_900, 3), (9_400, 9)] {
        let wait = view.fits_after(start, Tokens(500), Tokens(ahead));
        assert_eq!(wait, Duration::from_secs(60 * minutes), "{ahead}");
    }
    // Of the last limit nothing is left, so what counts now must leave before.
    let wait = view.fits_after(start, Tokens(500), Tokens(1_500));
    assert_eq!(wait, Duration::from_millis(120_100));
}

#[test]
fn a_forecast_behind_others_does_not_end_with_what_was_told() {
    let (mut view, start) = view(100, 900);
    let now = at(start, 50_000);
    view.sent(now, Tokens(800));

    let alone = fits_in(&mut view, now, Tokens(500));
    assert_eq!(now + alone, start + HOLDS);
    let behind = view.fits_after(now, Tokens(400), Tokens(100));
    assert_eq!(behind, Duration::from_millis(60_100));
}

#[test]
fn a_burst_of_429s_without_headers_does_not_shrink_what_our_charges_are_worth() {
    let (mut view, start) = unheard(9);
    let now = at(start, 10_000);
    let burst: Vec<Charge> = (0..20).map(|_| view.sent(now, Tokens(150))).collect();

    for charge in burst {
        throttled(&mut view, now, charge, Duration::from_secs(50));
    }

    let free = view.free(now).unwrap();
    assert!((90..=100).contains(&free.0), "{free}");
}

#[test]
fn a_formula_that_asks_too_much_is_found_out_by_a_429_without_headers() {
    let (mut view, start) = unheard(15);
    let now = at(start, 20_000);
    let charge = view.sent(now, Tokens(100));
    throttled(&mut view, now, charge, Duration::from_secs(40));

    // 1,500 were admitted within 1,000.
    let free = view.free(now).unwrap();
    assert!(free.0 <= 1, "{free}");
    assert!(view.free(at(start, 65_000)).unwrap() > Tokens(300));
}
