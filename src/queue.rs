//! Who waits for capacity, in which order, until when, and what they were promised.
//!
//! Requests that may use the same instances for the same model stand in one line, by the time of their arrival; only its
//! head is ever tried, so nobody is overtaken. A newcomer may wait if there is room and if it can be served within its
//! patience, counting those before it; that holds tokens and a call of one instance against the younger of other lines.
//! Who is sent away instead is told when to come again, which is a promise too (`handed`).
//! The clock is the caller's, and so are the instances: it tries, asks for forecasts, and tells what came of it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::domain::{InstanceId, ModelKey};

mod claims;
mod entry;
mod handed;
mod sums;
mod words;

use claims::Claims;
pub use claims::{Ahead, Share};
use entry::{Entry, Place, Stage};
use handed::Handed;
pub use words::{Job, Judgement, Newcomer, Offer, Ticket, Why};

/// Pause before a head is tried again although an instance seems to have room: the two must not chase each other.
const BREATH: Duration = Duration::from_millis(10);

/// Lines up to which names get their own that nobody configured: they come from clients, and every head is tried whenever
/// something was settled. Whoever would need one more stands in the common line of all those, until there are fewer.
const MOST_LINES: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum LineKey {
    /// Of those who may use the same instances for the same model.
    Of {
        model: ModelKey,
        spelled: Option<Box<str>>,
        tried: Box<[InstanceId]>,
    },
    /// Of all for whom there was no line.
    Common,
}

#[derive(Debug)]
struct Line {
    places: BTreeSet<Place>,
    /// When its head is to be tried.
    due: Instant,
}

/// A request that has left the queue.
#[derive(Debug)]
pub struct Taken<T> {
    /// What was stored with it.
    pub load: T,
    /// How long it waited; `None` if it never had to.
    pub waited: Option<Duration>,
}

/// The requests that ask for capacity, each with a load that the caller wants back.
#[derive(Debug)]
pub struct Queue<T> {
    most: usize,
    lines: HashMap<LineKey, Line>,
    entries: BTreeMap<Place, Entry<T>>,
    places: HashMap<Ticket, Place>,
    deadlines: BTreeSet<(Instant, Ticket)>,
    fresh: VecDeque<Ticket>,
    waiting: usize,
    claims: Claims,
    handed: Handed,
}

impl<T> Queue<T> {
    /// Opens an empty queue in which at most `most` requests wait.
    pub fn new(most: usize, now: Instant) -> Self {
        Self {
            most,
            lines: HashMap::new(),
            entries: BTreeMap::new(),
            places: HashMap::new(),
            deadlines: BTreeSet::new(),
            fresh: VecDeque::new(),
            waiting: 0,
            claims: Claims::default(),
            handed: Handed::new(now),
        }
    }

    /// Returns how many wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Says whether nobody is here, not even a newcomer.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Lets a request in; the next [`Job`]s decide whether it may stay.
    pub fn join(&mut self, now: Instant, newcomer: Newcomer, load: T) {
        let Newcomer {
            ticket,
            since,
            patience,
            model,
            spelled,
            is_known,
            deployments,
            mut tried,
        } = newcomer;
        tried.sort();
        let own = LineKey::Of {
            model: model.clone(),
            spelled: spelled.map(Into::into),
            tried: tried.into(),
        };
        // While anybody stands in the common line, nobody begins one that those behind it would have to be moved to.
        let has_room = self.lines.len() < MOST_LINES && !self.lines.contains_key(&LineKey::Common);
        let key = match is_known || has_room || self.lines.contains_key(&own) {
            true => own,
            false => LineKey::Common,
        };
        let place = Place { since, ticket };
        let line = self.lines.entry(key.clone()).or_insert_with(|| Line {
            places: BTreeSet::new(),
            due: now,
        });
        if line.places.first().is_none_or(|head| place < *head) {
            line.due = now;
        }
        line.places.insert(place);
        self.places.insert(ticket, place);
        self.fresh.push_back(ticket);
        let entry = Entry {
            line: key,
            model,
            deployments: deployments.into(),
            deadline: now + patience,
            stage: Stage::Fresh,
            load,
        };
        self.entries.insert(place, entry);
    }

