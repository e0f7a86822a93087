//! Tests of the ledger: shares, settlements, returns, what is newer. The bound over many replicas and faults is in `story`.

use proptest::prelude::*;

use super::*;

mod story;

const MINUTE: Duration = Duration::from_secs(60);

fn ledger(limit: u64) -> Ledger {
    Ledger::new(Tokens(limit), MINUTE)
}

/// A moment in seconds.
fn at(seconds: u64) -> Tick {
    Tick::of(Duration::from_secs(1_000_000 + seconds))
}

/// What the store says, as of so many acts.
fn sum(at: Tick, used: u64, acts: u64) -> Sum {
    let (used, acts) = (Tokens(used), Acts(acts));
    Sum { at, used, acts }
}

fn fits(ledger: &mut Ledger, now: Tick, amount: u64, replicas: u64) -> bool {
    ledger.fits_in(now, Tokens(amount), replicas) == Some(Duration::ZERO)
}

#[test]
fn while_the_store_decides_all_that_is_known_to_be_free_may_be_asked_for() {
    let mut ledger = ledger(100);

    ledger.charged(Tokens(30), sum(at(0), 80, 1));

    assert_eq!(ledger.used(at(0)), Tokens(80));
    assert!(fits(&mut ledger, at(0), 20, 1));
    assert!(!fits(&mut ledger, at(0), 21, 1));
    assert_eq!(ledger.fits_in(at(0), Tokens(101), 1), None);
}

#[test]
fn alone_a_replica_has_its_part_of_what_was_free_and_more_as_the_rest_ages() {
    let mut ledger = ledger(900);
    ledger.heard(sum(at(0), 600, 100));

    assert_eq!(ledger.free(at(10), 3), Tokens(100));
    ledger.charge_alone(at(10), Tokens(100));

    assert!(!fits(&mut ledger, at(10), 1, 3));
    let wait = ledger.fits_in(at(10), Tokens(200), 3).unwrap();
    assert!(
        wait > Duration::from_secs(49) && wait < Duration::from_secs(51),
        "{wait:?}"
    );
    assert_eq!(ledger.free(at(61), 3), Tokens(200));
    assert_eq!(ledger.free(at(71), 3), Tokens(300));
    assert_eq!(ledger.fits_in(at(10), Tokens(301), 3), None);
}

#[test]
fn settlements_are_told_as_one_difference_for_each_bucket() {
    let mut ledger = ledger(1_000);
    ledger.charged(Tokens(300), sum(at(0), 300, 1));
    ledger.charged(Tokens(200), sum(at(0), 500, 2));

    ledger.settle(at(1), at(0), By::Store, Tokens(300), Tokens(100));
    ledger.settle(at(1), at(0), By::Store, Tokens(200), Tokens(250));

    assert_eq!(ledger.used(at(1)), Tokens(350));
    assert_eq!(ledger.take_unsent(at(1)), [(at(0), -150)]);
    assert_eq!(ledger.take_unsent(at(1)), []);
}

#[test]
fn a_store_that_lost_everything_is_told_all_that_counts_and_nothing_twice() {
    let mut ledger = ledger(1_000);
    ledger.charged(Tokens(300), sum(at(0), 700, 1));
    ledger.charged(Tokens(100), sum(at(50), 800, 2));
    ledger.charge_alone(at(55), Tokens(40));
    ledger.settle(at(58), at(55), By::Alone, Tokens(40), Tokens(10));

    let told = ledger.own_charges(at(65));

    assert_eq!(told, [(at(50), 100), (at(55), 10)]);
    assert!(!ledger.has_unsent(at(65)));
}

#[test]
fn a_settlement_of_what_was_admitted_alone_counts_where_it_now_is() {
    let mut ledger = ledger(1_000);
    ledger.charge_alone(at(0), Tokens(500));
    ledger.settle(at(1), at(0), By::Alone, Tokens(500), Tokens(400));
    assert_eq!(ledger.used(at(1)), Tokens(400));

    let told = ledger.take_unsent(at(2));
    ledger.learn(at(2), Acts(100), [(at(0), Tokens(400))]);
    ledger.rejoined();
    ledger.settle(at(3), at(0), By::Alone, Tokens(400), Tokens(600));

    assert_eq!(told, [(at(0), 400)]);
    assert_eq!(ledger.used(at(3)), Tokens(600));
    assert_eq!(ledger.take_unsent(at(3)), [(at(0), 200)]);
}

