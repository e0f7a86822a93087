//! Limits of single deployments, `_MAX_TPM_<MODEL>`: set by model, and found by deployment without a search.
//!
//! A limit holds for the deployment that serves its model, under whatever name that is asked for. Azure does not tell the
//! case of deployments apart, so neither does a limit. What else limits an instance is left to its other settings.

use std::collections::{BTreeMap, HashMap};

use crate::domain::{Deployment, DeploymentKey, ModelKey, Tokens};

/// A limit and the model that it was set for.
type Limit = (Tokens, ModelKey);

/// The limits of an instance's deployments.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    by_model: BTreeMap<ModelKey, Tokens>,
    /// Of models that the map names.
    mapped: HashMap<DeploymentKey, Limit>,
    /// Of models that it does not, whose deployments have their names.
    unmapped: HashMap<ModelKey, Limit>,
}

impl Limits {
    /// Lays limits by model over the map of the same instance.
    pub fn new(
        by_model: BTreeMap<ModelKey, Tokens>,
        model_map: &HashMap<ModelKey, Deployment>,
    ) -> Self {
        let mut limits = Self::default();
        for (model, &tokens) in &by_model {
            let limit = (tokens, model.clone());
            match model_map.get(model) {
                Some(deployment) => {
                    let known = limits.mapped.entry(DeploymentKey::of(deployment));
                    let least = known.or_insert_with(|| limit.clone());
                    *least = limit.min(least.clone());
                }
                None => {
                    limits.unmapped.insert(model.clone(), limit);
                }
            }
        }
        limits.by_model = by_model;
        limits
    }

    /// Says whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_model.is_empty()
    }

    /// Returns them by the model that each was set for, always in the same order.
    pub fn by_model(&self) -> impl Iterator<Item = (&ModelKey, Tokens)> {
        self.by_model.iter().map(|(model, limit)| (model, *limit))
    }

    /// Returns that of a deployment, if it has one, and the model that it was set for.
    pub fn of(&self, deployment: &Deployment) -> Option<(&ModelKey, Tokens)> {
        let mapped = match self.mapped.is_empty() {
            true => None,
            false => self.mapped.get(&DeploymentKey::of(deployment)),
        };
        let unmapped = match self.unmapped.is_empty() {
            true => None,
            false => self.unmapped.get(&ModelKey::of(deployment.as_str())),
        };
        let least = mapped.into_iter().chain(unmapped).min();
        least.map(|(tokens, model)| (model, *tokens))
    }
}