    /// Returns what is to be done now: for those out of time, then heads that may go, the oldest first, then newcomers.
    ///
    /// Time comes first: whatever else there is to do, nobody outlives it. A head that may go at its very end is tried
    /// once more.
    pub fn next(&mut self, now: Instant) -> Option<Job> {
        if let Some((deadline, ticket)) = self.deadlines.first().copied()
            && deadline <= now
        {
            return match self.is_due(now, ticket) {
                true => Some(Job::Try(ticket)),
                false => Some(Job::Expire(ticket)),
            };
        }
        let due = self.lines.values().filter(|line| line.due <= now);
        if let Some(head) = due.filter_map(|line| line.places.first()).min() {
            return Some(Job::Try(head.ticket));
        }
        while let Some(ticket) = self.fresh.front().copied() {
            if self.is_fresh(ticket) {
                return Some(Job::Judge(ticket));
            }
            self.fresh.pop_front();
        }
        None
    }

    /// Returns when there will be something to do, if nothing happens before.
    pub fn wake_at(&self) -> Option<Instant> {
        let heads = self.lines.values().map(|line| line.due);
        let deadline = self.deadlines.first().map(|(deadline, _)| *deadline);
        heads.chain(deadline).min()
    }

    /// Says that capacity may have come back: every head is tried again.
    pub fn stir(&mut self, now: Instant) {
        for line in self.lines.values_mut() {
            line.due = line.due.min(now);
        }
    }

    /// Returns what was stored with a request that is still here.
    pub fn get(&self, ticket: Ticket) -> Option<&T> {
        let place = self.places.get(&ticket)?;
        self.entries.get(place).map(|entry| &entry.load)
    }

    /// Returns what a request must leave of an instance to those who are older, when it is tried and in a forecast.
    pub fn ahead(&self, ticket: Ticket, instance: InstanceId) -> Ahead {
        let entry = self.entry(ticket);
        let deployment = entry.and_then(|entry| entry.deployment(instance));
        let found = self.places.get(&ticket).zip(deployment);
        let ahead =
            found.map(|(place, deployment)| self.claims.before(*place, deployment, instance));
        ahead.unwrap_or_default()
    }

    /// Returns the same for a request that is sent away, with those who were sent away before.
    pub fn ahead_of_return(&mut self, now: Instant, ticket: Ticket, instance: InstanceId) -> Ahead {
        let ahead = self.ahead(ticket, instance);
        let entry = self.entry(ticket);
        let Some(deployment) = entry.and_then(|entry| entry.deployment(instance)).cloned() else {
            return ahead;
        };
        let handed = self.handed.pending(now, &deployment, instance);
        Ahead {
            all: ahead.all + handed.all,
            same_deployment: ahead.same_deployment + handed.same_deployment,
        }
    }

    /// Decides by a forecast whether a request waits, and when it is tried if it is a head; `None` if waiting is no use.
    pub fn judge(&mut self, now: Instant, ticket: Ticket, offer: Option<Offer>) -> Judgement {
        let Some(entry) = self.entry(ticket) else {
            return Judgement::Refused(Why::TooLate);
        };
        let deadline = entry.deadline;
        match (entry.stage, offer) {
            (Stage::Waiting(_, _), None) => Judgement::Refused(Why::InVain),
            (Stage::Waiting(since, before), Some(offer)) => {
                self.let_wait(ticket, since, offer);
                // A forecast may be wrong by a little, and the deadline may be now: it must not be tried for ever.
                self.put_off(ticket, now + offer.wait.max(BREATH));
                if !before.is_held_by(offer) {
                    self.release(now, ticket);
                }
                Judgement::Waits
            }
            (Stage::Fresh, Some(offer)) if now + offer.wait <= deadline && deadline > now => {
                if self.waiting >= self.most {
                    return Judgement::Refused(Why::Full);
                }
                self.let_wait(ticket, now, offer);
                self.put_off(ticket, now + offer.wait.max(BREATH));
                self.deadlines.insert((deadline, ticket));
                self.waiting += 1;
                Judgement::Waits
            }
            (Stage::Fresh, Some(_) | None) => Judgement::Refused(Why::TooLate),
        }
    }

