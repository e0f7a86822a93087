//! What one replica knows of a token window that all replicas share, and what it may admit while it cannot ask.
//!
//! The shared window itself is in the store. A [`Ledger`] is the replica's copy: what all replicas are known to use,
//! what this one admitted itself, and which of its changes the store has not heard yet. While the store is away, a
//! replica may admit its part of what is known to be free: (limit - known) / replicas, which grows to limit / replicas
//! as what was known leaves the window. Whatever the replicas' loads are, together they stay within the limit plus what
//! they had not heard of each other when the store went away, which is less than a [`step`](Ledger::step), since the
//! store tells all of them before it is more. Time is the store's, in [`Tick`]s; the caller tells it.

mod log;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::Tokens;
use log::Log;

/// A tenth of a second on the store's clock, counted from 1970: the width of a window's buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(pub u64);

impl Tick {
    /// How long one lasts.
    pub const WIDTH: Duration = Duration::from_millis(100);

    /// Returns the tick of a moment.
    pub fn of(since_epoch: Duration) -> Self {
        let ticks = since_epoch.as_millis() / Self::WIDTH.as_millis();
        Self(u64::try_from(ticks).unwrap_or(u64::MAX))
    }
}

/// Numbers the charges and changes of an instance's windows in the store, one by one: of two things that it has said,
/// the one with more is newer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Acts(pub u64);

/// What a window holds of all replicas, as the store has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum {
    /// When it was heard.
    pub at: Tick,
    /// The sum.
    pub used: Tokens,
    /// As of which change.
    pub acts: Acts,
}

/// How many ticks ahead of a heartbeat charges may be dated by the same clock.
const AHEAD: u64 = 20;

/// In how many steps a replica's share is told: few enough to cost nothing, and well below a share.
const STEPS_OF_SHARE: u64 = 4;

/// Ticks by which forecasts may be wrong: in as many, this part of a full window leaves.
const MOMENT: u64 = 10;

/// Who decided about a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The store, for all replicas.
    Store,
    /// This replica alone, while the store was away.
    Alone,
}

/// A change of one bucket that the store has not heard of.
pub type Change = (Tick, i64);

/// One replica's copy of one shared window.
#[derive(Clone, Debug)]
pub struct Ledger {
    limit: Tokens,
    /// Of all replicas, as far as this one has heard.
    known: Log,
    /// As of which change.
    acts: Acts,
    /// The newest sum heard, while it is newer than the newest log.
    latest: Option<Sum>,
    /// What sums have taken from the oldest of what is known since the newest log.
    guessed: u64,
    /// Admitted by this replica, by the store's leave or alone: what it tells a store that has lost its data.
    own: Log,
    /// Admitted by this replica alone since the store went away.
    alone: Log,
    /// When the first of those was; `None` while the store knows of all.
    alone_since: Option<Tick>,
    unsent: BTreeMap<u64, i64>,
}

impl Ledger {
    /// Opens an empty window of `limit` tokens per `span`.
    pub fn new(limit: Tokens, span: Duration) -> Self {
        let log = Log::new(buckets(span));
        Self {
            limit,
            known: log.clone(),
            acts: Acts::default(),
            latest: None,
            guessed: 0,
            own: log.clone(),
            alone: log,
            alone_since: None,
            unsent: BTreeMap::new(),
        }
    }

    /// Returns the limit.
    pub fn limit(&self) -> Tokens {
        self.limit
    }

    /// Returns the buckets of the window, as the store's scripts are told.
    pub fn buckets(&self) -> u64 {
        self.known.buckets()
    }

    /// Returns what all replicas use, as far as this one knows.
    pub fn used(&mut self, now: Tick) -> Tokens {
        Tokens(self.known.used(now).saturating_add(self.alone.used(now)))
    }

    /// Returns what this replica could admit at once if it had to share with `replicas` without asking; with 1, all
    /// that is known to be free.
    pub fn free(&mut self, now: Tick, replicas: u64) -> Tokens {
        let open = self.limit.0.saturating_sub(self.known.used(now)) / replicas.max(1);
        Tokens(open.saturating_sub(self.alone.used(now)))
    }

