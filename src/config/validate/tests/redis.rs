//! Settings of the quota that replicas share.

use std::time::Duration;

use super::*;
use crate::config::{Servers, Sharing};

fn on(more: &[(&str, &str)]) -> Vec<(String, String)> {
    let base = [
        ("USE_REDIS_RATE_LIMITER", "true"),
        ("REDIS_URL", "redis://redis"),
    ];
    let vars = ONE.iter().chain(&base).chain(more);
    vars.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn sharing(more: &[(&str, &str)]) -> Sharing {
    from_vars(on(more)).unwrap().sharing.unwrap()
}

#[track_caller]
fn assert_refused(more: &[(&str, &str)], variable: &str, text: &str) {
    let problems = problems(from_vars(on(more)));

    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with(variable), "{problems:?}");
    assert!(problems[0].contains(text), "{problems:?}");
    assert!(!problems[0].contains("hunter2"), "{problems:?}");
}

/// The place of each node, as Redis's own library shows it.
fn places(url: &str) -> Vec<String> {
    let servers = sharing(&[("REDIS_URL", url)]).servers;
    let nodes = servers.nodes().iter();
    nodes.map(|node| node.addr().to_string()).collect()
}

#[test]
fn sharing_is_off_unless_it_is_asked_for() {
    for value in ["false", "0", "no", "OFF", ""] {
        assert!(good(&[("USE_REDIS_RATE_LIMITER", value)]).sharing.is_none());
    }
    let config = good(&[("REDIS_URL", "redis://user:password@redis:6379")]);

    assert!(config.sharing.is_none());
    assert_eq!(config.warnings.len(), 1);
    assert!(config.warnings[0].contains("REDIS_URL"));
    assert!(!config.warnings[0].contains("password"));
}

#[test]
fn the_defaults_are_those_of_the_documentation() {
    for value in ["true", "1", "Yes", "on"] {
        let sharing = sharing(&[("USE_REDIS_RATE_LIMITER", value)]);

        assert_eq!(sharing.prefix, "azure-openai-proxy");
        assert_eq!(sharing.timeout, Duration::from_millis(50));
        assert_eq!(sharing.replicas, None);
        assert!(sharing.ca.is_none());
    }
}

#[test]
fn every_kind_of_redis_has_its_url() {
    assert_eq!(places("redis://redis"), ["redis:6379"]);
    assert_eq!(places("rediss://u:p@redis:7000/3"), ["redis:7000"]);
    assert_eq!(places("valkey://[::1]:7000"), ["::1:7000"]);
    assert_eq!(places("unix:///run/redis.sock?db=2"), ["/run/redis.sock"]);
    assert_eq!(
        places("redis://u:p@a:1, redis://u:p@b:2 ,redis://u:p@c:3"),
        ["a:1", "b:2", "c:3"]
    );

    let sharing = sharing(&[("REDIS_URL", "redis://team:p%40ss@redis/5")]);

    let settings = sharing.servers.nodes()[0].redis_settings();
    assert_eq!(settings.username(), Some("team"));
    assert_eq!(settings.password(), Some("p@ss"));
    assert_eq!(settings.db(), 5);
}

#[test]
fn sentinels_have_a_master_and_passwords_of_their_own() {
    let url =
        "rediss+sentinel://team:p%40ss@a, b:7000,[::1]/my-master/3?sentinel_password=s%2Fcret";

    let servers = sharing(&[("REDIS_URL", url)]).servers;

    assert_eq!(places(url), ["a:26379", "b:7000", "::1:26379"]);
    assert!(servers.is_tls());
    let Servers::Sentinels(sentinels) = servers else {
        panic!("no sentinels");
    };
    assert_eq!(sentinels.name, "my-master");
    assert_eq!(sentinels.master.username(), Some("team"));
    assert_eq!(sentinels.master.password(), Some("p@ss"));
    assert_eq!(sentinels.master.db(), 3);
    for node in &sentinels.nodes {
        assert_eq!(node.redis_settings().username(), None);
        assert_eq!(node.redis_settings().password(), Some("s/cret"));
        assert_eq!(node.redis_settings().db(), 0);
    }
    let plain = "redis+sentinel://a/mymaster";
    assert!(!sharing(&[("REDIS_URL", plain)]).servers.is_tls());
}

#[test]
fn a_url_that_cannot_be_used_is_named_and_not_shown() {
    for (url, text) in [
        ("", "not set"),
        ("redis", "cannot be read"),
        ("http://:hunter2@redis", "scheme"),
        ("redis://:hunter2@redis/first", "database"),
        ("rediss://:hunter2@redis#insecure", "after #"),
        ("redis://a,redis:/:hunter2@", "entry 2 of 2"),
        ("redis://:hunter2@a,redis://b", "different"),
        ("redis://a/1,redis://b/1", "a cluster has only 0"),
        ("redis://a,unix:///pass.sock", "unix socket"),
        ("redis+sentinel://:hunter2@a", "name of the master"),
        (
            "redis+sentinel://:hunter2@a/m#insecure",
            "name of the master",
        ),
        ("redis+sentinel://:hunter2@a,,b/m", "is empty"),
        ("redis+sentinel://:hunter2@a:b/m", "cannot be read"),
        ("redis+sentinel://:hunter2@a/m/first", "database"),
        ("redis+sentinel://a/m?password=hunter2", "after ?"),
    ] {
        assert_refused(&[("REDIS_URL", url)], "REDIS_URL: ", text);
    }
}

#[test]
fn numbers_and_prefixes_out_of_range_are_refused() {
    for (variable, value, text) in [
        ("REDIS_TIMEOUT_MS", "0", "1 to 5000"),
        ("REDIS_TIMEOUT_MS", "5001", "1 to 5000"),
        ("REDIS_REPLICAS", "0", "1 to 1000"),
        ("REDIS_KEY_PREFIX", "a{b}", "braces"),
        ("REDIS_KEY_PREFIX", "a b", "spaces"),
    ] {
        assert_refused(&[(variable, value)], variable, text);
    }
}

#[test]
fn a_file_of_certificates_must_have_usable_ones() {
    let folder = std::env::temp_dir().join(format!("redis-ca-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("ca.pem");
    let path = file.to_str().unwrap();
    let tls = ("REDIS_URL", "rediss://redis");

    assert_refused(
        &[tls, ("REDIS_CA_FILE", "/nowhere/ca.pem")],
        "REDIS_CA_FILE",
        "cannot be read",
    );
    std::fs::write(&file, "no certificate").unwrap();
    assert_refused(
        &[tls, ("REDIS_CA_FILE", path)],
        "REDIS_CA_FILE",
        "no certificate",
    );
    let odd = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    std::fs::write(&file, odd).unwrap();
    assert_refused(
        &[tls, ("REDIS_CA_FILE", path)],
        "REDIS_CA_FILE",
        "cannot be used",
    );
    let warnings = from_vars(on(&[("REDIS_CA_FILE", path)])).unwrap().warnings;

    assert!(
        warnings[0].contains("REDIS_CA_FILE is not used"),
        "{warnings:?}"
    );
    std::fs::remove_dir_all(&folder).unwrap();
}
