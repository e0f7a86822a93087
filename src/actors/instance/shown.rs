//! What an instance shows of itself: to its gauge, which others read at no cost, and to the status page.
//!
//! Nothing here decides. What is shown is bounded, since names of models and deployments may come from clients.

use std::time::{Duration, Instant};

use super::State;
use crate::actors::messages::{DeploymentView, InstanceView};
use crate::domain::{Deployment, Tokens};
use crate::quota::LaneView;

/// Models and deployments that the status lists; their names may come from clients.
const LISTED: usize = 20;

/// Whether anything can be served is asked for the least: a cooldown for one size lets smaller requests through.
const SMALLEST: Tokens = Tokens::ZERO;

/// What the status shows is about every size.
const LARGEST: Tokens = Tokens(u64::MAX);

impl State {
    /// Publishes what is free for a deployment: nothing while it is parked.
    pub(super) fn publish_for(&mut self, now: Instant, deployment: &Deployment) {
        let free = self.free_for(now, deployment);
        self.gauge.publish_for(deployment, free);
    }

    fn free_for(&mut self, now: Instant, deployment: &Deployment) -> Tokens {
        match self.health.check(now, deployment, SMALLEST) {
            Ok(()) => self.quota.free_for(now, deployment),
            Err(_) => Tokens::ZERO,
        }
    }

    /// Publishes everything, since windows move on by themselves; by then lanes of a burst may have become idle.
    pub(super) fn refresh(&mut self, now: Instant) {
        self.quota.make_room(now, 0);
        let mut free = self.quota.free_for_all(now);
        for (deployment, free) in &mut free {
            if self.health.check(now, deployment, SMALLEST).is_err() {
                *free = Tokens::ZERO;
            }
        }
        self.gauge.publish_all(free);
        self.publish(now);
    }

    pub(super) fn publish(&mut self, now: Instant) {
        let is_open = self.opens_in(now, SMALLEST).is_zero();
        let (used, mut free) = (self.quota.taken(now), self.quota.free(now));
        if let Some(windows) = &self.shared {
            free = free.min(windows.free());
        }
        self.gauge.publish(used, free, self.in_flight, is_open);
    }

    /// Returns how long until it can serve a request of this charge at all, if only as a probe.
    fn opens_in(&self, now: Instant, charge: Tokens) -> Duration {
        let cooldown = self.health.cooldown(now);
        let rest = cooldown.map_or(Duration::ZERO, |(_, until)| until - now);
        rest.max(self.quota.opens_in(now, charge))
    }

    fn deployments(&mut self, now: Instant) -> Vec<DeploymentView> {
        let lanes = self.quota.lanes(now).into_iter().take(LISTED);
        let view = |lane: LaneView| DeploymentView {
            parked: self.health.parked(now, &lane.deployment),
            lane,
        };
        lanes.map(view).collect()
    }

    /// Returns the tokens in the window: of all replicas, as far as they share it.
    fn used(&mut self, now: Instant) -> Tokens {
        match &self.shared {
            Some(windows) => windows.used(),
            None => self.quota.used(now),
        }
    }

    pub(super) fn view(&mut self, now: Instant) -> InstanceView {
        let cools_for = self.opens_in(now, LARGEST);
        InstanceView {
            name: self.config.name.clone(),
            status: self.status(now),
            can_serve: self.opens_in(now, SMALLEST).is_zero(),
            used: self.used(now),
            limit: self.config.max_tpm,
            in_flight: self.in_flight,
            errors: self.health.errors(),
            last_error: self.health.last_error().map(str::to_owned),
            rate_limited_for: self.quota.cools_for(now),
            cooling_for: (!cools_for.is_zero()).then_some(cools_for),
            priority: self.config.priority,
            weight: self.config.weight,
            last_used: self
                .last_used
                .map(|used| now.saturating_duration_since(used)),
            deployments: self.deployments(now),
            corrections: self.corrections.most_answered(LISTED),
            expected_output: self.output.most_answered(LISTED),
        }
    }
}
