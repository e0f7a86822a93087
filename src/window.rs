//! The sliding token window of one instance: what was admitted in the last minute, and what is still free.
//!
//! A log of 60 seconds is kept in one-second buckets. Tokens are charged to the second of their admission, because that
//! is when Azure charges them, and settled in that same second once the real usage is known. A bucket counts until it
//! lies wholly outside the minute, so that no 60 seconds, wherever they begin, ever hold more than the limit.
//! The clock is the caller's: every method takes `now`. Who may ask at all is left to `health`.

use std::time::{Duration, Instant};

use crate::domain::Tokens;

/// Seconds that a token counts, at least: Azure's quota is per minute.
pub const WINDOW: Duration = Duration::from_secs(60);

/// The window's seconds and the one that is still partly inside it.
const BUCKETS: usize = 61;

/// A sliding window of 60 seconds over admitted tokens.
#[derive(Clone, Debug)]
pub struct Window {
    limit: Tokens,
    start: Instant,
    newest: u64,
    buckets: [u64; BUCKETS],
    used: u64,
}

/// The second to which a reservation was charged; [`Window::settle`] takes it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(u64);

/// A refusal: the tokens do not fit now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// When they will fit if nothing else is admitted; `None` if they exceed the limit itself.
    pub fits_in: Option<Duration>,
}

impl Window {
    /// Opens an empty window of `limit` tokens per 60 seconds.
    pub fn new(limit: Tokens, now: Instant) -> Self {
        Self {
            limit,
            start: now,
            newest: 0,
            buckets: [0; BUCKETS],
            used: 0,
        }
    }

    /// Returns the limit in tokens per 60 seconds.
    pub fn limit(&self) -> Tokens {
        self.limit
    }

    /// Returns the tokens that count at `now`: settled ones and reservations.
    pub fn used(&mut self, now: Instant) -> Tokens {
        self.advance(now);
        Tokens(self.used)
    }

    /// Charges `tokens` to this second if they fit under the limit.
    pub fn reserve(&mut self, now: Instant, tokens: Tokens) -> Result<Mark, Full> {
        self.advance(now);
        if self.used.saturating_add(tokens.0) > self.limit.0 {
            return Err(Full {
                fits_in: self.fits_in(now, tokens),
            });
        }
        self.add(self.newest, tokens.0);
        Ok(Mark(self.newest))
    }

    /// Replaces a reservation by what the request really used. A reservation that has left the window is forgotten.
    pub fn settle(&mut self, now: Instant, mark: Mark, reserved: Tokens, actual: Tokens) {
        self.advance(now);
        if self.newest.saturating_sub(mark.0) >= BUCKETS as u64 {
            return;
        }
        self.remove(mark.0, reserved.0);
        self.add(mark.0, actual.0);
    }

    /// Returns how long until `tokens` fit, zero if they fit now, `None` if they never will.
    pub fn fits_in(&mut self, now: Instant, tokens: Tokens) -> Option<Duration> {
        if tokens > self.limit {
            return None;
        }
        self.advance(now);
        let allowed = self.limit.0.saturating_sub(tokens.0);
        let mut used = self.used;
        if used <= allowed {
            return Some(Duration::ZERO);
        }
        let oldest = self.newest.saturating_sub(BUCKETS as u64 - 1);
        for second in oldest..=self.newest {
            used = used.saturating_sub(self.at(second));
            if used <= allowed {
                let leaves = self.start + Duration::from_secs(second + BUCKETS as u64);
                return Some(leaves.saturating_duration_since(now));
            }
        }
        Some(WINDOW)
    }

    /// Moves on to the second of `now` and drops what has left the window. A `now` of the past changes nothing.
    fn advance(&mut self, now: Instant) {
        let second = now.saturating_duration_since(self.start).as_secs();
        let steps = second.saturating_sub(self.newest).min(BUCKETS as u64);
        for step in 1..=steps {
            let reused = (self.newest + step) as usize % BUCKETS;
            if let Some(bucket) = self.buckets.get_mut(reused) {
                self.used = self.used.saturating_sub(*bucket);
                *bucket = 0;
            }
        }
        self.newest = self.newest.max(second);
    }

    fn at(&self, second: u64) -> u64 {
        self.buckets
            .get(second as usize % BUCKETS)
            .copied()
            .unwrap_or(0)
    }

    fn add(&mut self, second: u64, tokens: u64) {
        if let Some(bucket) = self.buckets.get_mut(second as usize % BUCKETS) {
            // Saturation must hit sum and bucket alike, or the sum would never come back to zero.
            let room = u64::MAX - self.used;
            let added = tokens.min(room);
            *bucket += added;
            self.used += added;
        }
    }

