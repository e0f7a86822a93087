//! `priority`: the best tier with an available member takes all traffic, spread inside the tier by weight.

use super::Candidate;
use super::weighted::Smooth;
use crate::domain::InstanceId;

pub(super) fn pick(candidates: &[Candidate], smooth: &mut Smooth) -> Option<InstanceId> {
    let best = candidates
        .iter()
        .map(|candidate| candidate.priority)
        .min()?;
    smooth.pick(&tier(candidates, best))
}

pub(super) fn retract(candidates: &[Candidate], picked: InstanceId, smooth: &mut Smooth) {
    if let Some(best) = candidates.iter().map(|candidate| candidate.priority).min() {
        smooth.retract(&tier(candidates, best), picked);
    }
}

fn tier(candidates: &[Candidate], priority: u32) -> Vec<Candidate> {
    let mut members = candidates.to_vec();
    members.retain(|candidate| candidate.priority == priority);
    members
}
