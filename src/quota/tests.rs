//! Quota of an instance against a model of Azure's, in virtual time.

mod heads;
mod model;
mod names;

use super::*;
use crate::queue::Share;
use model::{Ask, Azure as Service, ask};
use proptest::prelude::*;

fn start() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn name(name: &str) -> Deployment {
    Deployment::new(name)
}

fn need(tokens: u64) -> Need {
    Need {
        tokens: Tokens(tokens),
        exposure: Tokens::ZERO,
        charge: Tokens(tokens),
        ..Need::default()
    }
}

/// An instance of 1,000 tokens with a deployment `a` of 600 and a deployment `b` without a limit of its own.
fn quota(max_rpm: Option<u32>) -> (Quota, Instant) {
    let now = start();
    let mut quota = Quota::new(Tokens(1_000), max_rpm, now);
    let of = ModelKey::of("a");
    quota.open(now, &name("a"), || Some((&of, Tokens(600))));
    quota.open(now, &name("b"), || None);
    (quota, now)
}

#[test]
fn a_deployment_is_held_to_its_own_limit_and_to_that_of_the_instance() {
    let (mut quota, now) = quota(None);

    quota.reserve(now, &name("a"), need(500)).unwrap();

    let lack = quota.reserve(now, &name("a"), need(101)).unwrap_err();
    let minute = Some(Duration::from_millis(60_100));
    assert_eq!(lack, Lack::Full(minute));
    quota.reserve(now, &name("b"), need(450)).unwrap();
    let lack = quota.reserve(now, &name("a"), need(100)).unwrap_err();
    assert_eq!(lack, Lack::Full(minute));
    assert_eq!(quota.used(now), Tokens(950));
    assert_eq!(quota.fits_in(now, &name("a"), need(601)), None);
}

#[test]
fn what_is_refused_takes_nothing() {
    let (mut quota, now) = quota(Some(600));
    quota.reserve(now, &name("a"), need(550)).unwrap();
    let before = (quota.used(now), quota.lanes(now));

    quota.reserve(now, &name("a"), need(100)).unwrap_err();
    quota.reserve(now, &name("b"), need(500)).unwrap_err();

    assert_eq!((quota.used(now), quota.lanes(now)), before);
}

#[test]
fn another_case_is_the_same_deployment() {
    let (mut quota, now) = quota(None);

    quota.open(now, &name("A"), || None);
    quota.reserve(now, &name("A"), need(600)).unwrap();

    assert!(quota.reserve(now, &name("a"), need(1)).is_err());
}

#[test]
fn a_429_of_one_deployment_leaves_the_others_alone() {
    let (mut quota, now) = quota(None);
    let hold = quota.reserve(now, &name("a"), need(100)).unwrap();
    let end = End::Throttled {
        limit: Limit::Requests,
        wait: Some(Duration::from_secs(9)),
    };

    quota.settle(now, &name("a"), hold, Tokens::ZERO, end, Said::default());

    let lack = quota.reserve(now, &name("a"), need(1)).unwrap_err();
    assert!(matches!(lack, Lack::Closed(closed) if closed.wait == Duration::from_secs(9)));
    assert!(quota.reserve(now, &name("b"), need(1)).is_ok());
    assert_eq!(quota.cools_for(now), Some(Duration::from_secs(9)));
    assert_eq!(quota.opens_in(now, Tokens(1)), Duration::ZERO);
}

#[test]
fn calls_of_all_deployments_are_held_to_the_instances_limit() {
    let (mut quota, now) = quota(Some(60));
    for count in 0..10 {
        let deployment = if count % 2 == 0 { "a" } else { "b" };
        quota.reserve(now, &name(deployment), need(1)).unwrap();
    }

    let lack = quota.reserve(now, &name("b"), need(1)).unwrap_err();

    let Lack::Closed(closed) = lack else {
        panic!("{lack:?}");
    };
    assert_eq!(closed.reason, Reason::OutOfCalls);
    assert!(closed.wait > Duration::from_secs(10) && closed.wait < Duration::from_millis(10_500));
    assert!(
        quota
            .reserve(now + closed.wait, &name("b"), need(1))
            .is_ok()
    );
}

