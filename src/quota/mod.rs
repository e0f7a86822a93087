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
mod shown;
mod throttle;
mod view;

use std::time::{Duration, Instant};

use crate::domain::{Deployment, Tokens};
use crate::health::{Closed, Pass, Reason};
use crate::queue::Ahead;
use crate::window::{Mark, WINDOW, Window};

use calls::{Calls, Made};
pub use charge::expected_charge;
use lane::Lane;
pub use lane::LaneView;
pub use throttle::{Cooling, Limit, throttle_rest};
use view::Charge;
pub use view::{Azure, Said};

/// Lanes that are kept; their names may come from clients. More are there only while more than these have requests out,
/// or a limit of their own that holds something against them.
const MOST_LANES: usize = 64;

/// Lanes up to which such limits are never forgotten: any number of spellings may have one and the same limit.
const MOST_LIMITED: usize = 512;

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
            lanes: Vec::new(),
        }
    }

    /// Adds the lane of a deployment if there is none, with the limit of its own that it is configured with.
    ///
    /// The name may be a client's, so that others make room when there are many.
    pub fn open(
        &mut self,
        now: Instant,
        deployment: &Deployment,
        limit: impl FnOnce() -> Option<Tokens>,
    ) {
        if self.lane(deployment).is_some() {
            return;
        }
        self.make_room(now, 1);
        let lane = Lane::new(deployment.clone(), limit(), self.start);
        self.lanes.push(lane);
    }

    /// Returns the most tokens that a request for a deployment can ever have.
    pub fn limit(&self, deployment: &Deployment) -> Tokens {
        let lane = self.lanes.iter().find(|lane| is_of(lane, deployment));
        let own = lane.and_then(Lane::limit);
        own.map_or(self.window.limit(), |own| own.min(self.window.limit()))
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
        let own = self.window.fits_after(now, tokens, ahead)?;
        match self.lane(deployment) {
            Some(lane) => Some(own.max(lane.fits_in(now, need)?)),
            None => Some(own),
        }
    }

    /// Says whether a request lacks tokens or a call of the instance's own limits, which all its deployments share.
    pub fn lacks_own(&mut self, now: Instant, need: Need) -> bool {
        let tokens = need.tokens + need.exposure + self.exposed;
        let ahead = need.ahead.all;
        let wait = self.window.fits_after(now, tokens, ahead.tokens);
        let calls = self.calls.as_mut();
        let call_in = calls.map(|calls| calls.fits_after(now, ahead.calls));
        let lacks_tokens = !need.is_nothing() && wait != Some(Duration::ZERO);
        lacks_tokens || call_in.is_some_and(|wait| !wait.is_zero())
    }

    /// Returns how long a deployment takes for all that others are to have, at the pace of its limits, a day at most.
    ///
    /// Whoever waits for the end of a cooldown behind others comes that much later, so that they do not come at once.
    pub fn pace(&self, deployment: &Deployment, ahead: Ahead) -> Duration {
        let lane = self.lanes.iter().find(|lane| is_of(lane, deployment));
        let (instance, calls) = (ahead.of_instance(), self.calls.as_ref());
        let taken = [
            (instance.tokens.0, Some(self.limit(deployment).0)),
            (instance.calls, calls.and_then(Calls::limit)),
            (
                ahead.same_deployment.calls,
                lane.and_then(Lane::calls_limit),
            ),
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
        let calls = self.calls.as_mut();
        let ahead = need.ahead.of_instance().calls;
        let mut call_in = calls.map_or(Duration::ZERO, |calls| calls.fits_after(now, ahead));
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
            End::Answered => lane.throttle.answered(now, pass, charge),
            End::Charged | End::Uncharged | End::Unsent => lane.throttle.abandoned(pass),
            End::Throttled { limit, wait } => {
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
        if said.limit_requests.is_none() {
            return;
        }
        let Some(lane) = self.lane(deployment) else {
            return;
        };
        lane.heard_of_calls(hold.made.0, said);
        if lane.counts_calls_by_minute()
            && let Some(calls) = &mut self.calls
        {
            calls.count_by_minute();
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

    /// Forgets what lanes there are too many, so that `more` fit, as far as that is possible: only such as have nothing
    /// out, and first those of which nothing counts any more.
    ///
    /// A limit that was configured must not be lost by invented names, as long as something counts against it.
    pub fn make_room(&mut self, now: Instant, more: usize) {
        let count = self.lanes.len();
        let excess = (count + more).saturating_sub(MOST_LANES);
        if excess == 0 {
            return;
        }
        let far_too_many = (count + more).saturating_sub(MOST_LIMITED);
        let lanes = self.lanes.iter_mut().enumerate();
        let idle = lanes.filter(|(_, lane)| lane.in_flight == 0);
        let worth = idle.map(|(position, lane)| {
            let counts = lane.counts(now);
            let is_cooling = lane.throttle.cooling(now).is_some();
            let holds = counts && lane.limit().is_some();
            (holds, counts, is_cooling, lane.last_used, position)
        });
        let mut worth: Vec<_> = worth.collect();
        worth.sort_unstable();
        let worth = worth.into_iter().take(excess).enumerate();
        let least = worth.filter(|(rank, (holds, ..))| !holds || *rank < far_too_many);
        let mut least: Vec<usize> = least.map(|(_, (.., position))| position).collect();
        least.sort_unstable();
        for position in least.into_iter().rev() {
            self.lanes.swap_remove(position);
        }
    }

    fn lane(&mut self, deployment: &Deployment) -> Option<&mut Lane> {
        self.lanes.iter_mut().find(|lane| is_of(lane, deployment))
    }
}

/// Azure does not tell the case of deployments apart, so a client must not get a second quota by it.
fn is_of(lane: &Lane, deployment: &Deployment) -> bool {
    let (known, asked) = (lane.deployment.as_str(), deployment.as_str());
    known.eq_ignore_ascii_case(asked)
}

#[cfg(test)]
mod tests;
