//! Models that share a deployment, which the map spells in two ways, and with it the only limit that binds.

use std::collections::BTreeMap;

use super::queue::{queue_of, settle_down, spawn};
use super::*;
use crate::domain::Deployment;

/// One deployment of 1,000 tokens a minute for two models, at an instance with room for far more.
fn shared_deployment() -> Arc<InstanceConfig> {
    let mut config = (*instance("a", 1, 100_000)).clone();
    let mut limits = BTreeMap::new();
    for (model, deployment) in [("chat", "Prod"), ("summary", "prod")] {
        let model = ModelKey::of(model);
        config
            .model_map
            .insert(model.clone(), Deployment::new(deployment));
        limits.insert(model, Tokens(1_000));
    }
    config.max_tpm_of = Limits::new(limits, &config.model_map);
    Arc::new(config)
}

fn of(model: &str, tokens: u64) -> Want {
    Want {
        model: ModelKey::of(model),
        name: ModelName::new(model),
        ..want(tokens, 0)
    }
}

#[actix::test]
async fn small_requests_for_another_model_of_a_deployment_do_not_starve_a_large_one() {
    let registry = queue_of(100, &[shared_deployment()]);
    for _ in 0..10 {
        let lease = acquire(&registry, of("summary", 100), &[]).await.unwrap();
        lease.settle(answered(100));
        tokio::time::advance(Duration::from_secs(5)).await;
    }
    let large = spawn(&registry, ask(of("chat", 500), &[], waits(45)));
    settle_down(&registry).await;

    for _ in 0..60 {
        if let Ok(lease) = acquire(&registry, of("summary", 100), &[]).await {
            lease.settle(answered(100));
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        settle_down(&registry).await;
    }

    let (lease, after) = large.await.unwrap();
    assert!(lease.is_ok(), "it was starved");
    // The fifth of those before it has left the minute then.
    assert!(after >= Duration::from_secs(29), "{after:?}");
    assert!(after <= Duration::from_secs(32), "{after:?}");
}

#[actix::test]
async fn who_waits_for_a_deployment_counts_where_another_model_would_wait_for_it() {
    let registry = queue_of(100, &[shared_deployment()]);
    for _ in 0..10 {
        let lease = acquire(&registry, of("summary", 100), &[]).await.unwrap();
        lease.settle(answered(100));
        tokio::time::advance(Duration::from_secs(5)).await;
    }
    let _large = spawn(&registry, ask(of("chat", 500), &[], waits(45)));
    settle_down(&registry).await;

    let told = acquire(&registry, of("summary", 200), &[]).await;
    let later = acquire(&registry, of("chat", 200), &[]).await;

    let again = |answer| match answer {
        Err(Unavailable::Busy { again_in, .. }) => again_in.unwrap(),
        other => panic!("{other:?}"),
    };
    let (told, later) = (again(told), again(later));
    assert!(told >= Duration::from_secs(38), "{told:?}");
    assert!(later >= told + Duration::from_secs(8), "{later:?}");
}

#[actix::test]
async fn who_waits_for_the_instance_does_not_keep_others_from_waiting_for_a_small_deployment() {
    let mut config = (*instance("a", 1, 100_000)).clone();
    let limits = BTreeMap::from([(ModelKey::of("embed"), Tokens(5_000))]);
    config.max_tpm_of = Limits::new(limits, &config.model_map);
    let registry = queue_of(100, &[Arc::new(config)]);
    let full = acquire(&registry, of("chat", 90_000), &[]).await.unwrap();
    full.settle(answered(90_000));
    tokio::time::advance(Duration::from_secs(48)).await;
    let refused = acquire(&registry, of("embed", 500), &[]).await.unwrap();
    let chat = spawn(&registry, ask(of("chat", 20_000), &[], waits(30)));
    settle_down(&registry).await;
    refused.settle(Outcome::Throttled {
        limit: Limit::Throughput,
        wait: Some(Duration::from_secs(10)),
        summary: "429".to_owned(),
    });

    let embedding = spawn(&registry, ask(of("embed", 500), &[], waits(30)));

    let (lease, after) = embedding.await.unwrap();
    assert!(lease.is_ok(), "{after:?}: {lease:?}");
    assert!(chat.await.unwrap().0.is_ok());
}
