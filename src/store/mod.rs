//! The quota that several replicas share through Redis, and what becomes of it while Redis is away.
//!
//! A [`Store`] belongs to the thread of the actors. [`Store::admit`] asks Redis to charge a request to all its windows at
//! once; no call lasts longer than `REDIS_TIMEOUT_MS`. The first that fails makes the store degraded for all: from then on
//! requests are decided by the [`ledger`](crate::ledger) alone, at once, until the keeper, the one task in the background,
//! has brought Redis up to date again. The keeper also tells Redis what requests really used, announces this replica,
//! and hears what the others use. Health, tokens and which instance to ask are left to the actors.

mod account;
mod ahead;
mod cooldowns;
mod inner;
mod keeper;
mod link;
mod reply;
mod roots;
mod wire;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::config::{Servers, Sharing};
use crate::domain::{InstanceId, Tokens};
use crate::ledger::{By, Tick};
use account::Account;
pub use cooldowns::{About, Cooldown, News};
use inner::{Inner, Mode};

/// Why Redis is not used if it does not have what it was told, after a restart for instance.
const LOST: &str = "it has lost its data";

/// Why Redis is not used if its clock reads what no clock that goes can read, after a failover for instance.
const JUMPED: &str = "its clock has been set";

/// When to ask again for an amount that is more than this replica's part of the limit: Redis may be back by then.
const RETRY_LARGE: Duration = Duration::from_secs(5);

/// When to ask again if there was no time left to hear whether it fits.
const RETRY_UNHEARD: Duration = Duration::from_secs(1);

/// A window that the replicas share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// Name inside its instance, the same on all replicas.
    pub name: String,
    /// What it holds at most.
    pub limit: Tokens,
    /// How long a charge counts.
    pub span: Duration,
}

/// What a request charges to one window: the position among the instance's windows, and the amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Position of the window.
    pub window: usize,
    /// Amount.
    pub amount: Tokens,
}

impl Part {
    fn times(self, count: u64) -> Self {
        let amount = Tokens(self.amount.0.saturating_mul(count));
        Self { amount, ..self }
    }
}

/// Charges that were made, to be settled once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    at: Tick,
    /// By how many ticks the clock had been put right until then.
    turned: i64,
    by: By,
    parts: Vec<Part>,
}

impl Charge {
    /// Returns what was charged.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }
}

/// A request does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// When it does; `None` if never.
    pub fits_in: Option<Duration>,
}

/// How long one request may still wait for Redis, however often it asks.
#[derive(Debug)]
pub struct Patience {
    whole: Duration,
    left: Duration,
}

impl Patience {
    /// Says whether there is none left.
    pub fn is_spent(&self) -> bool {
        self.left.is_zero()
    }

    fn begin(&self) -> Wait {
        Wait {
            until: Instant::now() + self.left,
            is_fair: self.left * 2 >= self.whole,
        }
    }
}

/// One wait of a request.
#[derive(Clone, Copy)]
struct Wait {
    until: Instant,
    /// It is long enough to say that Redis does not answer.
    is_fair: bool,
}

/// How the sharing stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Why Redis is not used; `None` while it is.
    pub degraded: Option<String>,
    /// Live replicas, this one included; the last known number while degraded.
    pub replicas: u64,
    /// Times that Redis was lost since the start.
    pub losses: u64,
}

impl Standing {
    /// Returns the word that operators see.
    pub fn word(&self) -> &'static str {
        match self.degraded {
            Some(_) => "degraded",
            None => "shared",
        }
    }
}

/// The shared quota of all instances; clones are the same.
///
/// What is kept in one place stands and falls together: a server holds all instances, while in a cluster the node that
/// holds one may be lost and those of the others not.
#[derive(Clone)]
pub struct Store {
    places: Rc<[Inner]>,
    /// Where each instance is: the place, and its position there.
    seats: Rc<[(usize, usize)]>,
}

impl Store {
    /// Prepares the store; `instances` have the windows of each instance, by its name. Nothing is connected until
    /// [`Store::keep`] runs.
    pub fn new(config: Sharing, replica: u64, instances: &[(String, Vec<Shared>)]) -> Self {
        let roots = roots::pem(&config).map(Rc::from);
        let config = Rc::new(config);
        let replica: Rc<str> = Rc::from(format!("{replica:016x}"));
        let account = |id: usize, (name, windows): &(String, Vec<Shared>)| {
            Account::new(&config, &replica, InstanceId(id), name, windows)
        };
        let open = |name: &str, accounts| Inner::new(&config, &roots, &replica, name, accounts);
        let accounts = instances.iter().enumerate();
        let accounts = accounts.map(|(id, instance)| account(id, instance));
        let numbers = 0..instances.len();
        let (places, seats) = match config.servers {
            Servers::One(_) | Servers::Sentinels(_) => (
                vec![open("all", accounts.collect())],
                numbers.map(|id| (0, id)).collect(),
            ),
            Servers::Cluster(_) => (
                accounts
                    .map(|account| open(&account.name.clone(), vec![account]))
                    .collect(),
                numbers.map(|id| (id, 0)).collect(),
            ),
        };
        Self {
            places: Rc::from(places),
            seats,
        }
    }

    fn seat(&self, id: InstanceId) -> Option<(&Inner, &RefCell<Account>)> {
        let (place, position) = self.seats.get(id.0)?;
        let place = self.places.get(*place)?;
        Some((place, place.accounts.get(*position)?))
    }

