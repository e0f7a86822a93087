//! Whether Azure counts calls by the minute, as far as its answers tell.
//!
//! More left than a short window holds shows a minute. It is disproved where a short window with nothing but our calls in
//! it explains what is left, again and again, and a minute only with calls of others; or by a 429 for which the minute
//! had room. So neither one wrong number, as while a limit is being changed, nor another way to count holds for ever.

use std::time::{Duration, Instant};

/// Answers in a row that it takes: others who use most of a minute look the same by chance, though hardly more than once.
const ENOUGH: u32 = 3;

/// Whether it is by the minute.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ByMinute {
    holds: bool,
    /// Answers that spoke for a short window, since one spoke against it.
    against: u32,
    /// When the call was made to which the newest of them came.
    newest: Option<Instant>,
}

impl ByMinute {
    pub(super) fn holds(self) -> bool {
        self.holds
    }

    /// Notes what only a minute explains.
    pub(super) fn shown(&mut self) {
        *self = Self {
            holds: true,
            ..Self::default()
        };
    }

    /// Notes that the answer to a call made at `at` is explained by our calls in a `short` window, or not; those of one
    /// window are one.
    pub(super) fn doubted(&mut self, at: Instant, short: Duration, is_explained: bool) {
        if !is_explained {
            (self.against, self.newest) = (0, None);
            return;
        }
        let is_same = |newest: Instant| at.saturating_duration_since(newest) < short;
        if self.newest.is_some_and(is_same) {
            return;
        }
        (self.against, self.newest) = (self.against + 1, Some(at));
        self.holds &= self.against < ENOUGH;
    }

    /// Notes that it cannot be.
    pub(super) fn disproved(&mut self) {
        *self = Self::default();
    }
}
