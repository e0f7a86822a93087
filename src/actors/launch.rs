//! Starting the Registry, at once or later on another thread.
//!
//! Its address and the gauges are there from the beginning, so that whoever needs them can be built first. Messages wait
//! until it has started; they are dropped, and so answered, if it never does.

use std::rc::Rc;
use std::sync::Arc;

use actix::dev::channel::{AddressReceiver, channel};
use actix::prelude::*;

use super::MAILBOX;
use super::gauge::Gauge;
use super::registry::{Registry, Setup};
use crate::config::InstanceConfig;

/// A Registry that has an address and does not run yet.
pub struct Launch {
    setup: Setup,
    instances: Vec<Arc<InstanceConfig>>,
    gauges: Vec<Arc<Gauge>>,
    address: Addr<Registry>,
    messages: AddressReceiver<Registry>,
}

impl Launch {
    /// Prepares a Registry of these instances.
    pub fn new(setup: Setup, instances: &[Arc<InstanceConfig>]) -> Self {
        let now = tokio::time::Instant::now().into_std();
        let gauge = |config: &Arc<InstanceConfig>| Arc::new(Gauge::new(config.max_tpm, now));
        let (sender, messages) = channel(MAILBOX);
        Self {
            setup,
            instances: instances.to_vec(),
            gauges: instances.iter().map(gauge).collect(),
            address: Addr::new(sender),
            messages,
        }
    }

    /// Returns where it will be reached.
    pub fn address(&self) -> &Addr<Registry> {
        &self.address
    }

    /// Returns what the instances will publish, in their order.
    pub fn gauges(&self) -> &[Arc<Gauge>] {
        &self.gauges
    }

    /// Starts the Registry and its instances on the current arbiter.
    pub fn start(self) {
        let instances: Rc<[_]> = self.instances.into_iter().zip(self.gauges).collect();
        let registry = Registry::new(self.setup, &instances);
        let context = Context::with_receiver(self.messages);
        actix_rt::spawn(context.into_future(registry));
    }
}
