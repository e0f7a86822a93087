//! Waiting for capacity, with real actors on a paused clock.

use futures_util::FutureExt;

use super::*;
use crate::domain::Deployment;

pub(super) fn queue_of(most_waiting: usize, instances: &[Arc<InstanceConfig>]) -> Addr<Registry> {
    tokio::time::pause();
    let mut setup = setup(StrategyKind::LeastLoaded);
    setup.queue.most_waiting = most_waiting;
    Registry::launch(setup, instances).0
}

/// Asks in a task of its own, and says when the answer came.
pub(super) fn spawn(
    registry: &Addr<Registry>,
    ask: Acquire,
) -> tokio::task::JoinHandle<(Result<Lease, Unavailable>, Duration)> {
    let start = tokio::time::Instant::now();
    let asked = registry.send(ask);
    tokio::task::spawn_local(async move {
        let answer = asked.await.unwrap();
        (answer, start.elapsed())
    })
}

/// Lets everything happen that can happen now.
pub(super) async fn settle_down(registry: &Addr<Registry>) {
    for _ in 0..20 {
        registry.send(Waiting).await.unwrap();
        tokio::task::yield_now().await;
    }
}

async fn waiting(registry: &Addr<Registry>) -> usize {
    settle_down(registry).await;
    let models = registry.send(Waiting).await.unwrap().models;
    models.iter().map(|model| model.waiting).sum()
}

#[actix::test]
async fn a_request_waits_until_time_brings_capacity_back() {
    let registry = queue_of(10, &[instance("a", 1, 1_000)]);
    let first = acquire(&registry, want(900, 0), &[]).await.unwrap();
    first.settle(answered(900));
    tokio::time::advance(Duration::from_secs(50)).await;

    let (lease, after) = spawn(&registry, ask(want(900, 0), &[], waits(15)))
        .await
        .unwrap();

    assert_eq!(lease.unwrap().reserved(), Tokens(900));
    // Timers have a resolution of a millisecond.
    assert!(after <= Duration::from_millis(11_001), "{after:?}");
    assert!(after >= Duration::from_secs(10), "{after:?}");
}

#[actix::test]
async fn a_settlement_lets_the_first_go_at_once() {
    let registry = queue_of(10, &[instance("a", 1, 1_000)]);
    let held = acquire(&registry, want(900, 0), &[]).await.unwrap();
    tokio::time::advance(Duration::from_secs(55)).await;
    let waiter = spawn(&registry, ask(want(800, 0), &[], waits(15)));
    assert_eq!(waiting(&registry).await, 1);

    held.settle(answered(100));

    let (lease, after) = waiter.await.unwrap();
    assert!(lease.is_ok());
    assert_eq!(after, Duration::ZERO);
}

#[actix::test]
async fn a_newcomer_with_the_news_of_room_does_not_overtake_who_waits() {
    let registry = queue_of(10, &[instance("a", 1, 1_000), instance("b", 2, 1_000)]);
    let outbox = Outbox::new(registry.clone());
    let _first = acquire(&registry, want(900, 0), &[]).await.unwrap();
    tokio::time::advance(Duration::from_secs(2)).await;
    let held = acquire(&registry, want(900, 0), &[]).await.unwrap();
    tokio::time::advance(Duration::from_secs(53)).await;
    let waiter = spawn(&registry, ask(want(500, 0), &[], waits(15)));
    assert_eq!(waiting(&registry).await, 1);

    tokio::time::advance(Duration::from_millis(100)).await;
    outbox.settle(held, answered(0));
    let other = Want {
        model: ModelKey::of("o3"),
        name: ModelName::new("o3"),
        ..want(600, 0)
    };
    let mut newcomer = Box::pin(outbox.acquire(other, Vec::new(), waits(15)));
    assert!((&mut newcomer).now_or_never().is_none());

    let (lease, after) = waiter.await.unwrap();
    assert!(lease.is_ok());
    assert_eq!(after, Duration::from_millis(100), "it was overtaken");
}