    /// Returns how long until `amount` fits after others of this replica had as much as is `ahead`; `None` if it never
    /// will. Nothing always fits.
    pub fn fits_after(
        &mut self,
        now: Tick,
        amount: Tokens,
        ahead: Tokens,
        replicas: u64,
    ) -> Option<Duration> {
        if amount == Tokens::ZERO {
            return Some(Duration::ZERO);
        }
        let share = self.limit.0 / replicas.max(1);
        if amount.0 > share {
            return None;
        }
        // Each full window of others takes a span more.
        let all = (amount + ahead).0;
        let spans = all.saturating_sub(1) / share.max(1);
        let own = self.fits_in(now, Tokens(all - spans * share), replicas)?;
        let span = wait(self.buckets().saturating_sub(1));
        let spans = u32::try_from(spans).unwrap_or(u32::MAX);
        Some(own.saturating_add(span.saturating_mul(spans)))
    }

    /// Returns how long until `amount` fits, by what is known; zero if it fits now, `None` if it never will.
    ///
    /// `replicas` is 1 while the store decides, since then everything that is free may go to this replica.
    pub fn fits_in(&mut self, now: Tick, amount: Tokens, replicas: u64) -> Option<Duration> {
        let replicas = replicas.max(1);
        let weighted = |tokens: u64| tokens.saturating_mul(replicas);
        if weighted(amount.0) > self.limit.0 {
            return None;
        }
        let allowed = self.limit.0 - weighted(amount.0);
        let mut used = self
            .known
            .used(now)
            .saturating_add(weighted(self.alone.used(now)));
        if used <= allowed {
            return Some(Duration::ZERO);
        }
        let newest = self.known.newest();
        for tick in self.known.oldest()..=newest {
            let leaving = weighted(self.alone.at(tick)).saturating_add(self.known.at(tick));
            used = used.saturating_sub(leaving);
            if used <= allowed {
                let ticks = (tick + self.buckets()).saturating_sub(now.0);
                return Some(wait(ticks));
            }
        }
        Some(wait(self.buckets()))
    }

    /// Notes that the store has charged `amount`, which made this sum of all replicas together.
    pub fn charged(&mut self, amount: Tokens, sum: Sum) {
        self.own.add(sum.at, amount.0);
        // What others published meanwhile may have told of it.
        self.heard(sum);
    }

    /// Notes what all replicas use, as the store says, unless something newer is known. Less than was known is believed
    /// when the whole log says so.
    pub fn heard(&mut self, sum: Sum) {
        if sum.acts >= self.acts {
            self.acts = sum.acts;
            self.latest = Some(sum);
            self.raise(sum);
        }
    }

    fn raise(&mut self, sum: Sum) {
        let missing = sum.used.0.saturating_sub(self.known.used(sum.at));
        self.known.add(sum.at, missing);
    }

    /// Charges `amount` without asking.
    pub fn charge_alone(&mut self, now: Tick, amount: Tokens) {
        self.own.add(now, amount.0);
        self.alone.add(now, amount.0);
        self.alone_since.get_or_insert(now);
        self.note(now, signed(amount.0));
    }

    /// Replaces a charge by what was really used.
    pub fn settle(&mut self, now: Tick, at: Tick, by: By, reserved: Tokens, actual: Tokens) {
        if self.own.has_left(now, at) {
            return;
        }
        // What was admitted alone before the store came back has become known to it.
        let is_alone = by == By::Alone && self.alone_since.is_some_and(|since| at >= since);
        let held = if is_alone {
            &mut self.alone
        } else {
            &mut self.known
        };
        for log in [&mut self.own, held] {
            log.add(at, actual.0.saturating_sub(reserved.0));
            log.remove(at, reserved.0.saturating_sub(actual.0));
        }
        self.note(at, signed(actual.0).saturating_sub(signed(reserved.0)));
    }

    /// Takes the changes that the store has not heard of.
    pub fn take_unsent(&mut self, now: Tick) -> Vec<Change> {
        let unsent = std::mem::take(&mut self.unsent);
        let changes = unsent
            .into_iter()
            .map(|(tick, change)| (Tick(tick), change));
        changes.filter(|change| self.counts(now, change)).collect()
    }

    /// Returns everything that this replica admitted and that still counts, for a store that has lost it.
    pub fn own_charges(&mut self, now: Tick) -> Vec<Change> {
        self.unsent.clear();
        self.own.used(now);
        let charges = self.own.entries();
        charges
            .map(|(tick, tokens)| (Tick(tick), signed(tokens)))
            .collect()
    }

