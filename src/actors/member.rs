//! An instance as the Registry knows it: its configuration, its gauge and its address.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use super::gauge::Gauge;
use super::instance::Instance;
use super::lease::Lease;
use super::messages::{Fit, Forecast, Reserve, Unavailable, Want};
use super::refusal::Refusal;
use crate::config::InstanceConfig;
use crate::correction::Basis;
use crate::domain::{InstanceId, Tokens};
use crate::queue::Ahead;
use crate::routing::Candidate;

/// Far longer than an instance on the same thread can take to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Member {
    pub(super) id: InstanceId,
    pub(super) config: Arc<InstanceConfig>,
    pub(super) gauge: Arc<Gauge>,
    pub(super) addr: Addr<Instance>,
}

impl Member {
    /// Asks it to reserve what others do not have first.
    pub(super) async fn reserve(&self, want: &Want, ahead: Ahead) -> Result<Lease, Refusal> {
        let reserve = Reserve {
            want: want.clone(),
            ahead,
        };
        let answer = self.addr.send(reserve).timeout(PATIENCE).await;
        answer.unwrap_or_else(|error| Err(self.gone(error)))
    }

    /// Asks it when it could serve a request, after others.
    pub(super) async fn forecast(&self, want: &Want, ahead: Ahead) -> Fit {
        let forecast = Forecast {
            want: want.clone(),
            ahead,
        };
        let answer = self.addr.send(forecast).timeout(PATIENCE).await;
        answer.unwrap_or_else(|error| Fit {
            tokens: Tokens::ZERO,
            is_of_all: false,
            refusal: Some(self.gone(error)),
        })
    }

    fn gone(&self, error: MailboxError) -> Refusal {
        let instance = self.config.name.as_str();
        log::error!(instance, error:%; "instance actor does not answer");
        Refusal::Gone
    }

    pub(super) fn candidate(&self) -> Candidate {
        Candidate {
            id: self.id,
            priority: self.config.priority,
            weight: self.config.weight,
            load: self.gauge.load(),
            in_flight: self.gauge.in_flight(),
        }
    }
}

/// Returns the instances that may be asked, or why none of them can ever serve this request.
pub(super) fn eligible<'a>(
    members: &'a [Member],
    want: &Want,
    tried: &[InstanceId],
) -> Result<Vec<&'a Member>, Unavailable> {
    let serves = |member: &&Member| want.deployment_at(&member.config).is_some();
    let serving: Vec<&Member> = members.iter().filter(serves).collect();
    let limit = |member: &&Member| member.config.tpm_for(&want.model, &want.name);
    let Some(roomiest) = serving.iter().copied().max_by_key(limit) else {
        return Err(Unavailable::NotServed);
    };
    let tokens = want.certain();
    let largest = limit(&roomiest);
    if tokens > largest && want.basis == Basis::Estimated {
        // Only its count may refuse it for good.
        return Err(Unavailable::Uncertain);
    }
    if tokens > largest {
        return Err(Unavailable::TooLarge {
            tokens,
            largest,
            variable: roomiest
                .config
                .tpm_variable(&want.model, &want.name)
                .to_owned(),
        });
    }
    let is_left = |member: &&Member| !tried.contains(&member.id);
    let left: Vec<&Member> = serving.into_iter().filter(is_left).collect();
    if left.is_empty() {
        return Err(Unavailable::Exhausted);
    }
    Ok(left)
}
