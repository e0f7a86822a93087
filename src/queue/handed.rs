//! What was promised to requests that were sent away: come again then, and there will be a place.
//!
//! Until that moment their tokens and calls count before those of others who are sent away, so that each is sent to a
//! moment of its own and a herd of clients does not come back at once. Nothing is held back for them: who is here goes
//! first. Names come from clients: of each instance only so many are told apart, the promises to others are kept in its
//! sum.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use super::{Ahead, Offer, Share};
use crate::domain::{DeploymentKey, InstanceId};

/// Moments closer together than this are kept as one.
const STEP: Duration = Duration::from_millis(100);

/// Clients are not sent away for longer because of others: OpenAI's SDKs do not wait longer, and then come at once.
const FARTHEST: Duration = Duration::from_secs(60);

/// Shortest time after which a client is asked back.
const SOONEST: Duration = Duration::from_millis(100);

/// Deployments of an instance that are told apart.
const MOST_DEPLOYMENTS: usize = 64;

/// Promises that are pending.
#[derive(Debug)]
pub(super) struct Handed {
    start: Instant,
    pending: HashMap<InstanceId, Promised>,
}

/// The promises of one instance.
#[derive(Debug, Default)]
struct Promised {
    all: Moments,
    of: HashMap<DeploymentKey, Moments>,
}

/// Shares by the moment, counted in steps, when whoever was promised them comes again.
#[derive(Debug, Default)]
struct Moments {
    shares: BTreeMap<u128, Share>,
    sum: Share,
}

impl Moments {
    fn add(&mut self, moment: u128, share: Share) {
        let one = self.shares.entry(moment).or_default();
        *one = *one + share;
        self.sum = self.sum + share;
    }

    /// Forgets what has passed, and returns the rest.
    fn pending(&mut self, passed: u128) -> Share {
        while let Some(first) = self.shares.first_entry()
            && *first.key() <= passed
        {
            let gone = first.remove();
            self.sum = self.sum.less(gone);
        }
        self.sum
    }
}

impl Promised {
    /// Returns the promises of a deployment, if it is told apart or can be.
    fn of(&mut self, deployment: DeploymentKey, passed: u128) -> Option<&mut Moments> {
        if self.of.len() >= MOST_DEPLOYMENTS && !self.of.contains_key(&deployment) {
            self.of.retain(|_, moments| {
                moments.pending(passed);
                !moments.shares.is_empty()
            });
        }
        let is_known = self.of.len() < MOST_DEPLOYMENTS || self.of.contains_key(&deployment);
        is_known.then(|| self.of.entry(deployment).or_default())
    }
}

impl Handed {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            start: now,
            pending: HashMap::new(),
        }
    }

    /// Says when to come again: as much before the offer as the client may wait here.
    pub(super) fn promise(
        &mut self,
        now: Instant,
        deployment: DeploymentKey,
        patience: Duration,
        offer: Offer,
    ) -> Duration {
        let back = match offer.wait > patience {
            true => offer.wait - patience,
            // There was no place, though it would not have been long.
            false => offer.wait / 2,
        }
        .max(SOONEST);
        let (passed, moment) = (self.step(now), self.step(now + back));
        let promised = self.pending.entry(offer.instance).or_default();
        if back > FARTHEST {
            promised.all.pending(passed);
            let is_by_others = !promised.all.shares.is_empty();
            return if is_by_others { FARTHEST } else { back };
        }
        promised.all.add(moment, offer.share());
        if let Some(of_deployment) = promised.of(deployment, passed) {
            of_deployment.add(moment, offer.share());
        }
        back
    }

    /// Returns the promises of an instance of which the time has not come.
    pub(super) fn pending(
        &mut self,
        now: Instant,
        deployment: &DeploymentKey,
        instance: InstanceId,
    ) -> Ahead {
        let passed = self.step(now);
        let Some(promised) = self.pending.get_mut(&instance) else {
            return Ahead::default();
        };
        let of_deployment = promised.of.get_mut(deployment);
        Ahead {
            all: promised.all.pending(passed),
            same_deployment: of_deployment
                .map_or_else(Share::default, |moments| moments.pending(passed)),
        }
    }

    fn step(&self, at: Instant) -> u128 {
        let since = at.saturating_duration_since(self.start);
        since.as_millis() / STEP.as_millis()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Deployment, Tokens};

    const A: InstanceId = InstanceId(0);

    fn key(name: &str) -> DeploymentKey {
        DeploymentKey::of(&Deployment::new(name))
    }

    fn promise(handed: &mut Handed, now: Instant, name: &str) -> Duration {
        let offer = Offer {
            instance: A,
            tokens: Tokens(10),
            wait: Duration::from_secs(30),
            is_of_all: true,
        };
        handed.promise(now, key(name), Duration::ZERO, offer)
    }

    #[test]
    fn a_flood_of_names_takes_no_more_memory_and_is_counted_all_the_same() {
        let now = tokio::time::Instant::now().into_std();
        let mut handed = Handed::new(now);

        for number in 0..10_000 {
            promise(&mut handed, now, &format!("name{number}"));
        }

        let promised = &handed.pending[&A];
        assert_eq!(promised.of.len(), MOST_DEPLOYMENTS);
        assert_eq!(promised.all.shares.len(), 1);
        let of_new = handed.pending(now, &key("new"), A);
        assert_eq!(of_new.all.tokens, Tokens(100_000));
        assert_eq!(of_new.all.calls, 10_000);
        assert_eq!(of_new.same_deployment, Share::default());
    }

    #[test]
    fn names_of_which_the_promises_have_passed_make_room_for_others() {
        let now = tokio::time::Instant::now().into_std();
        let mut handed = Handed::new(now);
        for number in 0..MOST_DEPLOYMENTS {
            promise(&mut handed, now, &format!("name{number}"));
        }

        let later = now + Duration::from_secs(31);
        promise(&mut handed, later, "new");

        let of_new = handed.pending(later, &key("new"), A);
        let one = Share {
            tokens: Tokens(10),
            calls: 1,
        };
        assert_eq!((of_new.all, of_new.same_deployment), (one, one));
        assert_eq!(handed.pending[&A].of.len(), 1);
    }
}
