//! Redis with a clock that is put forward or back, as after a failover to a host that keeps another time.

use std::process::Command;
use std::time::Duration;

use tokio::time::Instant;

use crate::fleet::{PIECE, Proxy, load_all, resource, until_all};
use crate::process::{Folder, SOON};
use crate::replica::{Replica, sharing};
use crate::server::Server;
use crate::sharing::{fill, until_shared};

const MINUTE: Duration = Duration::from_secs(60);

/// A clock that is wrong by the seconds in a file, for a program that is started with it.
const CLOCK: &str = r#"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

int gettimeofday(struct timeval *tv, void *zone) {
    char text[32] = {0};
    struct timespec now;
    int file = open(getenv("CLOCK_FILE"), O_RDONLY);
    (void) zone;
    if (file >= 0) {
        if (read(file, text, sizeof(text) - 1) < 0) text[0] = 0;
        close(file);
    }
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
    tv->tv_sec = now.tv_sec + atol(text);
    tv->tv_usec = now.tv_nsec / 1000;
    return 0;
}
"#;

/// A clock that stands still for the seconds in a file: that which does not go on while a machine sleeps.
const STANDING: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    char text[32] = {0};
    int file, result = syscall(SYS_clock_gettime, clock, now);
    if (clock != CLOCK_MONOTONIC) return result;
    file = open(getenv("CLOCK_FILE"), O_RDONLY);
    if (file >= 0) {
        if (read(file, text, sizeof(text) - 1) < 0) text[0] = 0;
        close(file);
    }
    now->tv_sec -= atol(text);
    return result;
}
"#;

/// Makes a library that a program can be started with, and returns its path.
fn library(folder: &Folder, code: &str) -> String {
    let source = folder.write("clock.c", code);
    let library = folder.path().join("clock.so");
    let library = library.to_str().unwrap().to_owned();
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o", &library, &source])
        .status();
    assert!(
        compiled
            .expect("a C compiler links our own tests")
            .success()
    );
    library
}

/// A server whose clock can be set.
struct Clocked {
    server: Server,
    folder: Folder,
}

impl Clocked {
    fn start() -> Self {
        let folder = Folder::new();
        let library = library(&folder, CLOCK);
        let file = folder.write("offset", "0");
        let mut server = Server::absent(&[])
            .with_var("LD_PRELOAD", &library)
            .with_var("CLOCK_FILE", &file);
        server.run();
        Self { server, folder }
    }

    /// Sets the clock off by so many seconds.
    fn set(&self, offset: i64) {
        // In one piece, so that nobody reads half of it.
        let new = self.folder.write("offset.new", &offset.to_string());
        std::fs::rename(new, self.folder.path().join("offset")).unwrap();
    }
}

