//! Each way in which Redis can fail: what is said of it, that requests go on, and that it is used again afterwards.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::replica::{Replica, sharing};
use crate::server::Server;

const MINUTE: Duration = Duration::from_secs(60);

/// Waits until the cause is named, admits alone, and returns the cause.
async fn degraded(replica: &Replica) -> String {
    replica
        .until("the fault", |standing| standing.degraded.is_some())
        .await;
    replica.admit(10).await.unwrap();
    replica.store.standing().degraded.unwrap_or_default()
}

/// Waits until it shares again, with what was admitted before.
async fn is_back_with(replica: &Replica, used: u64) {
    replica
        .until("sharing", |standing| standing.degraded.is_none())
        .await;
    replica.until_used(used).await;
    replica.admit(10).await.unwrap();
    replica.until_used(used + 10).await;
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn a_server_out_of_memory_is_left_alone_until_it_has_some() {
    let server = Server::start();
    let replica = Replica::shared(sharing(&server.url(), &[]), 1_000, MINUTE).await;
    replica.admit(100).await.unwrap();

    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let cause = degraded(&replica).await;
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);

    assert!(cause.contains("OOM") || cause.contains("memory"), "{cause}");
    is_back_with(&replica, 110).await;
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn a_server_that_has_become_a_replica_is_left_alone_until_it_is_none() {
    let (primary, server) = (Server::start(), Server::start());
    let replica = Replica::shared(sharing(&server.url(), &[]), 1_000, MINUTE).await;
    replica.admit(100).await.unwrap();

    server.command(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()]);
    let cause = degraded(&replica).await;
    server.command(&["REPLICAOF", "NO", "ONE"]);

    let is_named = [
        "READONLY",
        "read only",
        "UNBLOCKED",
        "LOADING",
        "MASTERDOWN",
    ]
    .iter()
    .any(|word| cause.contains(word));
    assert!(is_named, "{cause}");
    is_back_with(&replica, 110).await;
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn a_wrong_password_is_named_and_tried_again() {
    let server = Server::start();
    server.command(&["CONFIG", "SET", "requirepass", "right"]);
    let url = format!("redis://:wrong@127.0.0.1:{}", server.port);
    let replica = Replica::start(sharing(&url, &[]), 1_000, MINUTE);

    let cause = degraded(&replica).await;
    let operator = redis::Client::open(format!("redis://:right@127.0.0.1:{}", server.port));
    let mut operator = operator.unwrap().get_connection().unwrap();
    let set: redis::RedisResult<()> = redis::cmd("CONFIG")
        .arg(&["SET", "requirepass", "wrong"])
        .query(&mut operator);

    set.unwrap();
    assert!(cause.contains("password"), "{cause}");
    assert!(!cause.contains("wrong"), "{cause}");
    is_back_with(&replica, 10).await;
}

/// Passes bytes on after a while, both ways, to the port that is named when a connection comes.
pub async fn forward(to: Rc<Cell<u16>>, delay: Rc<Cell<Duration>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    actix_rt::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let Ok(far) = TcpStream::connect(("127.0.0.1", to.get())).await else {
                continue;
            };
            let (near_in, near_out) = near.into_split();
            let (far_in, far_out) = far.into_split();
            for (mut from, mut to) in [(near_in, far_out), (far_in, near_out)] {
                let delay = delay.clone();
                actix_rt::spawn(async move {
                    let mut buffer = vec![0; 1 << 16];
                    while let Ok(read @ 1..) = from.read(&mut buffer).await {
                        actix_rt::time::sleep(delay.get()).await;
                        if to.write_all(&buffer[..read]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        }
    });
    port
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn a_slow_server_costs_one_request_its_patience_and_no_other() {
    let server = Server::start();
    let delay = Rc::new(Cell::new(Duration::ZERO));
    let port = forward(Rc::new(Cell::new(server.port)), delay.clone()).await;
    let url = format!("redis://127.0.0.1:{port}");
    let patience = [("REDIS_TIMEOUT_MS", "200")];
    let replica = Replica::shared(sharing(&url, &patience), 1_000, MINUTE).await;

    delay.set(Duration::from_millis(400));
    let mut slow = 0;
    for _ in 0..20 {
        let start = Instant::now();
        replica.admit(10).await.unwrap();
        slow += usize::from(start.elapsed() >= Duration::from_millis(200));
    }
    let cause = replica.store.standing().degraded.unwrap_or_default();
    delay.set(Duration::ZERO);

    assert!(slow <= 1, "{slow} requests waited");
    assert!(cause.contains("no answer within 200 ms"), "{cause}");
    replica
        .until("sharing", |standing| standing.degraded.is_none())
        .await;
    // The one that waited arrived all the same, and was told again.
    let used = replica.used();
    assert!((200..=210).contains(&used), "{used}");
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn a_clock_that_is_heard_of_late_is_not_taken_for_another() {
    let server = Server::start();
    let delay = Rc::new(Cell::new(Duration::ZERO));
    let port = forward(Rc::new(Cell::new(server.port)), delay.clone()).await;
    let url = format!("redis://127.0.0.1:{port}");
    let patience = [("REDIS_TIMEOUT_MS", "5000")];
    let replica = Replica::shared(sharing(&url, &patience), 1_000, MINUTE).await;
    let other = Replica::shared(sharing(&server.url(), &[]), 1_000, MINUTE).await;
    let charge = replica.admit(100).await.unwrap();

    delay.set(Duration::from_millis(800));
    // Until a heartbeat has been answered late.
    actix_rt::time::sleep(Duration::from_millis(2_500)).await;
    replica.settle(&charge, 10);

    other.until_used(10).await;
    assert_eq!(replica.store.standing().losses, 0);
}

/// A replica that reaches the server through a slow way, another that does so directly, and how slow the way is.
async fn by_ways(server: &Server) -> (Replica, Replica, Rc<Cell<Duration>>) {
    let delay = Rc::new(Cell::new(Duration::ZERO));
    let port = forward(Rc::new(Cell::new(server.port)), delay.clone()).await;
    let url = format!("redis://127.0.0.1:{port}");
    let patience = [("REDIS_TIMEOUT_MS", "200")];
    let replica = Replica::shared(sharing(&url, &patience), 1_000, MINUTE).await;
    let other = Replica::shared(sharing(&server.url(), &[]), 1_000, MINUTE).await;
    (replica, other, delay)
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn what_is_told_again_since_its_answer_came_late_counts_once() {
    let server = Server::start();
    let (replica, other, delay) = by_ways(&server).await;
    let (more, less) = (replica.admit(100).await, replica.admit(100).await);
    // By then Redis has the script.
    let first = replica.admit(100).await.unwrap();
    replica.settle(&first, 50);
    other.until_used(250).await;

    delay.set(Duration::from_millis(400));
    replica.settle(&more.unwrap(), 150);
    replica.settle(&less.unwrap(), 10);
    replica
        .until("the fault", |standing| standing.losses == 1)
        .await;
    // It arrives all the same.
    other.until_used(210).await;
    delay.set(Duration::ZERO);
    replica
        .until("sharing", |standing| standing.degraded.is_none())
        .await;

    is_back_with(&replica, 210).await;
    other.until_used(220).await;
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn what_was_told_and_never_arrived_is_told_again() {
    let server = Server::start();
    let (replica, other, delay) = by_ways(&server).await;
    let charge = replica.admit(100).await.unwrap();
    let first = replica.admit(100).await.unwrap();
    replica.settle(&first, 0);
    other.until_used(100).await;

    delay.set(Duration::from_millis(1_000));
    replica.settle(&charge, 10);
    replica
        .until("the fault", |standing| standing.losses == 1)
        .await;
    for kind in ["normal", "pubsub"] {
        server.command(&["CLIENT", "KILL", "TYPE", kind]);
    }
    delay.set(Duration::ZERO);

    replica
        .until("sharing", |standing| standing.degraded.is_none())
        .await;
    is_back_with(&replica, 10).await;
    other.until_used(20).await;
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn connections_that_are_cut_are_made_again() {
    let server = Server::start();
    let replica = Replica::shared(sharing(&server.url(), &[]), 1_000, MINUTE).await;
    replica.admit(100).await.unwrap();

    // Who listens counts as a subscriber.
    server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    replica
        .until("the loss", |standing| standing.losses == 1)
        .await;

    is_back_with(&replica, 100).await;
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn a_redis_that_is_mute_from_the_start_costs_one_wait() {
    let server = Server::start();
    server.freeze();
    let patience = [("REDIS_TIMEOUT_MS", "300")];
    let replica = Replica::start(sharing(&server.url(), &patience), 900, MINUTE);

    let start = Instant::now();
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(replica.admit(10).await.is_ok());
    }
    let took = start.elapsed();
    server.thaw();

    assert_eq!(answers, [true; 5]);
    assert!(took < Duration::from_millis(900), "{took:?}");
    is_back_with(&replica, 50).await;
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn a_request_has_one_patience_and_its_end_alone_is_no_fault() {
    let server = Server::start();
    let settings = [("REDIS_TIMEOUT_MS", "1500")];
    let replica = Replica::shared(sharing(&server.url(), &settings), 1_000, MINUTE).await;
    let mut patience = replica.store.patience();

    server.freeze();
    let start = Instant::now();
    let thaw = async {
        actix_rt::time::sleep(Duration::from_millis(1000)).await;
        server.thaw();
    };
    let (first, ()) = tokio::join!(replica.admit_within(10, &mut patience), thaw);
    let is_spent = patience.is_spent();
    server.freeze();
    let second = replica.admit_within(10, &mut patience).await;
    let took = start.elapsed();
    let standing = replica.store.standing();
    server.thaw();

    assert!(first.is_ok() && !is_spent);
    assert!(second.is_err() && patience.is_spent());
    assert!(took < Duration::from_millis(2500), "{took:?}");
    assert_eq!((standing.degraded, standing.losses), (None, 0));
}