#[actix::test]
async fn who_cannot_be_served_in_time_is_told_at_once_when_to_come() {
    let registry = queue_of(10, &[instance("a", 1, 1_000)]);
    let _held = acquire(&registry, want(900, 0), &[]).await.unwrap();

    let (answer, after) = spawn(&registry, ask(want(800, 0), &[], waits(15)))
        .await
        .unwrap();

    assert_eq!(after, Duration::ZERO);
    let Err(Unavailable::Busy { refusals, again_in }) = answer else {
        panic!("{answer:?}");
    };
    let free = refusals[0].1.wait().unwrap();
    assert!(free > Duration::from_secs(59), "{free:?}");
    assert_eq!(again_in, Some(free - Duration::from_secs(15)));
}

#[actix::test]
async fn a_client_that_leaves_frees_its_place_and_those_behind_it() {
    let registry = queue_of(2, &[instance("a", 1, 1_000)]);
    let outbox = Outbox::new(registry.clone());
    let held = acquire(&registry, want(900, 0), &[]).await.unwrap();
    tokio::time::advance(Duration::from_secs(50)).await;
    let mut large = Box::pin(outbox.acquire(want(600, 0), Vec::new(), waits(15)));
    assert!((&mut large).now_or_never().is_none());
    let small = spawn(&registry, ask(want(50, 0), &[], waits(15)));
    assert_eq!(waiting(&registry).await, 2, "nobody is overtaken");
    let (third, _) = spawn(&registry, ask(want(50, 0), &[], waits(15)))
        .await
        .unwrap();
    assert!(third.is_err(), "there is no third place");

    drop(large);

    let (lease, after) = small.await.unwrap();
    assert!(lease.is_ok());
    assert_eq!(after, Duration::ZERO);
    assert_eq!(waiting(&registry).await, 0);
    held.settle(answered(0));
}

#[actix::test]
async fn a_confirmed_probe_lets_the_waiting_go() {
    let registry = queue_of(10, &[instance("a", 1, 100_000)]);
    let lease = acquire(&registry, want(10, 0), &[]).await.unwrap();
    lease.settle(Outcome::Throttled {
        limit: Limit::Throughput,
        wait: Some(Duration::from_secs(5)),
        summary: "429".to_owned(),
    });
    let first = spawn(&registry, ask(want(10, 0), &[], waits(15)));
    let second = spawn(&registry, ask(want(10, 0), &[], waits(15)));
    let (probe, after) = first.await.unwrap();
    let mut probe = probe.unwrap();
    assert!(after >= Duration::from_secs(5), "{after:?}");
    assert_eq!(waiting(&registry).await, 1, "one goes as a probe");

    probe.confirm();

    let (lease, later) = second.await.unwrap();
    assert!(lease.is_ok());
    assert_eq!(later, after);
}

#[actix::test]
async fn a_request_that_failed_elsewhere_waits_for_the_instances_that_are_left() {
    let registry = queue_of(10, &[instance("a", 1, 1_000), instance("b", 1, 1_000)]);
    let held: Vec<Lease> = join_all((0..2).map(|_| acquire(&registry, want(900, 0), &[])))
        .await
        .into_iter()
        .flatten()
        .collect();
    let (a, b) = match held[0].id() {
        InstanceId(0) => (0, 1),
        _ => (1, 0),
    };
    tokio::time::advance(Duration::from_secs(55)).await;
    let retry = spawn(&registry, ask(want(500, 0), &[a], waits(15)));
    assert_eq!(waiting(&registry).await, 1);
    let mut held = held.into_iter();

    held.next().unwrap().settle(answered(0));
    assert_eq!(waiting(&registry).await, 1, "the one that failed is free");
    held.next().unwrap().settle(answered(0));

    let (lease, _) = retry.await.unwrap();
    assert_eq!(lease.unwrap().id(), InstanceId(b));
}

