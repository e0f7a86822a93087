//! Leases that were never used, forecasts beyond a minute, and who waits for which deployment.

use super::*;
use crate::domain::Deployment;
use crate::quota::Said;

fn asked_for(refused: &Unavailable) -> Option<Duration> {
    match refused {
        Unavailable::Busy { again_in, .. } => *again_in,
        other => panic!("{other:?}"),
    }
}

/// Lets a request wait, in a task of its own.
fn wait(registry: &Addr<Registry>, want: Want) {
    let asked = registry.send(ask(want, &[], waits(100)));
    tokio::task::spawn_local(asked);
}

async fn until_waiting(registry: &Addr<Registry>, count: usize) -> QueueView {
    for _ in 0..200 {
        let view = registry.send(Waiting).await.unwrap();
        if view.models.iter().map(|model| model.waiting).sum::<usize>() == count {
            return view;
        }
        tokio::task::yield_now().await;
    }
    panic!("{count} do not wait");
}

#[actix::test]
async fn a_lease_that_was_never_sent_gives_its_call_back() {
    let mut config = (*instance("a", 1, 1_000)).clone();
    config.max_rpm = Some(6);
    let registry = launch(&[Arc::new(config)]);

    drop(acquire(&registry, want(10, 10), &[]).await.unwrap());
    let mut sent = acquire(&registry, want(10, 10), &[]).await.unwrap();
    sent.sending();
    drop(sent);

    let refused = acquire(&registry, want(10, 10), &[]).await.unwrap_err();
    let again_in = asked_for(&refused).unwrap();
    assert!(again_in > Duration::from_secs(9), "{again_in:?}");
}

#[actix::test]
async fn who_could_not_be_served_in_time_is_told_so_at_once_and_when_to_come() {
    let registry = launch(&[instance("a", 1, 10_000)]);
    let mut lease = acquire(&registry, want(500, 400), &[]).await.unwrap();
    // Azure has lowered its limit for a time.
    let said = Said {
        limit_tokens: Some(Tokens(1_000)),
        remaining_tokens: Some(Tokens(100)),
        ..Said::default()
    };
    let now = tokio::time::Instant::now();
    lease.heard(said, now.into_std());
    lease.settle(answered(10));
    wait(&registry, want(500, 400));
    until_waiting(&registry, 1).await;

    let second = registry.send(ask(want(500, 400), &[], waits(100))).await;

    // The first has to wait a minute, and after it the second one more.
    let again_in = asked_for(&second.unwrap().unwrap_err()).unwrap();
    assert!((19..=22).contains(&again_in.as_secs()), "{again_in:?}");
    assert_eq!(now.elapsed(), Duration::ZERO);
}

#[actix::test]
async fn who_waits_is_counted_at_each_deployment_that_could_serve_it() {
    let mut a = (*instance("a", 1, 1_000)).clone();
    let four = (ModelKey::of("gpt-4o"), Deployment::new("four"));
    a.model_map = HashMap::from([four]);
    let mut c = (*instance("c", 3, 1_000)).clone();
    c.models = Some(vec![ModelKey::of("o3")]);
    let registry = launch(&[Arc::new(a), instance("b", 2, 500), Arc::new(c)]);
    let full = [want(500, 500), want(250, 250)];
    let _leases = join_all(full.map(|want| acquire(&registry, want, &[]))).await;

    wait(&registry, want(100, 100));
    wait(&registry, want(400, 400));

    let mut waiting = until_waiting(&registry, 2).await.deployments;
    waiting.sort_by_key(|one| one.instance.clone());
    let at = |instance: &str, deployment: &str, waiting| WaitingFor {
        instance: InstanceName::new(instance),
        deployment: Deployment::new(deployment),
        waiting,
    };
    assert_eq!(waiting, [at("a", "four", 2), at("b", "gpt-4o", 1)]);
}
