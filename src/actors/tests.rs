//! Registry, instances and leases together on a paused clock: admission, settlement, selection.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::prelude::*;
use futures_util::future::join_all;

use super::*;
use crate::config::{ApiVersion, InstanceConfig, LimitNames, Limits, QueueConfig};
use crate::correction::Basis;
use crate::domain::{InstanceId, InstanceName, ModelKey, ModelName, Secret, StrategyKind, Tokens};
use crate::health::{Reason, Status};
use crate::metrics::Metrics;
use crate::queue::Ticket;
use crate::quota::Limit;

mod calls;
mod chaos;
mod deployments;
mod estimates;
mod healing;
mod leases;
mod outbox;
mod overload;
mod queue;
mod shared;

fn instance(name: &str, priority: u32, max_tpm: u64) -> Arc<InstanceConfig> {
    Arc::new(InstanceConfig {
        name: InstanceName::new(name),
        api_key: Secret::new("key"),
        api_base: "http://127.0.0.1:9".parse().unwrap(),
        api_version: ApiVersion::V1,
        priority,
        weight: 1,
        max_tpm: Tokens(max_tpm),
        models: None,
        model_map: HashMap::new(),
        max_rpm: None,
        max_tpm_of: Limits::default(),
        limit_names: LimitNames::default(),
    })
}

fn setup(strategy: StrategyKind) -> Setup {
    let metrics = Metrics::new(&[]).unwrap();
    Setup {
        strategy,
        seed: 7,
        queue: QueueConfig {
            timeout: Duration::ZERO,
            most_waiting: 1_000,
        },
        metrics: metrics.queue(),
        sharing: None,
    }
}

fn launch(instances: &[Arc<InstanceConfig>]) -> Addr<Registry> {
    tokio::time::pause();
    Registry::launch(setup(StrategyKind::Failover), instances).0
}

/// The turn of a request that may not wait.
fn at_once() -> Turn {
    waits(0)
}

/// The turn of a request that comes now and may wait for so long.
fn waits(seconds: u64) -> Turn {
    Turn {
        since: tokio::time::Instant::now().into_std(),
        patience: Duration::from_secs(seconds),
    }
}

fn ask(want: Want, tried: &[usize], turn: Turn) -> Acquire {
    static NEXT: AtomicU64 = AtomicU64::new(1 << 32);
    Acquire {
        want,
        tried: tried.iter().copied().map(InstanceId).collect(),
        turn,
        ticket: Ticket(NEXT.fetch_add(1, Ordering::Relaxed)),
    }
}

fn want(prompt: u64, output: u64) -> Want {
    Want {
        model: ModelKey::of("gpt-4o"),
        name: ModelName::new("gpt-4o"),
        is_errand: false,
        prompt: Tokens(prompt),
        basis: Basis::Counted,
        at_most: None,
        output: Output::Capped(Tokens(output)),
        charge: Tokens(prompt + output),
    }
}

async fn acquire(
    registry: &Addr<Registry>,
    want: Want,
    tried: &[usize],
) -> Result<Lease, Unavailable> {
    registry.send(ask(want, tried, at_once())).await.unwrap()
}

async fn view(registry: &Addr<Registry>, position: usize) -> InstanceView {
    registry.send(Snapshot).await.unwrap().remove(position)
}

fn answered(used: u64) -> Outcome {
    Outcome::Answered {
        used: Some(Tokens(used)),
        prompt: None,
        output: None,
    }
}

#[actix::test]
async fn two_hundred_at_once_are_never_admitted_past_the_limits() {
    let registry = launch(&[instance("a", 1, 1_000), instance("b", 2, 500)]);

    let asks = (0..200).map(|_| acquire(&registry, want(20, 10), &[]));
    let leases: Vec<Lease> = join_all(asks).await.into_iter().flatten().collect();

    assert_eq!(leases.len(), 33 + 16);
    assert_eq!(view(&registry, 0).await.used, Tokens(990));
    assert_eq!(view(&registry, 1).await.used, Tokens(480));
    assert_eq!(view(&registry, 0).await.in_flight, 33);
}

#[actix::test]
async fn a_settled_lease_counts_what_was_used() {
    let registry = launch(&[instance("a", 1, 1_000)]);
    let lease = acquire(&registry, want(100, 800), &[]).await.unwrap();
    assert_eq!(lease.reserved(), Tokens(900));

    lease.settle(answered(120));

    let view = view(&registry, 0).await;
    assert_eq!((view.used, view.in_flight), (Tokens(120), 0));
}

