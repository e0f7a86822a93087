//! Parses `REDIS_URL`: one server, nodes of a cluster, or sentinels.
//!
//! It may hold passwords, so nothing of it is ever shown, not even when it cannot be read.

use redis::cluster::ClusterClient;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};
use url::Url;

use super::findings::Findings;
use super::setting::Setting;
use crate::config::{Sentinels, Servers};

const EXPECTED: &str = "redis://user:password@host:6379/0, rediss:// for TLS, unix:///path, nodes of a cluster separated \
                        by commas, or redis+sentinel://host:26379,host:26379/master/0; other characters than letters \
                        and digits in a password percent-encoded";

/// Where sentinels listen unless it is said.
const SENTINEL_PORT: u16 = 26379;

/// Longest name of a master.
const MOST_NAME: usize = 100;

pub(super) fn parse(url: &Setting, findings: &mut Findings) -> Option<Servers> {
    let Some(text) = url.value() else {
        let why = "not set, although USE_REDIS_RATE_LIMITER is on";
        findings.problem(url.variable(), why, EXPECTED);
        return None;
    };
    if let Some((scheme, rest)) = sentinel_scheme(text) {
        return match sentinels(scheme, rest) {
            Ok(sentinels) => Some(Servers::Sentinels(sentinels)),
            Err(why) => {
                findings.problem(url.variable(), why, EXPECTED);
                None
            }
        };
    }
    let mut nodes = nodes(url, text, findings)?;
    if let Some(why) = unfit_for_a_cluster(&nodes) {
        findings.problem(url.variable(), why, "nodes of one Redis Cluster");
        return None;
    }
    match nodes.len() {
        1 => nodes.pop().map(Servers::One),
        _ => Some(Servers::Cluster(nodes)),
    }
}

fn nodes(url: &Setting, text: &str, findings: &mut Findings) -> Option<Vec<ConnectionInfo>> {
    let parts: Vec<&str> = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect();
    let mut nodes = Vec::new();
    for (position, part) in parts.iter().enumerate() {
        match node(part) {
            Ok(node) => nodes.push(node),
            Err(why) => {
                let found = match parts.len() {
                    1 => why.to_owned(),
                    count => format!("entry {} of {count}: {why}", position + 1),
                };
                findings.problem(url.variable(), found, EXPECTED);
            }
        }
    }
    (nodes.len() == parts.len() && !nodes.is_empty()).then_some(nodes)
}

fn node(text: &str) -> Result<ConnectionInfo, &'static str> {
    let Ok(url) = Url::parse(text) else {
        return Err("cannot be read as a URL");
    };
    let schemes = [
        "redis",
        "rediss",
        "valkey",
        "valkeys",
        "unix",
        "redis+unix",
        "valkey+unix",
    ];
    if !schemes.contains(&url.scheme()) {
        return Err("its scheme is not one of Redis");
    }
    if url.fragment().is_some() {
        // `#insecure` would turn the check of certificates off; REDIS_CA_FILE is the safe way.
        return Err("it has a part after #");
    }
    url.into_connection_info()
        .map_err(|_| "the host, path, database number or protocol in it is missing or wrong")
}

fn unfit_for_a_cluster(nodes: &[ConnectionInfo]) -> Option<&'static str> {
    if nodes.len() == 1 {
        return None;
    }
    let is_unix = |node: &ConnectionInfo| matches!(node.addr(), ConnectionAddr::Unix(_));
    if nodes.iter().any(is_unix) {
        return Some("a unix socket among several entries");
    }
    if nodes.iter().any(|node| node.redis_settings().db() != 0) {
        return Some("a database number, although a cluster has only 0");
    }
    let is_one = ClusterClient::new(nodes.to_vec()).is_ok();
    (!is_one).then_some("entries with different users, passwords or TLS")
}

/// Returns the scheme for the servers behind the sentinels, and what follows it.
fn sentinel_scheme(text: &str) -> Option<(&'static str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    match scheme.to_ascii_lowercase().as_str() {
        "redis+sentinel" | "redis-sentinel" | "valkey+sentinel" => Some(("redis", rest)),
        "rediss+sentinel" | "rediss-sentinel" | "valkeys+sentinel" => Some(("rediss", rest)),
        _ => None,
    }
}

/// Reads `user:password@host:port,host:port/master/0?sentinel_username=..&sentinel_password=..`.
fn sentinels(scheme: &str, rest: &str) -> Result<Sentinels, &'static str> {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (format!("{user}@"), hosts),
        None => (String::new(), authority),
    };
    let (name, database) = path.split_once('/').unwrap_or((path, ""));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    if name.is_empty() || name.len() > MOST_NAME || !name.chars().all(is_plain) {
        return Err("the name of the master after the sentinels is missing or wrong");
    }
    let own = own_settings(query)?;
    let mut nodes = Vec::new();
    let mut master = RedisConnectionInfo::default();
    for host in hosts.split(',').map(str::trim) {
        if host.is_empty() {
            return Err("the address of a sentinel is empty");
        }
        let mut url = Url::parse(&format!("{scheme}://{user}{host}"))
            .map_err(|_| "the address of a sentinel cannot be read")?;
        if url.port().is_none() && url.set_port(Some(SENTINEL_PORT)).is_err() {
            return Err("the address of a sentinel has no host");
        }
        url.set_path(database);
        let node = node(url.as_str())?;
        master = node.redis_settings().clone();
        nodes.push(node.set_redis_settings(own.clone()));
    }
    Ok(Sentinels {
        nodes,
        name: name.to_owned(),
        master,
    })
}

/// Reads how sentinels themselves are talked to: without a password unless one is given for them.
fn own_settings(query: &str) -> Result<RedisConnectionInfo, &'static str> {
    let mut settings = RedisConnectionInfo::default();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        settings = match name.as_ref() {
            "sentinel_username" => settings.set_username(value),
            "sentinel_password" => settings.set_password(value),
            _ => return Err("a part after ? is not sentinel_username or sentinel_password"),
        };
    }
    Ok(settings)
}
