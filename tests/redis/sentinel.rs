//! Redis behind sentinels: the master dies, another is promoted, and the replicas of the proxy find it.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::time::Instant;

use crate::kinds::{assert_shares, authority, tls_server};
use crate::process::{Folder, SOON};
use crate::replica::{Replica, sharing};
use crate::server::{Server, free_port};
use crate::sharing::{fill, three_at, until_degraded, until_shared};

/// Longest that a request may wait for Redis in these tests.
const PATIENCE: Duration = Duration::from_millis(300);

/// A sentinel, killed in the end.
struct Sentinel {
    port: u16,
    child: Child,
    _folder: Folder,
}

impl Sentinel {
    /// Starts one that watches over the server on a port.
    fn start(master: u16, quorum: u16, port_option: &str, more: &str) -> Self {
        let folder = Folder::new();
        let port = free_port();
        let config = format!(
            "{port_option} {port}\nbind 127.0.0.1\ndir {}\n{more}\n\
             sentinel monitor the-master 127.0.0.1 {master} {quorum}\n\
             sentinel down-after-milliseconds the-master 700\n\
             sentinel failover-timeout the-master 2000\n",
            folder.path().display()
        );
        let file = folder.write("sentinel.conf", &config);
        let child = Command::new("redis-server")
            .args([file.as_str(), "--sentinel"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self {
            port,
            child: child.expect("redis-server is installed"),
            _folder: folder,
        }
    }

    /// Waits until it knows of the replica and of the other sentinels.
    fn until_ready(&self, password: &str) {
        let client = redis::Client::open(format!("redis://:{password}@127.0.0.1:{}", self.port));
        let start = Instant::now();
        loop {
            let connection = client.as_ref().unwrap().get_connection_with_timeout(SOON);
            let said = connection.and_then(|mut connection| {
                redis::cmd("INFO")
                    .arg("sentinel")
                    .query::<String>(&mut connection)
            });
            if said.is_ok_and(|said| {
                said.contains("status=ok") && said.contains("slaves=1,sentinels=3")
            }) {
                return;
            }
            assert!(start.elapsed() < SOON, "the sentinel is not ready");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A user for the proxy; what operators and sentinels do needs none.
fn add_user(server: &Server) {
    server.command(&["ACL", "SETUSER", "team", "on", ">p@ss", "~*", "&*", "+@all"]);
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn when_the_master_dies_requests_go_on_and_the_promoted_replica_takes_over() {
    let mut master = Server::start();
    let port = master.port.to_string();
    let other = Server::start_with(&["--replicaof", "127.0.0.1", &port]);
    other.until(&["INFO", "replication"], &["master_link_status:up"]);
    add_user(&master);
    add_user(&other);
    let own = "requirepass s-pass\nsentinel sentinel-pass s-pass";
    let start = || Sentinel::start(master.port, 2, "port", own);
    let sentinels = [start(), start(), start()];
    for sentinel in &sentinels {
        sentinel.until_ready("s-pass");
    }
    // One of those named is never there.
    let hosts: Vec<String> = sentinels
        .iter()
        .map(|sentinel| sentinel.port)
        .chain([free_port()])
        .map(|port| format!("127.0.0.1:{port}"))
        .collect();
    let url = format!(
        "redis+sentinel://team:p%40ss@{}/the-master?sentinel_password=s-pass",
        hosts.join(",")
    );
    let patience = PATIENCE.as_millis().to_string();
    let replicas = three_at(&url, &[("REDIS_TIMEOUT_MS", &patience)], 900).await;
    let mut admitted = fill(&replicas[0], 10, 600).await;

    master.kill();
    let mut slowest = Duration::ZERO;
    for replica in &replicas {
        let start = Instant::now();
        admitted += fill(replica, 10, 10).await;
        slowest = slowest.max(start.elapsed());
    }
    until_degraded(&replicas).await;
    for replica in &replicas {
        admitted += fill(replica, 10, 900).await;
    }
    until_shared(&replicas).await;
    for replica in &replicas {
        admitted += fill(replica, 10, 900).await;
    }

    assert!(slowest < PATIENCE * 2, "a request waited for {slowest:?}");
    assert!(admitted <= 900 + 300, "{admitted}");
    assert!(admitted >= 900 - 30, "{admitted}");
    other.until(&["INFO", "replication"], &["role:master"]);
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn sentinels_and_master_by_tls() {
    let folder = Folder::new();
    let files = authority(&folder, "ours");
    let port = free_port();
    let _master = tls_server(port, &files);
    let [ca, certificate, key] = files;
    let own = format!(
        "port 0\ntls-cert-file {certificate}\ntls-key-file {key}\ntls-ca-cert-file {ca}\n\
         tls-auth-clients no\ntls-replication yes"
    );
    let sentinel = Sentinel::start(port, 1, "tls-port", &own);
    let url = format!("rediss+sentinel://127.0.0.1:{}/the-master", sentinel.port);

    assert_shares(&url, &[("REDIS_CA_FILE", &ca)]).await;
}

/// A replica with this URL says so, and serves alone.
async fn assert_said(url: &str, words: &str) {
    let replica = Replica::start(sharing(url, &[]), 100, Duration::from_secs(60));
    replica
        .until(words, |standing| {
            let cause = standing.degraded.as_deref();
            cause.is_some_and(|cause| cause.contains(words))
        })
        .await;
    replica.admit(10).await.unwrap();
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn a_master_that_sentinels_do_not_know_is_said() {
    let master = Server::start();
    let sentinel = Sentinel::start(master.port, 1, "port", "");

    let url = format!("redis+sentinel://127.0.0.1:{}/another", sentinel.port);
    assert_said(&url, "know no such master").await;
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn a_sentinel_behind_the_url_of_a_server_is_said_with_the_url_that_it_needs() {
    let master = Server::start();
    let sentinel = Sentinel::start(master.port, 1, "port", "");

    let url = format!("redis://127.0.0.1:{}", sentinel.port);
    assert_said(&url, "REDIS_URL has to be redis+sentinel://").await;
}
