//! Names of deployments that clients invent: what they may cost, and what they must not undo.
//!
//! Lanes have names as clients spell them, so that their number needs a bound. A limit that was configured holds for all
//! spellings together, and must outlive invented names.

use super::super::room::MOST_LANES;
use super::*;

#[test]
fn invented_names_forget_neither_limits_nor_what_counts() {
    let (mut quota, now) = quota(None);
    quota.reserve(now, &name("a"), need(500)).unwrap();
    let hold = quota.reserve(now, &name("b"), need(100)).unwrap();
    quota.settle(
        now,
        &name("b"),
        hold,
        Tokens(100),
        End::Answered,
        Said::default(),
    );

    for number in 0..200 {
        let later = now + Duration::from_millis(number);
        let invented = name(&format!("model-{number}"));
        quota.open(later, &invented, || None);
        quota.throttle(later, &invented, Limit::Requests, Tokens::ZERO, WINDOW);
    }

    let lanes = quota.lanes(now);
    assert_eq!(lanes.len(), MOST_LANES, "those that cool included");
    let used = |of: &str| {
        let lane = lanes.iter().find(|lane| lane.deployment == name(of));
        lane.map(|lane| (lane.used, lane.limit))
    };
    assert_eq!(used("a"), Some((Tokens(500), Some(Tokens(600)))));
    assert_eq!(used("b"), Some((Tokens(100), None)));
}

#[test]
fn invented_names_do_not_fill_the_memory() {
    let (mut quota, now) = quota(None);
    let hold = quota.reserve(now, &name("b"), need(1)).unwrap();

    for number in 0..1_000 {
        let invented = name(&format!("model-{number}"));
        quota.open(now, &invented, || None);
        let hold = quota.reserve(now, &invented, need(0)).unwrap();
        quota.settle(
            now,
            &invented,
            hold,
            Tokens::ZERO,
            End::Uncharged,
            Said::default(),
        );
    }

    assert_eq!(quota.lanes(now).len(), MOST_LANES);
    assert!(
        quota
            .lanes(now)
            .iter()
            .any(|lane| lane.deployment == name("b"))
    );
    quota.settle(
        now,
        &name("b"),
        hold,
        Tokens(1),
        End::Answered,
        Said::default(),
    );
}

/// Opens the lane of a spelling of `a`, which all have the limit of that, and ends a request to it.
fn pass_by(quota: &mut Quota, now: Instant, deployment: &Deployment, used: u64, end: End) {
    let of = ModelKey::of("a");
    quota.open(now, deployment, || Some((&of, Tokens(600))));
    let hold = quota.reserve(now, deployment, need(used)).unwrap();
    let (used, said) = (Tokens(used), Said::default());
    quota.settle(now, deployment, hold, used, end, said);
}

#[test]
fn a_configured_limit_is_one_for_all_spellings_and_outlives_any_number_of_them() {
    let (mut quota, now) = quota(None);
    pass_by(&mut quota, now, &name("a"), 100, End::Answered);

    for number in 1..=400 {
        let later = now + Duration::from_millis(number);
        let spelled = name(&format!("a{}", "-".repeat(number as usize)));
        // Its client has hung up, so that it counts for a minute.
        pass_by(&mut quota, later, &spelled, 1, End::Charged);
    }

    let later = now + Duration::from_secs(1);
    let lanes = quota.lanes(later);
    assert_eq!(lanes.len(), MOST_LANES);
    let known = lanes.iter().find(|lane| lane.deployment == name("a"));
    assert_eq!(
        known.map(|lane| (lane.used, lane.limit)),
        Some((Tokens(100), Some(Tokens(600))))
    );
    assert_eq!(quota.free_for(later, &name("a")), Tokens(100));
    assert!(quota.reserve(later, &name("a"), need(101)).is_err());
    assert!(quota.reserve(later, &name("a"), need(100)).is_ok());
}

#[test]
fn a_limit_is_kept_even_where_its_deployment_is_forgotten() {
    let (mut quota, now) = quota(None);
    pass_by(&mut quota, now, &name("a"), 500, End::Charged);

    for number in 0..200 {
        let later = now + Duration::from_millis(number);
        let invented = name(&format!("model-{number}"));
        quota.open(later, &invented, || None);
        let hold = quota.reserve(later, &invented, need(1)).unwrap();
        let (end, said) = (End::Charged, Said::default());
        quota.settle(later, &invented, hold, Tokens(1), end, said);
    }

    let later = now + Duration::from_secs(1);
    let mut lanes = quota.lanes(later).into_iter();
    assert!(lanes.all(|lane| lane.deployment != name("a")));
    let of = ModelKey::of("a");
    quota.open(later, &name("A"), || Some((&of, Tokens(600))));
    assert!(quota.reserve(later, &name("A"), need(101)).is_err());
    assert!(quota.reserve(later, &name("A"), need(100)).is_ok());
}

#[test]
fn after_a_burst_of_names_only_as_many_are_kept_as_always() {
    let (mut quota, now) = quota(None);
    let names: Vec<Deployment> = (0..200).map(|n| name(&format!("model-{n}"))).collect();
    let mut holds = Vec::new();
    for invented in &names {
        quota.open(now, invented, || None);
        holds.push(quota.reserve(now, invented, need(1)).unwrap());
    }
    assert_eq!(quota.lanes(now).len(), 200, "each has a request out");
    for (invented, hold) in names.iter().zip(holds) {
        let (end, said) = (End::Uncharged, Said::default());
        quota.settle(now, invented, hold, Tokens::ZERO, end, said);
    }

    quota.open(now, &name("c"), || None);

    assert_eq!(quota.lanes(now).len(), MOST_LANES);
}

#[test]
fn invented_names_and_errands_do_not_make_an_instance_look_open_and_free() {
    let now = start();
    let rest = Duration::from_secs(9);
    let mut quota = Quota::new(Tokens(1_000), None, now);
    let errands = Deployment::of_errands();
    for (other, tokens, end) in [
        (&errands, 0, End::Answered),
        (&name("invented"), 100, End::Uncharged),
    ] {
        quota.open(now, other, || None);
        let hold = quota.reserve(now, other, need(tokens)).unwrap();
        quota.settle(now, other, hold, Tokens::ZERO, end, Said::default());
        assert_eq!(quota.opens_in(now, Tokens::ZERO), Duration::ZERO);
        assert_eq!(quota.free(now), Tokens(1_000));
    }
    quota.open(now, &name("a"), || None);
    let hold = quota.reserve(now, &name("a"), need(100)).unwrap();
    let said = Said {
        limit_tokens: Some(Tokens(300)),
        remaining_tokens: Some(Tokens(200)),
        ..Said::default()
    };

    quota.heard(now, &name("a"), &hold, said);
    assert_eq!(quota.opens_in(now, Tokens::ZERO), Duration::ZERO);
    assert_eq!(quota.free(now), Tokens(200));
    quota.throttle(now, &name("a"), Limit::Requests, Tokens::ZERO, rest);
    assert_eq!(quota.opens_in(now, Tokens::ZERO), rest);
}

#[test]
fn a_deployment_that_another_replica_says_to_cool_is_not_outweighed_by_an_invented_name() {
    let now = start();
    let rest = Duration::from_secs(9);
    let mut quota = Quota::new(Tokens(1_000), None, now);
    for of in ["a", "invented"] {
        quota.open(now, &name(of), || None);
    }

    quota.throttle(now, &name("a"), Limit::Requests, Tokens::ZERO, rest);

    assert_eq!(quota.opens_in(now, Tokens::ZERO), rest);
}
