//! What is kept at one place: the connection, its mode, the accounts, the clock, and how a request is decided.
//!
//! A call that fails ends the connection for all accounts. The keeper alone makes the next one.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use redis::PushInfo;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant as Deadline;

use super::account::Account;
use super::link::{self, Expected, Link};
use super::reply::{self, Verdict};
use super::{Charge, Full, JUMPED, LOST, Part, RETRY_UNHEARD, Wait};
use crate::config::Sharing;
use crate::domain::Tokens;
use crate::ledger::{Acts, By, Tick};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Nothing is known yet.
    Starting,
    /// Redis cannot be used.
    Down,
    /// Redis is told what was admitted; others may still have to tell it.
    Returning,
    /// Redis decides.
    Well,
}

/// How far Redis's clock may stray between two heartbeats: more than clocks that are kept in time are ever put right by.
const STRAY: Duration = Duration::from_secs(2);

/// What the clock is put right by at least: clocks are kept in time by smaller steps.
const LATE: i64 = 5;

/// Redis's clock, as this process knows it.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    pub(super) at: Instant,
    pub(super) reads: Duration,
    /// It is Redis's, and not only this machine's.
    pub(super) is_known: bool,
    /// Ticks by which it was put right so far.
    pub(super) turned: i64,
}

pub(super) struct Inner {
    pub(super) config: Rc<Sharing>,
    pub(super) roots: Option<Rc<[u8]>>,
    pub(super) replica: Rc<str>,
    /// Whose quota is kept here, for the log.
    pub(super) instances: String,
    pub(super) accounts: Vec<RefCell<Account>>,
    pub(super) link: RefCell<Option<Rc<Link>>>,
    pub(super) mode: Cell<Mode>,
    pub(super) cause: RefCell<String>,
    pub(super) clock: Cell<Clock>,
    /// What other replicas have published and nobody has looked at yet.
    pub(super) ear: RefCell<Option<UnboundedReceiver<PushInfo>>>,
    /// The log has said that Redis does not tell what others publish.
    pub(super) is_deaf: Cell<bool>,
    pub(super) losses: Cell<u64>,
    /// The log has said that Redis is degraded, and not yet that it is back.
    pub(super) is_complained: Cell<bool>,
    /// Cooldowns have changed since the last heartbeat.
    pub(super) is_news: Cell<bool>,
    /// Heartbeats so far.
    pub(super) beats: Cell<u64>,
    /// Something is waiting for the keeper.
    pub(super) work: Notify,
    /// The first attempt to connect has ended.
    pub(super) begun: Notify,
}

