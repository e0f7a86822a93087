//! What heartbeats bring and leave behind, and what a replica still says that ends between two of them.

use std::time::Duration;

use tokio::time::Instant;

use crate::process::SOON;
use crate::replica::{Replica, sharing};
use crate::server::Server;
use crate::sharing::{until_degraded, until_shared};

const MINUTE: Duration = Duration::from_secs(60);

const WINDOW: &str = "{azure-openai-proxy:a}:tokens";

fn number(server: &Server, words: &[&str]) -> u64 {
    redis::from_redis_value(server.command(words)).unwrap()
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn refunds_of_another_replica_put_forecasts_right_with_the_second_heartbeat_after() {
    let server = Server::start();
    let start = || Replica::shared(sharing(&server.url(), &[]), 100, MINUTE);
    let (one, other) = (start().await, start().await);
    one.admit(40).await.unwrap();
    actix_rt::time::sleep(Duration::from_secs(3)).await;
    let (first, second) = (one.admit(25).await.unwrap(), one.admit(25).await.unwrap());
    let charged = Instant::now();
    other.until_used(90).await;

    // Of 25 each, 20 come back: what fits then has to wait for the 40 only, and not for the rest of both.
    let mut took = Vec::new();
    for (charge, fits) in [(first, 60), (second, 80)] {
        let settled = Instant::now();
        one.settle(&charge, 5);
        while other.fits_in(fits) + charged.elapsed() > MINUTE - Duration::from_secs(1) {
            assert!(settled.elapsed() < SOON, "the forecast stays wrong");
            actix_rt::time::sleep(Duration::from_millis(5)).await;
        }
        took.push(settled.elapsed());
    }

    // Just after a whole window has come, the next in turn is 2 s away.
    assert!(took[1] < Duration::from_millis(1_400), "{took:?}");
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn a_window_that_nobody_uses_any_more_is_gone_though_its_replicas_live() {
    let server = Server::start();
    let span = Duration::from_secs(2);
    let replica = Replica::shared(sharing(&server.url(), &[]), 100, span).await;
    replica.admit(60).await.unwrap();
    assert_eq!(number(&server, &["EXISTS", WINDOW]), 1);

    let start = Instant::now();
    while number(&server, &["EXISTS", WINDOW]) == 1 {
        assert!(start.elapsed() < span + SOON, "it is kept");
        actix_rt::time::sleep(Duration::from_millis(50)).await;
    }

    assert!(start.elapsed() > span - Duration::from_millis(500));
    replica.admit(100).await.unwrap();
    assert_eq!(replica.store.standing().losses, 0);
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn a_replica_that_ends_while_all_come_back_tells_what_it_admitted_and_is_not_counted() {
    let mut server = Server::start();
    let start = || Replica::start(sharing(&server.url(), &[]), 900, MINUTE);
    let replicas = [start(), start()];
    until_shared(&replicas).await;
    let [stopped, other] = replicas;

    server.kill();
    until_degraded(std::slice::from_ref(&stopped)).await;
    stopped.admit(50).await.unwrap();
    server.run();
    stopped
        .until("the return", |standing| {
            standing.degraded.as_deref() == Some("replicas are coming back")
        })
        .await;
    stopped.admit(20).await.unwrap();
    stopped.leave().await;

    assert_eq!(number(&server, &["HGET", WINDOW, "used"]), 70);
    until_shared(std::slice::from_ref(&other)).await;
    other.until_used(70).await;
    other.until("one", |standing| standing.replicas == 1).await;
    assert_eq!(
        number(&server, &["ZCARD", "{azure-openai-proxy:a}:replicas"]),
        1
    );
}
