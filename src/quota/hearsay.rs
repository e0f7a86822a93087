//! What other replicas have heard of 429s, as if this one had.
//!
//! It closes and opens lanes, but teaches nothing of what Azure has counted, which only the answer itself tells.

use std::time::{Duration, Instant};

use super::{Limit, Quota};
use crate::domain::{Deployment, Tokens};
use crate::health::Pass;

impl Quota {
    /// Closes a lane, which has been opened, for requests of at least this charge.
    pub fn throttle(
        &mut self,
        now: Instant,
        deployment: &Deployment,
        limit: Limit,
        from: Tokens,
        wait: Duration,
    ) {
        if let Some(lane) = self.lane(deployment) {
            let pass = Pass::ordinary();
            lane.is_real = true;
            lane.throttle.refused(now, pass, limit, from, Some(wait));
        }
    }

    /// Opens a lane, since a probe of another replica was answered.
    pub fn unthrottle(&mut self, deployment: &Deployment) {
        if let Some(lane) = self.lane(deployment) {
            lane.throttle.end();
        }
    }

    /// Says whether nothing is known against a deployment, not even a cooldown that waits for its probe.
    pub fn is_unthrottled(&self, deployment: &Deployment) -> bool {
        let mut lanes = self.lanes.iter();
        let lane = lanes.find(|lane| super::is_of(lane, deployment));
        lane.is_none_or(|lane| lane.throttle.is_over())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Ahead;
    use crate::quota::{Lack, Need};

    #[test]
    fn a_429_of_another_replica_closes_the_lane_until_it_is_said_to_be_over() {
        let now = tokio::time::Instant::now().into_std();
        let deployment = Deployment::new("gpt-4o");
        let mut quota = Quota::new(Tokens(10_000), None, now);
        quota.open(now, &deployment, || None);
        let need = Need {
            tokens: Tokens(100),
            exposure: Tokens::ZERO,
            charge: Tokens(100),
            ahead: Ahead::default(),
        };

        quota.throttle(
            now,
            &deployment,
            Limit::Requests,
            Tokens::ZERO,
            Duration::from_secs(20),
        );

        let closed = quota.reserve(now, &deployment, need);
        assert!(matches!(closed, Err(Lack::Closed(_))));
        assert!(!quota.is_unthrottled(&deployment));
        quota.unthrottle(&deployment);
        assert!(quota.is_unthrottled(&deployment));
        assert!(quota.reserve(now, &deployment, need).is_ok());
    }
}
