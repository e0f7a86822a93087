//! The right to use tokens of one instance, and the duty to say what became of them.
//!
//! Whoever holds a lease owes a settlement. `settle`, here or of the `Outbox`, consumes it; dropping it in any other way
//! (a client that left, a panic, a lost message) settles it as abandoned. So every reservation is settled exactly once.
//! What a settlement does to window and health is left to `instance`.

use std::sync::Arc;

use actix::Addr;

use super::instance::Instance;
use super::messages::{Confirm, Outcome, Settle};
use crate::config::InstanceConfig;
use crate::correction::Basis;
use crate::domain::{Deployment, InstanceId, ModelKey, Tokens};
use crate::health::Pass;
use crate::window::Mark;

/// What an instance reserved for a request.
#[derive(Clone, Debug)]
pub struct Reservation {
    /// Tokens charged to the window.
    pub(super) tokens: Tokens,
    /// The second to which they were charged.
    pub(super) mark: Mark,
    /// Model they are for.
    pub(super) model: ModelKey,
    /// Deployment that serves it.
    pub(super) deployment: Deployment,
    /// Permission of the breaker.
    pub(super) pass: Pass,
    /// Prompt tokens by our own rules, to be compared with what the service says.
    pub(super) prompt: Tokens,
    /// How they were found.
    pub(super) basis: Basis,
    /// Prompt tokens within `tokens`: corrected by what was learned.
    pub(super) expected_prompt: Tokens,
    /// Tokens that are kept free in case that the prompt was estimated too low.
    pub(super) exposure: Tokens,
    /// Whether the output was a guess, so that the answer teaches something.
    pub(super) guessed: bool,
}

/// A reservation at one instance that is settled exactly once.
#[derive(Debug)]
pub struct Lease {
    id: InstanceId,
    config: Arc<InstanceConfig>,
    to: Addr<Instance>,
    deployment: Deployment,
    open: Option<Reservation>,
}

impl Lease {
    pub(super) fn new(
        id: InstanceId,
        config: Arc<InstanceConfig>,
        to: Addr<Instance>,
        reservation: Reservation,
    ) -> Self {
        Self {
            id,
            config,
            to,
            deployment: reservation.deployment.clone(),
            open: Some(reservation),
        }
    }

    /// Returns which instance it is for.
    pub fn id(&self) -> InstanceId {
        self.id
    }

    /// Returns the configuration of the instance.
    pub fn instance(&self) -> &Arc<InstanceConfig> {
        &self.config
    }

    /// Returns the deployment that is to be asked.
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// Returns the tokens reserved.
    pub fn reserved(&self) -> Tokens {
        self.open
            .as_ref()
            .map_or(Tokens::ZERO, |reservation| reservation.tokens)
    }

    /// Returns the prompt tokens that the service is expected to report.
    pub fn expected_prompt(&self) -> Tokens {
        self.open
            .as_ref()
            .map_or(Tokens::ZERO, |reservation| reservation.expected_prompt)
    }

    /// Says that the instance has begun a good answer. A probe lets others through at once; else nothing is sent.
    pub fn confirm(&mut self) {
        if let Some(reservation) = &mut self.open
            && reservation.pass.is_probe()
        {
            self.to.do_send(Confirm {
                pass: reservation.pass,
                deployment: reservation.deployment.clone(),
            });
            reservation.pass.decided();
        }
    }

    /// Ends the lease at once.
    pub fn settle(mut self, outcome: Outcome) {
        self.send(outcome);
    }

    fn send(&mut self, outcome: Outcome) {
        if let Some(reservation) = self.open.take() {
            self.to.do_send(Settle {
                reservation,
                outcome,
            });
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.send(Outcome::Abandoned { used: None });
    }
}