    /// Replaces what is known of all replicas by what the store had as of these acts, what it has said since, and what it
    /// has not heard of yet.
    pub fn learn(
        &mut self,
        now: Tick,
        acts: Acts,
        charges: impl IntoIterator<Item = (Tick, Tokens)>,
    ) {
        self.guessed = 0;
        self.known.clear();
        self.known.used(now);
        for (tick, tokens) in charges {
            // What another clock dates into the future, the store itself brings to its present with the next charge.
            if tick.0 <= now.0.saturating_add(AHEAD) {
                self.known.add(tick, tokens.0);
            }
        }
        // The answer may have been under way while newer ones were taken in.
        self.latest = self.latest.filter(|sum| sum.acts > acts);
        self.acts = self.latest.map_or(acts, |sum| sum.acts);
        if let Some(sum) = self.latest {
            self.raise(sum);
        }
        for (tick, change) in &self.unsent {
            match change.is_negative() {
                true => self.known.remove(Tick(*tick), change.unsigned_abs()),
                false => self.known.add(Tick(*tick), change.unsigned_abs()),
            }
        }
    }

    /// Puts the sum of what is known right, unless something newer is known. By which bucket it is wrong is not said: what
    /// is too much is taken from the oldest, and what is missing is taken for new, so that nothing leaves too early.
    pub fn correct(&mut self, sum: Sum) {
        if sum.acts < self.acts {
            return;
        }
        self.acts = sum.acts;
        self.latest = Some(sum);
        let unsent = self.unsent.values();
        let unsent = unsent.fold(0i64, |sum, change| sum.saturating_add(*change));
        let used = Tokens(sum.used.0.saturating_add_signed(unsent));
        let excess = self.known.used(sum.at).saturating_sub(used.0);
        self.known.remove_oldest(excess);
        self.guessed = self.guessed.saturating_add(excess);
        self.raise(Sum { used, ..sum });
    }

    /// Says whether sums have made forecasts wrong by more than a moment: what others gave back of new charges has been
    /// taken from old ones, so that what is left seems to leave later than it does.
    pub fn is_blurred(&self) -> bool {
        self.guessed > self.limit.0.saturating_mul(MOMENT) / self.buckets()
    }

    /// Notes that the store counts anew, so that its acts say nothing about those before.
    pub fn entered(&mut self, acts: Acts) {
        self.acts = acts;
        self.latest = None;
    }

    /// Notes that the store is asked again: it has been told what was admitted alone.
    pub fn rejoined(&mut self) {
        self.alone.clear();
        self.alone_since = None;
    }

    /// Moves everything by so many ticks: the store's clock has been set, or is another's.
    pub fn turn(&mut self, by: i64) {
        for log in [&mut self.known, &mut self.own, &mut self.alone] {
            log.turn(by);
        }
        let turn = |tick: u64| tick.saturating_add_signed(by);
        if let Some(sum) = &mut self.latest {
            sum.at = Tick(turn(sum.at.0));
        }
        self.alone_since = self.alone_since.map(|since| Tick(turn(since.0)));
        let unsent = std::mem::take(&mut self.unsent);
        self.unsent = unsent.into_iter().map(|(at, it)| (turn(at), it)).collect();
    }

    /// Returns how much may be charged to the store before all `replicas` are to be told: what they have not heard of,
    /// each may take its part of once more while the store is away, so together no more than this.
    pub fn step(&self, replicas: u64) -> u64 {
        (self.limit.0 / replicas.max(1) / STEPS_OF_SHARE).max(1)
    }

    /// Says whether there are changes that the store has not heard of and that still count.
    pub fn has_unsent(&self, now: Tick) -> bool {
        let counts = |(tick, change)| self.counts(now, &(Tick(tick), change));
        self.unsent.iter().map(|(at, it)| (*at, *it)).any(counts)
    }

    /// Says whether a change makes a difference to the window.
    pub fn counts(&self, now: Tick, change: &Change) -> bool {
        change.1 != 0 && !self.own.has_left(now, change.0)
    }

    fn note(&mut self, at: Tick, change: i64) {
        let sum = self.unsent.entry(at.0).or_insert(0);
        *sum = sum.saturating_add(change);
        // While the store is away, nothing older than a window is ever sent.
        while self.unsent.len() as u64 > self.known.buckets() {
            self.unsent.pop_first();
        }
    }
}

/// Buckets that a span needs: its ticks, and the one that is still partly inside it.
fn buckets(span: Duration) -> u64 {
    Tick::of(span).0.saturating_add(1)
}

fn wait(ticks: u64) -> Duration {
    // A tick is entered somewhere inside, so the whole width is the bound.
    Tick::WIDTH.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX))
}

fn signed(tokens: u64) -> i64 {
    i64::try_from(tokens).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