impl Inner {
    pub(super) fn new(
        config: &Rc<Sharing>,
        roots: &Option<Rc<[u8]>>,
        replica: &Rc<str>,
        instances: &str,
        accounts: Vec<Account>,
    ) -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            config: config.clone(),
            roots: roots.clone(),
            replica: replica.clone(),
            instances: instances.to_owned(),
            accounts: accounts.into_iter().map(RefCell::new).collect(),
            link: RefCell::new(None),
            mode: Cell::new(Mode::Starting),
            cause: RefCell::new("not connected yet".to_owned()),
            clock: Cell::new(Clock {
                at: now(),
                reads: since_epoch.unwrap_or_default(),
                is_known: false,
                turned: 0,
            }),
            ear: RefCell::new(None),
            is_deaf: Cell::new(false),
            losses: Cell::new(0),
            is_complained: Cell::new(false),
            is_news: Cell::new(false),
            beats: Cell::new(0),
            work: Notify::new(),
            begun: Notify::new(),
        }
    }

    /// Takes a request from what was charged ahead.
    pub(super) fn take_ahead(&self, account: &RefCell<Account>, parts: &[Part]) -> Option<Charge> {
        let at = account.borrow_mut().ahead.take(self.tick(), parts)?;
        Some(self.charge(at, By::Store, parts.to_vec()))
    }

    fn charge(&self, at: Tick, by: By, parts: Vec<Part>) -> Charge {
        Charge {
            at,
            turned: self.clock.get().turned,
            by,
            parts,
        }
    }

    /// Waits until the first attempt to connect has ended; then the mode says what came of it. Nobody waits for that after
    /// a request has in vain.
    pub(super) async fn wait_for_start(&self, wait: Wait) {
        let begun = self.begun.notified();
        let is_over = tokio::time::timeout_at(wait.until, begun).await.is_err();
        if is_over && self.mode.get() == Mode::Starting {
            let cause = self.mute();
            self.mode.set(Mode::Down);
            self.complain(&cause);
            self.cause.replace(cause);
            self.begun.notify_waiters();
        }
    }

    /// Asks Redis; `None` if it failed and the replica is on its own.
    pub(super) async fn ask(
        &self,
        account: &RefCell<Account>,
        parts: &[Part],
        wait: Wait,
    ) -> Option<Result<Charge, Full>> {
        let asking = account.borrow_mut().worth_ahead(self.tick(), parts);
        if let Some(asking) = asking {
            let more = asking.count;
            let all: Vec<Part> = parts.iter().map(|part| part.times(more + 1)).collect();
            if let Ok(at) = self.ask_for(account, &all, wait).await? {
                account.borrow_mut().ahead.keep(at, parts, more);
                return Some(Ok(self.charge(at, By::Store, parts.to_vec())));
            }
            // Others were quicker: there may still be room for one.
        }
        let answer = self.ask_for(account, parts, wait).await?;
        Some(answer.map(|at| self.charge(at, By::Store, parts.to_vec())))
    }

    async fn ask_for(
        &self,
        account: &RefCell<Account>,
        parts: &[Part],
        wait: Wait,
    ) -> Option<Result<Tick, Full>> {
        // The keeper may be coming back meanwhile: until it has, the connection is its own.
        let link = self.link.borrow().clone();
        let link = link.filter(|_| self.mode.get() == Mode::Well)?;
        let (home, epoch) = account.borrow().address();
        let amounts = parts.iter().map(|part| (part.window, part.amount.0));
        let windows = account.borrow().slices(&home, amounts);
        let call = link.reserve(&home, &epoch, self.expected(), &windows);
        let verdict = match self.bounded_until(wait.until, call).await {
            Ok(verdict) => verdict,
            // Earlier rounds have left too little time: that says nothing about Redis.
            Err(_) if !wait.is_fair && Deadline::now() >= wait.until => {
                let fits_in = Some(RETRY_UNHEARD);
                return Some(Err(Full { fits_in }));
            }
            Err(cause) => {
                self.lose(&link, cause);
                return None;
            }
        };
        let learned = self.learn(&mut account.borrow_mut(), &epoch, parts, verdict);
        learned
            .map_err(|cause| self.lose(&link, cause.to_owned()))
            .ok()
    }

    /// Takes over what Redis says to a charge asked for under an epoch; an error is why it is not to be used any longer.
    fn learn(
        &self,
        account: &mut Account,
        epoch: &str,
        parts: &[Part],
        verdict: Verdict,
    ) -> Result<Result<Tick, Full>, &'static str> {
        // A late answer: the charge is gone with all else of that time, and its count says nothing of this one's.
        if account.epoch != epoch {
            return Err(LOST);
        }
        match verdict {
            Verdict::Charged {
                news,
                acts,
                at,
                used,
            } => {
                self.hear(account, news, acts);
                account.charged(at, acts, parts, &used);
                Ok(Ok(at))
            }
            Verdict::Full {
                news,
                acts,
                wait,
                used,
            } => {
                self.hear(account, news, acts);
                account.heard(self.tick(), acts, parts, &used);
                Ok(Err(Full { fits_in: wait }))
            }
            Verdict::Lost => Err(LOST),
            Verdict::Jumped => Err(JUMPED),
        }
    }

    /// Has the keeper look at the cooldowns if they have changed.
    fn hear(&self, account: &mut Account, news: i64, acts: Acts) {
        account.note(acts);
        if account.cooldowns.news != news {
            self.is_news.set(true);
            self.work.notify_one();
        }
    }

    /// Takes in what other replicas have published.
    pub(super) fn listen(&self) {
        let mut ear = self.ear.borrow_mut();
        let Some(ear) = ear.as_mut() else {
            return;
        };
        while let Ok(push) = ear.try_recv() {
            let Some(said) = reply::published(push) else {
                continue;
            };
            for account in &self.accounts {
                let mut account = account.borrow_mut();
                if account.home.channel() == said.channel {
                    account.listened(self.tick(), &said);
                }
            }
        }
    }

    pub(super) fn admit_alone(
        &self,
        account: &RefCell<Account>,
        parts: Vec<Part>,
    ) -> Result<Charge, Full> {
        self.listen();
        let at = self.tick();
        let mut account = account.borrow_mut();
        let replicas = account.replicas;
        account.fits(at, &parts, replicas, |_| Tokens::ZERO)?;
        account.charge_alone(at, &parts);
        Ok(self.charge(at, By::Alone, parts))
    }

    /// Waits for a call, no longer than allowed.
    pub(super) async fn bounded<T>(
        &self,
        call: impl Future<Output = redis::RedisResult<T>>,
    ) -> Result<T, String> {
        let until = Deadline::now() + self.config.timeout;
        self.bounded_until(until, call).await
    }

    async fn bounded_until<T>(
        &self,
        until: Deadline,
        call: impl Future<Output = redis::RedisResult<T>>,
    ) -> Result<T, String> {
        match tokio::time::timeout_at(until, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(link::describe(&error)),
            Err(_) => Err(self.mute()),
        }
    }

    fn mute(&self) -> String {
        format!("no answer within {} ms", self.config.timeout.as_millis())
    }

    /// Leaves Redis alone until the keeper has it back. Failures of a connection that was given up already say nothing.
    pub(super) fn lose(&self, link: &Rc<Link>, cause: String) {
        let is_current = self
            .link
            .borrow()
            .as_ref()
            .is_some_and(|current| Rc::ptr_eq(current, link));
        if !is_current {
            return;
        }
        self.link.borrow_mut().take();
        if self.mode.get() == Mode::Well {
            self.losses.set(self.losses.get() + 1);
        }
        self.complain(&cause);
        self.mode.set(Mode::Down);
        self.cause.replace(cause);
        self.work.notify_one();
    }

    /// Says whether Redis may not have heard of all.
    pub(super) fn has_unsent(&self) -> bool {
        let (now, mut accounts) = (self.tick(), self.accounts.iter());
        accounts.any(|account| account.borrow().has_unsent(now))
    }

    /// Logs a degradation once.
    pub(super) fn complain(&self, cause: &str) {
        let replicas = self.replicas();
        let instances = self.instances.as_str();
        match self.is_complained.replace(true) {
            false => {
                log::warn!(cause, replicas, instances; "redis is degraded: each replica keeps to its share")
            }
            true => log::debug!(cause; "redis is still degraded"),
        }
    }

    pub(super) fn replicas(&self) -> u64 {
        let counts = self.accounts.iter().map(|it| it.borrow().replicas);
        counts.max().unwrap_or(1)
    }

    pub(super) fn tick(&self) -> Tick {
        Tick::of(self.time())
    }

    /// Returns what Redis's clock reads, since 1970.
    pub(super) fn time(&self) -> Duration {
        let clock = self.clock.get();
        clock.reads + now().saturating_duration_since(clock.at)
    }

    /// Returns what a call may expect Redis's clock to read.
    pub(super) fn expected(&self) -> Expected {
        Expected {
            reads: self.clock.get().is_known.then(|| self.time()),
            // A call may be under way for as long, and so may the answer by which the clock was read.
            give_or_take: STRAY + self.config.timeout * 2,
        }
    }

    /// Takes over what Redis's clock read some time after `asked`. Where it was put forward or back, all that is known
    /// moves with it.
    pub(super) fn read_clock(&self, asked: Instant, reads: Duration) {
        let by = self.set_clock(asked, reads);
        let clock = self.clock.get();
        self.clock.set(Clock {
            turned: clock.turned.saturating_add(by),
            ..clock
        });
        if by != 0 {
            for account in &self.accounts {
                account.borrow_mut().turn(by);
            }
        }
    }

    /// Takes over what Redis's clock read some time after `asked`, and returns by how many ticks it is not what was thought.
    pub(super) fn set_clock(&self, asked: Instant, reads: Duration) -> i64 {
        let took = now().saturating_duration_since(asked);
        let reads = self.time().clamp(reads, reads.saturating_add(took));
        let ticks = |time| i64::try_from(Tick::of(time).0).unwrap_or(i64::MAX);
        let by = ticks(reads).saturating_sub(ticks(self.time()));
        self.clock.set(Clock {
            at: now(),
            reads,
            is_known: true,
            ..self.clock.get()
        });
        if by.abs() < LATE { 0 } else { by }
    }
}

/// Returns this machine's clock, which tests can pause.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests;
