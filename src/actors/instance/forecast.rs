//! When an instance could serve a request, if others had what they were promised before. Nothing is reserved.
//!
//! It asks the same windows that decide when the moment comes. Others who use the resource, and clients that leave, may
//! prove it wrong: whoever waits is tried again, never promised.

use std::time::{Duration, Instant};

use super::{DOUBT, State};
use crate::actors::Refusal;
use crate::actors::messages::{Fit, Want};
use crate::domain::{Deployment, Tokens};
use crate::health::{Closed, Reason};
use crate::queue::Ahead;

impl State {
    /// Says when a request could be served if others had theirs before.
    pub(in crate::actors) fn forecast(&mut self, now: Instant, want: &Want, ahead: Ahead) -> Fit {
        let Some(deployment) = want.deployment_at(&self.config) else {
            return Fit {
                tokens: Tokens::ZERO,
                is_of_all: false,
                refusal: Some(Refusal::NotServed),
            };
        };
        let (need, _) = self.need(now, want, &deployment, ahead);
        let (tokens, limit) = (need.tokens, self.quota.limit(&deployment));
        let is_of_all = self.quota.lacks_own(now, &deployment, need);
        let broken = self.health.check(now, &deployment, tokens).err();
        let closed = self.quota.check(now, &deployment, need).err();
        // If it fits without its exposure, only the doubt about estimates stands in the way, which settles soon.
        let or_doubt = |room: Option<Duration>| room.or((tokens <= limit).then_some(DOUBT));
        let own = or_doubt(self.quota.fits_in(now, &deployment, need));
        let shared = match &self.shared {
            Some(windows) => or_doubt(windows.fits_in(need, &deployment)),
            None => Some(Duration::ZERO),
        };
        let room = own.zip(shared).map(|(own, shared)| own.max(shared));
        let longest = broken.into_iter().chain(closed).max_by_key(|it| it.wait);
        let refusal = match (longest, room) {
            (_, None) => Some(Refusal::Full(None)),
            (None, Some(Duration::ZERO)) => None,
            (None, room) => Some(Refusal::Full(room)),
            (Some(closed), Some(room)) => Some(Refusal::Closed(Closed {
                wait: closed.wait.max(room) + self.pace_after(closed, &deployment, ahead),
                ..closed
            })),
        };
        let windows = self.shared.as_ref();
        let shared_lacks = windows.is_some_and(|windows| windows.lacks_own(need));
        Fit {
            tokens,
            is_of_all: is_of_all || shared_lacks,
            refusal,
        }
    }

    /// Returns how long others take after the end of what is closed.
    fn pace_after(&self, closed: Closed, deployment: &Deployment, ahead: Ahead) -> Duration {
        match closed.reason {
            // That wait counts them already.
            Reason::OutOfCalls => Duration::ZERO,
            _ => self.quota.pace(deployment, ahead),
        }
    }
}
