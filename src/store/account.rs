//! What this replica knows of one instance's shared windows: a ledger for each, and where Redis keeps them.
//!
//! What Redis said last and what it has not been told yet. Whether it can be asked is the `keeper`'s to find out, what
//! may be admitted without it the `ledger`'s.

use std::rc::Rc;

use super::ahead::{Ahead, Asking};
use super::cooldowns::Cooldowns;
use super::link::{Home, Slice};
use super::reply::{Holding, Published, Pulse};
use super::{Full, Part, RETRY_LARGE, Shared};
use crate::config::Sharing;
use crate::domain::{InstanceId, Tokens};
use crate::ledger::{Acts, By, Change, Ledger, Sum, Tick};

/// Replicas to reckon with before Redis has ever said how many there are: sharing is asked for where there are several,
/// and compose files and deployments start with two or three.
const UNSEEN: u64 = 3;

/// One of so many heartbeats brings whole windows, the others their sums: those are hundreds of times smaller.
const WHOLE: u64 = 5;

/// Changes on their way to Redis, by window. They are told again as they are until Redis has answered.
pub(super) struct Telling {
    pub(super) number: u64,
    pub(super) changes: Vec<Vec<Change>>,
}

/// One instance.
pub(super) struct Account {
    pub(super) id: InstanceId,
    pub(super) name: String,
    pub(super) home: Rc<Home>,
    /// Mark by which to see that Redis still has what it was told; empty before the first connection.
    pub(super) epoch: String,
    /// Charges and changes that Redis has counted, as far as this replica has heard: it has fewer when it has gone back
    /// to a copy.
    pub(super) acts: Acts,
    /// Live replicas, at least what the configuration says.
    pub(super) replicas: u64,
    least_replicas: u64,
    ledgers: Vec<Ledger>,
    /// Number of the last telling.
    told: u64,
    telling: Option<Rc<Telling>>,
    pub(super) cooldowns: Cooldowns,
    pub(super) ahead: Ahead,
}

impl Account {
    pub(super) fn new(
        config: &Sharing,
        replica: &str,
        id: InstanceId,
        name: &str,
        windows: &[Shared],
    ) -> Self {
        let open = |window: &Shared| Ledger::new(window.limit, window.span);
        let ledgers: Vec<Ledger> = windows.iter().map(open).collect();
        let places: Vec<_> = windows
            .iter()
            .zip(&ledgers)
            .map(|(window, ledger)| (window.name.clone(), window.limit.0, ledger.buckets()))
            .collect();
        Self {
            id,
            name: name.to_owned(),
            home: Rc::new(Home::new(&config.prefix, name, replica, &places)),
            epoch: String::new(),
            acts: Acts::default(),
            replicas: config.replicas.unwrap_or(UNSEEN),
            least_replicas: config.replicas.unwrap_or(1),
            ledgers,
            told: 0,
            telling: None,
            cooldowns: Cooldowns::default(),
            ahead: Ahead::default(),
        }
    }

    /// Takes over the mark, with the charges that Redis has counted under it. True if it is another than before.
    pub(super) fn enter(&mut self, epoch: String, acts: Acts) -> bool {
        let is_new = self.epoch != epoch;
        if is_new {
            self.acts = acts;
            for ledger in &mut self.ledgers {
                ledger.entered(acts);
            }
        }
        self.epoch = epoch;
        self.note(acts);
        is_new
    }

    /// Notes how many charges and changes Redis has counted.
    pub(super) fn note(&mut self, acts: Acts) {
        self.acts = self.acts.max(acts);
    }

    /// Returns where Redis keeps it, and the mark by which to see that it does.
    pub(super) fn address(&self) -> (Rc<Home>, String) {
        (self.home.clone(), self.epoch.clone())
    }

