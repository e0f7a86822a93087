//! An instance as the Registry knows it: its configuration, its gauge, its address, and its state, which is on the same
//! thread. So asking it is a call: nobody comes between the question and the answer.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use actix::prelude::*;

use super::bell::Bell;
use super::gauge::Gauge;
use super::instance::{Instance, State};
use super::lease::Lease;
use super::messages::{Fit, Outcome, Unavailable, Want};
use super::refusal::Refusal;
use crate::config::InstanceConfig;
use crate::correction::Basis;
use crate::domain::{InstanceId, Tokens};
use crate::queue::Ahead;
use crate::routing::Candidate;
use crate::store::Store;

pub(super) struct Member {
    pub(super) id: InstanceId,
    pub(super) config: Arc<InstanceConfig>,
    pub(super) gauge: Arc<Gauge>,
    pub(super) addr: Addr<Instance>,
    state: Rc<RefCell<State>>,
}

impl Member {
    /// Starts the instance; `gauge` is what it publishes.
    pub(super) fn start(
        id: InstanceId,
        config: &Arc<InstanceConfig>,
        gauge: &Arc<Gauge>,
        bell: Rc<Bell>,
        store: Option<Store>,
    ) -> Self {
        let state = State::new(id, config.clone(), gauge.clone(), bell, store);
        let state = Rc::new(RefCell::new(state));
        Self {
            id,
            config: config.clone(),
            gauge: gauge.clone(),
            addr: Instance::new(state.clone()).start(),
            state,
        }
    }

    /// Asks it to reserve what others do not have first.
    pub(super) fn reserve(
        &self,
        now: Instant,
        want: &Want,
        ahead: Ahead,
    ) -> Result<Lease, Refusal> {
        let reservation = self.state.borrow_mut().reserve(now, want, ahead)?;
        let (config, addr) = (self.config.clone(), self.addr.clone());
        Ok(Lease::new(self.id, config, addr, reservation))
    }

    /// Asks it when it could serve a request, after others.
    pub(super) fn forecast(&self, now: Instant, want: &Want, ahead: Ahead) -> Fit {
        self.state.borrow_mut().forecast(now, want, ahead)
    }

    /// Ends one of its leases.
    pub(super) fn settle(&self, now: Instant, lease: Lease, outcome: Outcome) {
        if let Some(reservation) = lease.into_reservation() {
            self.state.borrow_mut().settle(now, reservation, outcome);
        }
    }

    pub(super) fn candidate(&self) -> Candidate {
        Candidate {
            id: self.id,
            priority: self.config.priority,
            weight: self.config.weight,
            load: self.gauge.load(),
            in_flight: self.gauge.in_flight(),
        }
    }
}

/// Returns the instances that may be asked, or why none of them can ever serve this request.
pub(super) fn eligible(
    members: &[Member],
    want: &Want,
    tried: &[InstanceId],
) -> Result<Vec<InstanceId>, Unavailable> {
    let mut left = Vec::with_capacity(members.len());
    let mut roomiest: Option<(Tokens, &Member)> = None;
    for member in members {
        if !want.is_served_at(&member.config) {
            continue;
        }
        let limit = member.config.tpm_for(&want.model, &want.name);
        if roomiest.is_none_or(|(largest, _)| limit > largest) {
            roomiest = Some((limit, member));
        }
        if !tried.contains(&member.id) {
            left.push(member.id);
        }
    }
    let Some((largest, roomiest)) = roomiest else {
        return Err(Unavailable::NotServed);
    };
    let tokens = want.certain();
    if tokens > largest && want.basis == Basis::Estimated {
        // Only its count may refuse it for good.
        return Err(Unavailable::Uncertain);
    }
    if tokens > largest {
        return Err(Unavailable::TooLarge {
            tokens,
            largest,
            variable: roomiest
                .config
                .tpm_variable(&want.model, &want.name)
                .to_owned(),
        });
    }
    if left.is_empty() {
        return Err(Unavailable::Exhausted);
    }
    Ok(left)
}