    fn remove(&mut self, second: u64, tokens: u64) {
        if let Some(bucket) = self.buckets.get_mut(second as usize % BUCKETS) {
            let removed = tokens.min(*bucket);
            *bucket -= removed;
            self.used = self.used.saturating_sub(removed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    fn window(limit: u64) -> (Window, Instant) {
        let start = tokio::time::Instant::now().into_std();
        (Window::new(Tokens(limit), start), start)
    }

    #[test]
    fn tokens_count_for_a_minute_and_then_leave() {
        let (mut window, start) = window(100);

        window.reserve(at(start, 500), Tokens(60)).unwrap();

        assert_eq!(window.used(at(start, 60_400)), Tokens(60));
        assert_eq!(window.used(at(start, 61_000)), Tokens(0));
    }

    #[test]
    fn a_request_may_fill_the_window_to_the_last_token_but_not_over() {
        let (mut window, start) = window(100);

        window.reserve(start, Tokens(40)).unwrap();
        window.reserve(start, Tokens(60)).unwrap();

        let refused = window.reserve(start, Tokens(1)).unwrap_err();
        assert_eq!(refused.fits_in, Some(Duration::from_secs(61)));
    }

    #[test]
    fn the_wait_is_that_of_the_oldest_charge_that_makes_enough_room() {
        let (mut window, start) = window(100);
        window.reserve(at(start, 1_000), Tokens(30)).unwrap();
        window.reserve(at(start, 5_000), Tokens(50)).unwrap();
        let now = at(start, 10_000);

        assert_eq!(window.fits_in(now, Tokens(20)), Some(Duration::ZERO));
        assert_eq!(
            window.fits_in(now, Tokens(40)),
            Some(Duration::from_secs(52))
        );
        assert_eq!(
            window.fits_in(now, Tokens(60)),
            Some(Duration::from_secs(56))
        );
        assert_eq!(window.fits_in(now, Tokens(101)), None);
    }

    #[test]
    fn a_settlement_replaces_the_reservation_in_its_own_second() {
        let (mut window, start) = window(100);
        let mark = window.reserve(start, Tokens(90)).unwrap();

        window.settle(at(start, 2_000), mark, Tokens(90), Tokens(10));

        assert_eq!(window.used(at(start, 2_000)), Tokens(10));
        assert_eq!(window.used(at(start, 61_000)), Tokens(0));
    }

    #[test]
    fn a_settlement_above_the_reservation_counts_in_full() {
        let (mut window, start) = window(100);
        let mark = window.reserve(start, Tokens(10)).unwrap();

        window.settle(start, mark, Tokens(10), Tokens(150));

        assert_eq!(window.used(start), Tokens(150));
        assert!(window.reserve(start, Tokens(1)).is_err());
    }

    #[test]
    fn a_settlement_after_the_minute_changes_nothing() {
        let (mut window, start) = window(100);
        let mark = window.reserve(start, Tokens(90)).unwrap();
        window.reserve(at(start, 61_500), Tokens(5)).unwrap();

        window.settle(at(start, 62_000), mark, Tokens(90), Tokens(200));

        assert_eq!(window.used(at(start, 62_000)), Tokens(5));
    }

    #[test]
    fn a_long_idle_time_empties_the_window() {
        let (mut window, start) = window(100);
        window.reserve(start, Tokens(100)).unwrap();

        assert_eq!(window.used(at(start, 86_400_000)), Tokens(0));
        assert!(window.reserve(at(start, 86_400_000), Tokens(100)).is_ok());
    }

    proptest! {
        /// Whatever is asked and settled downwards, the admitted reservations of any 60 s never exceed the limit.
        #[test]
        fn no_sixty_seconds_hold_more_than_the_limit(
            asks in prop::collection::vec((0u64..4_000, 0u64..60, any::<bool>()), 1..200)
        ) {
            let (mut window, start) = window(100);
            let mut now = start;
            let mut admitted: Vec<(Instant, u64)> = Vec::new();
            for (pause, tokens, settles) in asks {
                now += Duration::from_millis(pause);
                if let Ok(mark) = window.reserve(now, Tokens(tokens)) {
                    let actual = if settles { tokens / 2 } else { tokens };
                    window.settle(now, mark, Tokens(tokens), Tokens(actual));
                    admitted.push((now, actual));
                }
            }

            for (first, _) in &admitted {
                let sum: u64 = admitted
                    .iter()
                    .filter(|(when, _)| *when >= *first && *when < *first + WINDOW)
                    .map(|(_, tokens)| tokens)
                    .sum();
                prop_assert!(sum <= 100, "{sum} tokens within 60 s");
            }
        }

        /// `fits_in` tells the truth: after that wait the tokens are admitted, and a moment earlier they are not.
        #[test]
        fn the_promised_wait_is_exact(
            charges in prop::collection::vec((0u64..3_000, 1u64..50), 1..60), want in 1u64..=100
        ) {
            let (mut window, start) = window(100);
            let mut now = start;
            for (pause, tokens) in charges {
                now += Duration::from_millis(pause);
                let _ = window.reserve(now, Tokens(tokens));
            }

            let wait = window.fits_in(now, Tokens(want)).unwrap();

            if wait > Duration::ZERO {
                let early = now + wait - Duration::from_millis(1);
                prop_assert!(window.clone().reserve(early, Tokens(want)).is_err());
            }
            prop_assert!(window.reserve(now + wait, Tokens(want)).is_ok());
        }

        /// Reserving and settling to nothing leaves nothing behind.
        #[test]
        fn nothing_leaks(charges in prop::collection::vec((0u64..9_000, 0u64..50), 1..100)) {
            let (mut window, start) = window(1_000_000);
            let mut now = start;
            let mut open = Vec::new();
            for (pause, tokens) in charges {
                now += Duration::from_millis(pause);
                open.push((window.reserve(now, Tokens(tokens)).unwrap(), Tokens(tokens)));
            }

            for (mark, tokens) in open {
                window.settle(now, mark, tokens, Tokens::ZERO);
            }

            prop_assert_eq!(window.used(now), Tokens::ZERO);
        }
    }
}
