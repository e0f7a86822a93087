//! A sliding window: what was admitted in the last minute, or in another span, and what is still free.
//!
//! A log of the span is kept in buckets of 100 ms. Tokens are charged to the time of their admission, because that is
//! when Azure charges them, and settled in that same bucket once the real usage is known. A bucket counts until it lies
//! wholly outside the span, so that no span, wherever it begins, ever holds more than the limit, and nothing counts for
//! more than 100 ms too long. Calls are counted likewise, as one token each.
//! The clock is the caller's: every method takes `now`. Who may ask at all is left to `health` and `quota`.

use std::time::{Duration, Instant};

use crate::domain::Tokens;

/// Seconds that a token counts, at least: Azure's quota is per minute.
pub const WINDOW: Duration = Duration::from_secs(60);

/// Width of a bucket: what is admitted counts for up to this much longer than the span. At full load a second would
/// leave 1 to 2 % of the quota unused.
pub const BUCKET: Duration = Duration::from_millis(100);

/// A sliding window over admitted tokens.
#[derive(Clone, Debug)]
pub struct Window {
    limit: Tokens,
    start: Instant,
    newest: u64,
    /// Those of the span and the one that is still partly inside it.
    buckets: Box<[u64]>,
    used: u64,
    /// Tokens that have left by their age, since the start.
    left: u64,
}

