//! A replica's store inside the test, without a proxy around it.

use std::ops::RangeInclusive;
use std::time::Duration;

use azure_openai_proxy::config::{self, Sharing};
use azure_openai_proxy::domain::{InstanceId, Tokens};
use azure_openai_proxy::store::{Charge, Full, Part, Patience, Shared, Standing, Store};
use tokio::time::Instant;

use crate::process::SOON;

/// The instance that tests share.
const A: InstanceId = InstanceId(0);

/// A store and the task that keeps it.
pub struct Replica {
    pub store: Store,
    task: actix_rt::task::JoinHandle<()>,
}

/// The settings of a user who shares through this Redis, with time enough for a machine under load.
pub fn sharing(url: &str, more: &[(&str, &str)]) -> Sharing {
    let vars = [
        ("AZURE_OPENAI_API_KEY", "0123456789abcdef"),
        ("AZURE_OPENAI_API_BASE", "https://res.test"),
        ("USE_REDIS_RATE_LIMITER", "true"),
        ("REDIS_URL", url),
        ("REDIS_TIMEOUT_MS", "1000"),
    ];
    let vars = vars.iter().chain(more);
    let vars = vars.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let config = config::from_vars(vars).expect("the variables are a configuration");
    config.sharing.expect("sharing is on")
}

impl Replica {
    /// Starts a replica with one window of `limit` tokens per `span`.
    pub fn start(sharing: Sharing, limit: u64, span: Duration) -> Self {
        let window = Shared {
            name: "tokens".to_owned(),
            limit: Tokens(limit),
            span,
        };
        Self::with_windows(sharing, vec![window])
    }

    pub fn with_windows(sharing: Sharing, windows: Vec<Shared>) -> Self {
        let store = Store::new(sharing, rand::random(), &[("a".to_owned(), windows)]);
        Self {
            task: actix_rt::spawn(store.clone().keep(|_, _| ())),
            store,
        }
    }

    /// Starts one and waits until it shares.
    pub async fn shared(sharing: Sharing, limit: u64, span: Duration) -> Self {
        let replica = Self::start(sharing, limit, span);
        replica
            .until("sharing", |standing| standing.degraded.is_none())
            .await;
        replica
    }

    pub async fn admit(&self, tokens: u64) -> Result<Charge, Full> {
        self.admit_within(tokens, &mut self.store.patience()).await
    }

    pub async fn admit_within(&self, tokens: u64, patience: &mut Patience) -> Result<Charge, Full> {
        let part = Part {
            window: 0,
            amount: Tokens(tokens),
        };
        self.store.admit(A, vec![part], patience).await
    }

    pub fn settle(&self, charge: &Charge, actual: u64) {
        self.store.settle(A, charge, |_| Tokens(actual));
    }

    /// When so much fits, as far as this replica knows.
    pub fn fits_in(&self, tokens: u64) -> Duration {
        let part = Part {
            window: 0,
            amount: Tokens(tokens),
        };
        let fits = self.store.fits(A, &[part], |_| Tokens::ZERO);
        let wait = fits.map_or_else(|full| full.fits_in, |()| Some(Duration::ZERO));
        wait.expect("it fits some time")
    }

    /// Leaves the others, as a proxy does that is stopped.
    pub async fn leave(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
        self.store.leave(Instant::now() + SOON).await;
    }

    pub fn used(&self) -> u64 {
        self.store.used(A, 0).0
    }

    pub async fn until(&self, what: &str, holds: impl Fn(&Standing) -> bool) {
        let start = Instant::now();
        while !holds(&self.store.standing()) {
            let standing = self.store.standing();
            assert!(start.elapsed() < SOON, "{what} did not come: {standing:?}");
            actix_rt::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn until_used(&self, tokens: u64) {
        self.until_used_within(tokens..=tokens).await;
    }

    pub async fn until_used_within(&self, tokens: RangeInclusive<u64>) {
        let start = Instant::now();
        while !tokens.contains(&self.used()) {
            let used = self.used();
            assert!(start.elapsed() < SOON, "{used} are used and not {tokens:?}");
            actix_rt::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.task.abort();
    }
}
