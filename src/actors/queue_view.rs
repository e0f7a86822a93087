//! Who waits for capacity, as the Registry tells it: by model, and by the deployments that could serve them.
//!
//! Counted when it is asked for, which only the status page does.

use std::time::Duration;

use actix::prelude::*;

use crate::domain::{Deployment, InstanceName, ModelKey};

/// Asks the Registry who waits.
#[derive(Message, Debug)]
#[rtype(result = "QueueView")]
pub struct Waiting;

/// Who waits at one moment.
#[derive(Clone, Debug)]
pub struct QueueView {
    /// The models for which requests wait.
    pub models: Vec<WaitingModel>,
    /// The deployments that could serve requests that wait.
    pub deployments: Vec<WaitingFor>,
}

/// The requests that wait for one model.
#[derive(Clone, Debug)]
pub struct WaitingModel {
    /// The model.
    pub model: ModelKey,
    /// How many wait.
    pub waiting: usize,
    /// How long the first of them has waited.
    pub longest: Duration,
}

/// The requests that one deployment could serve of those that wait; one that several could serve is among those of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingFor {
    /// The instance.
    pub instance: InstanceName,
    /// The deployment, as the first of them asks for it.
    pub deployment: Deployment,
    /// How many they are.
    pub waiting: usize,
}
