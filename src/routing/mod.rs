//! Which instance is asked next: the five strategies of `AZURE_ROUTING_STRATEGY`.
//!
//! The caller filters (who serves the model, who was tried already), [`Router::pick`] chooses one, the instance itself
//! says whether it can serve, and after a refusal the caller takes the pick back and picks among the others. So the
//! limits hold under every strategy, and a refused pick leaves no trace in the proportions.
//! Pure: no clock, random numbers from a seed. Health and quota are left to the instances.

mod failover;
mod least_loaded;
mod priority;
mod round_robin;
mod weighted;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::domain::{InstanceId, StrategyKind};
use round_robin::Turn;
use weighted::Smooth;

/// What a strategy may know of an instance.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Which instance; the order of `AZURE_INSTANCES` breaks ties.
    pub id: InstanceId,
    /// Lower is preferred.
    pub priority: u32,
    /// Share of the traffic, at least 1.
    pub weight: u32,
    /// Share of its token window in use, reservations included: 0 is idle, 1 is full.
    pub load: f64,
    /// Requests that are out.
    pub in_flight: u32,
}

/// The configured strategy with what it remembers between picks.
#[derive(Clone, Debug)]
pub struct Router {
    kind: StrategyKind,
    turn: Turn,
    smooth: Smooth,
    random: SmallRng,
}

impl Router {
    /// Starts a strategy; `seed` decides ties of `least_loaded`.
    pub fn new(kind: StrategyKind, seed: u64) -> Self {
        Self {
            kind,
            turn: Turn::default(),
            smooth: Smooth::default(),
            random: SmallRng::seed_from_u64(seed),
        }
    }

    /// Returns the strategy.
    pub fn kind(&self) -> StrategyKind {
        self.kind
    }

    /// Chooses one of the candidates, `None` if there is none.
    pub fn pick(&mut self, candidates: &[Candidate]) -> Option<InstanceId> {
        match self.kind {
            StrategyKind::Failover => failover::pick(candidates),
            StrategyKind::Priority => priority::pick(candidates, &mut self.smooth),
            StrategyKind::RoundRobin => self.turn.pick(candidates),
            StrategyKind::Weighted => self.smooth.pick(candidates),
            StrategyKind::LeastLoaded => least_loaded::pick(candidates, &mut self.random),
        }
    }

    /// Takes a pick back that was refused. `candidates` are those it was picked from.
    pub fn retract(&mut self, candidates: &[Candidate], picked: InstanceId) {
        match self.kind {
            StrategyKind::Priority => priority::retract(candidates, picked, &mut self.smooth),
            StrategyKind::Weighted => self.smooth.retract(candidates, picked),
            // These keep nothing that a refusal would falsify; round robin just goes on to the next.
            StrategyKind::Failover | StrategyKind::RoundRobin | StrategyKind::LeastLoaded => {}
        }
    }
}

#[cfg(test)]
mod tests;
