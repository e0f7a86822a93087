//! A request as the queue keeps it: where it stands, and what is known of it.
//!
//! Quota is a deployment's, and several models may have the same one. So what a request keeps from others is counted by
//! the deployment that would serve it, which may be another at each instance.

use std::time::Instant;

use super::{LineKey, Offer, Ticket};
use crate::domain::{DeploymentKey, InstanceId, ModelKey};

/// Where a request stands: by the time of its arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) since: Instant,
    pub(super) ticket: Ticket,
}

/// How far the queue has come with a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stage {
    /// Not known yet if it may wait.
    Fresh,
    /// Waits since then, for what it was offered.
    Waiting(Instant, Offer),
}

/// A request as the queue keeps it.
#[derive(Debug)]
pub(super) struct Entry<T> {
    pub(super) line: LineKey,
    pub(super) model: ModelKey,
    /// What would serve it at the instances that it may use.
    pub(super) deployments: Box<[(InstanceId, DeploymentKey)]>,
    pub(super) deadline: Instant,
    pub(super) stage: Stage,
    pub(super) load: T,
}

impl<T> Entry<T> {
    /// Returns what would serve it at an instance, if it may use that.
    pub(super) fn deployment(&self, instance: InstanceId) -> Option<&DeploymentKey> {
        let mut deployments = self.deployments.iter();
        let found = deployments.find(|(at, _)| *at == instance);
        found.map(|(_, deployment)| deployment)
    }
}
