//! What those who wait keep from the younger: their tokens by instance, and by instance and model.

use std::collections::HashMap;

use super::sums::Sums;
use super::{Offer, Place};
use crate::domain::{InstanceId, ModelKey, Tokens};

/// Tokens of one instance that others are to have first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ahead {
    /// Of all models, by those who wait for the instance's own limit.
    pub all: Tokens,
    /// Of the same model, whatever they wait for.
    pub same_model: Tokens,
}

impl Ahead {
    /// Returns what others are to have of the instance's own limit before a request of this model.
    pub fn of_instance(self) -> Tokens {
        self.all.max(self.same_model)
    }
}

/// What is claimed of each instance.
#[derive(Debug, Default)]
pub(super) struct Claims(HashMap<InstanceId, Claimed>);

#[derive(Debug, Default)]
struct Claimed {
    all: Sums,
    of: HashMap<ModelKey, Sums>,
}

impl Claims {
    /// Counts what one waits for. Who waits for a deployment keeps nothing from other models, which have others.
    pub(super) fn add(&mut self, place: Place, model: &ModelKey, offer: Offer) {
        let claimed = self.0.entry(offer.instance).or_default();
        if offer.is_of_all {
            claimed.all.insert(place, offer.tokens.0);
        }
        let of_model = claimed.of.entry(model.clone()).or_default();
        of_model.insert(place, offer.tokens.0);
    }

    /// Takes it back. A model for which nobody waits is forgotten.
    pub(super) fn remove(&mut self, place: Place, model: &ModelKey, offer: Offer) {
        let Some(claimed) = self.0.get_mut(&offer.instance) else {
            return;
        };
        if offer.is_of_all {
            claimed.all.remove(place);
        }
        if let Some(of_model) = claimed.of.get_mut(model) {
            of_model.remove(place);
            if of_model.is_empty() {
                claimed.of.remove(model);
            }
        }
    }

    /// Returns what is claimed of an instance by all who stand before a place.
    pub(super) fn before(&self, place: Place, model: &ModelKey, instance: InstanceId) -> Ahead {
        let Some(claimed) = self.0.get(&instance) else {
            return Ahead::default();
        };
        let of_model = claimed.of.get(model);
        Ahead {
            all: Tokens(claimed.all.before(place)),
            same_model: Tokens(of_model.map_or(0, |sums| sums.before(place))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::queue::Ticket;

    #[test]
    fn models_for_which_nobody_waits_any_more_leave_nothing() {
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
            (place, ModelKey::of(&format!("model{number}")), offer)
        });

        for (place, model, offer) in all.clone() {
            claims.add(place, &model, offer);
        }
        assert_eq!(claims.0[&InstanceId(0)].of.len(), 1_000);
        for (place, model, offer) in all {
            claims.remove(place, &model, offer);
        }

        let left = &claims.0[&InstanceId(0)];
        assert!(left.of.is_empty() && left.all.is_empty());
    }
}
