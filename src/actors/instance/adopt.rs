//! What an instance tells other replicas of, and hears from them: 429s, sizes without capacity, deployments that do not
//! exist, a refused key, and the end of each.
//!
//! Faults are not told: they may be those of one replica's own way to the instance.

use std::time::Instant;

use super::State;
use crate::actors::lease::Reservation;
use crate::actors::messages::Outcome;
use crate::domain::{Deployment, Tokens};
use crate::health::{Reason, UNAUTHORIZED, capacity_rest};
use crate::quota::{Limit, throttle_rest};
use crate::store::{About, Cooldown, News};

impl State {
    /// Tells the other replicas what an outcome, which has been noted, means for them.
    pub(super) fn tell(
        &self,
        now: Instant,
        reservation: &Reservation,
        was_probe: bool,
        outcome: &Outcome,
    ) {
        let Some(windows) = &self.shared else {
            return;
        };
        let deployment = reservation.deployment.clone();
        let need = reservation.hold.need;
        let (about, from, wait) = match outcome {
            Outcome::Throttled { limit, wait, .. } => {
                let from = limit.concerns(need.charge);
                let about = About::Throttled(deployment, limit.as_str().to_owned());
                (about, from, throttle_rest(*wait))
            }
            Outcome::NoCapacity { wait, .. } => {
                let wait = capacity_rest(*wait);
                (About::NoCapacity(deployment), need.tokens, wait)
            }
            Outcome::Unauthorized { .. } => (About::Unauthorized, Tokens::ZERO, UNAUTHORIZED),
            Outcome::NoDeployment { .. } => {
                match self.health.check(now, &deployment, need.tokens) {
                    Err(closed) if closed.reason == Reason::Missing => {
                        (About::Missing(deployment), Tokens::ZERO, closed.wait)
                    }
                    Err(_) | Ok(()) => return,
                }
            }
            Outcome::Answered { .. } if was_probe => return self.tell_end(&deployment),
            Outcome::Answered { .. }
            | Outcome::Refused { .. }
            | Outcome::Unreachable { .. }
            | Outcome::Withdrawn
            | Outcome::Faulted { .. }
            | Outcome::Abandoned { .. } => return,
        };
        windows.begin(&Cooldown { about, from, wait });
    }

    /// Tells the other replicas what is over since a probe was answered.
    pub(super) fn tell_end(&self, deployment: &Deployment) {
        let Some(windows) = &self.shared else {
            return;
        };
        if self.quota.is_unthrottled(deployment) {
            windows.end(&About::Throttled(deployment.clone(), String::new()));
        }
        if !self.health.is_out() {
            windows.end(&About::Unauthorized);
        }
        windows.end(&About::Missing(deployment.clone()));
    }

    /// Notes what other replicas have found out.
    pub(super) fn adopt(&mut self, now: Instant, all: Vec<News>) {
        let before = self.status(now);
        for news in all {
            self.note_news(now, news);
        }
        self.refresh(now);
        self.report_change(before, self.status(now));
    }

    fn note_news(&mut self, now: Instant, news: News) {
        match news {
            News::Began(Cooldown { about, from, wait }) => match about {
                About::Throttled(deployment, limit) => {
                    let config = &self.config;
                    self.quota
                        .open(now, &deployment, || config.limit_of(&deployment));
                    let limit = Limit::parse(&limit);
                    self.quota.throttle(now, &deployment, limit, from, wait);
                }
                About::Missing(deployment) => self.health.heard_missing(now, &deployment, wait),
                About::NoCapacity(deployment) => {
                    self.health.heard_no_capacity(now, &deployment, from, wait);
                }
                About::Unauthorized => self.health.heard_unauthorized(now, wait),
            },
            News::Ended(about) => match about {
                About::Throttled(deployment, _) => self.quota.unthrottle(&deployment),
                About::Missing(deployment) => self.health.heard_found(&deployment),
                About::Unauthorized => self.health.heard_authorized(),
                // An answer to a smaller request does not prove capacity for a larger one.
                About::NoCapacity(_) => {}
            },
        }
    }
}
