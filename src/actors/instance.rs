//! One Azure resource: the owner of its token window, its health and its errors.
//!
//! A thin shell: handlers read the clock once and leave the decisions to `window`, `health`, `correction` and
//! `output_average`. Nothing else changes that state, so concurrent requests can never be admitted past the limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actix::prelude::*;

use super::MAILBOX;
use super::lease::{Lease, Reservation};
use super::messages::{
    Confirm, Describe, InstanceView, Outcome, Output, Refusal, Reserve, Settle, Want,
};
use crate::config::InstanceConfig;
use crate::correction::{Basis, Corrections};
use crate::domain::{InstanceId, Tokens};
use crate::health::{Cause, Health, Status};
use crate::output_average::OutputAverage;
use crate::window::Window;

/// How often the gauge follows the window when nothing happens: the width of the window's buckets.
const REFRESH: Duration = Duration::from_secs(1);

/// Models that the status lists; their names come from clients.
const LISTED: usize = 20;

/// What other threads may read of an instance without asking: hints, at most a second old. Decisions are the actor's.
#[derive(Debug)]
pub struct Gauge {
    used: AtomicU64,
    limit: Tokens,
    in_flight: AtomicU32,
    is_open: AtomicBool,
}

impl Gauge {
    /// Starts at zero.
    pub fn new(limit: Tokens) -> Self {
        Self {
            used: AtomicU64::new(0),
            limit,
            in_flight: AtomicU32::new(0),
            is_open: AtomicBool::new(true),
        }
    }

    /// Returns the tokens that are about free; none while the instance cools.
    pub fn free(&self) -> Tokens {
        if !self.is_open.load(Ordering::Relaxed) {
            return Tokens::ZERO;
        }
        self.limit.less(Tokens(self.used.load(Ordering::Relaxed)))
    }

    /// Returns the share of the window in use; above 1 when answers used more than was reserved.
    pub fn load(&self) -> f64 {
        self.used.load(Ordering::Relaxed) as f64 / self.limit.0.max(1) as f64
    }

    /// Returns the requests that are out.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

/// The actor of one Azure resource.
pub struct Instance {
    id: InstanceId,
    config: Arc<InstanceConfig>,
    gauge: Arc<Gauge>,
    window: Window,
    health: Health,
    corrections: Corrections,
    output: OutputAverage,
    in_flight: u32,
    /// What running requests may need beyond their reservations, since their prompts were only estimated.
    exposed: Tokens,
    last_used: Option<Instant>,
}

/// When to ask again if only the doubt about estimates stands in the way: such requests settle within seconds.
const DOUBT: Duration = Duration::from_secs(1);

impl Instance {
    /// Prepares the actor; `gauge` is what it publishes.
    pub fn new(id: InstanceId, config: Arc<InstanceConfig>, gauge: Arc<Gauge>) -> Self {
        let now = now();
        Self {
            id,
            window: Window::new(config.max_tpm, now),
            config,
            gauge,
            health: Health::default(),
            corrections: Corrections::default(),
            output: OutputAverage::default(),
            in_flight: 0,
            exposed: Tokens::ZERO,
            last_used: None,
        }
    }

    fn prompt(&self, want: &Want) -> Tokens {
        let expected = self
            .corrections
            .expected(&want.model, want.basis, want.prompt);
        // What was learned never makes a request too large that fits by its count.
        let room = self.window.limit().less(want.output.certain());
        expected.min(room.max(want.prompt))
    }

    fn output(&self, want: &Want, prompt: Tokens) -> Tokens {
        match want.output {
            Output::Capped(output) => output,
            Output::Expected { completions } => {
                let one = self.output.expected(&want.model);
                let guess = Tokens(one.0.saturating_mul(completions));
                // The guess alone never makes a request too large.
                guess.min(self.window.limit().less(prompt))
            }
        }
    }

    fn reserve(&mut self, now: Instant, want: &Want) -> Result<Reservation, Refusal> {
        let deployment = self.config.deployment(&want.model, &want.name);
        let deployment = deployment.ok_or(Refusal::NotServed)?;
        let expected_prompt = self.prompt(want);
        let tokens = expected_prompt + self.output(want, expected_prompt);
        self.health
            .check(now, &deployment, tokens)
            .map_err(Refusal::Closed)?;
        let at_most = want.at_most.unwrap_or(expected_prompt);
        let exposure = at_most.less(expected_prompt);
        self.fits(now, want, tokens, exposure)?;
        let mark = self
            .window
            .reserve(now, tokens)
            .map_err(|full| Refusal::Full(full.fits_in))?;
        self.in_flight += 1;
        self.exposed = self.exposed + exposure;
        self.last_used = Some(now);
        Ok(Reservation {
            tokens,
            mark,
            model: want.model.clone(),
            deployment,
            pass: self.health.admit(now),
            prompt: want.prompt,
            basis: want.basis,
            expected_prompt,
            exposure,
            guessed: matches!(want.output, Output::Expected { .. }),
        })
    }

