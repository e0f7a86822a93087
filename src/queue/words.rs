//! What the queue and its caller say to each other: who comes, what is to be done, what an instance offers.
//!
//! Plain values. The caller asks the instances and tells what they said; what follows from it is the queue's to decide.

use std::time::{Duration, Instant};

#[cfg(doc)]
use super::Queue;
use super::Share;
use crate::domain::{DeploymentKey, InstanceId, ModelKey, Tokens};

/// Identity of a request that asks for capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// A request that has come to ask.
#[derive(Clone, Debug)]
pub struct Newcomer {
    /// Its identity.
    pub ticket: Ticket,
    /// When it arrived at the proxy: its place in the order, also when it asks again.
    pub since: Instant,
    /// How long it may wait, from now.
    pub patience: Duration,
    /// Its model.
    pub model: ModelKey,
    /// How the client spells it, in lower case, if that names a deployment somewhere.
    pub spelled: Option<String>,
    /// The configuration maps the model wherever it is served, so that no client has made it up.
    pub is_known: bool,
    /// What would serve it at each instance that it may use.
    pub deployments: Vec<(InstanceId, DeploymentKey)>,
    /// Instances that it may not use any more.
    pub tried: Vec<InstanceId>,
}

/// What the caller is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Ask instances to serve it; then [`Queue::take`], or [`Queue::judge`] with the forecast.
    Try(Ticket),
    /// It stands behind others: ask for a forecast, then [`Queue::judge`].
    Judge(Ticket),
    /// Its time is over: [`Queue::turn_away`].
    Expire(Ticket),
}

/// The instance that could serve a request soonest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Which it is.
    pub instance: InstanceId,
    /// What the request would reserve there.
    pub tokens: Tokens,
    /// When, after all that [`Queue::ahead`] named.
    pub wait: Duration,
    /// The instance's own limits are what it waits for, so that those for its other deployments wait for the same.
    pub is_of_all: bool,
}

/// Whether a request waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It keeps its place.
    Waits,
    /// It is to be sent away.
    Refused(Why),
}

/// Why a request is not let wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// As many wait as may.
    Full,
    /// It could not be served within its patience.
    TooLate,
    /// It has waited, and waiting does not help any more.
    InVain,
}

impl Offer {
    /// Returns what the request would take.
    pub(super) fn share(self) -> Share {
        Share {
            tokens: self.tokens,
            calls: 1,
        }
    }

    /// Says whether another offer keeps as much from others as this one did.
    pub(super) fn is_held_by(self, other: Self) -> bool {
        self.instance == other.instance
            && self.tokens <= other.tokens
            && (other.is_of_all || !self.is_of_all)
    }
}
