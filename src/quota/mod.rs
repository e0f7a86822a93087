//! The quota of one instance: its own limits, and inside it a lane for each deployment.
//!
//! A reservation takes from the instance's window and calls, and from its lane: the deployment's own limit, its calls,
//! and Azure's view of it. All are asked before any is taken, so that it is all or nothing; what is believed to be free
//! is the least of them. Azure charges at admission and gives nothing back, our own windows settle to real usage.
//!
//! A 429 closes its lane only, or the sizes that it was about. What is the resource's own (faults, keys) is left to
//! `health`. The clock is the caller's: every method takes `now`.

mod calls;
mod charge;
mod hearsay;
mod lane;
mod limited;
mod room;
mod shown;
mod throttle;
mod view;

use std::time::{Duration, Instant};

use crate::domain::{Deployment, ModelKey, Tokens};
use crate::health::{Closed, Pass, Reason};
use crate::queue::Ahead;
use crate::window::{Mark, WINDOW, Window};

use calls::{Calls, Made};
pub use charge::expected_charge;
use lane::Lane;
pub use lane::LaneView;
use limited::Limited;
pub use throttle::{Cooling, Limit, throttle_rest};
use view::Charge;
pub use view::{Azure, Said};

/// Longest forecast, in windows: a day.
const MOST_PACE: f64 = 1_440.0;

/// What a request needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// Tokens to reserve in our own windows.
    pub tokens: Tokens,
    /// Tokens to keep free beside them, in case that the estimate was too low.
    pub exposure: Tokens,
    /// What Azure is expected to charge.
    pub charge: Tokens,
    /// What others are to have first.
    pub ahead: Ahead,
}

impl Need {
    /// Says whether it needs no tokens at all: then there is always room for it.
    pub fn is_nothing(&self) -> bool {
        self.tokens + self.exposure + self.charge == Tokens::ZERO
    }
}

/// What was taken for a request; it is owed back with [`Quota::settle`].
#[derive(Clone, Copy, Debug)]
pub struct Hold {
    /// What was asked for.
    pub need: Need,
    mark: Mark,
    charge: Charge,
    /// Our calls at the deployment, and at the instance if those are limited.
    made: (Made, Option<Made>),
    pass: Pass,
    is_heard: bool,
}

/// What became of a request, as far as quota goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was answered.
    Answered,
    /// It was admitted and may have been charged, but says nothing about the deployment.
    Charged,
    /// It was not admitted, and says nothing about the deployment. Its call counts all the same.
    Uncharged,
    /// It never left for Azure, which knows nothing of it.
    Unsent,
    /// A 429 over a limit of the deployment.
    Throttled {
        /// Which limit.
        limit: Limit,
        /// How long the answer asks to wait.
        wait: Option<Duration>,
    },
}

/// Why a request cannot have what it needs now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Cooling, probing or out of calls.
    Closed(Closed),
    /// Out of tokens; they fit after this long, `None` if they exceed a limit itself.
    Full(Option<Duration>),
}

/// The quota of one instance.
#[derive(Clone, Debug)]
pub struct Quota {
    start: Instant,
    window: Window,
    calls: Option<Calls>,
    exposed: Tokens,
    limits: Vec<Limited>,
    lanes: Vec<Lane>,
}

impl Hold {
    /// Says whether the answer to this request is waited for by others.
    pub fn is_probe(&self) -> bool {
        self.pass.is_probe()
    }

    /// Says whether [`Quota::heard`] has been told of its answer.
    pub fn is_heard(&self) -> bool {
        self.is_heard
    }

    /// Notes that [`Quota::heard`] has been told of its answer, which need not be told again.
    pub fn heard(&mut self) {
        self.pass.decided();
        self.is_heard = true;
    }
}

impl Quota {
    /// Opens the quota of an instance.
    pub fn new(max_tpm: Tokens, max_rpm: Option<u32>, now: Instant) -> Self {
        Self {
            start: now,
            window: Window::new(max_tpm, now),
            calls: max_rpm.map(|limit| Calls::new(Some(u64::from(limit)), now)),
            exposed: Tokens::ZERO,
            limits: Vec::new(),
            lanes: Vec::new(),
        }
    }

    /// Adds the lane of a deployment if there is none, with the limit that is configured for it and by which model.
    ///
    /// The name may be a client's, so that others make room when there are many.
    pub fn open<'a>(
        &mut self,
        now: Instant,
        deployment: &Deployment,
        limit: impl FnOnce() -> Option<(&'a ModelKey, Tokens)>,
    ) {
        if self.lane(deployment).is_some() {
            return;
        }
        self.make_room(now, 1);
        let limit = limit().map(|(of, limit)| self.limited(of, limit));
        let lane = Lane::new(deployment.clone(), limit, self.start);
        self.lanes.push(lane);
    }

