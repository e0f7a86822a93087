//! What the actors say to each other and to the proxy.
//!
//! Each has its reply beside it. Fields are plain values and small, since they cross threads; bodies stay with the
//! worker. What is reserved by whom is decided by `instance`.

use std::time::{Duration, Instant};

use actix::prelude::*;

use super::lease::{Lease, Reservation};
use super::outbox::Settlement;
use super::refusal::Refusal;
use crate::config::InstanceConfig;
use crate::correction::{Basis, Correction};
use crate::domain::{Deployment, InstanceId, InstanceName, ModelKey, ModelName, Tokens};
use crate::health::{Pass, Reason, Status};
use crate::output_average::ExpectedOutput;
use crate::queue::Ticket;
use crate::quota::{End, Hold, LaneView, Limit, Said};

/// What a request needs from an instance.
#[derive(Clone, Debug)]
pub struct Want {
    /// Model asked for, as it is compared.
    pub model: ModelKey,
    /// The same as the client spells it, which names the deployment where no map does.
    pub name: ModelName,
    /// It is about a response that the instance keeps: no deployment serves it, so `model` and `name` mean nothing.
    pub is_errand: bool,
    /// Prompt tokens by our own rules, not corrected.
    pub prompt: Tokens,
    /// How they were found.
    pub basis: Basis,
    /// The most that the prompt can be, where it was only estimated: until it is settled, that much stays free.
    pub at_most: Option<Tokens>,
    /// Output to reserve.
    pub output: Output,
    /// What Azure is expected to charge at admission.
    pub charge: Tokens,
}

impl Want {
    /// Returns the deployment that serves it at an instance; for errands a name that stands for all of them.
    pub(super) fn deployment_at(&self, config: &InstanceConfig) -> Option<Deployment> {
        match self.is_errand {
            true => Some(Deployment::of_errands()),
            false => config.deployment(&self.model, &self.name),
        }
    }

    /// Returns the tokens that must fit whatever is learned.
    pub(super) fn certain(&self) -> Tokens {
        self.prompt + self.output.certain()
    }

    /// Says whether there is such a deployment.
    pub(super) fn is_served_at(&self, config: &InstanceConfig) -> bool {
        self.is_errand || config.can_serve(&self.model, &self.name)
    }
}

/// Output tokens to reserve for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// The request limits its output to this much, all completions together. Zero for embeddings.
    Capped(Tokens),
    /// No limit: the learned average of the model, times the completions, as far as the window is large enough.
    Expected {
        /// Answers generated.
        completions: u64,
    },
}

impl Output {
    /// Returns the tokens that must fit whatever is learned: the cap, or nothing.
    pub fn certain(self) -> Tokens {
        match self {
            Self::Capped(tokens) => tokens,
            Self::Expected { .. } => Tokens::ZERO,
        }
    }
}

/// Asks the Registry for a lease on the instance that is to serve the request.
#[derive(Message, Clone, Debug)]
#[rtype(result = "Result<Lease, Unavailable>")]
pub struct Acquire {
    /// What is needed.
    pub want: Want,
    /// Instances that failed this request already.
    pub tried: Vec<InstanceId>,
    /// Its place in the order, and how long it may wait.
    pub turn: Turn,
    /// Names it among those that wait.
    pub ticket: Ticket,
}

/// When a request has its turn.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// When it arrived: it keeps that place when it asks again.
    pub since: Instant,
    /// How long it may wait for capacity from now on; zero if it may not.
    pub patience: Duration,
}

/// Says that nobody waits for the answer to an `Acquire` any more.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Leave(pub(super) Ticket);

/// What requests of one worker owe to the instances. Each settles exactly one lease.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Settlements(pub(super) Vec<Settlement>);

/// Why there is no lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// No instance is configured to serve the model.
    NotServed,
    /// The request exceeds every window that it could use.
    TooLarge {
        /// Tokens that it needs.
        tokens: Tokens,
        /// Largest limit among the instances that serve the model.
        largest: Tokens,
        /// The variable that sets it.
        variable: String,
    },
    /// Whether the instance whose turn it is can serve it depends on the exact count: count, and ask again.
    Uncertain,
    /// Instances are left, but none of them can serve it now.
    Busy {
        /// What each of them says.
        refusals: Vec<(InstanceId, Refusal)>,
        /// When to come again, after those to whom that was promised before; `None` if waiting does not help.
        again_in: Option<Duration>,
    },
    /// Every instance that serves the model was tried.
    Exhausted,
}

/// When an instance can serve a request.
#[derive(Clone, Copy, Debug)]
pub struct Fit {
    /// What the request would reserve.
    pub tokens: Tokens,
    /// It lacks tokens of the instance's own limit, which all models share.
    pub is_of_all: bool,
    /// Why it could not be served now, and when it could; `None` if it could.
    pub refusal: Option<Refusal>,
}

/// Tells an instance what became of a lease. Sent exactly once per lease.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Settle {
    /// What was reserved.
    pub reservation: Reservation,
    /// What became of it.
    pub outcome: Outcome,
}

/// Tells an instance that a good answer has begun, long before it has ended: a stream may last minutes.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Confirm {
    /// The request's pass.
    pub pass: Pass,
    /// The deployment that answered.
    pub deployment: Deployment,
    /// What it holds of the deployment's quota.
    pub hold: Hold,
    /// What the answer's head said, and when it came.
    pub head: Option<Head>,
}

