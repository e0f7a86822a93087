//! `failover`: strictly by priority, ties by the order of `AZURE_INSTANCES`; every request starts at the top.

use super::Candidate;
use crate::domain::InstanceId;

pub(super) fn pick(candidates: &[Candidate]) -> Option<InstanceId> {
    candidates
        .iter()
        .min_by_key(|candidate| (candidate.priority, candidate.id))
        .map(|candidate| candidate.id)
}
