//! Several proxies under load with one quota, while Redis is well and across its faults.

use std::time::Duration;

use azure_openai_proxy::simulator::{Hint, Mark, Play, Throttle};

use crate::fleet::{PIECE, Proxy, load_all, resource, shared_fleet, until_all};
use crate::server::Server;

const LIMIT: u64 = 3_000;
const SHARE: u64 = LIMIT / 3;

/// Patience of a machine under load: the faults of these tests are no matter of milliseconds.
const PATIENT: (&str, &str) = ("REDIS_TIMEOUT_MS", "1000");

/// Longer than the heartbeats of all replicas are apart.
const BEATS: Duration = Duration::from_millis(1_000);

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn three_proxies_under_load_give_out_the_limit_and_no_token_more() {
    let server = Server::start();
    let sim = resource().await;
    let url = server.url();
    let fleet = shared_fleet(&sim, 3, LIMIT, &[("REDIS_URL", &url), PATIENT]).await;

    let first = load_all(&fleet).await;
    let second = load_all(&fleet).await;

    assert_eq!(first + second, LIMIT);
    actix_rt::time::sleep(BEATS).await;
    for proxy in &fleet {
        let status = proxy.get("/v1/instances/status").await;
        assert_eq!(status["instances"][0]["current_tpm"], LIMIT, "{status}");
        assert_eq!(status["redis"]["state"], "shared");
        assert_eq!(proxy.said("quota is shared through redis"), 1);
        let metrics = proxy.get("/metrics").await;
        let metrics = metrics.as_str().unwrap();
        assert!(
            metrics.contains("\naoai_proxy_redis_shared 1\n"),
            "{metrics}"
        );
        assert!(
            metrics.contains("\naoai_proxy_redis_replicas 3\n"),
            "{metrics}"
        );
    }
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn across_a_restart_that_loses_all_they_stay_within_limit_and_one_share() {
    let mut server = Server::start();
    let sim = resource().await;
    let url = server.url();
    let fleet = shared_fleet(&sim, 3, LIMIT, &[("REDIS_URL", &url), PATIENT]).await;
    // One has nearly all the traffic, and the fault comes while it asks.
    let mut given = fleet[0].load(2, 18).await.tokens;
    actix_rt::time::sleep(BEATS).await;

    server.kill();
    given += load_all(&fleet).await;
    let alone = given;
    until_all(&fleet, "degraded").await;
    server.run();
    given += load_all(&fleet).await;
    until_all(&fleet, "shared").await;
    given += load_all(&fleet).await;

    assert!(given <= LIMIT + SHARE, "{given}");
    assert!(given >= LIMIT - 3 * PIECE, "{given}");
    assert!(
        alone >= 2 * PIECE * 9,
        "nothing was admitted alone: {alone}"
    );
    for proxy in &fleet {
        assert_eq!(proxy.said("redis is degraded"), 1, "{:#?}", proxy.lines());
        assert_eq!(proxy.said("redis is back"), 1, "{:#?}", proxy.lines());
    }
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn across_a_freeze_nobody_waits_twice_and_the_limit_holds() {
    let server = Server::start();
    let sim = resource().await;
    let url = server.url();
    let more = [("REDIS_URL", url.as_str()), ("REDIS_TIMEOUT_MS", "300")];
    let fleet = shared_fleet(&sim, 3, LIMIT, &more).await;
    let mut given = fleet[0].load(2, 9).await.tokens;
    actix_rt::time::sleep(BEATS).await;

    server.freeze();
    let mut slow = 0;
    for proxy in &fleet {
        for _ in 0..4 {
            let got = proxy.load(1, 1).await;
            given += got.tokens;
            slow += usize::from(got.slowest > Duration::from_millis(280));
        }
    }
    until_all(&fleet, "degraded").await;
    given += load_all(&fleet).await;
    server.thaw();
    until_all(&fleet, "shared").await;
    given += load_all(&fleet).await;

    assert!(slow <= fleet.len(), "{slow} requests waited");
    assert!(given <= LIMIT + SHARE, "{given}");
    // What was under way when Redis froze may count twice.
    assert!(given >= LIMIT - SHARE, "{given}");
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn without_redis_at_the_start_they_serve_and_join_it_when_it_comes() {
    let mut server = Server::absent(&[]);
    let sim = resource().await;
    let url = server.url();
    let more = [
        ("REDIS_URL", url.as_str()),
        ("REDIS_REPLICAS", "2"),
        PATIENT,
    ];
    let fleet = [
        Proxy::start(&sim, LIMIT, &more).await,
        Proxy::start(&sim, LIMIT, &more).await,
    ];
    until_all(&fleet, "degraded").await;

    let alone = load_all(&fleet).await;
    let status = fleet[0].get("/v1/instances/status").await;
    server.run();
    until_all(&fleet, "shared").await;
    let together = load_all(&fleet).await;

    assert_eq!(alone, LIMIT);
    assert_eq!(together, 0);
    let cause = status["redis"]["cause"].as_str().unwrap();
    assert!(cause.contains("refused"), "{cause}");
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn a_429_seen_by_one_keeps_the_other_away_within_a_second_and_its_end_is_heard_too() {
    let server = Server::start();
    let sim = resource().await;
    let url = server.url();
    let fleet = shared_fleet(&sim, 2, LIMIT, &[("REDIS_URL", &url), PATIENT]).await;
    let (one, other) = (&fleet[0], &fleet[1]);

    sim.play([Play::throttle(
        Throttle::OldRequests,
        Duration::from_secs(3),
        &[Hint::RetryAfterMs],
    )]);
    assert_eq!(one.ask().await, None);
    other.until_status("rate_limited").await;
    let before = sim.requests().len();
    let refused = other.ask().await;

    assert_eq!(refused, None);
    assert_eq!(sim.requests().len(), before, "it asked all the same");
    one.until_status("healthy").await;
    other.until_status("healthy").await;
    assert_eq!(one.ask().await, Some(PIECE));
    assert_eq!(other.ask().await, Some(PIECE));
}

/// What Redis has of the instance `a`.
fn in_redis(server: &Server, words: &[&str]) -> u64 {
    redis::from_redis_value(server.command(words)).unwrap()
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn a_proxy_that_is_stopped_under_load_leaves_nothing_but_what_was_used() {
    let server = Server::start();
    let sim = resource().await;
    let url = server.url();
    let mut fleet = shared_fleet(&sim, 2, 10_000_000, &[("REDIS_URL", &url), PATIENT]).await;
    let mut stopped = fleet.remove(0);

    let stop = async {
        fleet[0].until_used(60_000).await;
        stopped.terminate();
    };
    let (used, ()) = tokio::join!(stopped.chat_until_gone(16), stop);
    stopped.ended().await;

    // At once, and not when it would have been missed.
    let held = in_redis(&server, &["HGET", "{azure-openai-proxy:a}:tokens", "used"]);
    let replicas = in_redis(&server, &["ZCARD", "{azure-openai-proxy:a}:replicas"]);
    assert_eq!((held, replicas), (used, 1), "{:#?}", stopped.lines());
    fleet[0].until_replicas(1).await;
    let status = fleet[0].get("/v1/instances/status").await;
    assert_eq!(status["instances"][0]["current_tpm"], used);
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn a_proxy_that_is_told_twice_to_stop_takes_its_leave_all_the_same() {
    let server = Server::start();
    let sim = resource().await;
    let url = server.url();
    let mut fleet = shared_fleet(&sim, 2, LIMIT, &[("REDIS_URL", &url), PATIENT]).await;
    let mut stopped = fleet.remove(0);
    sim.play([Play::StallAfter(Mark::Events(3))]);
    let open = stopped.begin_stream().await;

    stopped.insist().await;

    let replicas = in_redis(&server, &["ZCARD", "{azure-openai-proxy:a}:replicas"]);
    assert_eq!(replicas, 1, "{:#?}", stopped.lines());
    drop(open);
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn a_redis_that_does_not_answer_delays_the_end_by_no_more_than_its_time() {
    let mut server = Server::start();
    let sim = resource().await;
    let url = server.url();
    let mut fleet = shared_fleet(&sim, 2, LIMIT, &[("REDIS_URL", &url), PATIENT]).await;
    let (mut dead, mut frozen) = (fleet.remove(0), fleet.remove(0));

    server.freeze();
    frozen.terminate();
    let with_frozen = frozen.ended().await;
    server.thaw();
    server.kill();
    dead.until("degraded").await;
    let alone = dead.ask().await;
    dead.terminate();
    let with_none = dead.ended().await;

    assert!(
        with_frozen < Duration::from_millis(2_500),
        "{with_frozen:?}"
    );
    assert!(with_none < Duration::from_millis(1_500), "{with_none:?}");
    assert_eq!(alone, Some(PIECE));
    let lines = dead.lines();
    assert_eq!(dead.said("could not be told all"), 1, "{lines:#?}");
}
