//! `round_robin`: in turn, in the order of `AZURE_INSTANCES`.

use super::Candidate;
use crate::domain::InstanceId;

/// Whose turn was last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turn {
    last: Option<InstanceId>,
}

impl Turn {
    pub(super) fn pick(&mut self, candidates: &[Candidate]) -> Option<InstanceId> {
        let ids = || candidates.iter().map(|candidate| candidate.id);
        let next = ids().filter(|id| Some(*id) > self.last).min();
        let picked = next.or_else(|| ids().min())?;
        self.last = Some(picked);
        Some(picked)
    }
}
