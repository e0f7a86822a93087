//! The state that requests share: one `Registry`, one `Instance` per Azure resource, and the `Lease` between them.
//!
//! ```text
//! Outbox --Settlements, Acquire--> Registry == calls ==> the Instances' state    one cross-thread round trip a request
//! Outbox <----- Lease or why not --/
//! Lease --Settle (do_send, from Drop)----> Instance    a request that ended without saying how
//! Lease --Confirm (do_send, probes only)-> Instance    a probe was answered, others may come
//! Outbox --Confirm (streams)-------------> Instance    what the head of an answer said, with the next settlements
//! ```
//!
//! All actors share one arbiter, the only worker's or one of their own. So asking an instance is a call and its answer is
//! never stale; that is why the Registry keeps no copy of their state and instances report nothing to it. Bytes never
//! enter a mailbox.

mod askers;
mod bell;
mod dispatcher;
mod forecasts;
mod gauge;
mod instance;
mod launch;
mod lease;
mod member;
mod messages;
mod outbox;
mod queue_view;
mod refusal;
mod registry;
mod reply;
mod shared;

pub use gauge::Gauge;
pub use instance::Instance;
pub use launch::Launch;
pub use lease::Lease;
pub use messages::{
    Acquire, DeploymentView, Describe, InstanceView, Outcome, Output, Snapshot, Turn, Unavailable,
    Want,
};
pub use outbox::Outbox;
pub use queue_view::{QueueView, Waiting, WaitingFor, WaitingModel};
pub use refusal::Refusal;
pub use registry::{Registry, Setup};
pub use shared::{DescribeSharing, Farewell};

/// Messages that may wait in a mailbox. The default of 16 would make senders queue under load.
const MAILBOX: usize = 65_536;

#[cfg(test)]
mod tests;
