//! One Azure resource: the owner of its quota, its health and its errors.
//!
//! A thin shell: it leaves the decisions to `quota`, `health`, `correction` and `output_average`. Nothing else changes that
//! state, so concurrent requests can never be admitted past a limit. What comes by message is the `mailbox`'s, the actor;
//! the Registry, on the same thread, calls.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bell::Bell;
use super::gauge::Gauge;
use super::lease::{Reservation, Shared};
use super::messages::{Confirm, Outcome, Output, Want};
use super::refusal::Refusal;
use super::shared::Windows;
use crate::config::InstanceConfig;
use crate::correction::{Basis, Corrections};
use crate::domain::{Deployment, InstanceId, Tokens};
use crate::health::{Health, Status};
use crate::output_average::OutputAverage;
use crate::queue::Ahead;
use crate::quota::{Hold, Lack, Need, Quota, Said};
use crate::store::Store;

mod adopt;
mod forecast;
mod mailbox;
mod shown;

pub use mailbox::Instance;

/// What is known of one Azure resource.
pub(super) struct State {
    config: Arc<InstanceConfig>,
    gauge: Arc<Gauge>,
    bell: Rc<Bell>,
    quota: Quota,
    health: Health,
    corrections: Corrections,
    output: OutputAverage,
    shared: Option<Windows>,
    in_flight: u32,
    last_used: Option<Instant>,
}

/// When to ask again if only the doubt about estimates stands in the way: such requests settle within seconds.
const DOUBT: Duration = Duration::from_secs(1);

impl State {
    /// Begins with nothing known; `gauge` is what it publishes, `bell` is rung when it may take more, `store` is what
    /// it shares with other replicas.
    pub(super) fn new(
        id: InstanceId,
        config: Arc<InstanceConfig>,
        gauge: Arc<Gauge>,
        bell: Rc<Bell>,
        store: Option<Store>,
    ) -> Self {
        Self {
            quota: Quota::new(config.max_tpm, config.max_rpm, now()),
            shared: store.map(|store| Windows::new(store, id, &config)),
            config,
            gauge,
            bell,
            health: Health::default(),
            corrections: Corrections::default(),
            output: OutputAverage::default(),
            in_flight: 0,
            last_used: None,
        }
    }

    fn prompt(&self, want: &Want, limit: Tokens) -> Tokens {
        let expected = self
            .corrections
            .expected(&want.model, want.basis, want.prompt);
        // What was learned never makes a request too large that fits by its count.
        let room = limit.less(want.output.certain());
        expected.min(room.max(want.prompt))
    }

    fn output(&self, want: &Want, prompt: Tokens, limit: Tokens) -> Tokens {
        match want.output {
            Output::Capped(output) => output,
            Output::Expected { completions } => {
                let one = self.output.expected(&want.model);
                let guess = Tokens(one.0.saturating_mul(completions));
                // The guess alone never makes a request too large.
                guess.min(limit.less(prompt))
            }
        }
    }

    /// Returns what a request needs of a deployment, by what was learned, and the prompt tokens among that.
    fn need(
        &mut self,
        now: Instant,
        want: &Want,
        deployment: &Deployment,
        ahead: Ahead,
    ) -> (Need, Tokens) {
        let config = &self.config;
        self.quota
            .open(now, deployment, || config.limit_of(deployment));
        let limit = self.quota.limit(deployment);
        let prompt = self.prompt(want, limit);
        let need = Need {
            tokens: prompt + self.output(want, prompt, limit),
            exposure: want.at_most.unwrap_or(prompt).less(prompt),
            charge: want.charge,
            ahead,
        };
        (need, prompt)
    }

    /// Takes what a request needs of quota, and the breaker's pass; `ahead` must be left to others.
    pub(super) fn reserve(
        &mut self,
        now: Instant,
        want: &Want,
        ahead: Ahead,
    ) -> Result<Reservation, Refusal> {
        let deployment = want.deployment_at(&self.config);
        let deployment = deployment.ok_or(Refusal::NotServed)?;
        let (need, expected_prompt) = self.need(now, want, &deployment, ahead);
        self.health
            .check(now, &deployment, need.tokens)
            .map_err(Refusal::Closed)?;
        let shared = match &self.shared {
            Some(windows) => windows.fit(want, need, &deployment)?,
            None => Shared::Nothing,
        };
        let hold = self.hold(now, want, &deployment, need)?;
        self.in_flight += 1;
        self.last_used = Some(now);
        self.gauge.admitted(now);
        let pass = self.health.admit(now);
        self.publish_for(now, &deployment);
        self.publish(now);
        Ok(Reservation {
            hold,
            model: want.model.clone(),
            deployment,
            pass,
            prompt: want.prompt,
            basis: want.basis,
            expected_prompt,
            head: None,
            declined: Said::default(),
            guessed: matches!(want.output, Output::Expected { .. }),
            shared,
        })
    }

