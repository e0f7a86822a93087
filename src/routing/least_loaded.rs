//! `least_loaded`: the lowest share of its window in use, then the fewest in flight, ties at random.
//!
//! Ties are the normal case when idle; at random, so that several proxies do not all start with the same instance.

use std::cmp::Ordering;

use rand::Rng;
use rand::rngs::SmallRng;

use super::Candidate;
use crate::domain::InstanceId;

pub(super) fn pick(candidates: &[Candidate], random: &mut SmallRng) -> Option<InstanceId> {
    let mut best: Option<&Candidate> = None;
    let mut ties = 0u32;
    for candidate in candidates {
        match best.map_or(Ordering::Less, |leader| by_load(candidate, leader)) {
            Ordering::Less => {
                best = Some(candidate);
                ties = 1;
            }
            Ordering::Equal => {
                // Reservoir sampling: the k-th of equals takes the lead with probability 1/k.
                ties += 1;
                if random.random_range(0..ties) == 0 {
                    best = Some(candidate);
                }
            }
            Ordering::Greater => {}
        }
    }
    best.map(|candidate| candidate.id)
}

fn by_load(a: &Candidate, b: &Candidate) -> Ordering {
    a.load
        .total_cmp(&b.load)
        .then(a.in_flight.cmp(&b.in_flight))
}
