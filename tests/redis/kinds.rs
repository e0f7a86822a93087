//! The kinds of Redis: TLS, users, sockets, databases, a cluster.

use std::time::Duration;

use azure_openai_proxy::domain::{InstanceId, Tokens};
use azure_openai_proxy::store::{Part, Shared, Standing, Store};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::time::Instant;

use crate::process::{Folder, SOON};
use crate::replica::{Replica, sharing};
use crate::server::{Server, free_port};

const MINUTE: Duration = Duration::from_secs(60);

/// Two replicas through this URL have one quota.
pub async fn assert_shares(url: &str, more: &[(&str, &str)]) {
    let start = || Replica::shared(sharing(url, more), 100, MINUTE);
    let (one, other) = (start().await, start().await);

    one.admit(60).await.unwrap();

    assert!(other.admit(60).await.is_err());
    other.admit(40).await.unwrap();
    one.until_used(100).await;
}

fn pem(label: &str, content: &[u8]) -> String {
    let body = STANDARD.encode(content);
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

/// Writes an authority and a key with a certificate of it for 127.0.0.1.
pub fn authority(folder: &Folder, name: &str) -> [String; 3] {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    [
        folder.write(&format!("{name}-ca.pem"), &pem("CERTIFICATE", issuer.der())),
        folder.write(
            &format!("{name}.pem"),
            &pem("CERTIFICATE", certificate.der()),
        ),
        folder.write(
            &format!("{name}.key"),
            &pem("PRIVATE KEY", &key.serialize_der()),
        ),
    ]
}

/// Starts a server that speaks TLS on this port, beside its own that does not. The files are those of [`authority`].
pub fn tls_server(port: u16, [ca, certificate, key]: &[String; 3]) -> Server {
    Server::start_with(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        certificate,
        "--tls-key-file",
        key,
        "--tls-ca-cert-file",
        ca,
        "--tls-auth-clients",
        "no",
    ])
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn tls_with_an_authority_of_ones_own_and_none_other() {
    let folder = Folder::new();
    let ours = authority(&folder, "ours");
    let [stranger, ..] = authority(&folder, "stranger");
    let port = free_port();
    let _server = tls_server(port, &ours);
    let url = format!("rediss://127.0.0.1:{port}");

    assert_shares(&url, &[("REDIS_CA_FILE", &ours[0])]).await;

    for trusted in [vec![("REDIS_CA_FILE", stranger.as_str())], vec![]] {
        let replica = Replica::start(sharing(&url, &trusted), 100, MINUTE);
        let is_named = |cause: &String| cause.to_lowercase().contains("certificate");
        replica
            .until("the cause", |standing| {
                standing.degraded.as_ref().is_some_and(is_named)
            })
            .await;
        replica.admit(10).await.unwrap();
    }
}

/// Returns the rights that the documentation names for a user of one's own.
fn documented_rights() -> Vec<&'static str> {
    let page = include_str!("../../docs/replicas.md");
    let block = page.split("```").find(|block| block.contains("~{"));
    let (_language, rights) = block.unwrap().split_once('\n').unwrap();
    rights.split_whitespace().collect()
}

/// Makes a user with these rights and no others.
fn add_user(server: &Server, rights: &[&str]) {
    let user = ["ACL", "SETUSER", "team", "reset", "on", ">p@ss"];
    server.command(&[&user, rights].concat());
}

