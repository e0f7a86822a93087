//! A quota shared with replicas through a Redis that never answers: forecasts behind others, and clients that leave.

use std::collections::BTreeMap;
use std::net::TcpListener;

use super::*;
use crate::config::{self, Sharing};

/// How long a request waits for this Redis. The attempt to connect takes far longer.
const STORE_TIMEOUT: Duration = Duration::from_millis(100);

/// Resolution of timers.
const TIMER: Duration = Duration::from_millis(2);

/// A Redis that takes connections and says nothing.
struct Mute {
    listener: TcpListener,
}

impl Mute {
    fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self { listener }
    }

    fn sharing(&self, replicas: u64) -> Sharing {
        let url = format!("redis://{}", self.listener.local_addr().unwrap());
        let vars = [
            ("AZURE_OPENAI_API_KEY", "0123456789abcdef".to_owned()),
            ("AZURE_OPENAI_API_BASE", "https://res.test".to_owned()),
            ("USE_REDIS_RATE_LIMITER", "true".to_owned()),
            ("REDIS_URL", url),
            ("REDIS_REPLICAS", replicas.to_string()),
            ("REDIS_TIMEOUT_MS", STORE_TIMEOUT.as_millis().to_string()),
        ];
        let vars = vars.map(|(name, value)| (name.to_owned(), value));
        config::from_vars(vars).unwrap().sharing.unwrap()
    }

    /// Launches instances that share with so many replicas.
    fn launch(&self, replicas: u64, instances: &[Arc<InstanceConfig>]) -> Addr<Registry> {
        tokio::time::pause();
        let setup = Setup {
            sharing: Some(self.sharing(replicas)),
            ..setup(StrategyKind::Failover)
        };
        Registry::launch(setup, instances).0
    }
}

/// Asks through a worker's outbox, in a task that may be aborted: then the client has left.
fn spawn(
    registry: &Addr<Registry>,
    want: Want,
    turn: Turn,
) -> tokio::task::JoinHandle<Result<Lease, Unavailable>> {
    let outbox = Outbox::new(registry.clone());
    tokio::task::spawn_local(async move {
        let answer = outbox.acquire(want, Vec::new(), turn).await;
        answer.unwrap()
    })
}

/// Waits until the instance has a request out, or none any more.
async fn until_in_flight(registry: &Addr<Registry>, count: u32) {
    for _ in 0..200 {
        if view(registry, 0).await.in_flight == count {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{:?}", view(registry, 0).await);
}

async fn waiting(registry: &Addr<Registry>) -> usize {
    let models = registry.send(Waiting).await.unwrap().models;
    models.iter().map(|model| model.waiting).sum()
}

fn deployment_limit(max_tpm_of: u64) -> Arc<InstanceConfig> {
    let mut config = (*instance("a", 1, 10_000)).clone();
    let limit = (ModelKey::of("gpt-4o"), Tokens(max_tpm_of));
    config.max_tpm_of = Limits::new(BTreeMap::from([limit]), &config.model_map);
    Arc::new(config)
}

/// Overload of an instance with a window of 1000 tokens, wherever it has it.
async fn assert_all_are_told_when_to_come_again(config: Arc<InstanceConfig>) {
    let redis = Mute::open();
    let registry = redis.launch(1, &[config]);
    let _held = acquire(&registry, want(900, 0), &[]).await.unwrap();
    tokio::time::advance(Duration::from_secs(30)).await;

    let mut told = Vec::new();
    for _ in 0..6 {
        match acquire(&registry, want(800, 0), &[]).await {
            Err(Unavailable::Busy { again_in, .. }) => told.push(again_in),
            other => panic!("{other:?}"),
        }
    }

    assert!(told.iter().all(Option::is_some), "{told:?}");
    assert!(told.is_sorted(), "{told:?}");
    // Two of them are more than a window, and nobody is sent away for longer than a minute because of others.
    assert!(told[0] < Some(Duration::from_secs(31)), "{told:?}");
    assert_eq!(told[5], Some(Duration::from_secs(60)));
}

#[actix::test]
async fn whoever_comes_behind_more_than_an_instances_window_is_told_when_to_come_again() {
    assert_all_are_told_when_to_come_again(instance("a", 1, 1_000)).await;
}

#[actix::test]
async fn whoever_comes_behind_more_than_a_deployments_window_is_told_when_to_come_again() {
    assert_all_are_told_when_to_come_again(deployment_limit(1_000)).await;
}

#[actix::test]
async fn an_estimate_that_is_in_doubt_is_not_told_never() {
    let redis = Mute::open();
    let registry = redis.launch(1, &[instance("a", 1, 1_000)]);
    let _held = acquire(&registry, want(900, 0), &[]).await.unwrap();
    let estimate = Want {
        basis: Basis::Estimated,
        at_most: Some(Tokens(1_200)),
        ..want(700, 0)
    };

    let refused = acquire(&registry, estimate, &[]).await.unwrap_err();

    assert!(
        matches!(
            refused,
            Unavailable::Busy {
                again_in: Some(_),
                ..
            }
        ),
        "{refused:?}"
    );
}

#[actix::test]
async fn who_leaves_while_the_store_is_asked_leaves_nothing_behind() {
    let redis = Mute::open();
    let registry = redis.launch(1, &[instance("a", 1, 1_000)]);
    let asked = spawn(&registry, want(100, 200), at_once());
    until_in_flight(&registry, 1).await;

    asked.abort();
    assert!(asked.await.unwrap_err().is_cancelled());
    tokio::time::advance(STORE_TIMEOUT + TIMER).await;
    until_in_flight(&registry, 0).await;

    assert_eq!(view(&registry, 0).await.used, Tokens::ZERO);
}

#[actix::test]
async fn who_left_before_the_store_refused_does_not_come_back() {
    let redis = Mute::open();
    let registry = redis.launch(2, &[instance("a", 1, 1_000)]);
    // More than a share, so the store refuses once it has given Redis up.
    let asked = spawn(&registry, want(600, 0), waits(60));
    until_in_flight(&registry, 1).await;

    asked.abort();
    assert!(asked.await.unwrap_err().is_cancelled());
    tokio::time::advance(STORE_TIMEOUT + TIMER).await;
    until_in_flight(&registry, 0).await;
    // Time enough for somebody who would come back.
    for _ in 0..50 {
        tokio::task::yield_now().await;
        assert_eq!(waiting(&registry).await, 0);
        assert_eq!(view(&registry, 0).await.in_flight, 0);
    }
}

#[actix::test]
async fn who_waits_for_what_all_replicas_share_is_not_overtaken_by_another_model() {
    let redis = Mute::open();
    // Alone each of two may use 500, so 400 leave too little for 300, which our own window of 1000 would have.
    let registry = redis.launch(2, &[instance("a", 1, 1_000)]);
    let _held = acquire(&registry, want(400, 0), &[]).await.unwrap();
    // Until Redis has been given up, all that is known to be free may be asked for.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let waiter = spawn(&registry, want(300, 0), waits(60));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(waiting(&registry).await, 1);
    let another = Want {
        model: ModelKey::of("gpt-35"),
        name: ModelName::new("gpt-35"),
        ..want(50, 0)
    };

    let overtakes = acquire(&registry, another, &[]).await;

    assert!(
        matches!(overtakes, Err(Unavailable::Busy { .. })),
        "{overtakes:?}"
    );
    waiter.abort();
}
