//! A ring of buckets by tick: tokens, and when they leave.
//!
//! As long as the window, and moved on by whoever asks: a tick of the past changes nothing. Whose charges they are is
//! the ledger's to know.

use super::Tick;

/// Tokens by the tick of their charge, as far as they count.
#[derive(Clone, Debug)]
pub(super) struct Log {
    newest: u64,
    ring: Vec<u64>,
    used: u64,
}

impl Log {
    pub(super) fn new(buckets: u64) -> Self {
        Self {
            newest: 0,
            ring: vec![0; usize::try_from(buckets).unwrap_or(1).max(1)],
            used: 0,
        }
    }

    pub(super) fn buckets(&self) -> u64 {
        self.ring.len() as u64
    }

    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    pub(super) fn oldest(&self) -> u64 {
        (self.newest + 1).saturating_sub(self.buckets())
    }

    /// Returns the sum of what counts at `now`. A `now` of the past changes nothing.
    pub(super) fn used(&mut self, now: Tick) -> u64 {
        let steps = now.0.saturating_sub(self.newest).min(self.buckets());
        for step in 0..steps {
            self.take(now.0 - step);
        }
        self.newest = self.newest.max(now.0);
        self.used
    }

    /// Says whether a charge of this tick no longer counts.
    pub(super) fn has_left(&self, now: Tick, at: Tick) -> bool {
        now.0.max(self.newest).saturating_sub(at.0) >= self.buckets()
    }

    pub(super) fn at(&self, tick: u64) -> u64 {
        self.ring.get(self.slot(tick)).copied().unwrap_or(0)
    }

    /// Adds to a bucket; the newest stands in for later ones, and what has left the window is forgotten.
    pub(super) fn add(&mut self, at: Tick, tokens: u64) {
        self.used(at);
        if self.has_left(at, at) {
            return;
        }
        // Saturation must hit sum and bucket alike, or the sum would never come back to zero.
        let added = tokens.min(u64::MAX - self.used);
        let slot = self.slot(at.0);
        if let Some(bucket) = self.ring.get_mut(slot) {
            *bucket += added;
            self.used += added;
        }
    }

    /// Takes from a bucket, at most what is in it.
    pub(super) fn remove(&mut self, at: Tick, tokens: u64) {
        if at.0 > self.newest || self.has_left(at, at) {
            return;
        }
        let slot = self.slot(at.0);
        if let Some(bucket) = self.ring.get_mut(slot) {
            let removed = tokens.min(*bucket);
            *bucket -= removed;
            self.used -= removed;
        }
    }

    /// Takes from the oldest buckets, so that what is left leaves rather too late than too early.
    pub(super) fn remove_oldest(&mut self, tokens: u64) {
        let mut left = tokens;
        for tick in self.oldest()..=self.newest {
            if left == 0 {
                return;
            }
            let removed = self.at(tick).min(left);
            self.remove(Tick(tick), removed);
            left -= removed;
        }
    }

    /// Moves everything by so many ticks.
    pub(super) fn turn(&mut self, by: i64) {
        let entries: Vec<(u64, u64)> = self.entries().collect();
        let newest = self.newest.saturating_add_signed(by);
        self.clear();
        self.newest = newest;
        for (tick, tokens) in entries {
            self.add(Tick(tick.saturating_add_signed(by)), tokens);
        }
    }

    pub(super) fn clear(&mut self) {
        self.ring.fill(0);
        self.used = 0;
    }

    /// Returns the buckets that hold something, by their ticks.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let filled = (self.oldest()..=self.newest).map(|tick| (tick, self.at(tick)));
        filled.filter(|(_, tokens)| *tokens > 0)
    }

    fn take(&mut self, tick: u64) {
        let slot = self.slot(tick);
        if let Some(bucket) = self.ring.get_mut(slot) {
            self.used = self.used.saturating_sub(*bucket);
            *bucket = 0;
        }
    }

    fn slot(&self, tick: u64) -> usize {
        usize::try_from(tick % self.buckets()).unwrap_or(0)
    }
}
