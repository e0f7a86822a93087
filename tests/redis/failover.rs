//! Another server takes over, or the same one with what it had a while ago: without sentinels, and while it loads.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use crate::faults::forward;
use crate::replica::{Replica, sharing};
use crate::server::{Server, free_port};
use crate::sharing::{fill, three_at, until_degraded, until_shared};

const MINUTE: Duration = Duration::from_secs(60);

/// A primary, its copy, and an address that leads to the primary until it is moved.
async fn pair() -> (Server, Server, Rc<Cell<u16>>, String) {
    let primary = Server::start();
    let port = primary.port.to_string();
    let copy = Server::start_with(&["--replicaof", "127.0.0.1", &port]);
    copy.until(&["INFO", "replication"], &["master_link_status:up"]);
    let target = Rc::new(Cell::new(primary.port));
    let port = forward(target.clone(), Rc::default()).await;
    (primary, copy, target, format!("redis://127.0.0.1:{port}"))
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn a_copy_that_is_promoted_by_hand_goes_on_with_the_windows() {
    let (mut primary, copy, target, url) = pair().await;
    let replicas = three_at(&url, &[], 900).await;
    let mut admitted = fill(&replicas[0], 10, 600).await;
    let synced: i64 = redis::from_redis_value(primary.command(&["WAIT", "1", "5000"])).unwrap();

    primary.kill();
    until_degraded(&replicas).await;
    for replica in &replicas {
        admitted += fill(replica, 10, 50).await;
    }
    // Asked before it is promoted, it takes no charges.
    target.set(copy.port);
    replicas[0]
        .until("a copy", |standing| {
            let cause = standing.degraded.as_deref();
            cause.is_some_and(|cause| {
                cause.to_lowercase().contains("read only") || cause.contains("READONLY")
            })
        })
        .await;
    copy.command(&["REPLICAOF", "NO", "ONE"]);
    until_shared(&replicas).await;
    for replica in &replicas {
        replica.until_used(admitted).await;
    }
    for replica in &replicas {
        admitted += fill(replica, 10, 900).await;
    }

    assert_eq!(synced, 1);
    assert_eq!(admitted, 900);
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn what_a_copy_never_got_is_told_to_it_by_those_who_admitted_it() {
    let (mut primary, copy, target, url) = pair().await;
    let replicas = three_at(&url, &[], 900).await;
    let mut admitted = fill(&replicas[0], 10, 200).await;
    let _: redis::Value = primary.command(&["WAIT", "1", "5000"]);
    // From now on it hears nothing.
    copy.command(&["REPLICAOF", "NO", "ONE"]);
    admitted += fill(&replicas[0], 10, 300).await;
    admitted += fill(&replicas[1], 10, 100).await;

    target.set(copy.port);
    primary.kill();
    until_degraded(&replicas).await;
    until_shared(&replicas).await;
    for replica in &replicas {
        replica.until_used(admitted).await;
    }
    for replica in &replicas {
        admitted += fill(replica, 10, 900).await;
    }

    assert_eq!(admitted, 900);
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn what_was_admitted_alone_and_told_is_told_again_to_a_copy_that_never_got_it() {
    let (mut primary, copy, target, url) = pair().await;
    let replicas = three_at(&url, &[], 900).await;
    let mut admitted = fill(&replicas[0], 10, 300).await;
    let _: redis::Value = primary.command(&["WAIT", "1", "5000"]);
    copy.command(&["REPLICAOF", "NO", "ONE"]);

    // Frozen, it would charge in the end what it was asked last, and be ahead of the copy by that.
    target.set(free_port());
    for kind in ["normal", "pubsub"] {
        primary.command(&["CLIENT", "KILL", "TYPE", kind]);
    }
    until_degraded(&replicas).await;
    for replica in &replicas {
        admitted += fill(replica, 10, 150).await;
    }
    target.set(primary.port);
    until_shared(&replicas).await;
    for replica in &replicas {
        replica.until_used(admitted).await;
    }
    // Nobody has asked since.
    target.set(copy.port);
    primary.kill();
    until_degraded(&replicas).await;
    until_shared(&replicas).await;
    for replica in &replicas {
        admitted += fill(replica, 10, 900).await;
    }

    assert_eq!(admitted, 900);
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn a_server_that_loads_an_old_dump_is_waited_for_and_told_what_is_not_in_it() {
    let mut server = Server::absent(&[
        "--key-load-delay",
        "500",
        "--loading-process-events-interval-bytes",
        "1024",
    ]);
    server.run();
    let patience = Duration::from_millis(200);
    let more = [("REDIS_TIMEOUT_MS", "200")];
    let replica = Replica::shared(sharing(&server.url(), &more), 1_000, MINUTE).await;
    let fill_up = "for at = 1, 5000 do redis.call('SET', 'other:' .. at, 'x') end";
    server.command(&["EVAL", fill_up, "0"]);
    replica.admit(300).await.unwrap();
    server.command(&["SAVE"]);
    replica.admit(200).await.unwrap();

    server.kill();
    server.spawn();
    let mut slowest = Duration::ZERO;
    let mut is_loading = false;
    let mut admitted = 500;
    let start = Instant::now();
    while replica.store.standing().degraded.is_some() || start.elapsed() < patience {
        let cause = replica.store.standing().degraded.unwrap_or_default();
        is_loading |= cause.to_lowercase().contains("loading");
        let asked = Instant::now();
        if start.elapsed() < patience {
            admitted += fill(&replica, 10, 10).await;
        }
        slowest = slowest.max(asked.elapsed());
        assert!(start.elapsed() < Duration::from_secs(20), "{cause}");
        actix_rt::time::sleep(Duration::from_millis(5)).await;
    }

    assert!(is_loading, "it was never found loading");
    assert!(slowest < patience * 2, "a request waited for {slowest:?}");
    replica.until_used(admitted).await;
    admitted += fill(&replica, 10, 1_000).await;
    assert_eq!(admitted, 1_000);
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn what_is_left_when_the_state_alone_is_lost_is_not_counted_twice() {
    let server = Server::start();
    let sharing = || sharing(&server.url(), &[]);
    let replica = Replica::shared(sharing(), 100, MINUTE).await;
    replica.admit(60).await.unwrap();

    server.command(&["DEL", "{azure-openai-proxy:a}:state"]);
    replica
        .until("the loss", |standing| standing.losses == 1)
        .await;
    until_shared(std::slice::from_ref(&replica)).await;

    let newcomer = Replica::shared(sharing(), 100, MINUTE).await;
    newcomer.until_used(60).await;
    assert_eq!(fill(&newcomer, 10, 100).await, 40);
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn a_redis_that_has_counted_less_than_before_is_an_older_copy() {
    let server = Server::start();
    let replica = Replica::shared(sharing(&server.url(), &[]), 100, MINUTE).await;
    for _ in 0..3 {
        replica.admit(20).await.unwrap();
    }

    // As when another server has come behind the same connection.
    let (state, window) = (
        "{azure-openai-proxy:a}:state",
        "{azure-openai-proxy:a}:tokens",
    );
    server.command(&[
        "EVAL",
        "redis.call('HSET', KEYS[1], 'acts', 1) redis.call('DEL', KEYS[2])",
        "2",
        state,
        window,
    ]);
    replica
        .until("the loss", |standing| standing.losses == 1)
        .await;
    until_shared(std::slice::from_ref(&replica)).await;

    let newcomer = Replica::shared(sharing(&server.url(), &[]), 100, MINUTE).await;
    newcomer.until_used(60).await;
}
