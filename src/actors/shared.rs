//! Between the actors and the store: what a request takes from the windows that replicas share.
//!
//! An instance first looks whether its own window and what is known of the shared ones would do, which costs nothing. Only
//! then the Registry has the store charge the request, and gives the reservation back if the store refuses; by then the
//! instance knows why, and the next round asks others. Nobody waits for a round trip but the request itself.

use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use actix_rt::task::JoinHandle;
use tokio::time::Instant;

use super::askers::Asker;
use super::dispatcher::Dispatcher;
use super::lease::{Lease, Shared};
use super::member::Member;
use super::messages::{Acquire, Outcome, Unavailable, Want};
use super::refusal::Refusal;
use crate::config::{InstanceConfig, Sharing};
use crate::correction::Basis;
use crate::domain::{Deployment, InstanceId, ModelKey, Tokens};
use crate::quota::{End, Need};
use crate::store::{self, About, Cooldown, Full, News, Part, Standing, Store};
use crate::window::WINDOW;

/// Rounds that a request asks. More than one is needed only when others take what this replica still thinks free.
const ROUNDS: usize = 8;

/// Position of the instance's own window of tokens.
const TOKENS: usize = 0;

/// Tells an instance what other replicas have found out about it.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Adopt(pub(super) Vec<News>);

/// Asks the Registry how sharing with other replicas stands; `None` if each replica is on its own.
#[derive(Message, Debug)]
#[rtype(result = "Option<Standing>")]
pub struct DescribeSharing;

/// Tells the Registry that no request will come any more. It answers when the other replicas have been told what these used,
/// or after `REDIS_TIMEOUT_MS`.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Farewell;

/// How often to look whether all requests have been settled.
const LOOK: Duration = Duration::from_millis(1);

/// Leaves the other replicas, once what has just ended is settled; that may still be on its way from the workers' threads.
pub(super) async fn leave(store: Store, keeper: Option<JoinHandle<()>>, members: Rc<[Member]>) {
    let start = Instant::now();
    let is_open = || members.iter().any(|member| member.gauge.in_flight() > 0);
    while is_open() && start.elapsed() < store.timeout() / 2 {
        actix_rt::time::sleep(LOOK).await;
    }
    if let Some(keeper) = keeper {
        keeper.abort();
        let _ = keeper.await;
    }
    store.leave(start + store.timeout()).await;
}

/// Opens the store of these instances.
pub(super) fn open(sharing: Sharing, instances: &[Arc<InstanceConfig>]) -> Store {
    let windows = |config: &Arc<InstanceConfig>| (config.name.to_string(), windows(config));
    let instances: Vec<_> = instances.iter().map(windows).collect();
    Store::new(sharing, rand::random(), &instances)
}

/// Lists the limits of an instance: its tokens first, then its requests, then the tokens of single deployments.
fn windows(config: &InstanceConfig) -> Vec<store::Shared> {
    let window = |name: String, limit| store::Shared {
        name,
        limit,
        span: WINDOW,
    };
    let mut windows = vec![window("tokens".to_owned(), config.max_tpm)];
    if let Some(limit) = config.max_rpm {
        windows.push(window("requests".to_owned(), Tokens(u64::from(limit))));
    }
    for (model, limit) in limited_models(config) {
        windows.push(window(format!("tokens:{}", model.as_str()), limit));
    }
    windows
}

/// Returns the models with a limit of their own, always in the same order.
fn limited_models(config: &InstanceConfig) -> BTreeMap<ModelKey, Tokens> {
    let limits = config.max_tpm_of.by_model();
    limits
        .map(|(model, limit)| (model.clone(), limit))
        .collect()
}

/// Finds a lease that the store agrees to. A request that it refuses goes back to its place in the order, unless it has
/// left. Once the dispatcher is gone nobody is served any more.
pub(super) async fn acquire(
    store: Store,
    dispatcher: Weak<Dispatcher>,
    asker: Asker,
    asked: Acquire,
) -> Result<Lease, Unavailable> {
    let deadline = Instant::now() + asked.turn.patience;
    let mut patience = store.patience();
    let mut refusals = Vec::new();
    for _ in 0..ROUNDS {
        let dispatcher = dispatcher.upgrade().filter(|_| asker.is_here());
        let Some(dispatcher) = dispatcher else {
            return Err(Unavailable::Exhausted);
        };
        let mut asked = asked.clone();
        asked.turn.patience = deadline.saturating_duration_since(Instant::now());
        let reply = dispatcher.ask(asked);
        drop(dispatcher);
        let mut lease = reply.answer().await?;
        let Some(parts) = lease.asks().map(<[Part]>::to_vec) else {
            return Ok(lease);
        };
        match store.admit(lease.id(), parts, &mut patience).await {
            Ok(charge) => {
                lease.charged(charge);
                return Ok(lease);
            }
            Err(full) => {
                refusals = vec![(lease.id(), Refusal::Full(full.fits_in))];
                lease.settle(Outcome::Withdrawn);
                if patience.is_spent() {
                    break;
                }
            }
        }
    }
    let again_in = refusals
        .iter()
        .filter_map(|(_, refusal)| refusal.wait())
        .min();
    Err(Unavailable::Busy { refusals, again_in })
}

