//! What an instance publishes of itself: hints for other threads, at next to no cost for the actor.
//!
//! Whole-instance numbers are atomics. What single deployments have free stands in a short list behind a lock that is held
//! for a few comparisons. Decisions are the actor's.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::{Deployment, Tokens};

/// How long a token counts after its admission.
const COUNTS: Duration = Duration::from_secs(60);

/// Deployments that are listed; their names may come from clients. Of others the instance's own numbers are told.
const MOST_LISTED: usize = 64;

/// What other threads may read of an instance without asking: hints, at most a second old. Decisions are the actor's.
#[derive(Debug)]
pub struct Gauge {
    used: AtomicU64,
    limit: Tokens,
    in_flight: AtomicU32,
    is_open: AtomicBool,
    start: Instant,
    /// Milliseconds after the start.
    last_admitted: AtomicU64,
    deployments: Mutex<Vec<(Deployment, Tokens)>>,
}

impl Gauge {
    /// Starts at zero.
    pub fn new(limit: Tokens, now: Instant) -> Self {
        Self {
            used: AtomicU64::new(0),
            limit,
            in_flight: AtomicU32::new(0),
            is_open: AtomicBool::new(true),
            start: now,
            last_admitted: AtomicU64::new(0),
            deployments: Mutex::default(),
        }
    }

    /// Returns the tokens that are about free; none while the instance cools.
    pub fn free(&self) -> Tokens {
        if !self.is_open.load(Ordering::Relaxed) {
            return Tokens::ZERO;
        }
        self.limit.less(Tokens(self.used.load(Ordering::Relaxed)))
    }

    /// Returns the tokens that are about free for one deployment.
    pub fn free_for(&self, deployment: &Deployment) -> Tokens {
        let all = self.free();
        let listed = self.listed();
        let mut listed = listed.iter();
        let own = listed.find(|(name, _)| is_same(name, deployment));
        own.map_or(all, |(_, free)| all.min(*free))
    }

    /// Returns the share of the window in use; above 1 when answers used more than was reserved.
    pub fn load(&self) -> f64 {
        self.used.load(Ordering::Relaxed) as f64 / self.limit.0.max(1) as f64
    }

    /// Returns the requests that are out.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Returns how long until everything is free if nothing more is sent.
    pub fn resets_in(&self, now: Instant) -> Duration {
        if self.used.load(Ordering::Relaxed) == 0 {
            return Duration::ZERO;
        }
        let admitted = Duration::from_millis(self.last_admitted.load(Ordering::Relaxed));
        (self.start + admitted + COUNTS).saturating_duration_since(now)
    }

    /// Notes that a request was admitted.
    pub(super) fn admitted(&self, now: Instant) {
        let millis = now.saturating_duration_since(self.start).as_millis();
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        self.last_admitted.store(millis, Ordering::Relaxed);
    }

    /// Publishes the state of the instance; `free` is what is believed to be free, `is_open` whether it can be had.
    pub(super) fn publish(&self, used: Tokens, free: Tokens, in_flight: u32, is_open: bool) {
        // Azure may have counted more than our own window: that much is in use as well.
        let used = used.max(self.limit.less(free));
        self.used.store(used.0, Ordering::Relaxed);
        self.in_flight.store(in_flight, Ordering::Relaxed);
        self.is_open.store(is_open, Ordering::Relaxed);
    }

    /// Publishes what is free for one deployment.
    pub(super) fn publish_for(&self, deployment: &Deployment, free: Tokens) {
        let mut listed = self.listed();
        let mut known = listed.iter_mut();
        if let Some((_, known)) = known.find(|(name, _)| is_same(name, deployment)) {
            *known = free;
        } else if listed.len() < MOST_LISTED {
            listed.push((deployment.clone(), free));
        }
    }

    /// Publishes what is free for the deployments that are known, the first that can be listed.
    pub(super) fn publish_all(&self, mut free: Vec<(Deployment, Tokens)>) {
        free.truncate(MOST_LISTED);
        *self.listed() = free;
    }

    fn listed(&self) -> MutexGuard<'_, Vec<(Deployment, Tokens)>> {
        // Nothing can be half done in it.
        self.deployments
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Azure does not tell the case of deployments apart.
fn is_same(one: &Deployment, other: &Deployment) -> bool {
    one.as_str().eq_ignore_ascii_case(other.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_deployments_are_listed_than_are_quickly_searched() {
        let gauge = Gauge::new(Tokens(1_000), tokio::time::Instant::now().into_std());
        let name = |number: usize| Deployment::new(format!("model-{number}"));
        let all = (0..500).map(|number| (name(number), Tokens(10)));

        gauge.publish_all(all.collect());
        gauge.publish(Tokens::ZERO, Tokens(1_000), 0, true);

        assert_eq!(gauge.listed().len(), MOST_LISTED);
        assert_eq!(gauge.free_for(&name(0)), Tokens(10));
        assert_eq!(gauge.free_for(&name(499)), Tokens(1_000), "of the instance");
    }
}