    /// Checks every part by what is known, after others had what is `ahead` of it; `replicas` is 1 while Redis decides.
    pub(super) fn fits(
        &mut self,
        now: Tick,
        parts: &[Part],
        replicas: u64,
        ahead: impl Fn(&Part) -> Tokens,
    ) -> Result<(), Full> {
        let mut longest = std::time::Duration::ZERO;
        for part in parts {
            let Some(ledger) = self.ledgers.get_mut(part.window) else {
                continue;
            };
            let is_too_large = part.amount > ledger.limit();
            match ledger.fits_after(now, part.amount, ahead(part), replicas) {
                Some(wait) => longest = longest.max(wait),
                None if is_too_large => return Err(Full { fits_in: None }),
                // More than a replica's share.
                None => longest = longest.max(RETRY_LARGE),
            }
        }
        match longest.is_zero() {
            true => Ok(()),
            false => Err(Full {
                fits_in: Some(longest),
            }),
        }
    }

    /// Notes that Redis has charged a request; `used` is what each window holds now.
    pub(super) fn charged(&mut self, at: Tick, acts: Acts, parts: &[Part], used: &[Tokens]) {
        for (part, &used) in parts.iter().zip(used) {
            if let Some(ledger) = self.ledgers.get_mut(part.window) {
                ledger.charged(part.amount, Sum { at, used, acts });
            }
        }
    }

    /// Says for how many more such requests to charge along with one.
    pub(super) fn worth_ahead(&mut self, now: Tick, parts: &[Part]) -> Option<Asking> {
        let replicas = self.replicas;
        let ledgers = &mut self.ledgers;
        let free: Vec<Tokens> = ledgers
            .iter_mut()
            .map(|it| it.free(now, replicas))
            .collect();
        let free = |window: usize| free.get(window).copied().unwrap_or_default();
        self.ahead.worth(parts, free)
    }

    /// Gives back what was charged ahead before a tick and is not used.
    pub(super) fn give_back(&mut self, now: Tick, before: Tick) {
        for (at, part) in self.ahead.take_left(before) {
            self.settle(now, at, By::Store, &part, Tokens::ZERO);
        }
    }

    /// Notes what each window holds for which Redis had no room.
    pub(super) fn heard(&mut self, at: Tick, acts: Acts, parts: &[Part], used: &[Tokens]) {
        for (part, &used) in parts.iter().zip(used) {
            if let Some(ledger) = self.ledgers.get_mut(part.window) {
                ledger.heard(Sum { at, used, acts });
            }
        }
    }

    pub(super) fn charge_alone(&mut self, now: Tick, parts: &[Part]) {
        for part in parts {
            if let Some(ledger) = self.ledgers.get_mut(part.window) {
                ledger.charge_alone(now, part.amount);
            }
        }
    }

    pub(super) fn settle(&mut self, now: Tick, at: Tick, by: By, part: &Part, actual: Tokens) {
        if let Some(ledger) = self.ledgers.get_mut(part.window) {
            ledger.settle(now, at, by, part.amount, actual);
        }
    }

    pub(super) fn used(&mut self, now: Tick, window: usize) -> Tokens {
        let ledger = self.ledgers.get_mut(window);
        ledger.map_or(Tokens::ZERO, |ledger| ledger.used(now))
    }

    pub(super) fn free(&mut self, now: Tick, window: usize, is_well: bool) -> Tokens {
        let replicas = if is_well { 1 } else { self.replicas };
        let ledger = self.ledgers.get_mut(window);
        ledger.map_or(Tokens::ZERO, |ledger| ledger.free(now, replicas))
    }

    /// Returns what is being told and not answered yet.
    pub(super) fn telling(&self) -> Option<Rc<Telling>> {
        self.telling.clone()
    }

    /// Returns what Redis has not heard of, to be told.
    pub(super) fn tell_unsent(&mut self, now: Tick) -> Option<Rc<Telling>> {
        self.give_back(now, now);
        let ledgers = self.ledgers.iter_mut();
        let changes = ledgers.map(|ledger| ledger.take_unsent(now)).collect();
        self.begin_telling(changes)
    }

