//! The order in which each strategy picks.

use std::collections::HashMap;

use super::*;
use proptest::prelude::*;

fn candidate(id: usize, priority: u32, weight: u32) -> Candidate {
    Candidate {
        id: InstanceId(id),
        priority,
        weight,
        load: 0.0,
        in_flight: 0,
    }
}

fn picks(router: &mut Router, candidates: &[Candidate], times: usize) -> Vec<usize> {
    (0..times)
        .map(|_| router.pick(candidates).unwrap().0)
        .collect()
}

fn counts(picked: &[usize]) -> HashMap<usize, usize> {
    let mut counts = HashMap::new();
    for id in picked {
        *counts.entry(*id).or_insert(0) += 1;
    }
    counts
}

#[test]
fn nobody_is_picked_from_nobody() {
    for kind in StrategyKind::ALL {
        assert_eq!(Router::new(kind, 7).pick(&[]), None);
    }
}

#[test]
fn failover_starts_at_the_top_each_time_and_breaks_ties_by_order() {
    let mut router = Router::new(StrategyKind::Failover, 7);
    let all = [candidate(0, 5, 1), candidate(1, 1, 1), candidate(2, 1, 1)];

    assert_eq!(picks(&mut router, &all, 3), [1, 1, 1]);
    assert_eq!(router.pick(&all[..1]), Some(InstanceId(0)));
}

#[test]
fn round_robin_goes_in_turn_and_skips_who_is_missing() {
    let mut router = Router::new(StrategyKind::RoundRobin, 7);
    let all = [candidate(0, 1, 1), candidate(1, 1, 1), candidate(2, 1, 1)];

    assert_eq!(picks(&mut router, &all, 4), [0, 1, 2, 0]);
    assert_eq!(picks(&mut router, &[all[0], all[2]], 3), [2, 0, 2]);
}

#[test]
fn round_robin_spreads_the_share_of_a_refusing_instance_over_the_others() {
    let mut router = Router::new(StrategyKind::RoundRobin, 7);
    let all = [candidate(0, 1, 1), candidate(1, 1, 1), candidate(2, 1, 1)];
    let mut served = Vec::new();

    for _ in 0..60 {
        let mut left = all.to_vec();
        let mut picked = router.pick(&left).unwrap();
        while picked == InstanceId(0) {
            router.retract(&left, picked);
            left.retain(|candidate| candidate.id != picked);
            picked = router.pick(&left).unwrap();
        }
        served.push(picked.0);
    }

    assert_eq!(counts(&served), HashMap::from([(1, 30), (2, 30)]));
}

#[test]
fn weighted_is_exact_over_every_cycle_and_smooth_within() {
    let mut router = Router::new(StrategyKind::Weighted, 7);
    let all = [candidate(0, 1, 5), candidate(1, 1, 1), candidate(2, 1, 1)];

    assert_eq!(picks(&mut router, &all, 7), [0, 0, 1, 0, 2, 0, 0]);
    for _ in 0..10 {
        let cycle = counts(&picks(&mut router, &all, 7));
        assert_eq!(cycle, HashMap::from([(0, 5), (1, 1), (2, 1)]));
    }
}

#[test]
fn an_instance_that_comes_back_gets_its_share_and_no_burst() {
    let mut router = Router::new(StrategyKind::Weighted, 7);
    let all = [candidate(0, 1, 1), candidate(1, 1, 1)];
    for _ in 0..1_000 {
        let picked = router.pick(&all).unwrap();
        if picked == InstanceId(0) {
            router.retract(&all, picked);
            assert_eq!(router.pick(&all[1..]), Some(InstanceId(1)));
        }
    }

    let after = counts(&picks(&mut router, &all, 100));

    assert_eq!(after, HashMap::from([(0, 50), (1, 50)]));
}

#[test]
fn priority_uses_the_best_tier_by_weight() {
    let mut router = Router::new(StrategyKind::Priority, 7);
    let all = [candidate(0, 1, 3), candidate(1, 1, 1), candidate(2, 2, 100)];

    assert_eq!(
        counts(&picks(&mut router, &all, 40)),
        HashMap::from([(0, 30), (1, 10)])
    );
    assert_eq!(router.pick(&all[2..]), Some(InstanceId(2)));
}

#[test]
fn least_loaded_takes_the_lowest_share_then_the_fewest_in_flight() {
    let mut router = Router::new(StrategyKind::LeastLoaded, 7);
    let mut all = [candidate(0, 1, 1), candidate(1, 1, 1), candidate(2, 1, 1)];
    all[0].load = 0.5;
    all[1].load = 0.1;
    all[2].load = 0.1;
    all[1].in_flight = 4;

    assert_eq!(picks(&mut router, &all, 5), [2; 5]);
}

#[test]
fn least_loaded_breaks_ties_evenly() {
    let mut router = Router::new(StrategyKind::LeastLoaded, 7);
    let all = [candidate(0, 1, 1), candidate(1, 1, 1), candidate(2, 1, 1)];

    let shares = counts(&picks(&mut router, &all, 3_000));

    for share in shares.values() {
        assert!((900..1_100).contains(share), "{shares:?}");
    }
}

proptest! {
    /// Proportions are exact over every cycle for any weights, also when picks of others were taken back in between.
    #[test]
    fn weights_hold_for_any_weights(
        weights in prop::collection::vec(1u32..20, 1..6), retracts in prop::collection::vec(any::<bool>(), 40)
    ) {
        let mut router = Router::new(StrategyKind::Weighted, 7);
        let all: Vec<Candidate> =
            weights.iter().enumerate().map(|(id, weight)| candidate(id, 1, *weight)).collect();
        for taken_back in retracts {
            if taken_back {
                let first = router.pick(&all).unwrap();
                let second = router.pick(&all).unwrap();
                router.retract(&all, first);
                router.retract(&all, second);
            }
        }
        let cycle: u32 = weights.iter().sum();

        let shares = counts(&picks(&mut router, &all, cycle as usize));

        for (id, weight) in weights.iter().enumerate() {
            prop_assert_eq!(shares.get(&id).copied().unwrap_or(0), *weight as usize);
        }
    }

    /// A pick is always one of the candidates.
    #[test]
    fn a_pick_is_a_candidate(
        ids in prop::collection::btree_set(0usize..20, 1..10), kind in 0usize..5, seed in any::<u64>()
    ) {
        let all: Vec<Candidate> = ids.iter().map(|id| candidate(*id, (*id % 3) as u32, 1)).collect();
        let mut router = Router::new(StrategyKind::ALL[kind], seed);

        for _ in 0..20 {
            let picked = router.pick(&all).unwrap();
            prop_assert!(ids.contains(&picked.0));
        }
    }
}
