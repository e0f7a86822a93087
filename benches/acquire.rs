//! A lease and its settlement through the actors, asked from another thread as workers do: the cost of the round trip.

#![expect(
    missing_docs,
    clippy::expect_used,
    reason = "criterion's macros make public items, and a bench fails by panicking"
)]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::Arbiter;
use azure_openai_proxy::actors::{Outbox, Outcome, Output, Registry, Setup, Turn, Want};
use azure_openai_proxy::config::{ApiVersion, InstanceConfig, LimitNames, Limits, QueueConfig};
use azure_openai_proxy::correction::Basis;
use azure_openai_proxy::domain::{InstanceName, ModelKey, ModelName, Secret, StrategyKind, Tokens};
use azure_openai_proxy::metrics::Metrics;
use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::future::join_all;
use tokio::time::Instant;

/// Requests that ask at once in the concurrent case.
const AT_ONCE: usize = 64;

fn instance(name: &str) -> Arc<InstanceConfig> {
    Arc::new(InstanceConfig {
        name: InstanceName::new(name),
        api_key: Secret::new("key"),
        api_base: "http://127.0.0.1:9".parse().expect("a URL"),
        api_version: ApiVersion::V1,
        priority: 100,
        weight: 100,
        max_tpm: Tokens(u64::MAX / 2),
        models: None,
        model_map: HashMap::new(),
        max_rpm: None,
        max_tpm_of: Limits::default(),
        limit_names: LimitNames::default(),
    })
}

fn acquire(c: &mut Criterion) {
    let system = actix::System::new();
    let arbiter = Arbiter::new();
    let (send, receive) = std::sync::mpsc::channel();
    arbiter.spawn_fn(move || {
        let instances = ["a", "b", "c", "d"].map(instance);
        let metrics = Metrics::new(&[]).expect("metrics have different names");
        let setup = Setup {
            strategy: StrategyKind::RoundRobin,
            seed: 7,
            queue: QueueConfig {
                timeout: Duration::ZERO,
                most_waiting: 1_000,
            },
            metrics: metrics.queue(),
            sharing: None,
        };
        let launched = Registry::launch(setup, &instances);
        let _ = send.send(launched.0);
    });
    let registry = receive.recv().expect("the registry starts");
    let outbox = system.block_on(async { Outbox::new(registry) });
    let ask = || async {
        let want = Want {
            model: ModelKey::of("gpt-4o"),
            name: ModelName::new("gpt-4o"),
            is_errand: false,
            prompt: Tokens(100),
            basis: Basis::Counted,
            at_most: None,
            output: Output::Capped(Tokens(100)),
            charge: Tokens(200),
        };
        let turn = Turn {
            since: Instant::now().into_std(),
            patience: Duration::ZERO,
        };
        if let Ok(Ok(lease)) = outbox.acquire(want, Vec::new(), turn).await {
            let outcome = Outcome::Answered {
                used: Some(Tokens(0)),
                prompt: Some(Tokens(100)),
                output: None,
            };
            outbox.settle(lease, outcome);
        }
    };
    c.bench_function("acquire/one", |b| b.iter(|| system.block_on(ask())));
    c.bench_function("acquire/64 at once", |b| {
        b.iter(|| system.block_on(join_all((0..AT_ONCE).map(|_| ask()))));
    });
    arbiter.stop();
}

criterion_group!(benches, acquire);
criterion_main!(benches);
