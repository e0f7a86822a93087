//! The quota of one deployment: its calls, Azure's view of it, its 429s.
//!
//! A limit that is configured for it is kept apart, in `limited`: lanes may be forgotten, and each spelling has one.
//! They know nothing of each other; what all of them share is the instance's, in `quota`.

use std::time::{Duration, Instant};

use super::calls::{Calls, Made};
use super::throttle::{Cooling, Limit, Throttle, throttle_rest};
use super::view::{Azure, Charge, Said, View};
use super::{End, Hold, Need};
use crate::domain::{Deployment, Tokens};
use crate::window::{Mark, Window};

/// The lane of one deployment inside an instance.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    pub(super) deployment: Deployment,
    /// Position of the limit that is configured for it.
    pub(super) limit: Option<usize>,
    window: Window,
    calls: Calls,
    pub(super) view: View,
    pub(super) throttle: Throttle,
    pub(super) last_used: Instant,
    pub(super) in_flight: u32,
    pub(super) reserved: Tokens,
    /// Azure has answered or throttled a request to it, so that no client has made it up.
    pub(super) is_real: bool,
}

/// A deployment at one moment, for the status page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneView {
    /// Its name.
    pub deployment: Deployment,
    /// Its own limit per minute, if it has one.
    pub limit: Option<Tokens>,
    /// Tokens in its window, reservations included.
    pub used: Tokens,
    /// What of that is reserved by running requests.
    pub reserved: Tokens,
    /// Requests per minute that Azure allows, once it has said so.
    pub requests_limit: Option<u64>,
    /// What Azure believes, while that is known.
    pub azure: Option<Azure>,
    /// The cooldown after a 429, if one runs.
    pub cooling: Option<Cooling>,
    /// Requests that are out.
    pub in_flight: u32,
}

impl Lane {
    pub(super) fn new(deployment: Deployment, limit: Option<usize>, start: Instant) -> Self {
        Self {
            deployment,
            limit,
            window: Window::new(Tokens(u64::MAX), start),
            calls: Calls::new(None, start),
            view: View::new(start),
            throttle: Throttle::default(),
            last_used: start,
            in_flight: 0,
            reserved: Tokens::ZERO,
            is_real: false,
        }
    }

    /// Says whether anything of the last minute still counts, here or in Azure's view.
    pub(super) fn counts(&mut self, now: Instant) -> bool {
        self.window.used(now) > Tokens::ZERO || self.view.counts(now)
    }

    /// Returns how long until the charge fits by what Azure believes.
    pub(super) fn fits_in(&mut self, now: Instant, need: Need) -> Duration {
        let ahead = need.ahead.same_deployment.tokens;
        self.view.fits_after(now, need.charge, ahead)
    }

    /// Returns how long until one more call fits after so many.
    pub(super) fn call_in(&mut self, now: Instant, ahead: u64) -> Duration {
        self.calls.fits_after(now, ahead)
    }

    /// Returns the calls per minute that are allowed, once that is known.
    pub(super) fn calls_limit(&self) -> Option<u64> {
        self.calls.limit()
    }

    /// Takes what [`Lane::fits_in`] and [`Lane::call_in`] allowed.
    pub(super) fn take(&mut self, now: Instant, need: Need) -> (Charge, Made) {
        self.window.record(now, need.tokens);
        self.in_flight += 1;
        self.reserved = self.reserved + need.tokens;
        self.last_used = now;
        (self.view.sent(now, need.charge), self.calls.record(now))
    }

    /// Ends a request that used `actual` tokens.
    pub(super) fn give_back(&mut self, now: Instant, mark: Mark, hold: &Hold, actual: Tokens) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.reserved = self.reserved.less(hold.need.tokens);
        self.window.settle(now, mark, hold.need.tokens, actual);
    }

    /// Says what became of the charge of a request that got no good answer; `whole` is the limit that we know, `said`
    /// what the answer's head said if there was one.
    pub(super) fn end_charge(
        &mut self,
        now: Instant,
        charge: Charge,
        end: End,
        whole: Tokens,
        said: Said,
    ) {
        match end {
            End::Answered | End::Charged => self.view.arrived(now, charge),
            // Azure says of quota once it has let a request in; whether it charged one that failed, its number shows.
            End::Uncharged if said.remaining_tokens.is_some() => {
                self.view.arrived(now, charge);
                self.view.told(now, charge, said);
            }
            End::Uncharged | End::Unsent => self.view.refused(now, charge),
            End::Throttled { limit, wait } => {
                self.view.refused(now, charge);
                let wait = throttle_rest(wait);
                match limit {
                    Limit::Tokens => self.view.missing(now, charge, wait, whole, said),
                    Limit::Requests | Limit::Throughput | Limit::NoQuota => {
                        self.view.told(now, charge.without_itself(), said);
                    }
                }
            }
        }
    }

    /// Takes back a call that never left.
    pub(super) fn withdraw_call(&mut self, now: Instant, mark: Mark, made: Made) {
        self.calls.withdraw(now, mark, made);
    }

    /// Says whether answers have shown that calls are counted by the minute.
    pub(super) fn counts_calls_by_minute(&self) -> bool {
        self.calls.is_by_minute()
    }

    /// Follows what an answer says of calls.
    pub(super) fn heard_of_calls(&mut self, made: Made, said: Said) {
        if let Some(limit) = said.limit_requests {
            self.calls.heard(made, limit, said.remaining_requests);
        }
    }

    /// Notes that a call was refused for want of calls.
    pub(super) fn call_refused(&mut self, made: Made) {
        self.calls.refused(made);
    }

    /// Returns what is free in Azure's view, if that is known.
    pub(super) fn free(&mut self, now: Instant) -> Option<Tokens> {
        self.view.free(now)
    }

    pub(super) fn state(&mut self, now: Instant, limit: Option<Tokens>) -> LaneView {
        self.calls.forget_old(now);
        LaneView {
            deployment: self.deployment.clone(),
            limit,
            used: self.window.used(now),
            reserved: self.reserved,
            requests_limit: self.calls.limit(),
            azure: self.view.azure(now),
            cooling: self.throttle.cooling(now),
            in_flight: self.in_flight,
        }
    }
}