#[actix::test]
async fn a_dropped_lease_keeps_its_tokens_but_frees_its_place() {
    let registry = launch(&[instance("a", 1, 1_000)]);
    let mut lease = acquire(&registry, want(100, 200), &[]).await.unwrap();
    lease.sending();

    drop(lease);

    let view = view(&registry, 0).await;
    assert_eq!((view.used, view.in_flight), (Tokens(300), 0));
}

#[actix::test]
async fn a_lease_that_is_dropped_before_anything_was_sent_is_given_back_whole() {
    let registry = launch(&[instance("a", 1, 1_000)]);

    drop(acquire(&registry, want(100, 200), &[]).await.unwrap());

    let view = view(&registry, 0).await;
    assert_eq!((view.used, view.in_flight), (Tokens::ZERO, 0));
}

#[actix::test]
async fn a_panic_settles_what_it_held() {
    let registry = launch(&[instance("a", 1, 1_000)]);
    let lease = acquire(&registry, want(100, 200), &[]).await.unwrap();

    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _held = lease;
        panic!("on purpose");
    }));

    assert!(panicked.is_err());
    assert_eq!(view(&registry, 0).await.in_flight, 0);
}

#[actix::test]
async fn an_asker_that_leaves_before_the_answer_leaks_nothing() {
    let registry = launch(&[instance("a", 1, 1_000)]);
    let asked = registry.send(ask(want(10, 10), &[], at_once()));

    drop(asked);
    let still_works = acquire(&registry, want(10, 10), &[]).await;

    drop(still_works);
    assert_eq!(view(&registry, 0).await.in_flight, 0);
}

#[actix::test]
async fn the_next_instance_serves_when_the_first_is_full() {
    let registry = launch(&[instance("a", 1, 1_000), instance("b", 2, 1_000)]);
    let first = acquire(&registry, want(900, 0), &[]).await.unwrap();

    let second = acquire(&registry, want(200, 0), &[]).await.unwrap();

    assert_eq!((first.id(), second.id()), (InstanceId(0), InstanceId(1)));
    let third = acquire(&registry, want(900, 0), &[]).await.unwrap_err();
    let minute = Some(Duration::from_millis(60_100));
    assert_eq!(
        third,
        Unavailable::Busy {
            refusals: vec![
                (InstanceId(0), Refusal::Full(minute)),
                (InstanceId(1), Refusal::Full(minute))
            ],
            again_in: minute,
        }
    );
}

#[actix::test]
async fn quota_returns_after_a_minute() {
    let registry = launch(&[instance("a", 1, 1_000)]);
    acquire(&registry, want(1_000, 0), &[])
        .await
        .unwrap()
        .settle(answered(1_000));

    tokio::time::advance(Duration::from_secs(62)).await;

    assert!(acquire(&registry, want(1_000, 0), &[]).await.is_ok());
}

#[actix::test]
async fn a_request_above_every_window_is_told_so() {
    let registry = launch(&[instance("a", 1, 1_000), instance("b", 2, 500)]);

    let refused = acquire(&registry, want(600, 600), &[]).await.unwrap_err();

    assert_eq!(
        refused,
        Unavailable::TooLarge {
            tokens: Tokens(1_200),
            largest: Tokens(1_000),
            variable: String::new()
        }
    );
}

#[actix::test]
async fn a_guessed_output_never_makes_a_request_too_large() {
    let registry = launch(&[instance("a", 1, 1_000)]);
    let guess = Want {
        output: Output::Expected { completions: 50 },
        ..want(900, 0)
    };

    let lease = acquire(&registry, guess, &[]).await.unwrap();

    assert_eq!(lease.reserved(), Tokens(1_000));
}

#[actix::test]
async fn answers_teach_what_an_open_request_will_generate() {
    let registry = launch(&[instance("a", 1, 1_000_000)]);
    let open = Want {
        output: Output::Expected { completions: 1 },
        ..want(100, 0)
    };
    for _ in 0..40 {
        let lease = acquire(&registry, open.clone(), &[]).await.unwrap();
        lease.settle(Outcome::Answered {
            used: Some(Tokens(120)),
            prompt: None,
            output: Some(Tokens(20)),
        });
    }

    let lease = acquire(&registry, open, &[]).await.unwrap();

    assert!(lease.reserved() < Tokens(130), "{}", lease.reserved());
}