    /// Returns the position of a configured limit.
    fn limited(&mut self, of: &ModelKey, limit: Tokens) -> usize {
        let known = self.limits.iter().position(|limited| limited.is_of(of));
        known.unwrap_or_else(|| {
            let limited = Limited::new(of.clone(), limit, self.start);
            self.limits.push(limited);
            self.limits.len() - 1
        })
    }

    /// Returns the most tokens that a request for a deployment can ever have.
    pub fn limit(&self, deployment: &Deployment) -> Tokens {
        let lane = self.lanes.iter().find(|lane| is_of(lane, deployment));
        let own = lane.and_then(|lane| self.limits.get(lane.limit?));
        let whole = self.window.limit();
        own.map_or(whole, |own| own.limit().min(whole))
    }

    /// Returns how long until tokens and charge fit after others had theirs; `None` if the tokens never will.
    pub fn fits_in(
        &mut self,
        now: Instant,
        deployment: &Deployment,
        need: Need,
    ) -> Option<Duration> {
        if need.is_nothing() {
            return Some(Duration::ZERO);
        }
        let tokens = need.tokens + need.exposure + self.exposed;
        let ahead = need.ahead.of_instance().tokens;
        let mut wait = self.window.fits_after(now, tokens, ahead)?;
        if let Some(limited) = self.limit_of(deployment) {
            wait = wait.max(limited.fits_in(now, need)?);
        }
        let lane = self.lane(deployment);
        let by_azure = lane.map(|lane| lane.fits_in(now, need));
        Some(wait.max(by_azure.unwrap_or_default()))
    }

    /// Says whether a request lacks tokens or a call of the instance's own limits, which all its deployments share.
    pub fn lacks_own(&mut self, now: Instant, deployment: &Deployment, need: Need) -> bool {
        let tokens = need.tokens + need.exposure + self.exposed;
        let ahead = need.ahead.all;
        let wait = self.window.fits_after(now, tokens, ahead.tokens);
        let lacks_tokens = !need.is_nothing() && wait != Some(Duration::ZERO);
        lacks_tokens || !self.own_call_in(now, deployment, ahead.calls).is_zero()
    }

    /// Returns how long until one more call fits under the instance's own limit after so many.
    ///
    /// That counts a sixth in 10 s as well, unless the deployment's answers have shown that Azure counts its by the minute.
    fn own_call_in(&mut self, now: Instant, deployment: &Deployment, ahead: u64) -> Duration {
        let Some(calls) = &mut self.calls else {
            return Duration::ZERO;
        };
        let lane = self.lanes.iter().find(|lane| is_of(lane, deployment));
        let by_minute = lane.is_some_and(Lane::counts_calls_by_minute);
        calls.fits_alone(now, ahead, by_minute)
    }

    /// Returns how long a deployment takes for all that others are to have, at the pace of its limits, a day at most.
    ///
    /// Whoever waits for the end of a cooldown behind others comes that much later, so that they do not come at once.
    pub fn pace(&self, deployment: &Deployment, ahead: Ahead) -> Duration {
        let lane = self.lanes.iter().find(|lane| is_of(lane, deployment));
        let (instance, calls) = (ahead.of_instance(), self.calls.as_ref());
        let same = ahead.same_deployment;
        let taken = [
            (instance.tokens.0, Some(self.window.limit().0)),
            (same.tokens.0, Some(self.limit(deployment).0)),
            (instance.calls, calls.and_then(Calls::limit)),
            (same.calls, lane.and_then(Lane::calls_limit)),
        ];
        let share = |(taken, limit): (u64, Option<u64>)| {
            limit.map_or(0.0, |limit| taken as f64 / limit.max(1) as f64)
        };
        let most = taken.map(share).into_iter().fold(0.0, f64::max);
        WINDOW.mul_f64(most.min(MOST_PACE))
    }

    /// Takes what a request needs, or says why it cannot. The lane has been opened.
    pub fn reserve(
        &mut self,
        now: Instant,
        deployment: &Deployment,
        need: Need,
    ) -> Result<Hold, Lack> {
        self.check(now, deployment, need).map_err(Lack::Closed)?;
        match self.fits_in(now, deployment, need) {
            Some(Duration::ZERO) => {}
            wait => return Err(Lack::Full(wait)),
        }
        let lane = self.lanes.iter_mut().find(|lane| is_of(lane, deployment));
        let lane = lane.ok_or(Lack::Full(None))?;
        self.exposed = self.exposed + need.exposure;
        let of_instance = self.calls.as_mut().map(|calls| calls.record(now));
        let pass = lane.throttle.admit(now, need.charge);
        let (charge, made) = lane.take(now, need);
        if let Some(limited) = self.limit_of(deployment) {
            limited.take(now, need);
        }
        Ok(Hold {
            need,
            mark: self.window.record(now, need.tokens),
            pass,
            charge,
            made: (made, of_instance),
            is_heard: false,
        })
    }