#[test]
fn what_the_store_has_is_taken_over_with_what_it_has_not_heard_of() {
    let mut ledger = ledger(1_000);
    ledger.charged(Tokens(300), sum(at(0), 900, 1));
    ledger.settle(at(1), at(0), By::Store, Tokens(300), Tokens(100));

    ledger.learn(at(1), Acts(100), [(at(0), Tokens(700))]);

    assert_eq!(ledger.used(at(1)), Tokens(500));
}

#[test]
fn a_settlement_after_the_minute_changes_nothing() {
    let mut ledger = ledger(1_000);
    ledger.charged(Tokens(300), sum(at(0), 300, 1));

    ledger.settle(at(61), at(0), By::Store, Tokens(300), Tokens(900));

    assert_eq!(ledger.used(at(61)), Tokens::ZERO);
    assert!(!ledger.has_unsent(at(61)));
}

proptest! {
    /// Alone, the promised wait is right to the tick.
    #[test]
    fn the_promised_wait_is_kept_alone(
        known in prop::collection::vec((0u64..50, 1u64..200), 0..20),
        own in prop::collection::vec((50u64..60, 1u64..40), 0..20),
        want in 1u64..=300,
    ) {
        let mut ledger = ledger(900);
        for (second, tokens) in known {
            let used = ledger.used(at(second));
            ledger.charged(Tokens(tokens), sum(at(second), used.0 + tokens, 0));
        }
        for (second, tokens) in own {
            ledger.charge_alone(at(second), Tokens(tokens));
        }

        let wait = ledger.fits_in(at(60), Tokens(want), 3).unwrap();

        let then = Tick(at(60).0 + Tick::of(wait).0);
        if wait > Duration::ZERO {
            prop_assert!(!fits(&mut ledger.clone(), Tick(then.0 - 1), want, 3));
        }
        prop_assert!(fits(&mut ledger, then, want, 3));
    }
}

#[test]
fn each_full_share_of_others_takes_a_span_more_and_only_the_amount_itself_can_be_too_large() {
    let mut ledger = ledger(100);
    ledger.charged(Tokens(90), sum(at(0), 90, 1));
    let mut after = |amount, ahead, replicas| {
        ledger.fits_after(at(10), Tokens(amount), Tokens(ahead), replicas)
    };

    let alone = after(60, 0, 1).unwrap();
    let behind = after(60, 240, 1).unwrap();

    assert!(alone < Duration::from_secs(51), "{alone:?}");
    assert_eq!(behind, after(100, 0, 1).unwrap() + 2 * MINUTE);
    assert_eq!(after(101, 0, 1), None);
    assert_eq!(after(51, 0, 2), None);
    assert!(after(50, 500, 2) > Some(8 * MINUTE));
}

#[test]
fn nothing_always_fits() {
    let mut ledger = ledger(100);
    ledger.charged(Tokens(90), sum(at(0), 90, 1));
    ledger.settle(at(1), at(0), By::Store, Tokens(90), Tokens(190));

    let nothing = ledger.fits_after(at(2), Tokens::ZERO, Tokens(500), 1);

    assert_eq!(nothing, Some(Duration::ZERO));
    assert!(!fits(&mut ledger, at(2), 1, 1));
}

#[test]
fn what_is_known_moves_with_the_clock_of_the_store() {
    for by in [-36_000, 36_000] {
        let mut ledger = ledger(900);
        let then = |now: Tick| Tick(now.0.saturating_add_signed(by));
        ledger.charged(Tokens(300), sum(at(0), 600, 1));
        ledger.charge_alone(at(5), Tokens(50));

        ledger.turn(by);

        assert_eq!(ledger.used(then(at(5))), Tokens(650));
        assert_eq!(ledger.clone().take_unsent(then(at(5))), [(then(at(5)), 50)]);
        ledger.settle(
            then(at(6)),
            then(at(0)),
            By::Store,
            Tokens(300),
            Tokens(100),
        );
        assert_eq!(ledger.used(then(at(6))), Tokens(450));
        assert_eq!(ledger.used(then(at(61))), Tokens(50));
        assert_eq!(ledger.used(then(at(66))), Tokens::ZERO);
    }
}

#[test]
fn an_own_charge_that_was_heard_of_before_its_answer_came_counts_once() {
    let mut ledger = ledger(900);

    ledger.heard(sum(at(0), 400, 100));
    ledger.charged(Tokens(100), sum(at(0), 300, 1));

    assert_eq!(ledger.used(at(0)), Tokens(400));
    assert_eq!(ledger.own_charges(at(0)), [(at(0), 100)]);
}