/// After the jump: everything is known again, nothing is admitted over, and it leaves the window in time.
async fn assert_survives(jump: i64) {
    let clocked = Clocked::start();
    let span = Duration::from_secs(8);
    let start = || Replica::shared(sharing(&clocked.server.url(), &[]), 100, span);
    let (one, other) = (start().await, start().await);
    for replica in [&one, &other] {
        replica
            .until("two", |standing| standing.replicas == 2)
            .await;
    }
    let charged = Instant::now();
    assert_eq!(fill(&one, 10, 60).await, 60);
    other.until_used(60).await;

    clocked.set(jump);
    let mut admitted = 60;
    for _ in 0..4 {
        admitted += fill(&one, 10, 100).await + fill(&other, 10, 100).await;
        actix_rt::time::sleep(Duration::from_millis(300)).await;
    }
    let took = charged.elapsed();
    assert!(
        admitted <= 100,
        "{admitted} after {took:?} and a jump of {jump} s"
    );
    one.until("the jump", |standing| standing.losses >= 1).await;
    until_shared(&[one, other]).await;

    // A newcomer asks Redis alone.
    let newcomer = start().await;
    let mut free_at = None;
    while free_at.is_none() {
        if newcomer.admit(100).await.is_ok() {
            free_at = Some(charged.elapsed());
        }
        assert!(
            charged.elapsed() < span + SOON,
            "it stays closed after {jump} s"
        );
        actix_rt::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(free_at >= Some(span), "{free_at:?} after {jump} s");
    assert!(
        free_at <= Some(span + Duration::from_secs(4)),
        "{free_at:?} after {jump} s"
    );
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn a_clock_that_is_put_forward_does_not_empty_the_windows() {
    assert_survives(3600).await;
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn a_clock_that_is_put_back_does_not_close_the_windows() {
    assert_survives(-3600).await;
}

/// Waits until a heartbeat later than all before was answered.
async fn until_beaten(server: &Server) {
    let state = "{azure-openai-proxy:a}:state";
    let beat = || -> u64 {
        let beat = server.command(&["HGET", state, "beat"]);
        redis::from_redis_value(beat).unwrap()
    };
    let start = Instant::now();
    // The second change comes after the first was answered.
    for _ in 0..2 {
        let before = beat();
        while beat() == before {
            assert!(start.elapsed() < SOON, "no heartbeat comes");
            actix_rt::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn settlements_find_their_charges_where_the_clock_was_only_corrected() {
    for by in [2, -2] {
        let clocked = Clocked::start();
        let start = || Replica::shared(sharing(&clocked.server.url(), &[]), 1_000, MINUTE);
        let replica = start().await;
        let charge = replica.admit(100).await.unwrap();

        clocked.set(by);
        until_beaten(&clocked.server).await;
        replica.settle(&charge, 10);

        replica.until_used(10).await;
        let newcomer = start().await;
        newcomer.until_used(10).await;
        assert_eq!(replica.store.standing().losses, 0, "{by}");
    }
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn windows_that_nobody_remembers_are_open_again_a_span_after_the_clock_was_put_back() {
    let clocked = Clocked::start();
    let span = Duration::from_secs(3);
    let start = || Replica::shared(sharing(&clocked.server.url(), &[]), 100, span);
    let before = start().await;
    assert_eq!(fill(&before, 10, 100).await, 100);
    drop(before);

    clocked.set(-3600);
    let newcomer = start().await;
    let joined = Instant::now();
    let at_once = fill(&newcomer, 10, 100).await;
    while newcomer.admit(100).await.is_err() {
        assert!(joined.elapsed() < span + SOON, "it stays closed");
        actix_rt::time::sleep(Duration::from_millis(50)).await;
    }

    assert_eq!(at_once, 0);
    assert!(
        joined.elapsed() < span + Duration::from_secs(3),
        "{:?}",
        joined.elapsed()
    );
}

/// What one of two proxies does that stood still, with its clock or without, for longer than a replica counts as live.
async fn assert_disturbs_nobody(does_clock_stand: bool) {
    const LIMIT: u64 = 3_000;
    const STANDS: Duration = Duration::from_secs(5);
    let server = Server::start();
    let sim = resource().await;
    let folder = Folder::new();
    let (library, file) = (library(&folder, STANDING), folder.write("offset", "0"));
    let url = server.url();
    let more = [
        ("REDIS_URL", url.as_str()),
        ("REDIS_TIMEOUT_MS", "500"),
        ("LD_PRELOAD", &library),
        ("CLOCK_FILE", &file),
    ];
    let fleet = [
        Proxy::start(&sim, LIMIT, &more[..2]).await,
        Proxy::start(&sim, LIMIT, &more).await,
    ];
    let dead = Proxy::start(&sim, LIMIT, &more[..2]).await;
    until_all(&fleet, "shared").await;
    dead.until("shared").await;
    let mut given = dead.load(1, 5).await.tokens + fleet[1].load(1, 5).await.tokens;
    drop(dead);
    fleet[0].until_replicas(2).await;

    fleet[1].freeze();
    fleet[0].until_replicas(1).await;
    actix_rt::time::sleep(STANDS).await;
    if does_clock_stand {
        folder.write("offset", &(STANDS.as_secs() + 1).to_string());
    }
    fleet[1].thaw();
    given += fleet[1].load(1, 5).await.tokens;
    for proxy in &fleet {
        proxy.until("shared").await;
        proxy.until_replicas(2).await;
    }
    given += load_all(&fleet).await;

    // Also what one that is dead admitted still counts, so nobody had to tell all again.
    assert!(given <= LIMIT, "{given}");
    assert!(given >= LIMIT - 2 * PIECE, "{given}");
    let lines = fleet[0].lines();
    assert_eq!(fleet[0].said("redis is degraded"), 0, "{lines:#?}");
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn a_proxy_that_stood_still_does_not_disturb_the_others() {
    assert_disturbs_nobody(false).await;
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn a_proxy_whose_machine_slept_does_not_disturb_the_others() {
    assert_disturbs_nobody(true).await;
}