#[actix::test]
async fn an_estimate_is_counted_before_it_waits_and_keeps_its_place() {
    let registry = queue_of(10, &[instance("a", 1, 1_000)]);
    let held = acquire(&registry, want(900, 0), &[]).await.unwrap();
    tokio::time::advance(Duration::from_secs(55)).await;
    let early = waits(15);
    let guess = Want {
        basis: Basis::Estimated,
        at_most: Some(Tokens(400)),
        ..want(300, 0)
    };
    let (answer, _) = spawn(&registry, ask(guess, &[], early)).await.unwrap();
    assert_eq!(answer.unwrap_err(), Unavailable::Uncertain);
    tokio::time::advance(Duration::from_millis(5)).await;
    let mut later = spawn(&registry, ask(want(700, 0), &[], waits(15)));
    assert_eq!(waiting(&registry).await, 1);

    let counted = spawn(&registry, ask(want(700, 0), &[], early));
    assert_eq!(waiting(&registry).await, 2);
    held.settle(answered(300));

    let (first, _) = counted.await.unwrap();
    assert!(first.is_ok());
    assert!((&mut later).now_or_never().is_none(), "it was overtaken");
}

#[actix::test]
async fn a_herd_is_told_different_times() {
    let registry = queue_of(10, &[instance("a", 1, 1_000)]);
    for _ in 0..10 {
        let lease = acquire(&registry, want(100, 0), &[]).await.unwrap();
        lease.settle(answered(100));
        tokio::time::advance(Duration::from_secs(2)).await;
    }

    let asks = (0..8).map(|_| acquire(&registry, want(100, 0), &[]));
    let told: Vec<Duration> = join_all(asks)
        .await
        .into_iter()
        .map(|answer| match answer {
            Err(Unavailable::Busy { again_in, .. }) => again_in.unwrap(),
            other => panic!("{other:?}"),
        })
        .collect();

    for pair in told.windows(2) {
        assert!(pair[1] >= pair[0] + Duration::from_secs(1), "{told:?}");
    }
}

#[actix::test]
async fn sixty_at_once_are_spread_evenly_over_equal_instances() {
    tokio::time::pause();
    let instances = [instance("a", 1, 100_000), instance("b", 1, 100_000)];
    let (registry, _) = Registry::launch(setup(StrategyKind::LeastLoaded), &instances);

    let asks = (0..60).map(|_| acquire(&registry, want(10, 10), &[]));
    let leases: Vec<Lease> = join_all(asks).await.into_iter().flatten().collect();

    let at_a = leases.iter().filter(|lease| lease.id() == InstanceId(0));
    assert_eq!((leases.len(), at_a.count()), (60, 30));
}

#[actix::test]
async fn waiting_requests_are_answered_at_their_deadline() {
    let registry = queue_of(10, &[instance("a", 1, 1_000)]);
    let lease = acquire(&registry, want(10, 0), &[]).await.unwrap();
    lease.settle(Outcome::Throttled {
        limit: Limit::Throughput,
        wait: Some(Duration::from_secs(5)),
        summary: "429".to_owned(),
    });
    let waiter = spawn(&registry, ask(want(10, 0), &[], waits(8)));
    let other = spawn(&registry, ask(want(10, 0), &[], waits(8)));
    let (probe, _) = waiter.await.unwrap();

    probe.unwrap().settle(Outcome::Throttled {
        limit: Limit::Throughput,
        wait: Some(Duration::from_secs(30)),
        summary: "429".to_owned(),
    });

    let (answer, after) = other.await.unwrap();
    assert_eq!(after.as_millis() / 10, 800);
    assert!(matches!(answer, Err(Unavailable::Busy { .. })));
    assert_eq!(waiting(&registry).await, 0);
}

