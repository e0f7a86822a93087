//! The limits of single deployments that are configured, each with what counts against it.
//!
//! Clients choose how they spell the name of a deployment, so a limit is no lane's: all spellings share it, as replicas do
//! in Redis. There are as many as are configured, so none is ever forgotten to make room.

use std::time::{Duration, Instant};

use super::{Hold, Need};
use crate::domain::{ModelKey, Tokens};
use crate::window::{Mark, Window};

/// One limit.
#[derive(Clone, Debug)]
pub(super) struct Limited {
    of: ModelKey,
    window: Window,
    exposed: Tokens,
}

impl Limited {
    pub(super) fn new(of: ModelKey, limit: Tokens, start: Instant) -> Self {
        Self {
            of,
            window: Window::new(limit, start),
            exposed: Tokens::ZERO,
        }
    }

    /// Says whether it is the limit that was configured for a model.
    pub(super) fn is_of(&self, model: &ModelKey) -> bool {
        self.of == *model
    }

    pub(super) fn limit(&self) -> Tokens {
        self.window.limit()
    }

    /// Returns how long until the tokens fit; `None` if they never will.
    pub(super) fn fits_in(&mut self, now: Instant, need: Need) -> Option<Duration> {
        let tokens = need.tokens + need.exposure + self.exposed;
        let ahead = need.ahead.same_deployment.tokens;
        self.window.fits_after(now, tokens, ahead)
    }

    /// Takes what [`Limited::fits_in`] allowed.
    pub(super) fn take(&mut self, now: Instant, need: Need) {
        self.window.record(now, need.tokens);
        self.exposed = self.exposed + need.exposure;
    }

    /// Replaces what was taken by what was used.
    pub(super) fn give_back(&mut self, now: Instant, mark: Mark, hold: &Hold, actual: Tokens) {
        self.exposed = self.exposed.less(hold.need.exposure);
        self.window.settle(now, mark, hold.need.tokens, actual);
    }

    /// Returns what is free.
    pub(super) fn free(&mut self, now: Instant) -> Tokens {
        let used = self.window.used(now) + self.exposed;
        self.window.limit().less(used)
    }
}
