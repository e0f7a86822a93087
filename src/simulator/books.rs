//! What a simulated resource knows while it runs: quotas, the script, the requests seen, counters.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;

use super::quota::Quota;
use super::resource::{Overhead, Resource};
use super::script::Play;
use super::shelf::Shelf;
use super::talks::Talks;
use super::wire::Head;
use crate::domain::Tokens;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `POST`, `GET`...
    pub method: String,
    /// Path and query as sent.
    pub target: String,
    /// Names in lower case, in the order sent.
    pub headers: Vec<(String, String)>,
    /// The body without framing; empty where the answer did not wait for it.
    pub body: Bytes,
    /// When the whole request was there.
    pub at: Instant,
    /// The deployment of the URL, or the `model` of the body in the v1 form.
    pub deployment: Option<String>,
    /// Numbers the connections in the order they were accepted, from 1.
    pub connection: u64,
}

impl Seen {
    /// Returns the first header of a lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Totals since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests that arrived.
    pub requests: u64,
    /// Requests that were admitted and charged.
    pub admitted: u64,
    /// Requests that the quota refused with a 429.
    pub throttled: u64,
    /// Responses of any status that were written to their end.
    pub answered: u64,
    /// Responses during which the client went away.
    pub abandoned: u64,
    /// Tokens charged at admission.
    pub charged: Tokens,
    /// Connections accepted.
    pub connections: u64,
}

/// The mutable half of a simulated resource.
#[derive(Debug)]
pub(super) struct Books {
    plays: VecDeque<Play>,
    pub(super) always: Option<Play>,
    seen: VecDeque<Seen>,
    remembered: usize,
    quotas: HashMap<String, Quota>,
    overheads: HashMap<String, Overhead>,
    pub(super) shelf: Shelf,
    pub(super) talks: Talks,
    pub(super) counters: Counters,
    pub(super) open_connections: usize,
}

impl Books {
    pub(super) fn new(resource: &Resource) -> Self {
        let mut quotas = HashMap::new();
        let mut overheads = HashMap::new();
        for deployment in &resource.deployments {
            let quota = Quota::new(&deployment.model, deployment.tpm, deployment.rpm);
            quotas.insert(deployment.name.clone(), quota);
            overheads.insert(deployment.name.clone(), deployment.overhead);
        }
        Self {
            plays: VecDeque::new(),
            always: None,
            seen: VecDeque::new(),
            remembered: resource.remembered,
            quotas,
            overheads,
            shelf: Shelf::default(),
            talks: Talks::default(),
            counters: Counters::default(),
            open_connections: 0,
        }
    }

    pub(super) fn queue(&mut self, plays: impl IntoIterator<Item = Play>) {
        self.plays.extend(plays);
    }

    pub(super) fn unplayed(&self) -> usize {
        self.plays.len()
    }

    /// Takes the play for an inference request that has arrived.
    pub(super) fn next_play(&mut self) -> Play {
        let scripted = self.plays.pop_front().or_else(|| self.always.clone());
        scripted.unwrap_or(Play::Honest)
    }

    pub(super) fn quota(&mut self, deployment: &str) -> Option<&mut Quota> {
        self.quotas.get_mut(deployment)
    }

    /// Returns what a deployment reports beyond the text of a prompt.
    pub(super) fn overhead(&self, deployment: &str) -> Overhead {
        self.overheads.get(deployment).copied().unwrap_or_default()
    }

    pub(super) fn set_overhead(&mut self, deployment: &str, overhead: Overhead) {
        self.overheads.insert(deployment.to_owned(), overhead);
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.iter().cloned().collect()
    }

    pub(super) fn forget_seen(&mut self) {
        self.seen.clear();
    }

    /// Writes down a request, and forgets the oldest when there are too many.
    pub(super) fn note(&mut self, seen: Seen) {
        self.counters.requests += 1;
        self.seen.push_back(seen);
        while self.seen.len() > self.remembered {
            self.seen.pop_front();
        }
    }
}

impl Seen {
    pub(super) fn new(
        head: &Head,
        body: Bytes,
        at: Instant,
        deployment: Option<String>,
        connection: u64,
    ) -> Self {
        Self {
            method: head.method.clone(),
            target: head.target.clone(),
            headers: head.headers.clone(),
            body,
            at,
            deployment,
            connection,
        }
    }
}