    /// Checks that the window holds even if every estimate that is out should turn out to be the most that it can be.
    fn fits(
        &mut self,
        now: Instant,
        want: &Want,
        tokens: Tokens,
        exposure: Tokens,
    ) -> Result<(), Refusal> {
        let limit = self.window.limit();
        let needed = tokens + exposure + self.exposed;
        match self.window.fits_in(now, needed) {
            Some(Duration::ZERO) => Ok(()),
            wait => match want.basis {
                Basis::Estimated if self.might_fit(now, want) => Err(Refusal::Uncertain),
                Basis::Estimated | Basis::Counted if tokens > limit => Err(Refusal::Full(None)),
                Basis::Estimated | Basis::Counted => {
                    Err(Refusal::Full(Some(wait.unwrap_or(DOUBT))))
                }
            },
        }
    }

    /// Says whether an exact count could make a request fit. Estimates have hardly ever been four times too high.
    fn might_fit(&mut self, now: Instant, want: &Want) -> bool {
        let least = Tokens(want.prompt.0 / 4) + want.output.certain() + self.exposed;
        self.window.fits_in(now, least) == Some(Duration::ZERO)
    }

    fn settle(&mut self, now: Instant, reservation: Reservation, outcome: Outcome) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.exposed = self.exposed.less(reservation.exposure);
        let reserved = reservation.tokens;
        let actual = outcome.charged(reserved);
        self.window.settle(now, reservation.mark, reserved, actual);
        self.learn(&reservation, &outcome);
        let before = self.health.status(now);
        self.note(now, &reservation, outcome);
        self.report_change(before, self.health.status(now));
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
            Outcome::Throttled { wait, summary } => health.throttled(now, pass, wait, summary),
            Outcome::NoCapacity { wait, summary } => {
                health.no_capacity(now, pass, deployment, reservation.tokens, wait, summary);
            }
            Outcome::Faulted { summary, .. } => health.faulted(now, pass, summary),
            Outcome::Unauthorized { summary } => health.unauthorized(now, pass, summary),
            Outcome::NoDeployment { summary } => health.missing(now, pass, deployment, summary),
            Outcome::Refused { .. } | Outcome::Abandoned { .. } => health.abandoned(pass),
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

    fn publish(&mut self, now: Instant) {
        let used = self.window.used(now) + self.exposed;
        self.gauge.used.store(used.0, Ordering::Relaxed);
        self.gauge
            .in_flight
            .store(self.in_flight, Ordering::Relaxed);
        let is_open = self.health.cooldown(now).is_none();
        self.gauge.is_open.store(is_open, Ordering::Relaxed);
    }

    fn view(&mut self, now: Instant) -> InstanceView {
        let cooldown = self.health.cooldown(now);
        let throttled = cooldown.filter(|(cause, _)| *cause == Cause::Throttled);
        InstanceView {
            name: self.config.name.clone(),
            status: self.health.status(now),
            can_serve: cooldown.is_none(),
            used: self.window.used(now),
            limit: self.window.limit(),
            in_flight: self.in_flight,
            errors: self.health.errors(),
            last_error: self.health.last_error().map(str::to_owned),
            rate_limited_for: throttled.map(|(_, until)| until - now),
            cooling_for: cooldown.map(|(_, until)| until - now),
            priority: self.config.priority,
            weight: self.config.weight,
            last_used: self
                .last_used
                .map(|used| now.saturating_duration_since(used)),
            corrections: self.corrections.most_answered(LISTED),
            expected_output: self.output.most_answered(LISTED),
        }
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Actor for Instance {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        ctx.run_interval(REFRESH, |instance, _| instance.publish(now()));
    }
}

impl Handler<Reserve> for Instance {
    type Result = Result<Lease, Refusal>;

    fn handle(&mut self, msg: Reserve, ctx: &mut Self::Context) -> Self::Result {
        let now = now();
        let reservation = self.reserve(now, &msg.want)?;
        self.publish(now);
        Ok(Lease::new(
            self.id,
            self.config.clone(),
            ctx.address(),
            reservation,
        ))
    }
}

impl Handler<Settle> for Instance {
    type Result = ();

    fn handle(&mut self, msg: Settle, _: &mut Self::Context) {
        let now = now();
        self.settle(now, msg.reservation, msg.outcome);
        self.publish(now);
    }
}

impl Handler<Confirm> for Instance {
    type Result = ();

    fn handle(&mut self, msg: Confirm, _: &mut Self::Context) {
        let now = now();
        let before = self.health.status(now);
        self.health.answered(msg.pass, &msg.deployment);
        self.report_change(before, self.health.status(now));
    }
}

impl Handler<Describe> for Instance {
    type Result = InstanceView;

    fn handle(&mut self, _: Describe, _: &mut Self::Context) -> Self::Result {
        self.view(now())
    }
}