#[test]
fn the_instances_calls_are_counted_by_the_minute_only_for_deployments_that_have_shown_it() {
    let (mut quota, now) = quota(Some(60));
    let hold = quota.reserve(now, &name("b"), need(1)).unwrap();
    let said = Said {
        limit_requests: Some(600),
        remaining_requests: Some(599),
        ..Said::default()
    };
    quota.heard(now, &name("b"), &hold, said);

    for _ in 0..39 {
        quota.reserve(now, &name("b"), need(1)).unwrap();
    }

    let lacks = |quota: &mut Quota, at, of| quota.lacks_own(at, &name(of), need(1));
    assert!(lacks(&mut quota, now, "a") && !lacks(&mut quota, now, "b"));
    assert!(quota.reserve(now, &name("a"), need(1)).is_err());
    let later = now + Duration::from_millis(10_400);
    for _ in 0..10 {
        quota.reserve(later, &name("a"), need(1)).unwrap();
    }
    assert!(quota.reserve(later, &name("a"), need(1)).is_err());
    for _ in 0..10 {
        quota.reserve(later, &name("b"), need(1)).unwrap();
    }
    assert!(quota.reserve(later, &name("b"), need(1)).is_err());
}

#[test]
fn the_limit_of_calls_is_learned_from_an_answer() {
    let (mut quota, now) = quota(None);
    let hold = quota.reserve(now, &name("a"), need(1)).unwrap();
    let said = Said {
        limit_requests: Some(18),
        remaining_requests: Some(1),
        ..Said::default()
    };

    quota.heard(now, &name("a"), &hold, said);

    quota.reserve(now, &name("a"), need(1)).unwrap();
    let lack = quota.reserve(now, &name("a"), need(1)).unwrap_err();
    assert!(matches!(lack, Lack::Closed(closed) if closed.reason == Reason::OutOfCalls));
    assert!(quota.reserve(now, &name("b"), need(1)).is_ok());
    let limits = quota.lanes(now).into_iter().map(|lane| lane.requests_limit);
    assert_eq!(limits.flatten().collect::<Vec<u64>>(), [18]);
}

#[test]
fn a_limit_below_the_configured_one_is_obeyed_while_it_is_fresh() {
    let (mut quota, now) = quota(None);
    quota.reserve(now, &name("a"), need(0)).unwrap();
    let hold = quota.reserve(now, &name("b"), need(100)).unwrap();
    let said = Said {
        limit_tokens: Some(Tokens(300)),
        remaining_tokens: Some(Tokens(200)),
        ..Said::default()
    };

    quota.heard(now, &name("b"), &hold, said);

    assert_eq!(quota.free(now), Tokens(600));
    assert!(quota.reserve(now, &name("b"), need(201)).is_err());
    assert!(quota.reserve(now, &name("b"), need(200)).is_ok());
    let later = now + Duration::from_secs(62);
    assert!(quota.reserve(later, &name("b"), need(1_000)).is_ok());
}

#[test]
fn what_needs_no_tokens_has_room_in_a_window_that_is_more_than_full() {
    let (mut quota, now) = quota(None);
    let hold = quota.reserve(now, &name("a"), need(500)).unwrap();
    quota.settle(
        now,
        &name("a"),
        hold,
        Tokens(1_500),
        End::Answered,
        Said::default(),
    );
    let others = Share {
        tokens: Tokens(300),
        calls: 3,
    };
    let nothing = Need {
        ahead: Ahead {
            all: others,
            same_deployment: others,
        },
        ..need(0)
    };

    assert!(quota.reserve(now, &name("b"), nothing).is_ok());
    assert!(quota.reserve(now, &name("b"), need(1)).is_err());
}

#[test]
fn only_a_want_of_its_own_limit_is_the_instances() {
    let (mut quota, now) = quota(None);
    quota.reserve(now, &name("a"), need(600)).unwrap();

    assert_ne!(
        quota.fits_in(now, &name("a"), need(100)),
        Some(Duration::ZERO)
    );
    assert!(
        !quota.lacks_own(now, &name("a"), need(100)),
        "the deployment's is full"
    );
    assert!(quota.lacks_own(now, &name("a"), need(500)));
}

