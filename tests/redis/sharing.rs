//! Replicas' stores through the faults of Redis, without proxies around them.

use std::time::Duration;

use azure_openai_proxy::store::Full;
use tokio::time::Instant;

use crate::replica::{Replica, sharing};
use crate::server::Server;

const MINUTE: Duration = Duration::from_secs(60);

/// Longer than the heartbeats of all replicas are apart.
const BEATS: Duration = Duration::from_millis(1000);

async fn three(server: &Server, limit: u64) -> [Replica; 3] {
    three_at(&server.url(), &[], limit).await
}

pub async fn three_at(url: &str, more: &[(&str, &str)], limit: u64) -> [Replica; 3] {
    let start = || async {
        let replica = Replica::start(sharing(url, more), limit, MINUTE);
        replica
            .until("sharing", |standing| standing.degraded.is_none())
            .await;
        replica
    };
    let replicas = [start().await, start().await, start().await];
    for replica in &replicas {
        replica
            .until("three replicas", |standing| standing.replicas == 3)
            .await;
    }
    replicas
}

/// Asks in small pieces until it is refused.
pub async fn fill(replica: &Replica, piece: u64, most: u64) -> u64 {
    let mut admitted = 0;
    while admitted < most && replica.admit(piece).await.is_ok() {
        admitted += piece;
    }
    admitted
}

pub async fn until_shared(replicas: &[Replica]) {
    for replica in replicas {
        replica
            .until("sharing", |standing| standing.degraded.is_none())
            .await;
    }
}

