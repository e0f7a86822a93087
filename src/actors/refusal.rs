//! Why an instance does not take a request, and what waiting would help.
//!
//! Three times that are not the same: when the instance may be asked again, when a client that is sent away is to come
//! again, and how long it is worth keeping a place in the queue, behind which others stand.

use std::time::Duration;

use crate::health::{Closed, Reason};

/// Why one instance does not take a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Cooling, probing, or the model is parked there.
    Closed(Closed),
    /// Out of tokens; they fit after this long, `None` if they exceed its limit.
    Full(Option<Duration>),
    /// The estimate may or may not fit; the exact count decides.
    Uncertain,
    /// No deployment of its own serves the model.
    NotServed,
}

impl Refusal {
    /// Returns how long until it is worth asking again; `None` if waiting does not help.
    pub fn wait(self) -> Option<Duration> {
        match self {
            Self::Closed(closed) => Some(closed.wait),
            Self::Full(wait) => wait,
            Self::Uncertain | Self::NotServed => None,
        }
    }

    /// Returns when to come again; `None` if that does not help either.
    pub(super) fn again_in(self) -> Option<Duration> {
        match self {
            Self::Closed(closed) if closed.reason == Reason::Missing => None,
            Self::Closed(_) | Self::Full(_) | Self::Uncertain | Self::NotServed => self.wait(),
        }
    }

    /// Returns how long it is worth waiting here, and keeping others behind: not for one size that finds no capacity.
    pub(super) fn worth_waiting(self) -> Option<Duration> {
        match self {
            Self::Closed(closed) if closed.reason == Reason::TooLargeNow => None,
            Self::Closed(_) | Self::Full(_) | Self::Uncertain | Self::NotServed => self.again_in(),
        }
    }
}