#[actix::test]
async fn a_throttled_instance_is_left_alone_until_one_probe_is_answered() {
    let registry = launch(&[instance("a", 1, 1_000), instance("b", 2, 1_000)]);
    let lease = acquire(&registry, want(10, 10), &[]).await.unwrap();
    lease.settle(Outcome::Throttled {
        limit: Limit::Tokens,
        wait: Some(Duration::from_secs(5)),
        summary: "429".to_owned(),
    });
    let cooling = view(&registry, 0).await;
    assert_eq!(cooling.status, Status::RateLimited);
    assert_eq!(cooling.rate_limited_for, Some(Duration::from_secs(5)));
    assert_eq!(cooling.used, Tokens::ZERO);
    let other = acquire(&registry, want(10, 10), &[]).await.unwrap();
    assert_eq!(other.id(), InstanceId(1));

    tokio::time::advance(Duration::from_secs(6)).await;
    let mut probe = acquire(&registry, want(10, 10), &[]).await.unwrap();
    let beside = acquire(&registry, want(10, 10), &[]).await.unwrap();
    probe.confirm();
    let after = acquire(&registry, want(10, 10), &[]).await.unwrap();

    assert_eq!(probe.id(), InstanceId(0));
    assert_eq!(beside.id(), InstanceId(1));
    assert_eq!(after.id(), InstanceId(0));
}

#[actix::test]
async fn a_confirmed_probe_that_breaks_later_is_one_fault_among_others() {
    let registry = launch(&[instance("a", 1, 1_000)]);
    let throttle = Outcome::Throttled {
        limit: Limit::Tokens,
        wait: Some(Duration::from_secs(5)),
        summary: "429".to_owned(),
    };
    let lease = acquire(&registry, want(10, 0), &[]).await.unwrap();
    lease.settle(throttle);
    assert_eq!(view(&registry, 0).await.status, Status::RateLimited);
    tokio::time::advance(Duration::from_secs(6)).await;
    let mut probe = acquire(&registry, want(10, 0), &[]).await.unwrap();
    probe.confirm();

    probe.settle(Outcome::Faulted {
        used: Tokens(5),
        summary: "cut".to_owned(),
    });

    let view = view(&registry, 0).await;
    assert_eq!((view.status, view.errors), (Status::Healthy, 2));
    assert_eq!(view.last_error.as_deref(), Some("cut"));
}

#[actix::test]
async fn a_missing_deployment_leaves_the_instance_to_other_models() {
    let registry = launch(&[instance("a", 1, 1_000)]);
    let lease = acquire(&registry, want(10, 0), &[]).await.unwrap();
    lease.settle(Outcome::NoDeployment {
        summary: "404".to_owned(),
    });

    let parked = acquire(&registry, want(10, 0), &[]).await.unwrap_err();
    let other = Want {
        model: ModelKey::of("o3"),
        name: ModelName::new("o3"),
        is_errand: false,
        ..want(10, 0)
    };

    assert!(matches!(
        parked,
        Unavailable::Busy { refusals, .. }
            if matches!(refusals[..], [(InstanceId(0), Refusal::Closed(closed))] if closed.reason == Reason::Missing)
    ));
    assert!(acquire(&registry, other, &[]).await.is_ok());
}

#[actix::test]
async fn an_instance_is_asked_once_per_request() {
    let registry = launch(&[instance("a", 1, 1_000), instance("b", 2, 1_000)]);

    let second = acquire(&registry, want(10, 0), &[0]).await.unwrap();
    let none = acquire(&registry, want(10, 0), &[0, 1]).await.unwrap_err();

    assert_eq!(second.id(), InstanceId(1));
    assert_eq!(none, Unavailable::Exhausted);
}

#[actix::test]
async fn a_model_list_keeps_other_models_away() {
    let mut config = (*instance("a", 1, 1_000)).clone();
    config.models = Some(vec![ModelKey::of("o3")]);
    let registry = launch(&[Arc::new(config)]);

    let refused = acquire(&registry, want(10, 0), &[]).await.unwrap_err();

    assert_eq!(refused, Unavailable::NotServed);
}

#[actix::test]
async fn the_gauges_follow_what_is_reserved_and_settled() {
    tokio::time::pause();
    let (registry, gauges) =
        Registry::launch(setup(StrategyKind::LeastLoaded), &[instance("a", 1, 1_000)]);

    let lease = acquire(&registry, want(250, 250), &[]).await.unwrap();
    assert_eq!((gauges[0].free(), gauges[0].in_flight()), (Tokens(500), 1));
    assert_eq!(gauges[0].load(), 0.5);
    lease.settle(answered(100));
    view(&registry, 0).await;
    assert_eq!((gauges[0].free(), gauges[0].in_flight()), (Tokens(900), 0));

    tokio::time::advance(Duration::from_secs(63)).await;
    view(&registry, 0).await;
    assert_eq!(gauges[0].free(), Tokens(1_000));
}