fn is_forbidden(standing: &Standing) -> bool {
    let cause = standing.degraded.as_deref().unwrap_or_default();
    let words = ["NOPERM", "permission", "can't run this command"];
    words.iter().any(|word| cause.contains(word))
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn without_any_of_the_rights_that_are_documented_quota_is_not_shared() {
    let server = Server::start();
    let url = format!("redis://team:p%40ss@127.0.0.1:{}/3", server.port);
    let rights = documented_rights();
    // Without channels all else goes on.
    let is_needed = |right: &&&str| !right.starts_with('&') && **right != "+@pubsub";
    let needed: Vec<_> = rights.iter().filter(is_needed).collect();

    assert!(needed.len() > 3, "{rights:?}");
    for without in needed {
        let others = rights.iter().copied().filter(|right| right != without);
        let others: Vec<_> = others.collect();
        add_user(&server, &others);

        let replica = Replica::start(sharing(&url, &[]), 100, MINUTE);
        replica.until(without, is_forbidden).await;
    }
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn a_user_with_only_the_rights_that_are_documented_and_a_database() {
    let server = Server::start();
    add_user(&server, &documented_rights());
    let url = format!("redis://team:p%40ss@127.0.0.1:{}/3", server.port);

    assert_shares(&url, &[]).await;

    let sizes: String = redis::from_redis_value(server.command(&["INFO", "keyspace"])).unwrap();
    assert!(sizes.contains("db3:") && !sizes.contains("db0:"), "{sizes}");

    // Channels are for what happens just before Redis is lost. Without them all else goes on.
    server.command(&["ACL", "SETUSER", "team", "resetchannels"]);
    let url = format!("redis://team:p%40ss@127.0.0.1:{}/4", server.port);
    assert_shares(&url, &[]).await;
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn a_server_that_knows_no_hello() {
    let server = Server::start_with(&["--rename-command", "HELLO", ""]);

    assert_shares(&server.url(), &[]).await;
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn a_unix_socket() {
    // Paths of sockets have to be short.
    let socket =
        std::env::temp_dir().join(format!("redis-{}-{}.sock", std::process::id(), free_port()));
    let socket = socket.to_str().unwrap().to_owned();
    let _server = Server::start_with(&["--unixsocket", &socket]);

    assert_shares(&format!("unix://{socket}?db=2"), &[]).await;
}

/// Three servers that are one cluster.
fn cluster() -> [Server; 3] {
    let start = || {
        let bus = free_port().to_string();
        let options = [
            "--cluster-enabled",
            "yes",
            "--cluster-port",
            &bus,
            "--cluster-node-timeout",
            "2000",
            // One node that is lost is no reason for the others to refuse.
            "--cluster-require-full-coverage",
            "no",
        ];
        (Server::start_with(&options), bus)
    };
    let nodes = [start(), start(), start()];
    let (first, _) = &nodes[0];
    for ((node, bus), slots) in
        nodes
            .iter()
            .zip([("0", "5460"), ("5461", "10922"), ("10923", "16383")])
    {
        node.command(&["CLUSTER", "ADDSLOTSRANGE", slots.0, slots.1]);
        first.command(&["CLUSTER", "MEET", "127.0.0.1", &node.port.to_string(), bus]);
    }
    let servers = nodes.map(|(server, _)| server);
    let start = Instant::now();
    for server in &servers {
        loop {
            let info = redis::from_redis_value(server.command(&["CLUSTER", "INFO"]));
            let info: String = info.unwrap();
            if info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3") {
                break;
            }
            assert!(start.elapsed() < SOON, "no cluster: {info}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    servers
}

const NAMES: [&str; 5] = ["east", "west", "north", "south", "centre"];

/// Two replicas' stores with five instances on a cluster.
async fn stores_on(nodes: &[Server]) -> [Store; 2] {
    let urls: Vec<String> = nodes.iter().map(Server::url).collect();
    stores_at(&urls.join(",")).await
}

async fn stores_at(url: &str) -> [Store; 2] {
    let stores = [store_at(url), store_at(url)];
    until_both_share(&stores).await;
    stores
}

async fn until_both_share(stores: &[Store; 2]) {
    for store in stores {
        until(store, |standing| {
            standing.degraded.is_none() && standing.replicas == 2
        })
        .await;
    }
}

fn store_at(url: &str) -> Store {
    let windows = || {
        vec![Shared {
            name: "tokens".to_owned(),
            limit: Tokens(100),
            span: MINUTE,
        }]
    };
    let instances = NAMES.map(|name| (name.to_owned(), windows()));
    let store = Store::new(sharing(url, &[]), rand::random(), &instances);
    actix_rt::spawn(store.clone().keep(|_, _| ()));
    store
}

async fn until(store: &Store, holds: impl Fn(&Standing) -> bool) {
    let start = Instant::now();
    while !holds(&store.standing()) {
        assert!(start.elapsed() < SOON, "{:?}", store.standing());
        actix_rt::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn ask(store: &Store, position: usize, amount: u64) -> bool {
    let amount = Tokens(amount);
    let parts = vec![Part { window: 0, amount }];
    let mut patience = store.patience();
    let answer = store.admit(InstanceId(position), parts, &mut patience);
    answer.await.is_ok()
}

/// Every instance has one quota among both stores.
async fn assert_both_share(stores: &[Store; 2]) {
    for position in 0..NAMES.len() {
        assert!(ask(&stores[0], position, 70).await);
        assert!(!ask(&stores[1], position, 40).await);
        assert!(ask(&stores[1], position, 30).await);
    }
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn a_cluster_of_three_holds_every_instance_on_one_of_its_nodes() {
    let nodes = cluster();
    let stores = stores_on(&nodes).await;

    assert_both_share(&stores).await;

    let mut filled = 0;
    for node in &nodes {
        let keys: i64 = redis::from_redis_value(node.command(&["DBSIZE"])).unwrap();
        filled += usize::from(keys > 0);
    }
    assert!(filled >= 2, "all instances are on one node");
    for store in &stores {
        assert_eq!(store.standing().losses, 0);
    }
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn the_address_of_one_node_is_enough_to_find_the_others() {
    let nodes = cluster();

    let stores = stores_at(&nodes[1].url()).await;

    assert_both_share(&stores).await;
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn in_a_cluster_a_user_needs_the_documented_rights_and_to_ask_for_its_slots() {
    let nodes = cluster();
    let mut rights = documented_rights();
    let urls = nodes
        .iter()
        .map(|node| format!("redis://team:p%40ss@127.0.0.1:{}", node.port));
    let urls: Vec<String> = urls.collect();
    nodes.iter().for_each(|node| add_user(node, &rights));
    let stores = [&urls, &urls].map(|urls| store_at(&urls.join(",")));
    until(&stores[0], is_forbidden).await;

    rights.push("+cluster|slots");
    nodes.iter().for_each(|node| add_user(node, &rights));
    until_both_share(&stores).await;

    assert_both_share(&stores).await;
}

#[actix_web::test]
#[ignore = "needs redis-server"]
async fn a_node_that_is_lost_takes_no_instances_with_it_but_its_own() {
    let mut nodes = cluster();
    let stores = stores_on(&nodes).await;
    let is_on = |node: &Server, name: &str| {
        let key = format!("{{azure-openai-proxy:{name}}}:state");
        let found = node.try_command(&["EXISTS", &key]);
        found.is_some_and(|found| redis::from_redis_value(found).unwrap_or(0) == 1)
    };
    let node = nodes.iter().position(|node| {
        let held = NAMES.iter().filter(|name| is_on(node, name)).count();
        held > 0 && held < NAMES.len()
    });
    let node = &mut nodes[node.unwrap()];
    let (lost, left): (Vec<usize>, Vec<usize>) =
        (0..NAMES.len()).partition(|&position| is_on(node, NAMES[position]));

    node.kill();
    for store in &stores {
        until(store, |standing| standing.degraded.is_some()).await;
    }
    for &position in &left {
        assert!(ask(&stores[0], position, 70).await, "{}", NAMES[position]);
        assert!(!ask(&stores[1], position, 40).await, "{}", NAMES[position]);
        assert!(ask(&stores[1], position, 30).await, "{}", NAMES[position]);
    }
    for &position in &lost {
        // Each has a half.
        assert!(!ask(&stores[0], position, 60).await, "{}", NAMES[position]);
        assert!(ask(&stores[0], position, 50).await, "{}", NAMES[position]);
        assert!(ask(&stores[1], position, 50).await, "{}", NAMES[position]);
    }
    let cause = stores[0].standing().degraded.unwrap_or_default();
    for (position, name) in NAMES.iter().enumerate() {
        assert_eq!(cause.contains(name), lost.contains(&position), "{cause}");
    }

    node.run();
    for store in &stores {
        until(store, |standing| standing.degraded.is_none()).await;
    }
    for (position, name) in NAMES.iter().enumerate() {
        assert!(!ask(&stores[0], position, 10).await, "{name}");
    }
}