    /// Takes the quota, which must hold even if every estimate that is out turns out to be the most that it can be.
    fn hold(
        &mut self,
        now: Instant,
        want: &Want,
        deployment: &Deployment,
        need: Need,
    ) -> Result<Hold, Refusal> {
        let wait = match self.quota.reserve(now, deployment, need) {
            Ok(hold) => return Ok(hold),
            Err(Lack::Closed(closed)) => return Err(Refusal::Closed(closed)),
            Err(Lack::Full(wait)) => wait,
        };
        let limit = self.quota.limit(deployment);
        match want.basis {
            Basis::Estimated if self.might_fit(now, want, deployment) => Err(Refusal::Uncertain),
            Basis::Estimated | Basis::Counted if need.tokens > limit => Err(Refusal::Full(None)),
            Basis::Estimated | Basis::Counted => Err(Refusal::Full(Some(wait.unwrap_or(DOUBT)))),
        }
    }

    /// Says whether an exact count could make a request fit. Estimates have hardly ever been four times too high.
    fn might_fit(&mut self, now: Instant, want: &Want, deployment: &Deployment) -> bool {
        let least = Need {
            tokens: Tokens(want.prompt.0 / 4) + want.output.certain(),
            exposure: Tokens::ZERO,
            charge: want.charge,
            ahead: Ahead::default(),
        };
        self.quota.fits_in(now, deployment, least) == Some(Duration::ZERO)
    }

    /// Notes what became of a reservation.
    pub(super) fn settle(&mut self, now: Instant, mut reservation: Reservation, outcome: Outcome) {
        let before = self.status(now);
        let was_probe = reservation.hold.is_probe() || reservation.pass.is_probe();
        self.in_flight = self.in_flight.saturating_sub(1);
        let deployment = &reservation.deployment;
        if let Some(head) = reservation.head
            && !reservation.hold.is_heard()
        {
            self.quota
                .heard(head.at, deployment, &reservation.hold, head.said);
            reservation.hold.heard();
        }
        let hold = reservation.hold;
        let actual = outcome.charged(hold.need.tokens);
        let (end, said) = (outcome.end(), reservation.declined);
        self.quota
            .settle(now, &reservation.deployment, hold, actual, end, said);
        if let Some(windows) = &self.shared {
            windows.settle(&reservation.shared, actual, end);
        }
        self.learn(&reservation, &outcome);
        let told = self.shared.as_ref().map(|_| outcome.clone());
        self.note(now, &reservation, outcome);
        if let Some(outcome) = told {
            self.tell(now, &reservation, was_probe, &outcome);
        }
        self.report_change(before, self.status(now));
        self.publish_for(now, &reservation.deployment);
        self.publish(now);
        self.bell.capacity();
    }

    /// Notes that a good answer has begun.
    fn confirm(&mut self, now: Instant, msg: Confirm) {
        let before = self.status(now);
        self.health.answered(msg.pass, &msg.deployment);
        let (at, said) = msg
            .head
            .map_or((now, Said::default()), |head| (head.at, head.said));
        self.quota.heard(at, &msg.deployment, &msg.hold, said);
        if msg.hold.is_probe() || msg.pass.is_probe() {
            self.tell_end(&msg.deployment);
        }
        self.publish_for(now, &msg.deployment);
        self.publish(now);
        self.report_change(before, self.status(now));
        self.bell.capacity();
    }

    fn learn(&mut self, reservation: &Reservation, outcome: &Outcome) {
        let Outcome::Answered { prompt, output, .. } = outcome else {
            return;
        };
        let model = &reservation.model;
        if let Some(theirs) = prompt {
            self.corrections
                .learn(model, reservation.basis, reservation.prompt, *theirs);
        }
        if let Some(output) = output
            && reservation.guessed
        {
            self.output.learn(model, *output);
        }
    }

    fn note(&mut self, now: Instant, reservation: &Reservation, outcome: Outcome) {
        let pass = reservation.pass;
        let deployment = &reservation.deployment;
        let health = &mut self.health;
        match outcome {
            Outcome::Answered { .. } => health.answered(pass, deployment),
            Outcome::Throttled { summary, .. } => health.throttled(pass, summary),
            Outcome::NoCapacity { wait, summary } => {
                let tokens = reservation.hold.need.tokens;
                health.no_capacity(now, pass, deployment, tokens, wait, summary);
            }
            Outcome::Faulted { summary, .. } | Outcome::Unreachable { summary } => {
                health.faulted(now, pass, summary);
            }
            Outcome::Unauthorized { summary } => health.unauthorized(now, pass, summary),
            Outcome::NoDeployment { summary } => health.missing(now, pass, deployment, summary),
            Outcome::Refused { .. } | Outcome::Withdrawn | Outcome::Abandoned { .. } => {
                health.abandoned(pass);
            }
        }
    }

    /// Returns what the instance shows of itself.
    fn status(&self, now: Instant) -> Status {
        if self.health.is_out() {
            Status::Error
        } else if self.quota.cools_for(now).is_some() {
            Status::RateLimited
        } else {
            Status::Healthy
        }
    }

    fn report_change(&self, before: Status, after: Status) {
        let name = self.config.name.as_str();
        let cause = self.health.last_error().unwrap_or("");
        if before == after {
            return;
        }
        match after {
            Status::Healthy => log::info!(instance = name; "instance is healthy again"),
            Status::RateLimited => {
                log::warn!(instance = name, cause; "instance is rate limited");
            }
            Status::Error => log::error!(instance = name, cause; "instance is out of service"),
        }
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