/// The windows of one instance that replicas share.
pub(super) struct Windows {
    store: Store,
    id: InstanceId,
    config: Arc<InstanceConfig>,
    /// Position of the window of requests.
    requests: Option<usize>,
    /// Models with a limit of their own, and the position of their windows.
    models: Vec<(ModelKey, usize)>,
}

impl Windows {
    pub(super) fn new(store: Store, id: InstanceId, config: &Arc<InstanceConfig>) -> Self {
        let requests = config.max_rpm.map(|_| TOKENS + 1);
        let first = requests.unwrap_or(TOKENS) + 1;
        let models = limited_models(config).into_keys();
        Self {
            store,
            id,
            config: config.clone(),
            requests,
            models: models
                .enumerate()
                .map(|(at, model)| (model, first + at))
                .collect(),
        }
    }

    /// Returns what a request of `tokens` charges.
    fn parts(&self, deployment: &Deployment, tokens: Tokens) -> Vec<Part> {
        let part = |window, amount| Part { window, amount };
        let mut parts = vec![part(TOKENS, tokens)];
        if let Some(requests) = self.requests {
            parts.push(part(requests, Tokens(1)));
        }
        for (model, window) in &self.models {
            if self.config.is_served_by(model, deployment) {
                parts.push(part(*window, tokens));
            }
        }
        parts
    }

    /// Checks by what is known whether a request would fit, and returns what to ask the store for.
    pub(super) fn fit(
        &self,
        want: &Want,
        need: Need,
        deployment: &Deployment,
    ) -> Result<Shared, Refusal> {
        let parts = self.parts(deployment, need.tokens + need.exposure);
        let Err(full) = self.known(need, deployment) else {
            return Ok(Shared::Asked(parts));
        };
        // Estimates have hardly ever been four times too high.
        let least = Need {
            tokens: Tokens(want.prompt.0 / 4) + want.output.certain(),
            exposure: Tokens::ZERO,
            ..need
        };
        match want.basis {
            Basis::Estimated if self.known(least, deployment).is_ok() => Err(Refusal::Uncertain),
            Basis::Estimated | Basis::Counted => Err(Refusal::Full(full.fits_in)),
        }
    }

    /// Returns when a request would fit by what is known, `None` if never.
    pub(super) fn fits_in(&self, need: Need, deployment: &Deployment) -> Option<Duration> {
        match self.known(need, deployment) {
            Ok(()) => Some(Duration::ZERO),
            Err(full) => full.fits_in,
        }
    }

    /// Says whether a request lacks tokens or a call of the instance's own limits, as far as it is known what all
    /// replicas use.
    pub(super) fn lacks_own(&self, need: Need) -> bool {
        let part = |window, amount| Part { window, amount };
        let mut parts = vec![part(TOKENS, need.tokens + need.exposure)];
        parts.extend(self.requests.map(|requests| part(requests, Tokens(1))));
        let fits = self.store.fits(self.id, &parts, |part| match part.window {
            TOKENS => need.ahead.all.tokens,
            _ => Tokens(need.ahead.all.calls),
        });
        fits.is_err()
    }

    /// Checks whether there is room for a request after others have had theirs.
    fn known(&self, need: Need, deployment: &Deployment) -> Result<(), Full> {
        let parts = self.parts(deployment, need.tokens + need.exposure);
        self.store.fits(self.id, &parts, |part| match part.window {
            TOKENS => need.ahead.of_instance().tokens,
            window if self.requests == Some(window) => Tokens(need.ahead.of_instance().calls),
            _ => need.ahead.same_deployment.tokens,
        })
    }

    /// Replaces what a request was charged by the tokens that it used. Its call counts unless it never left.
    pub(super) fn settle(&self, shared: &Shared, actual: Tokens, end: End) {
        match shared {
            Shared::Charged(charge) => self.store.settle(self.id, charge, |part| {
                match (self.requests == Some(part.window), end) {
                    (true, End::Unsent) => Tokens::ZERO,
                    (true, _) => part.amount,
                    (false, _) => actual,
                }
            }),
            Shared::Nothing | Shared::Asked(_) => {}
        }
    }

    /// Tells the other replicas to leave something alone for a while.
    pub(super) fn begin(&self, cooldown: &Cooldown) {
        self.store.begin(self.id, cooldown);
    }

    /// Tells the other replicas that this is over.
    pub(super) fn end(&self, about: &About) {
        self.store.end(self.id, about);
    }

    /// Returns the tokens that all replicas use, as far as this one knows.
    pub(super) fn used(&self) -> Tokens {
        self.store.used(self.id, TOKENS)
    }

    /// Returns the tokens that are free for this replica, as far as it knows.
    pub(super) fn free(&self) -> Tokens {
        self.store.free(self.id, TOKENS)
    }
}
