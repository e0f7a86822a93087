//! What those who wait keep from the younger: their tokens and calls by instance, and by its deployment.
//!
//! A claim is a wish, not a reservation: it keeps tokens and calls from those who came later, and is gone with the
//! request that has it.

use std::collections::HashMap;
use std::ops::Add;

use super::sums::Sums;
use super::{Offer, Place};
use crate::domain::{DeploymentKey, InstanceId, Tokens};

/// What requests take of an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Tokens that they reserve.
    pub tokens: Tokens,
    /// How many they are: each is a call.
    pub calls: u64,
}

impl Share {
    /// Returns what is left without another.
    pub(super) fn less(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.less(other.tokens),
            calls: self.calls.saturating_sub(other.calls),
        }
    }
}

impl Add for Share {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            tokens: self.tokens + other.tokens,
            calls: self.calls.saturating_add(other.calls),
        }
    }
}

/// What others are to have first of one instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ahead {
    /// Of all deployments, by those who wait for the instance's own limits.
    pub all: Share,
    /// Of the same deployment, whatever they wait for and by whatever model they name it.
    pub same_deployment: Share,
}

impl Ahead {
    /// Returns what others are to have of the instance's own limits before a request for this deployment.
    pub fn of_instance(self) -> Share {
        Share {
            tokens: self.all.tokens.max(self.same_deployment.tokens),
            calls: self.all.calls.max(self.same_deployment.calls),
        }
    }
}

/// What is claimed of each instance.
#[derive(Debug, Default)]
pub(super) struct Claims(HashMap<InstanceId, Claimed>);

#[derive(Debug, Default)]
struct Claimed {
    all: Sums,
    of: HashMap<DeploymentKey, Sums>,
}

impl Claims {
    /// Counts what one waits for. Who waits for a deployment keeps nothing from others.
    pub(super) fn add(&mut self, place: Place, deployment: &DeploymentKey, offer: Offer) {
        let claimed = self.0.entry(offer.instance).or_default();
        if offer.is_of_all {
            claimed.all.insert(place, offer.tokens.0);
        }
        let of_deployment = claimed.of.entry(deployment.clone()).or_default();
        of_deployment.insert(place, offer.tokens.0);
    }

    /// Takes it back. A deployment for which nobody waits is forgotten.
    pub(super) fn remove(&mut self, place: Place, deployment: &DeploymentKey, offer: Offer) {
        let Some(claimed) = self.0.get_mut(&offer.instance) else {
            return;
        };
        if offer.is_of_all {
            claimed.all.remove(place);
        }
        if let Some(of_deployment) = claimed.of.get_mut(deployment) {
            of_deployment.remove(place);
            if of_deployment.is_empty() {
                claimed.of.remove(deployment);
            }
        }
    }

    /// Returns what is claimed of an instance by all who stand before a place.
    pub(super) fn before(
        &self,
        place: Place,
        deployment: &DeploymentKey,
        instance: InstanceId,
    ) -> Ahead {
        let Some(claimed) = self.0.get(&instance) else {
            return Ahead::default();
        };
        let of_deployment = claimed.of.get(deployment);
        Ahead {
            all: claimed.all.before(place),
            same_deployment: of_deployment.map_or_else(Share::default, |sums| sums.before(place)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::Deployment;
    use crate::queue::Ticket;

    #[test]
    fn deployments_for_which_nobody_waits_any_more_leave_nothing() {
        let mut claims = Claims::default();
        let now = tokio::time::Instant::now().into_std();
        let all = (0..1_000u64).map(|number| {
            let place = Place {
                since: now,
                ticket: Ticket(number),
            };
            let offer = Offer {
                instance: InstanceId(0),
                tokens: Tokens(10),
                wait: Duration::ZERO,
                is_of_all: number % 2 == 0,
            };
            let deployment = Deployment::new(format!("deployment{number}"));
            (place, DeploymentKey::of(&deployment), offer)
        });

        for (place, deployment, offer) in all.clone() {
            claims.add(place, &deployment, offer);
        }
        assert_eq!(claims.0[&InstanceId(0)].of.len(), 1_000);
        for (place, deployment, offer) in all {
            claims.remove(place, &deployment, offer);
        }

        let left = &claims.0[&InstanceId(0)];
        assert!(left.of.is_empty() && left.all.is_empty());
    }
}