    /// Removes a request that is served, has left or needs no decision.
    pub fn take(&mut self, now: Instant, ticket: Ticket) -> Option<Taken<T>> {
        self.release(now, ticket);
        let place = self.places.remove(&ticket)?;
        let entry = self.entries.remove(&place)?;
        if let Some(line) = self.lines.get_mut(&entry.line) {
            if line.places.first() == Some(&place) {
                // What kept the old head from going need not keep the new one.
                line.due = now;
            }
            line.places.remove(&place);
            if line.places.is_empty() {
                self.lines.remove(&entry.line);
            }
        }
        if self.entries.is_empty() {
            // Only jobs that are asked for shorten it, and for an empty queue nobody asks for any.
            self.fresh.clear();
        }
        let waited = match entry.stage {
            Stage::Fresh => None,
            Stage::Waiting(since, offer) => {
                if let Some(deployment) = entry.deployment(offer.instance) {
                    self.claims.remove(place, deployment, offer);
                }
                self.waiting -= 1;
                self.deadlines.remove(&(entry.deadline, ticket));
                Some(now.saturating_duration_since(since))
            }
        };
        Some(Taken {
            load: entry.load,
            waited,
        })
    }

    /// Removes a request that is sent away, and returns when it is told to come again: so late that it finds a place.
    pub fn turn_away(
        &mut self,
        now: Instant,
        ticket: Ticket,
        patience: Duration,
        offer: Option<Offer>,
    ) -> Option<(Taken<T>, Option<Duration>)> {
        let entry = self.entry(ticket)?;
        let promise = offer.and_then(|offer| {
            let deployment = entry.deployment(offer.instance)?;
            Some((deployment.clone(), offer))
        });
        let taken = self.take(now, ticket)?;
        let back = promise
            .map(|(deployment, offer)| self.handed.promise(now, deployment, patience, offer));
        Some((taken, back))
    }

    /// Returns how many of each model wait, and since when the first of them.
    pub fn by_model(&self) -> BTreeMap<ModelKey, (usize, Instant)> {
        let mut models = BTreeMap::new();
        for entry in self.entries.values() {
            if let Stage::Waiting(since, _) = entry.stage {
                let first = models.entry(entry.model.clone()).or_insert((0, since));
                first.0 += 1;
                first.1 = since.min(first.1);
            }
        }
        models
    }

    /// Returns what was stored with those that wait.
    pub fn waiting_loads(&self) -> impl Iterator<Item = &T> {
        let entries = self.entries.values();
        let waits = |entry: &&Entry<T>| matches!(entry.stage, Stage::Waiting(..));
        entries.filter(waits).map(|entry| &entry.load)
    }

    fn entry(&self, ticket: Ticket) -> Option<&Entry<T>> {
        self.entries.get(self.places.get(&ticket)?)
    }

    fn is_fresh(&self, ticket: Ticket) -> bool {
        let entry = self.entry(ticket);
        entry.is_some_and(|entry| matches!(entry.stage, Stage::Fresh))
    }

    fn let_wait(&mut self, ticket: Ticket, since: Instant, offer: Offer) {
        let Some(place) = self.places.get(&ticket).copied() else {
            return;
        };
        let Some(entry) = self.entries.get_mut(&place) else {
            return;
        };
        if let Stage::Waiting(_, before) = entry.stage
            && let Some(deployment) = entry.deployment(before.instance)
        {
            self.claims.remove(place, deployment, before);
        }
        if let Some(deployment) = entry.deployment(offer.instance) {
            self.claims.add(place, deployment, offer);
        }
        entry.stage = Stage::Waiting(since, offer);
    }

    /// Says whether it is a head that is to be tried now.
    fn is_due(&self, now: Instant, ticket: Ticket) -> bool {
        let entry = self.entry(ticket);
        let line = entry.and_then(|entry| self.lines.get(&entry.line));
        line.is_some_and(|line| {
            line.due <= now
                && line
                    .places
                    .first()
                    .is_some_and(|head| head.ticket == ticket)
        })
    }

    fn put_off(&mut self, ticket: Ticket, due: Instant) {
        let Some(place) = self.places.get(&ticket) else {
            return;
        };
        let Some(entry) = self.entries.get(place) else {
            return;
        };
        if let Some(line) = self.lines.get_mut(&entry.line)
            && line.places.first() == Some(place)
        {
            line.due = due;
        }
    }

    /// Lets the younger heads be tried again, which had to leave to a request what it does not wait for any more.
    fn release(&mut self, now: Instant, ticket: Ticket) {
        let Some(place) = self.places.get(&ticket) else {
            return;
        };
        let entry = self.entries.get(place);
        if entry.is_none_or(|entry| matches!(entry.stage, Stage::Fresh)) {
            return;
        }
        for line in self.lines.values_mut() {
            if line.places.first().is_some_and(|head| head > place) {
                line.due = line.due.min(now);
            }
        }
    }
}

#[cfg(test)]
mod tests;
