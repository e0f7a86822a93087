//! What the instances say of a request together: the best that is worth waiting for, the best worth coming again for, and
//! every reason. When each could serve it is the instance's own forecast.

use std::time::Duration;

use super::messages::Fit;
use super::refusal::Refusal;
use crate::domain::InstanceId;
use crate::queue::Offer;

/// What instances say of a request that none of them takes now.
#[derive(Default)]
pub(super) struct Forecasts {
    /// Why each of them does not take it.
    pub(super) refusals: Vec<(InstanceId, Refusal)>,
    /// What is worth waiting for.
    pub(super) offer: Option<Offer>,
    /// What is worth coming again for.
    pub(super) later: Option<Offer>,
}

impl Forecasts {
    /// Adds what one of them says.
    pub(super) fn add(&mut self, instance: InstanceId, fit: Fit) {
        let offer = |wait: Duration| Offer {
            instance,
            tokens: fit.tokens,
            wait,
            is_of_all: fit.is_of_all,
        };
        let now = Some(Duration::ZERO);
        let worth = fit.refusal.map_or(now, Refusal::worth_waiting);
        let again = fit.refusal.map_or(now, Refusal::again_in);
        self.refusals
            .extend(fit.refusal.map(|refusal| (instance, refusal)));
        sooner(&mut self.offer, worth.map(offer));
        sooner(&mut self.later, again.map(offer));
    }
}

fn sooner(best: &mut Option<Offer>, offer: Option<Offer>) {
    if let Some(offer) = offer
        && best.is_none_or(|best| offer.wait < best.wait)
    {
        *best = Some(offer);
    }
}