/// The bucket to which a reservation was charged; [`Window::settle`] takes it back.
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
        Self::over(WINDOW, limit, now)
    }

    /// Opens an empty window of `limit` tokens per `span`, which counts in whole buckets.
    pub fn over(span: Duration, limit: Tokens, now: Instant) -> Self {
        let whole = span.as_millis().div_ceil(BUCKET.as_millis());
        let whole = usize::try_from(whole).unwrap_or(usize::MAX - 1);
        Self {
            limit,
            start: now,
            newest: 0,
            buckets: vec![0; whole + 1].into(),
            used: 0,
            left: 0,
        }
    }

    /// Returns the limit in tokens per span.
    pub fn limit(&self) -> Tokens {
        self.limit
    }

    /// Sets another limit; what was admitted stays.
    pub fn set_limit(&mut self, limit: Tokens) {
        self.limit = limit;
    }

    /// Returns the tokens that count at `now`: settled ones and reservations.
    pub fn used(&mut self, now: Instant) -> Tokens {
        self.advance(now);
        Tokens(self.used)
    }

    /// Returns the tokens that have left by their age since the start.
    pub fn left(&self) -> Tokens {
        Tokens(self.left)
    }

    /// Charges `tokens` to this moment if they fit under the limit.
    pub fn reserve(&mut self, now: Instant, tokens: Tokens) -> Result<Mark, Full> {
        self.advance(now);
        if self.used.saturating_add(tokens.0) > self.limit.0 {
            return Err(Full {
                fits_in: self.fits_in(now, tokens),
            });
        }
        Ok(self.record(now, tokens))
    }

    /// Charges `tokens` to this moment, whether they fit or not.
    pub fn record(&mut self, now: Instant, tokens: Tokens) -> Mark {
        self.advance(now);
        self.add(self.newest, tokens.0);
        Mark(self.newest)
    }

    /// Replaces a reservation by what the request really used. A reservation that has left the window is forgotten.
    pub fn settle(&mut self, now: Instant, mark: Mark, reserved: Tokens, actual: Tokens) {
        self.advance(now);
        if self.has_left(mark) {
            return;
        }
        self.remove(mark.0, reserved.0);
        self.add(mark.0, actual.0);
    }

    /// Charges a reservation to a later moment than its own, at the latest to `now`.
    pub fn postpone(&mut self, now: Instant, mark: Mark, reserved: Tokens, to: Instant) -> Mark {
        self.advance(now);
        let bucket = self.bucket(to).clamp(mark.0, self.newest.max(mark.0));
        if self.has_left(mark) || bucket == mark.0 {
            return mark;
        }
        let moved = self.remove(mark.0, reserved.0);
        self.add(bucket, moved);
        Mark(bucket)
    }

    /// Returns how long until `tokens` fit after others had as many as are `ahead`; `None` if they never will.
    pub fn fits_after(&mut self, now: Instant, tokens: Tokens, ahead: Tokens) -> Option<Duration> {
        if tokens > self.limit {
            return None;
        }
        // Each full window of others takes a span more.
        let limit = self.limit.0.max(1);
        let all = (tokens + ahead).0;
        let spans = all.saturating_sub(1) / limit;
        let wait = self.fits_in(now, Tokens(all - spans * limit))?;
        let spans = u32::try_from(spans).unwrap_or(u32::MAX);
        Some(wait.saturating_add(self.span().saturating_mul(spans)))
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
        for (leaves, leaving) in self.leaving() {
            used = used.saturating_sub(leaving.0);
            if used <= allowed {
                return Some(leaves.saturating_duration_since(now));
            }
        }
        Some(self.span())
    }

    /// Returns what counted when it was last looked, oldest first: when it leaves, and how much it is.
    pub fn leaving(&self) -> impl Iterator<Item = (Instant, Tokens)> + '_ {
        let oldest = self.newest.saturating_sub(self.length() - 1);
        let position = usize::try_from(oldest % self.length()).unwrap_or(0);
        let (tail, head) = self.buckets.split_at_checked(position).unwrap_or_default();
        let ordered = head.iter().chain(tail);
        let buckets = (oldest..=self.newest).zip(ordered);
        buckets
            .filter(|(_, tokens)| **tokens > 0)
            .map(|(bucket, tokens)| (self.start_of(bucket + self.length()), Tokens(*tokens)))
    }

    /// Returns what was charged since `then`, or up to a bucket before, as it stands.
    pub fn since(&self, then: Instant) -> Tokens {
        let oldest = self.newest.saturating_sub(self.length() - 1);
        let mut sum = Tokens::ZERO;
        for bucket in (self.bucket(then).max(oldest)..=self.newest).rev() {
            sum = sum + Tokens(self.at(bucket));
        }
        sum
    }

    /// Returns what leaves by `then`, as it stands.
    pub fn leaving_by(&self, then: Instant) -> Tokens {
        let oldest = self.newest.saturating_sub(self.length() - 1);
        let mut sum = Tokens::ZERO;
        let Some(last) = self.bucket(then).checked_sub(self.length()) else {
            return sum;
        };
        for bucket in oldest..=last.min(self.newest) {
            sum = sum + Tokens(self.at(bucket));
        }
        sum
    }

    /// Moves on to the bucket of `now` and drops what has left the window. A `now` of the past changes nothing.
    fn advance(&mut self, now: Instant) {
        let bucket = self.bucket(now);
        let steps = bucket.saturating_sub(self.newest).min(self.length());
        for step in 1..=steps {
            let leaving = self.at(self.newest + step);
            self.left = self.left.saturating_add(leaving);
            self.remove(self.newest + step, leaving);
        }
        self.newest = self.newest.max(bucket);
    }

    fn span(&self) -> Duration {
        let whole = u32::try_from(self.length() - 1).unwrap_or(u32::MAX);
        BUCKET.saturating_mul(whole)
    }

    fn length(&self) -> u64 {
        // There is always the bucket of `now`.
        (self.buckets.len() as u64).max(1)
    }

    fn bucket(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.start).as_millis() / BUCKET.as_millis();
        u64::try_from(since).unwrap_or(u64::MAX)
    }

    fn start_of(&self, bucket: u64) -> Instant {
        let millis = bucket.saturating_mul(BUCKET.as_millis() as u64);
        self.start + Duration::from_millis(millis)
    }

    fn has_left(&self, mark: Mark) -> bool {
        self.newest.saturating_sub(mark.0) >= self.length()
    }

    fn position(&self, bucket: u64) -> usize {
        usize::try_from(bucket % self.length()).unwrap_or(0)
    }

    fn at(&self, bucket: u64) -> u64 {
        let position = self.position(bucket);
        self.buckets.get(position).copied().unwrap_or(0)
    }

    fn add(&mut self, bucket: u64, tokens: u64) {
        let position = self.position(bucket);
        if let Some(bucket) = self.buckets.get_mut(position) {
            // Saturation must hit sum and bucket alike, or the sum would never come back to zero.
            let room = u64::MAX - self.used;
            let added = tokens.min(room);
            *bucket += added;
            self.used += added;
        }
    }

    fn remove(&mut self, bucket: u64, tokens: u64) -> u64 {
        let position = self.position(bucket);
        let Some(bucket) = self.buckets.get_mut(position) else {
            return 0;
        };
        let removed = tokens.min(*bucket);
        *bucket -= removed;
        self.used = self.used.saturating_sub(removed);
        removed
    }
}

#[cfg(test)]
mod tests;