#[test]
fn what_was_heard_while_a_heartbeat_was_under_way_is_known_after_it() {
    let mut ledger = ledger(900);
    ledger.charged(Tokens(100), sum(at(0), 100, 1));

    ledger.heard(sum(at(1), 600, 4));
    ledger.charged(Tokens(50), sum(at(1), 650, 5));
    ledger.settle(at(1), at(1), By::Store, Tokens(50), Tokens(10));
    ledger.learn(at(0), Acts(2), [(at(0), Tokens(200))]);
    assert_eq!(ledger.used(at(1)), Tokens(610));

    ledger.learn(at(2), Acts(7), [(at(0), Tokens(200)), (at(1), Tokens(50))]);
    assert_eq!(ledger.used(at(2)), Tokens(210));
}

#[test]
fn a_sum_alone_puts_right_what_is_known_and_nothing_leaves_too_early() {
    let mut ledger = ledger(900);
    ledger.learn(at(0), Acts(2), [(at(0), Tokens(300))]);
    ledger.charged(Tokens(200), sum(at(10), 500, 3));
    ledger.settle(at(11), at(10), By::Store, Tokens(200), Tokens(150));

    // Another has used 100 less, whenever that was.
    ledger.correct(sum(at(12), 400, 4));
    assert_eq!(ledger.used(at(12)), Tokens(350));
    assert_eq!(ledger.used(at(61)), Tokens(150));

    ledger.correct(sum(at(62), 230, 5));
    assert_eq!(ledger.used(at(62)), Tokens(180));
    assert_eq!(ledger.used(at(71)), Tokens(30));

    ledger.correct(sum(at(72), 0, 4));
    assert_eq!(ledger.used(at(72)), Tokens(30), "old news");
}

#[test]
fn refunds_that_are_known_by_their_sum_alone_ask_for_the_whole_log_before_forecasts_are_far_off() {
    let mut ledger = ledger(600);
    let log = |refunded: u64| [(at(0), Tokens(200)), (at(30), Tokens(300 - refunded))];
    ledger.learn(at(31), Acts(1), log(0));
    let leaves = |ledger: &mut Ledger| ledger.fits_in(at(31), Tokens(400), 1).unwrap().as_secs();

    // In a second 10 of 600 leave.
    ledger.correct(sum(at(31), 495, 2));
    assert!(!ledger.is_blurred());
    ledger.correct(sum(at(31), 400, 3));
    assert!(ledger.is_blurred());
    assert_eq!(leaves(&mut ledger), 59, "taken from what leaves first");

    ledger.learn(at(31), Acts(4), log(100));
    assert!(!ledger.is_blurred());
    assert_eq!(leaves(&mut ledger), 29);
}

#[test]
fn small_refunds_add_up_until_the_whole_log_was_heard() {
    let mut ledger = ledger(600);
    ledger.learn(at(0), Acts(1), [(at(0), Tokens(300))]);

    ledger.correct(sum(at(1), 294, 2));
    assert!(!ledger.is_blurred());
    ledger.correct(sum(at(1), 288, 3));
    assert!(ledger.is_blurred());
}

#[test]
fn what_has_left_the_window_need_not_be_told() {
    let mut ledger = ledger(1_000);
    ledger.charge_alone(at(0), Tokens(300));

    assert!(ledger.has_unsent(at(59)));
    assert!(!ledger.has_unsent(at(61)));
}

#[test]
fn a_settlement_that_changes_nothing_need_not_be_told() {
    let mut ledger = ledger(1_000);
    ledger.charged(Tokens(300), sum(at(0), 300, 1));

    ledger.settle(at(1), at(0), By::Store, Tokens(300), Tokens(300));

    assert!(!ledger.has_unsent(at(1)));
}

#[test]
fn old_news_change_nothing_unless_the_store_counts_anew() {
    let mut ledger = ledger(900);
    ledger.learn(at(0), Acts(7), [(at(0), Tokens(200))]);

    ledger.heard(sum(at(1), 800, 6));
    assert_eq!(ledger.used(at(1)), Tokens(200));

    ledger.entered(Acts(1));
    ledger.heard(sum(at(1), 300, 2));
    assert_eq!(ledger.used(at(1)), Tokens(300));
}

#[test]
fn what_the_store_dates_into_the_future_closes_no_window_here() {
    let mut ledger = ledger(900);

    ledger.learn(
        at(0),
        Acts(100),
        [(at(0), Tokens(100)), (at(3_600), Tokens(800))],
    );

    assert_eq!(ledger.used(at(0)), Tokens(100));
    assert_eq!(ledger.used(at(61)), Tokens::ZERO);
}
