//! `weighted`: smooth weighted round robin, as nginx has it: exact proportions over every cycle, no bursts.
//!
//! Each pick adds its weight to every candidate and takes the sum of the weights from the one that leads. Both steps are
//! additions, so a pick is taken back exactly even if others were made in between.

use std::collections::HashMap;

use super::Candidate;
use crate::domain::InstanceId;

/// Running credits of the instances.
#[derive(Clone, Debug, Default)]
pub(super) struct Smooth {
    credits: HashMap<InstanceId, i64>,
}

impl Smooth {
    pub(super) fn pick(&mut self, candidates: &[Candidate]) -> Option<InstanceId> {
        let mut total = 0;
        let mut leader: Option<(InstanceId, i64)> = None;
        for candidate in candidates {
            let weight = i64::from(candidate.weight);
            let credit = self.credits.entry(candidate.id).or_insert(0);
            *credit += weight;
            total += weight;
            if leader.is_none_or(|(_, best)| *credit > best) {
                leader = Some((candidate.id, *credit));
            }
        }
        let (picked, credit) = leader?;
        self.credits.insert(picked, credit - total);
        Some(picked)
    }

    pub(super) fn retract(&mut self, candidates: &[Candidate], picked: InstanceId) {
        let mut total = 0;
        for candidate in candidates {
            let weight = i64::from(candidate.weight);
            *self.credits.entry(candidate.id).or_insert(0) -= weight;
            total += weight;
        }
        *self.credits.entry(picked).or_insert(0) += total;
    }
}