pub async fn until_degraded(replicas: &[Replica]) {
    for replica in replicas {
        replica
            .until("the fault", |standing| standing.degraded.is_some())
            .await;
    }
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn through_a_restart_three_unequal_replicas_stay_within_limit_and_one_share() {
    let mut server = Server::start();
    let replicas = three(&server, 900).await;
    let mut admitted = fill(&replicas[0], 10, 600).await;
    actix_rt::time::sleep(BEATS).await;

    server.kill();
    until_degraded(&replicas).await;
    let mut alone = Vec::new();
    for replica in &replicas {
        alone.push(fill(replica, 10, 900).await);
    }
    server.run();
    until_shared(&replicas).await;
    admitted += alone.iter().sum::<u64>();
    for replica in &replicas {
        admitted += fill(replica, 10, 900).await;
    }

    // Each may have a third of the 300 that were free.
    assert_eq!(alone, [100, 100, 100]);
    assert!(admitted <= 900 + 300, "{admitted}");
    assert!(admitted >= 900, "{admitted}");
    drop(replicas);
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn a_burst_just_before_redis_is_lost_is_known_to_those_who_had_no_part_in_it() {
    for burst in [450, 900] {
        let mut server = Server::start();
        // None of the burst may be admitted alone.
        let replicas = three_at(&server.url(), &[("REDIS_TIMEOUT_MS", "2000")], 900).await;
        let asks = (0..burst / 10).map(|_| replicas[0].admit(10));
        let answers = futures_util::future::join_all(asks).await;
        let mut admitted = 10 * answers.iter().filter(|answer| answer.is_ok()).count() as u64;
        for other in &replicas[1..] {
            other
                .until_used_within(admitted.saturating_sub(75)..=900)
                .await;
        }

        server.kill();
        for replica in replicas.iter().rev() {
            admitted += fill(replica, 10, 900).await;
        }

        // They may not have heard of the last step, a quarter of a share; without the news, of the whole burst.
        assert!(admitted <= 900 + 75, "{admitted} after {burst}");
        assert!(admitted >= 900 - 3 * 10, "{admitted} after {burst}");
    }
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn a_frozen_redis_costs_one_wait_and_comes_back_with_all_it_had() {
    let server = Server::start();
    let settings = sharing(&server.url(), &[("REDIS_TIMEOUT_MS", "300")]);
    let replica = Replica::shared(settings, 1_000, MINUTE).await;
    replica.admit(400).await.unwrap();

    server.freeze();
    let start = Instant::now();
    let mut answers = Vec::new();
    for _ in 0..20 {
        answers.push(replica.admit(10).await.is_ok());
    }
    let took = start.elapsed();
    server.thaw();
    replica
        .until("sharing", |standing| standing.degraded.is_none())
        .await;

    assert!(answers.iter().all(|is_admitted| *is_admitted));
    assert!(took < Duration::from_millis(600), "{took:?}");
    let used = replica.used();
    // The request that waited was decided alone, and charged once more when Redis woke.
    assert!((600..=610).contains(&used), "{used}");
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn forgotten_scripts_are_sent_again_unnoticed() {
    let server = Server::start();
    let replica = Replica::shared(sharing(&server.url(), &[]), 1_000, MINUTE).await;

    for _ in 0..5 {
        server.command(&["SCRIPT", "FLUSH"]);
        replica.admit(10).await.unwrap();
    }

    assert_eq!(replica.used(), 50);
    assert_eq!(replica.store.standing().losses, 0);
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn a_flushed_redis_is_told_again_what_was_admitted() {
    let server = Server::start();
    let sharing = || sharing(&server.url(), &[]);
    let replica = Replica::shared(sharing(), 100, MINUTE).await;
    let newcomer = Replica::shared(sharing(), 100, MINUTE).await;
    replica.admit(80).await.unwrap();

    server.command(&["FLUSHALL"]);
    replica
        .until("the loss", |standing| standing.losses == 1)
        .await;
    newcomer
        .until("the loss", |standing| standing.losses == 1)
        .await;
    replica
        .until("sharing", |standing| standing.degraded.is_none())
        .await;
    newcomer
        .until("sharing", |standing| standing.degraded.is_none())
        .await;

    newcomer.until_used(80).await;
    assert!(matches!(
        newcomer.admit(30).await,
        Err(Full { fits_in: Some(_) })
    ));
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn a_replica_that_dies_leaves_nothing_but_what_ages_out() {
    let server = Server::start();
    let span = Duration::from_secs(3);
    let settings = || sharing(&server.url(), &[]);
    let survivor = Replica::shared(settings(), 100, span).await;
    let doomed = Replica::shared(settings(), 100, span).await;
    survivor
        .until("two", |standing| standing.replicas == 2)
        .await;
    doomed.admit(100).await.unwrap();

    drop(doomed);

    assert!(survivor.admit(10).await.is_err());
    survivor
        .until("one", |standing| standing.replicas == 1)
        .await;
    survivor.until_used(0).await;
    survivor.admit(100).await.unwrap();
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn everything_in_redis_expires_and_carries_one_hash_tag() {
    let server = Server::start();
    let more = [("REDIS_KEY_PREFIX", "team-7")];
    let replica = Replica::shared(sharing(&server.url(), &more), 100, MINUTE).await;
    replica.admit(10).await.unwrap();

    let keys: Vec<String> = redis::from_redis_value(server.command(&["KEYS", "*"])).unwrap();

    assert!(keys.len() >= 3, "{keys:?}");
    for key in keys {
        assert!(key.starts_with("{team-7:a}:"), "{key}");
        let left: i64 = redis::from_redis_value(server.command(&["PTTL", &key])).unwrap();
        assert!(left > 0, "{key} does not expire");
    }
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn without_redis_from_the_start_each_keeps_to_the_configured_share() {
    let mut server = Server::absent(&[]);
    let more = [("REDIS_REPLICAS", "3")];
    let start = || Replica::start(sharing(&server.url(), &more), 900, MINUTE);
    let replicas = [start(), start(), start()];
    until_degraded(&replicas).await;

    let mut admitted = 0;
    for replica in &replicas {
        admitted += fill(replica, 10, 900).await;
    }
    server.run();
    until_shared(&replicas).await;

    assert_eq!(admitted, 900);
    for replica in &replicas {
        replica.until_used(900).await;
        assert!(replica.admit(10).await.is_err());
    }
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn without_redis_from_the_start_three_are_reckoned_with_until_it_says_how_many_there_are() {
    let mut server = Server::absent(&[]);
    let replica = Replica::start(sharing(&server.url(), &[]), 900, MINUTE);
    until_degraded(std::slice::from_ref(&replica)).await;

    let alone = fill(&replica, 10, 900).await;
    server.run();
    until_shared(std::slice::from_ref(&replica)).await;
    let together = fill(&replica, 10, 900).await;

    assert_eq!((alone, together), (300, 600));
    assert_eq!(replica.store.standing().replicas, 1);
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn what_uses_no_tokens_is_admitted_where_more_was_used_than_the_limit() {
    let server = Server::start();
    let start = || Replica::shared(sharing(&server.url(), &[]), 100, MINUTE);
    let (one, other) = (start().await, start().await);
    let charge = one.admit(90).await.unwrap();
    one.settle(&charge, 190);
    other.until_used(190).await;

    let nothing = other.admit(0).await;
    let something = other.admit(1).await;

    assert!(nothing.is_ok());
    assert!(something.is_err());
    assert_eq!(other.store.standing().degraded, None);
}

/// Calls of scripts that a server has answered.
fn calls(server: &Server) -> u64 {
    let said = redis::from_redis_value::<String>(server.command(&["INFO", "commandstats"]));
    let said = said.unwrap();
    let line = said
        .lines()
        .find(|line| line.starts_with("cmdstat_evalsha:"));
    let calls = line.unwrap().split("calls=").nth(1).unwrap();
    calls.split(',').next().unwrap().parse().unwrap()
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn very_many_small_requests_share_calls_and_what_was_charged_ahead_comes_back() {
    let server = Server::start();
    let start = || Replica::shared(sharing(&server.url(), &[]), 1_000_000_000, MINUTE);
    let (one, other) = (start().await, start().await);
    let before = calls(&server);

    let (mut asked, mut charges) = (0, Vec::new());
    while asked < 20_000 {
        charges.push(one.admit(3).await.unwrap());
        asked += 1;
    }

    let took = calls(&server) - before;
    assert!(took < asked / 4, "{took} calls for {asked} requests");
    one.until_used(3 * asked).await;
    other.until_used(3 * asked).await;
    for charge in &charges {
        one.settle(charge, 1);
    }
    other.until_used(asked).await;
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn very_many_small_requests_of_two_replicas_fill_the_window_and_no_more() {
    let server = Server::start();
    let start = || Replica::shared(sharing(&server.url(), &[]), 5_000, MINUTE);
    let (one, other) = (start().await, start().await);

    let mut admitted = 0;
    for _ in 0..4 {
        let (mine, theirs) = tokio::join!(fill(&one, 1, 5_000), fill(&other, 1, 5_000));
        admitted += mine + theirs;
        assert!(admitted <= 5_000, "{admitted}");
        // What one was charged ahead and did not use is there for the other.
        actix_rt::time::sleep(BEATS).await;
    }

    assert_eq!(admitted, 5_000);
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn a_burst_charges_no_more_than_a_sixteenth_ahead() {
    let server = Server::start();
    let replica = Replica::shared(sharing(&server.url(), &[]), 160_000, MINUTE).await;
    // Part of a charge is left over, and of no use to the others.
    fill(&replica, 1, 20).await;

    let asks = (0..200).map(|_| replica.admit(10));
    let answers = futures_util::future::join_all(asks).await;
    let key = "{azure-openai-proxy:a}:tokens";
    let used: u64 = redis::from_redis_value(server.command(&["HGET", key, "used"])).unwrap();

    assert!(answers.iter().all(Result::is_ok));
    assert!(used <= 20 + 2_000 + 160_000 / 16, "{used}");
}
