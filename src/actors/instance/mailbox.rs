//! What comes to an instance by message: the end of leases that were dropped, good answers that have begun, what other
//! replicas have found out, and the question how it is. Handlers read the clock once.
//!
//! Reservations and the settlements of workers come with the Registry, which shares the state on its thread: a message
//! and its answer would cost several times what they ask for.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;

use super::{State, now};
use crate::actors::MAILBOX;
use crate::actors::messages::{Confirm, Describe, InstanceView, Settle};
use crate::actors::shared::Adopt;

/// How often the gauge follows the windows when nothing happens: at a bucket's width it would be work for nothing.
const REFRESH: Duration = Duration::from_millis(500);

/// The actor of one Azure resource.
pub struct Instance {
    state: Rc<RefCell<State>>,
}

impl Instance {
    /// Prepares the actor.
    pub(in crate::actors) fn new(state: Rc<RefCell<State>>) -> Self {
        Self { state }
    }
}

impl Actor for Instance {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        ctx.run_interval(REFRESH, |instance, _| {
            instance.state.borrow_mut().refresh(now())
        });
    }
}

impl Handler<Settle> for Instance {
    type Result = ();

    fn handle(&mut self, msg: Settle, _: &mut Self::Context) {
        let mut state = self.state.borrow_mut();
        state.settle(now(), msg.reservation, msg.outcome);
    }
}

impl Handler<Confirm> for Instance {
    type Result = ();

    fn handle(&mut self, msg: Confirm, _: &mut Self::Context) {
        self.state.borrow_mut().confirm(now(), msg);
    }
}

impl Handler<Adopt> for Instance {
    type Result = ();

    fn handle(&mut self, msg: Adopt, _: &mut Self::Context) {
        self.state.borrow_mut().adopt(now(), msg.0);
    }
}

impl Handler<Describe> for Instance {
    type Result = InstanceView;

    fn handle(&mut self, _: Describe, _: &mut Self::Context) -> Self::Result {
        self.state.borrow_mut().view(now())
    }
}