    /// Returns all that was admitted here and still counts, to be told to a Redis that knows nothing.
    pub(super) fn tell_all(&mut self, now: Tick) -> Option<Rc<Telling>> {
        self.give_back(now, now);
        let ledgers = self.ledgers.iter_mut();
        let changes = ledgers.map(|ledger| ledger.own_charges(now)).collect();
        self.begin_telling(changes)
    }

    fn begin_telling(&mut self, changes: Vec<Vec<Change>>) -> Option<Rc<Telling>> {
        self.telling = None;
        if changes.iter().any(|changes| !changes.is_empty()) {
            self.told += 1;
            let number = self.told;
            self.telling = Some(Rc::new(Telling { number, changes }));
        }
        self.telling()
    }

    /// Notes that Redis has heard what it was told.
    pub(super) fn told(&mut self, acts: Acts) {
        self.telling = None;
        self.note(acts);
    }

    /// Says whether something was admitted here and still counts that Redis, if it still had the epoch, may not know.
    pub(super) fn has_unsent(&self, now: Tick) -> bool {
        let telling = self.telling.as_ref();
        let told = telling.map_or(&[][..], |telling| &telling.changes);
        let mut told = self.ledgers.iter().zip(told);
        told.any(|(ledger, changes)| changes.iter().any(|it| ledger.counts(now, it)))
            || self.ledgers.iter().any(|ledger| ledger.has_unsent(now))
    }

    /// Says whether this heartbeat is to bring whole windows: where sums do not tell enough, and else in turn with the
    /// other instances, since all of them at once would hold up the requests behind them.
    pub(super) fn wants_whole(&self, beats: u64) -> bool {
        let has_turn = beats.saturating_add(self.id.0 as u64).is_multiple_of(WHOLE);
        has_turn || self.ledgers.iter().any(Ledger::is_blurred)
    }

    /// Takes over what a heartbeat brought.
    pub(super) fn learn(&mut self, now: Tick, pulse: &Pulse) {
        self.cooldowns.news = pulse.news;
        let (at, acts) = (now, pulse.acts);
        for (ledger, held) in self.ledgers.iter_mut().zip(&pulse.windows) {
            match held {
                Holding::Log(charges) => ledger.learn(now, acts, charges.iter().copied()),
                &Holding::Sum(used) => ledger.correct(Sum { at, used, acts }),
            }
        }
    }

    /// Takes over how many replicas live. While they come back one after another, there are no fewer than before.
    pub(super) fn count_replicas(&mut self, live: u64, is_complete: bool) {
        let least = if is_complete { 1 } else { self.replicas };
        self.replicas = live.max(self.least_replicas).max(least);
    }

    /// Takes over what a window holds, as was published. What a Redis of another life said is nothing to this one.
    pub(super) fn listened(&mut self, at: Tick, said: &Published) {
        if said.epoch != self.epoch {
            return;
        }
        self.note(said.acts);
        let (used, acts) = (said.used, said.acts);
        let places = self.home.windows.iter();
        for (ledger, place) in self.ledgers.iter_mut().zip(places) {
            if place.key == said.key {
                ledger.heard(Sum { at, used, acts });
            }
        }
    }

    /// Follows Redis's clock, which reads so many ticks more than was thought.
    pub(super) fn turn(&mut self, by: i64) {
        for ledger in &mut self.ledgers {
            ledger.turn(by);
        }
        self.ahead.turn(by);
        // They say by the old clock when they end. Each replica goes on keeping to what it knows.
        self.cooldowns.forget();
    }

    /// Returns what a call is to say of each of these windows.
    pub(super) fn slices<'a, T>(
        &self,
        home: &'a Home,
        windows: impl IntoIterator<Item = (usize, T)>,
    ) -> Vec<Slice<'a, T>> {
        let slice = |(position, what): (usize, T)| {
            Some(Slice {
                place: home.windows.get(position)?,
                step: self.ledgers.get(position)?.step(self.replicas),
                what,
            })
        };
        windows.into_iter().filter_map(slice).collect()
    }

    pub(super) fn rejoined(&mut self) {
        for ledger in &mut self.ledgers {
            ledger.rejoined();
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