#[actix::test]
async fn a_size_without_capacity_is_sent_away_and_smaller_ones_go() {
    let registry = queue_of(10, &[instance("a", 1, 1_000)]);
    let lease = acquire(&registry, want(400, 0), &[]).await.unwrap();
    lease.settle(Outcome::NoCapacity {
        wait: Some(Duration::from_secs(5)),
        summary: "429".to_owned(),
    });

    let large = spawn(&registry, ask(want(400, 0), &[], waits(15)));
    let small = spawn(&registry, ask(want(100, 0), &[], waits(15)));

    let (small, after) = small.await.unwrap();
    assert_eq!((small.is_ok(), after), (true, Duration::ZERO));
    let Err(Unavailable::Busy { again_in, .. }) = large.await.unwrap().0 else {
        panic!("it waits");
    };
    assert!(again_in.is_some_and(|again| again <= Duration::from_secs(5)));
}

#[actix::test]
async fn nobody_waits_for_a_deployment_that_is_missing() {
    let registry = queue_of(10, &[instance("a", 1, 1_000)]);
    let lease = acquire(&registry, want(10, 0), &[]).await.unwrap();
    lease.settle(Outcome::NoDeployment {
        summary: "404".to_owned(),
    });

    let (answer, after) = spawn(&registry, ask(want(10, 0), &[], waits(60)))
        .await
        .unwrap();

    assert_eq!(after, Duration::ZERO);
    let Err(Unavailable::Busy { refusals, again_in }) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(again_in, None);
    assert!(refusals[0].1.wait().is_some(), "it is shown all the same");
}

#[actix::test]
async fn a_flood_of_made_up_names_waits_and_is_served_like_others() {
    let registry = queue_of(1_000, &[instance("a", 1, 1_000)]);
    let held = acquire(&registry, want(1_000, 0), &[]).await.unwrap();
    tokio::time::advance(Duration::from_secs(55)).await;
    let named = |number: u64| {
        let name = format!("name-{number}");
        Want {
            model: ModelKey::of(&name),
            name: ModelName::new(name),
            ..want(2, 0)
        }
    };
    let flood: Vec<_> = (0..200)
        .map(|number| spawn(&registry, ask(named(number), &[], waits(15))))
        .collect();
    let known = spawn(&registry, ask(want(100, 0), &[], waits(15)));
    assert_eq!(waiting(&registry).await, 201);

    held.settle(answered(0));

    for one in flood.into_iter().chain([known]) {
        let (lease, after) = one.await.unwrap();
        assert!(lease.is_ok());
        assert_eq!(after, Duration::ZERO);
    }
    assert_eq!(waiting(&registry).await, 0);
}

#[actix::test]
async fn mapped_models_pass_a_flood_of_made_up_names() {
    let mut config = (*instance("a", 1, 1_000)).clone();
    let (mapped, deployment) = (ModelKey::of("chat"), Deployment::new("prod"));
    config.model_map.insert(mapped.clone(), deployment);
    let registry = queue_of(1_000, &[Arc::new(config), instance("b", 2, 1_000)]);
    let [a, b] = [&[1], &[0]].map(|tried| acquire(&registry, want(1_000, 0), tried));
    let (a, _b) = (a.await.unwrap(), b.await.unwrap());
    tokio::time::advance(Duration::from_secs(55)).await;
    // They have tried the first instance, so that they wait for the second.
    for number in 0..100 {
        let name = format!("name-{number}");
        let named = Want {
            model: ModelKey::of(&name),
            name: ModelName::new(name),
            ..want(2, 0)
        };
        spawn(&registry, ask(named, &[0], waits(15)));
    }
    assert_eq!(waiting(&registry).await, 100);
    let known = Want {
        model: mapped,
        name: ModelName::new("chat"),
        ..want(200, 0)
    };
    let known = spawn(&registry, ask(known, &[1], waits(15)));
    assert_eq!(waiting(&registry).await, 101);

    a.settle(answered(0));

    let (lease, after) = known.await.unwrap();
    assert_eq!(lease.unwrap().id(), InstanceId(0));
    assert_eq!(after, Duration::ZERO);
}