    /// Says by what is known here whether the parts of a request fit once others had what is `ahead` of each, without
    /// asking.
    ///
    /// # Errors
    /// If they do not.
    pub fn fits(
        &self,
        id: InstanceId,
        parts: &[Part],
        ahead: impl Fn(&Part) -> Tokens,
    ) -> Result<(), Full> {
        let (inner, account) = self.seat(id).ok_or(Full { fits_in: None })?;
        inner.listen();
        let now = inner.tick();
        let mut account = account.borrow_mut();
        let replicas = match inner.mode.get() {
            Mode::Well | Mode::Starting => 1,
            Mode::Down | Mode::Returning => account.replicas,
        };
        account.fits(now, parts, replicas, ahead)
    }

    /// Returns how long any wait for Redis may last: `REDIS_TIMEOUT_MS`.
    pub fn timeout(&self) -> Duration {
        let place = self.places.first();
        place.map_or(Duration::ZERO, |place| place.config.timeout)
    }

    /// Returns how long a request may wait in all its calls of [`Store::admit`].
    pub fn patience(&self) -> Patience {
        let whole = self.timeout();
        Patience { whole, left: whole }
    }

    /// Charges the parts of a request at an instance, or says why not. Takes no longer than its patience, and from it.
    ///
    /// # Errors
    /// If it does not fit.
    pub async fn admit(
        &self,
        id: InstanceId,
        parts: Vec<Part>,
        patience: &mut Patience,
    ) -> Result<Charge, Full> {
        let start = Instant::now();
        let answer = self.admit_within(id, parts, patience.begin()).await;
        patience.left = patience.left.saturating_sub(start.elapsed());
        answer
    }

    async fn admit_within(
        &self,
        id: InstanceId,
        parts: Vec<Part>,
        wait: Wait,
    ) -> Result<Charge, Full> {
        let (inner, account) = self.seat(id).ok_or(Full { fits_in: None })?;
        if inner.mode.get() == Mode::Starting {
            inner.wait_for_start(wait).await;
        }
        if inner.mode.get() == Mode::Well {
            inner.listen();
            if let Some(charge) = inner.take_ahead(account, &parts) {
                return Ok(charge);
            }
            let now = inner.tick();
            account
                .borrow_mut()
                .fits(now, &parts, 1, |_| Tokens::ZERO)?;
            if let Some(answer) = inner.ask(account, &parts, wait).await {
                return answer;
            }
        }
        inner.admit_alone(account, parts)
    }

    /// Replaces charges by what was really used: `actual` for each part. Redis hears of it soon.
    pub fn settle(&self, id: InstanceId, charge: &Charge, actual: impl Fn(&Part) -> Tokens) {
        let Some((inner, account)) = self.seat(id) else {
            return;
        };
        let turned = inner.clock.get().turned.saturating_sub(charge.turned);
        let at = Tick(charge.at.0.saturating_add_signed(turned));
        let mut account = account.borrow_mut();
        for part in &charge.parts {
            account.settle(inner.tick(), at, charge.by, part, actual(part));
        }
        inner.work.notify_one();
    }

    /// Tells the other replicas to leave something alone for a while.
    pub fn begin(&self, id: InstanceId, cooldown: &Cooldown) {
        if let Some((inner, account)) = self.seat(id) {
            let cooldowns = &mut account.borrow_mut().cooldowns;
            cooldowns.begin(inner.time(), &inner.replica, cooldown);
            inner.work.notify_one();
        }
    }

    /// Tells the other replicas that something need not be left alone any longer, if they may think so.
    pub fn end(&self, id: InstanceId, about: &About) {
        if let Some((inner, account)) = self.seat(id) {
            account.borrow_mut().cooldowns.end(about);
            inner.work.notify_one();
        }
    }

    /// Returns what all replicas use in a window, as far as this one knows.
    pub fn used(&self, id: InstanceId, window: usize) -> Tokens {
        self.seat(id).map_or(Tokens::ZERO, |(inner, account)| {
            inner.listen();
            account.borrow_mut().used(inner.tick(), window)
        })
    }

    /// Returns what is known to be free for this replica in a window.
    pub fn free(&self, id: InstanceId, window: usize) -> Tokens {
        self.seat(id).map_or(Tokens::ZERO, |(inner, account)| {
            let is_well = inner.mode.get() == Mode::Well;
            account.borrow_mut().free(inner.tick(), window, is_well)
        })
    }

    /// Returns how the sharing stands.
    pub fn standing(&self) -> Standing {
        let down = self
            .places
            .iter()
            .filter(|place| place.mode.get() != Mode::Well);
        let down: Vec<&Inner> = down.collect();
        let cause = |place: &&Inner| place.cause.borrow().clone();
        let degraded = match (down.first(), down.len() < self.places.len()) {
            (Some(first), false) => Some(cause(first)),
            (Some(first), true) => {
                let names: Vec<&str> = down.iter().map(|place| place.instances.as_str()).collect();
                Some(format!("for {}: {}", names.join(", "), cause(first)))
            }
            (None, _) => None,
        };
        let replicas = self.places.iter().map(Inner::replicas).max();
        Standing {
            degraded,
            replicas: replicas.unwrap_or(1),
            losses: self.places.iter().map(|place| place.losses.get()).sum(),
        }
    }

    /// Keeps the connection, tells and hears, until it is dropped. One such task runs for each store.
    ///
    /// `listen` is called after each heartbeat, for each instance, with what other replicas have found out.
    pub async fn keep(self, listen: impl Fn(InstanceId, Vec<News>)) {
        join_all(self.places.iter().map(|place| keeper::run(place, &listen))).await;
    }

    /// Tells Redis what it has not heard of yet and takes this replica out, for the end. The task of [`Store::keep`] must
    /// have ended. Where Redis is away there is nobody to tell.
    pub async fn leave(&self, until: Instant) {
        join_all(self.places.iter().map(|place| keeper::leave(place, until))).await;
    }
}
