//! The right to use tokens of one instance, and the duty to say what became of them.
//!
//! Whoever holds a lease owes a settlement. `settle`, here or of the `Outbox`, consumes it; dropping it in any other way
//! (a client that left, a panic, a lost message) settles it as abandoned: as withdrawn while the request had not been
//! sent, else with all that was reserved. So every reservation is settled exactly once.
//! What a settlement does to window and health is left to `instance`.

use std::sync::Arc;
use std::time::Instant;

use actix::Addr;

use super::instance::Instance;
use super::messages::{Confirm, Head, Outcome, Settle};
use crate::config::InstanceConfig;
use crate::correction::Basis;
use crate::domain::{Deployment, InstanceId, ModelKey, Tokens};
use crate::health::Pass;
use crate::quota::{Hold, Said};
use crate::store::{Charge, Part};

/// What an instance reserved for a request.
#[derive(Clone, Debug)]
pub struct Reservation {
    /// Tokens reserved, and what else is held of the quota of instance and deployment.
    pub(super) hold: Hold,
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
    /// Prompt tokens among those reserved: corrected by what was learned.
    pub(super) expected_prompt: Tokens,
    /// The head of the answer, once it has come.
    pub(super) head: Option<Head>,
    /// What the head of an answer that is no good one says about quota.
    pub(super) declined: Said,
    /// Whether the output was a guess, so that the answer teaches something.
    pub(super) guessed: bool,
    /// What it takes from the windows that replicas share.
    pub(super) shared: Shared,
}

/// What a request takes from the windows that replicas share.
#[derive(Clone, Debug)]
pub(super) enum Shared {
    /// Nothing: this replica is on its own.
    Nothing,
    /// Not charged yet.
    Asked(Vec<Part>),
    /// Charged.
    Charged(Charge),
}

/// The news of a good answer, on its way to the instance.
#[derive(Debug)]
pub(super) struct Confirmation {
    to: Addr<Instance>,
    confirm: Confirm,
}

impl Confirmation {
    pub(super) fn send(self) {
        self.to.do_send(self.confirm);
    }
}

/// A reservation at one instance that is settled exactly once.
#[derive(Debug)]
pub struct Lease {
    id: InstanceId,
    config: Arc<InstanceConfig>,
    to: Addr<Instance>,
    deployment: Deployment,
    open: Option<Reservation>,
    is_sent: bool,
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
            is_sent: false,
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
            .map_or(Tokens::ZERO, |reservation| reservation.hold.need.tokens)
    }

    /// Returns the prompt tokens that the service is expected to report.
    pub fn expected_prompt(&self) -> Tokens {
        self.open
            .as_ref()
            .map_or(Tokens::ZERO, |reservation| reservation.expected_prompt)
    }

    /// Notes that the request is about to be sent: from now on the instance may charge it.
    pub fn sending(&mut self) {
        self.is_sent = true;
    }

    /// Notes the head of a good answer, which the instance learns with the settlement at the latest.
    pub fn heard(&mut self, said: Said, at: Instant) {
        if let Some(reservation) = &mut self.open {
            reservation.head = Some(Head { said, at });
        }
    }

    /// Notes what the head of an answer that is no good one says about quota.
    pub fn declined(&mut self, said: Said) {
        if let Some(reservation) = &mut self.open {
            reservation.declined = said;
        }
    }

    /// Says that the instance has begun a good answer. A probe lets others through at once; else nothing is sent.
    pub fn confirm(&mut self) {
        let is_probe = |open: &Reservation| open.pass.is_probe() || open.hold.is_probe();
        if self.open.as_ref().is_some_and(is_probe)
            && let Some(confirmation) = self.confirmation()
        {
            confirmation.send();
        }
    }

    /// Returns the news that the instance has begun a good answer, once.
    pub(super) fn confirmation(&mut self) -> Option<Confirmation> {
        let reservation = self.open.as_mut()?;
        if reservation.hold.is_heard() {
            return None;
        }
        let confirm = Confirm {
            pass: reservation.pass,
            deployment: reservation.deployment.clone(),
            hold: reservation.hold,
            head: reservation.head,
        };
        reservation.pass.decided();
        reservation.hold.heard();
        Some(Confirmation {
            to: self.to.clone(),
            confirm,
        })
    }

    /// Returns what is still to be charged to the windows that replicas share.
    pub(super) fn asks(&self) -> Option<&[Part]> {
        match self.open.as_ref().map(|open| &open.shared) {
            Some(Shared::Asked(parts)) => Some(parts),
            Some(Shared::Nothing | Shared::Charged(_)) | None => None,
        }
    }

    /// Notes that it was charged.
    pub(super) fn charged(&mut self, charge: Charge) {
        if let Some(open) = &mut self.open {
            open.shared = Shared::Charged(charge);
        }
    }

    /// Ends the lease at once.
    pub fn settle(mut self, outcome: Outcome) {
        self.send(outcome);
    }

    /// Takes the reservation out, which whoever has it is to settle.
    pub(super) fn into_reservation(mut self) -> Option<Reservation> {
        self.open.take()
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
        self.send(match self.is_sent {
            true => Outcome::Abandoned { used: None },
            false => Outcome::Withdrawn,
        });
    }
}