    /// Says whether a deployment's lane is open for a request and has a call left after others had theirs.
    pub fn check(
        &mut self,
        now: Instant,
        deployment: &Deployment,
        need: Need,
    ) -> Result<(), Closed> {
        let ahead = need.ahead.of_instance().calls;
        let mut call_in = self.own_call_in(now, deployment, ahead);
        if let Some(lane) = self.lane(deployment) {
            lane.throttle.check(now, need.charge)?;
            call_in = call_in.max(lane.call_in(now, need.ahead.same_deployment.calls));
        }
        match call_in {
            Duration::ZERO => Ok(()),
            wait => Err(Closed {
                reason: Reason::OutOfCalls,
                wait,
            }),
        }
    }

    /// Notes the head of a good answer, which came at `at`.
    pub fn heard(&mut self, at: Instant, deployment: &Deployment, hold: &Hold, said: Said) {
        let Some(lane) = self.lane(deployment) else {
            return;
        };
        lane.is_real = true;
        lane.throttle.answered(at, hold.pass, hold.need.charge);
        lane.view.answered(at, hold.charge, said);
        self.heard_of_calls(deployment, hold, said);
    }

    /// Ends a request that used `actual` tokens. `said` is what the head of an answer said that was no good one.
    pub fn settle(
        &mut self,
        now: Instant,
        deployment: &Deployment,
        hold: Hold,
        actual: Tokens,
        end: End,
        said: Said,
    ) {
        self.window.settle(now, hold.mark, hold.need.tokens, actual);
        self.exposed = self.exposed.less(hold.need.exposure);
        if let Some(limited) = self.limit_of(deployment) {
            limited.give_back(now, hold.mark, &hold, actual);
        }
        self.heard_of_calls(deployment, &hold, said);
        if end == End::Unsent {
            self.withdraw_call(now, deployment, &hold);
        }
        let whole = self.limit(deployment);
        let Some(lane) = self.lane(deployment) else {
            return;
        };
        lane.give_back(now, hold.mark, &hold, actual);
        // Whatever became of it later: what was answered had been admitted.
        if !hold.is_heard {
            lane.end_charge(now, hold.charge, end, whole, said);
        }
        let (pass, charge) = (hold.pass, hold.need.charge);
        match end {
            End::Answered => {
                lane.is_real = true;
                lane.throttle.answered(now, pass, charge);
            }
            End::Charged | End::Uncharged | End::Unsent => lane.throttle.abandoned(pass),
            End::Throttled { limit, wait } => {
                lane.is_real = true;
                if limit == Limit::Requests {
                    lane.call_refused(hold.made.0);
                }
                lane.throttle.refused(now, pass, limit, charge, wait);
            }
        }
    }

    /// Returns the tokens in the instance's window, reservations included.
    pub fn used(&mut self, now: Instant) -> Tokens {
        self.window.used(now)
    }

    /// Returns the same with what is kept free beside them.
    pub fn taken(&mut self, now: Instant) -> Tokens {
        self.window.used(now) + self.exposed
    }

    fn heard_of_calls(&mut self, deployment: &Deployment, hold: &Hold, said: Said) {
        if said.limit_requests.is_some()
            && let Some(lane) = self.lane(deployment)
        {
            lane.heard_of_calls(hold.made.0, said);
        }
    }

    fn withdraw_call(&mut self, now: Instant, deployment: &Deployment, hold: &Hold) {
        let (made, of_instance) = hold.made;
        if let Some((calls, made)) = self.calls.as_mut().zip(of_instance) {
            calls.withdraw(now, hold.mark, made);
        }
        if let Some(lane) = self.lane(deployment) {
            lane.withdraw_call(now, hold.mark, made);
        }
    }

    fn lane(&mut self, deployment: &Deployment) -> Option<&mut Lane> {
        self.lanes.iter_mut().find(|lane| is_of(lane, deployment))
    }

    /// Returns the configured limit of a deployment, if it has one.
    fn limit_of(&mut self, deployment: &Deployment) -> Option<&mut Limited> {
        let lane = self.lanes.iter().find(|lane| is_of(lane, deployment));
        self.limits.get_mut(lane?.limit?)
    }
}

/// Azure does not tell the case of deployments apart, so a client must not get a second quota by it.
fn is_of(lane: &Lane, deployment: &Deployment) -> bool {
    let (known, asked) = (lane.deployment.as_str(), deployment.as_str());
    known.eq_ignore_ascii_case(asked)
}

#[cfg(test)]
mod tests;
