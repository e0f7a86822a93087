//! What the attempts of one job came to so far, and which of it the client is told when none is left.
//!
//! An instance that lacks what another one has tells nothing about the job. So such an answer is the last resort: a
//! fault, a limit or a cooldown of an instance that may be the right one comes first. One without the deployment tells
//! still less.

use super::errand::Job;
use super::foreign::Foreign;
use super::give_up::{self, Last};
use crate::actors::Unavailable;
use crate::error::ApiError;

/// The attempts so far.
#[derive(Default)]
pub(super) struct Past {
    last: Option<Last>,
    /// From instances without the deployment, which cannot tell whether another one has what is named.
    missing: Option<Last>,
    foreign: Option<(Foreign, Last)>,
    strangers: u32,
}

impl Past {
    /// Adds what an instance came to.
    pub(super) fn add(&mut self, outcome: Last) {
        let place = match outcome.is_not_found() {
            true => &mut self.missing,
            false => &mut self.last,
        };
        *place = Some(match place.take() {
            Some(earlier) => earlier.followed_by(outcome),
            None => outcome,
        });
    }

    /// Adds the answer of an instance that lacks what another one has.
    pub(super) fn add_foreign(&mut self, foreign: Foreign, answer: Last) {
        self.foreign = Some((foreign, answer));
        self.strangers += 1;
    }

    /// Returns how many instances lack what another one has, and what the last of them said to lack.
    pub(super) fn strangers(&self) -> (u32, Option<&Foreign>) {
        let lacked = self.foreign.as_ref().map(|(foreign, _)| foreign);
        (self.strangers, lacked)
    }

    /// Returns what is left to relay, or the error for what none of several instances knew.
    pub(super) fn last(
        self,
        job: Job<'_>,
        unavailable: &Unavailable,
    ) -> Result<Option<Last>, ApiError> {
        let is_over = match unavailable {
            Unavailable::Exhausted => true,
            Unavailable::Busy { refusals, .. } => give_up::are_missing(refusals),
            Unavailable::NotServed | Unavailable::TooLarge { .. } | Unavailable::Uncertain => false,
        };
        match (self.last, self.foreign) {
            (Some(last), _) => Ok(Some(last)),
            (None, Some((foreign, _))) if is_over && self.strangers > 1 => {
                Err(foreign.nobody(job, self.strangers))
            }
            // The only one there is knows best.
            (None, Some((_, answer))) if is_over => Ok(Some(answer)),
            // Others may know it and cannot be asked now.
            (None, Some(_)) => Ok(None),
            (None, None) => Ok(self.missing),
        }
    }
}