/// The head of a good answer.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// What it says about quota.
    pub said: Said,
    /// When it came.
    pub at: Instant,
}

/// What became of a request at one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A complete answer: the instance is well.
    Answered {
        /// Tokens used; `None` if unknown, which keeps the reservation.
        used: Option<Tokens>,
        /// Prompt tokens as the service counted them, to learn from; `None` if it did not say.
        prompt: Option<Tokens>,
        /// Output tokens per completion, to learn from; `None` if unknown.
        output: Option<Tokens>,
    },
    /// One of the client's own errors, which says nothing about the instance.
    Refused {
        /// Tokens charged all the same.
        used: Tokens,
    },
    /// 429 over quota, rate or throughput.
    Throttled {
        /// Which limit it is about.
        limit: Limit,
        /// How long to stay away; `None` if the answer named no time.
        wait: Option<Duration>,
        /// One line for the status page.
        summary: String,
    },
    /// 429 because there is no capacity for a request of this size.
    NoCapacity {
        /// How long to stay away; `None` if the answer named no time.
        wait: Option<Duration>,
        /// One line for the status page.
        summary: String,
    },
    /// No connection to the instance, so that nothing was sent.
    Unreachable {
        /// One line for the status page.
        summary: String,
    },
    /// A fault of the instance or of the way to it.
    Faulted {
        /// Tokens charged all the same: zero unless an answer had begun.
        used: Tokens,
        /// One line for the status page.
        summary: String,
    },
    /// 401 or 403.
    Unauthorized {
        /// One line for the status page.
        summary: String,
    },
    /// 404 `DeploymentNotFound`.
    NoDeployment {
        /// One line for the status page.
        summary: String,
    },
    /// The lease was given back before anything was sent.
    Withdrawn,
    /// The client left.
    Abandoned {
        /// Tokens used until then; `None` if unknown, which keeps the reservation, as Azure does.
        used: Option<Tokens>,
    },
}

impl Outcome {
    /// Returns what it means for the quota of the deployment.
    ///
    /// Azure does not charge tokens for calls that it throttled, and those that never arrived. It says that failed requests
    /// may count; where they do, its next answer tells. As calls all count that left here.
    pub(super) fn end(&self) -> End {
        match self {
            Self::Answered { .. } => End::Answered,
            Self::Abandoned { used: None } => End::Charged,
            Self::Abandoned { used: Some(used) } | Self::Faulted { used, .. } => {
                match *used > Tokens::ZERO {
                    true => End::Charged,
                    false => End::Uncharged,
                }
            }
            Self::Throttled { limit, wait, .. } => End::Throttled {
                limit: *limit,
                wait: *wait,
            },
            Self::Withdrawn | Self::Unreachable { .. } => End::Unsent,
            Self::Refused { .. }
            | Self::NoCapacity { .. }
            | Self::Unauthorized { .. }
            | Self::NoDeployment { .. } => End::Uncharged,
        }
    }

    /// Returns what counts against the minute, of `reserved` tokens or beside them.
    ///
    /// Azure does not charge throttled calls in the measurements that exist; a request whose end is unknown may go on
    /// over there, so its reservation stays.
    pub fn charged(&self, reserved: Tokens) -> Tokens {
        match self {
            Self::Answered { used, .. } | Self::Abandoned { used } => used.unwrap_or(reserved),
            Self::Faulted { used, .. } | Self::Refused { used } => *used,
            Self::Throttled { .. }
            | Self::NoCapacity { .. }
            | Self::Unreachable { .. }
            | Self::Withdrawn
            | Self::Unauthorized { .. }
            | Self::NoDeployment { .. } => Tokens::ZERO,
        }
    }
}

/// Asks the Registry for the state of every instance.
#[derive(Message, Debug)]
#[rtype(result = "Vec<InstanceView>")]
pub struct Snapshot;

/// Asks one instance for its state.
#[derive(Message, Debug)]
#[rtype(result = "InstanceView")]
pub struct Describe;

/// State of one deployment at one moment.
#[derive(Clone, Debug)]
pub struct DeploymentView {
    /// Its quota.
    pub lane: LaneView,
    /// Why it is parked, for requests of at least how many tokens, and how much longer.
    pub parked: Option<(Reason, Tokens, Duration)>,
}

/// State of one instance at one moment.
#[derive(Clone, Debug, MessageResponse)]
pub struct InstanceView {
    /// Its name.
    pub name: InstanceName,
    /// Health as shown.
    pub status: Status,
    /// Whether a request could go there now, if only as a probe.
    pub can_serve: bool,
    /// Tokens in the window, reservations included.
    pub used: Tokens,
    /// Its limit per minute.
    pub limit: Tokens,
    /// Requests that are out.
    pub in_flight: u32,
    /// Errors since the start.
    pub errors: u64,
    /// One line about the newest error.
    pub last_error: Option<String>,
    /// How much longer it cools for throttling.
    pub rate_limited_for: Option<Duration>,
    /// How much longer it cools, for whatever reason.
    pub cooling_for: Option<Duration>,
    /// Lower is preferred.
    pub priority: u32,
    /// Share of the traffic.
    pub weight: u32,
    /// How long ago it was last given a request.
    pub last_used: Option<Duration>,
    /// Its deployments, those used last first.
    pub deployments: Vec<DeploymentView>,
    /// What was learned of prompts, of the models with the most answers.
    pub corrections: Vec<Correction>,
    /// What was learned of outputs, of the models with the most answers.
    pub expected_output: Vec<ExpectedOutput>,
}