#[test]
fn what_others_are_to_have_takes_its_time_of_the_limit_that_they_wait_for() {
    let (quota, _) = quota(Some(60));
    let share = |tokens| Share {
        tokens: Tokens(tokens),
        calls: 1,
    };
    let pace = |of, all, same| {
        let ahead = Ahead {
            all: share(all),
            same_deployment: share(same),
        };
        quota.pace(&name(of), ahead)
    };

    assert_eq!(pace("a", 500, 0), Duration::from_secs(30));
    assert_eq!(pace("a", 500, 450), Duration::from_secs(45));
    assert_eq!(pace("a", 0, 450), Duration::from_secs(45));
    assert_eq!(pace("b", 0, 450), Duration::from_secs(27));
    assert_eq!(pace("b", 0, 0), Duration::from_secs(1), "one of 60 calls");
}

#[test]
fn a_cooldown_for_a_size_leaves_the_instance_open_to_smaller_ones() {
    let now = start();
    let mut quota = Quota::new(Tokens(1_000), None, now);
    quota.open(now, &name("a"), || None);
    let rest = Duration::from_secs(9);

    quota.throttle(now, &name("a"), Limit::Tokens, Tokens(100), rest);
    assert_eq!(quota.opens_in(now, Tokens(99)), Duration::ZERO);
    assert_eq!(quota.opens_in(now, Tokens(100)), rest);
    quota.throttle(now, &name("a"), Limit::Requests, Tokens::ZERO, rest);

    assert_eq!(quota.opens_in(now, Tokens::ZERO), rest);
}

proptest! {
    /// While its headers are there and our formula is right, Azure never has a reason to refuse, in whatever order and
    /// however late requests arrive and answers come.
    #[test]
    fn azure_refuses_nothing_that_is_admitted(asks in prop::collection::vec(ask(), 1..150)) {
        let mut service = Service::new(1_000);

        service.run(&asks);

        prop_assert_eq!(service.refused, 0);
        prop_assert!(service.nothing_is_left());
    }

    /// Others at the same deployment, formulas that are off, headers that are missing: our own limits hold all the
    /// same, nothing leaks, and what is refused is few.
    #[test]
    fn limits_hold_whatever_azure_does(
        asks in prop::collection::vec(ask(), 1..150),
        others in 0u64..400, percent in 50u64..200, silent in any::<bool>()
    ) {
        let mut service = Service::new(1_000);
        (service.others, service.percent, service.is_silent) = (others, percent, silent);

        service.run(&asks);

        prop_assert!(service.nothing_is_left());
        prop_assert!(service.most_reserved() <= 1_000);
    }
}

/// Saturated by small and large requests, next to all of the quota is used and next to nothing is refused.
#[test]
fn under_overload_the_quota_is_used_and_hardly_a_request_refused() {
    for (percent, others, is_silent, most_refused) in [
        (100, 0, false, 0),
        (80, 0, false, 0),
        // Twenty times the quota is asked for, so it is full before a formula that is too low has been learned.
        (110, 0, false, 10),
        (130, 0, false, 10),
        // Others use a twentieth, and nearly a third.
        (100, 300, false, 10),
        (100, 50, false, 10),
        // Answers say nothing: the first 429 does.
        (100, 0, true, 3),
        (150, 0, true, 10),
        (100, 300, true, 15),
    ] {
        let mut service = Service::new(60_000);
        (service.percent, service.others, service.is_silent) = (percent, others, is_silent);
        let sizes = [300, 900, 150, 2_500, 600, 1_200].into_iter().cycle();
        let ask = |charge| Ask {
            pause: 50,
            charge,
            used: 60,
            way: 20,
            takes: 800,
        };
        let asks: Vec<Ask> = sizes.take(12_000).map(ask).collect();

        service.run(&asks);

        let nine_minutes = 9 * (60_000 - 60 * others);
        let share = service.charged_after_a_minute() as f64 / nine_minutes as f64;
        let sent = service.admitted + service.refused;
        let what = format!("{percent} %, {others} of others, silent: {is_silent}");
        let refused = service.refused;
        assert!(
            refused * 1_000 <= most_refused * sent,
            "{what}: {refused} of {sent} refused"
        );
        assert!(share > 0.98, "{what}: {share:.4} used");
    }
}
