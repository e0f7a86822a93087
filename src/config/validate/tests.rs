//! Tables of good and bad settings, by what they set. Every case starts from [`ONE`], one sound instance.

use std::time::Duration;

use crate::config::{AllowedOrigins, ApiVersion, Config, Problem, from_vars};
use crate::domain::{ModelKey, ModelName, StrategyKind, Tokens};

mod cors;
mod example;
mod instances;
mod keys;
mod models;
mod redis;

/// One instance with nothing to remark on.
const ONE: [(&str, &str); 5] = [
    ("AZURE_INSTANCES", "east"),
    ("AZURE_INSTANCE_EAST_API_KEY", "key-of-east"),
    ("AZURE_INSTANCE_EAST_API_BASE", "https://east.test"),
    ("AZURE_INSTANCE_EAST_API_VERSION", "2024-10-21"),
    ("TOKEN_RATE_LIMIT", "30000"),
];

fn parse(vars: &[(&str, &str)]) -> Result<Config, Vec<Problem>> {
    from_vars(vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
}

/// Parses one sound instance with more settings laid over it.
fn with(more: &[(&str, &str)]) -> Result<Config, Vec<Problem>> {
    parse(&[&ONE, more].concat())
}

fn good(more: &[(&str, &str)]) -> Config {
    with(more).unwrap()
}

fn problems(result: Result<Config, Vec<Problem>>) -> Vec<String> {
    let problems = result.expect_err("no problem was found");
    problems.iter().map(Problem::to_string).collect()
}

/// Asserts that exactly one problem is found, that it names its variable and that it says `text`.
#[track_caller]
fn assert_problem(more: &[(&str, &str)], variable: &str, text: &str) {
    let problems = problems(with(more));

    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0].starts_with(&format!("{variable}: ")),
        "{problems:?}"
    );
    assert!(problems[0].contains(text), "{problems:?} lacks {text:?}");
}

#[test]
fn defaults_stand_where_nothing_is_set() {
    let config = good(&[]);

    assert_eq!(config.server.host.to_string(), "0.0.0.0");
    assert_eq!(config.server.port, 3010);
    assert!(config.server.workers >= 1);
    assert_eq!(config.server.max_body_bytes, 67_108_864);
    assert_eq!(config.server.shutdown.as_secs(), 30);
    assert!(config.server.client_keys.is_empty());
    assert_eq!(config.server.allowed_origins, AllowedOrigins::None);
    assert_eq!(config.timeouts.connect.as_secs(), 5);
    assert_eq!(config.timeouts.first_byte.as_secs(), 300);
    assert_eq!(config.timeouts.idle.as_secs(), 120);
    assert_eq!(config.log.level, log::LevelFilter::Info);
    assert!(!config.log.json);
    assert_eq!(config.strategy, StrategyKind::Failover);
    assert_eq!(config.instances[0].priority, 100);
    assert_eq!(config.instances[0].weight, 100);
    assert!(config.catalog.is_empty());
    assert!(config.warnings.is_empty());
}

#[test]
fn every_setting_with_a_fixed_name_is_read() {
    let config = good(&[
        ("HOST", "127.0.0.1"),
        ("PORT", " 0 "),
        ("WORKERS", "3"),
        ("MAX_BODY_BYTES", "1024"),
        ("SHUTDOWN_TIMEOUT_SECS", "0"),
        ("UPSTREAM_CONNECT_TIMEOUT_SECS", "0.5"),
        ("UPSTREAM_FIRST_BYTE_TIMEOUT_SECS", "60"),
        ("UPSTREAM_IDLE_TIMEOUT_SECS", "7"),
        ("LOG_LEVEL", "Warning"),
        ("LOG_FORMAT", "JSON"),
        ("TOKEN_RATE_LIMIT", "1"),
        ("PATH", "of somebody else"),
        ("PORTS", "of somebody else"),
    ]);

    assert_eq!(config.server.host.to_string(), "127.0.0.1");
    assert_eq!((config.server.port, config.server.workers), (0, 3));
    assert_eq!(config.server.max_body_bytes, 1024);
    assert!(config.server.shutdown.is_zero());
    assert_eq!(config.timeouts.connect.as_millis(), 500);
    assert_eq!(config.timeouts.first_byte.as_secs(), 60);
    assert_eq!(config.timeouts.idle.as_secs(), 7);
    assert_eq!(config.log.level, log::LevelFilter::Warn);
    assert!(config.log.json);
    assert_eq!(config.instances[0].max_tpm, Tokens(1));
}

#[test]
fn words_are_read_in_any_case() {
    for kind in StrategyKind::ALL {
        let spelled = kind.as_str().to_uppercase().replace('_', "-");
        for spelling in [kind.as_str(), &spelled] {
            let config = good(&[("AZURE_ROUTING_STRATEGY", spelling)]);
            assert_eq!(config.strategy, kind, "{spelling}");
        }
    }
    for level in ["off", "error", "warn", "info", "debug", "trace"] {
        let config = good(&[("LOG_LEVEL", level)]);
        assert_eq!(config.log.level.as_str().to_lowercase(), level);
    }
    assert_eq!(
        good(&[("HOST", "localhost")]).server.host.to_string(),
        "127.0.0.1"
    );
    assert_eq!(good(&[("HOST", "::1")]).server.host.to_string(), "::1");
}

#[test]
fn a_value_out_of_range_is_answered_with_the_range() {
    let cases = [
        ("PORT", "65536", "from 0 to 65535"),
        ("PORT", "http", "\"http\"; expected a whole number"),
        ("PORT", "-1", "from 0"),
        ("WORKERS", "0", "from 1 to 1024"),
        ("WORKERS", "1.5", "a whole number"),
        ("MAX_BODY_BYTES", "1023", "from 1024 to 1073741824"),
        ("TOKEN_RATE_LIMIT", "0", "from 1 to"),
        ("TOKEN_RATE_LIMIT", "30k", "a whole number"),
        (
            "TOKEN_RATE_LIMIT",
            "99999999999999999999999",
            "from 1 to 1000000000000",
        ),
        ("SHUTDOWN_TIMEOUT_SECS", "-1", "from 0 to 3600"),
        ("UPSTREAM_CONNECT_TIMEOUT_SECS", "0", "from 0.1 to 86400"),
        ("UPSTREAM_FIRST_BYTE_TIMEOUT_SECS", "NaN", "seconds"),
        ("UPSTREAM_IDLE_TIMEOUT_SECS", "inf", "seconds"),
        ("UPSTREAM_IDLE_TIMEOUT_SECS", "5s", "such as 30 or 0.5"),
        ("HOST", "example.org", "an IP address"),
        ("LOG_LEVEL", "loud", "off, error, warn, info, debug, trace"),
        ("LOG_FORMAT", "xml", "text, json"),
        (
            "AZURE_ROUTING_STRATEGY",
            "random",
            "failover, priority, round_robin, weighted, least_loaded",
        ),
        ("AZURE_INSTANCE_EAST_WEIGHT", "0", "from 1 to 1000000"),
        (
            "AZURE_INSTANCE_EAST_PRIORITY",
            "1000001",
            "from 0 to 1000000",
        ),
        ("AZURE_INSTANCE_EAST_MAX_TPM", "0", "from 1 to"),
    ];
    for (variable, value, text) in cases {
        assert_problem(&[(variable, value)], variable, text);
    }
}

#[test]
fn a_value_as_long_as_a_key_is_not_quoted() {
    let long = "9".repeat(25);
    assert_problem(&[("PORT", &long)], "PORT", "a value of 25 characters");
}

#[test]
fn empty_and_blank_values_count_as_unset() {
    for value in ["", "  "] {
        let config = good(&[
            ("PORT", value),
            ("HOST", value),
            ("LOG_LEVEL", value),
            ("UPSTREAM_IDLE_TIMEOUT_SECS", value),
            ("PROXY_API_KEYS", value),
            ("MODEL_MAP_GPT4o", value),
            ("QUEUE_MAX_WAITING", value),
            ("AZURE_INSTANCE_EAST_MODELS", value),
            ("AZURE_INSTANCE_EAST_WEIGHT", value),
        ]);

        assert_eq!(config.server.port, 3010);
        assert_eq!(config.instances[0].models, None);
        assert!(config.instances[0].model_map.is_empty());
    }
}

#[test]
fn every_problem_is_reported_at_once_in_the_order_of_the_documentation() {
    let problems = problems(parse(&[
        ("LOG_LEVEL", "loud"),
        ("PORT", "x"),
        ("MODEL_MAP_GPT4o", "a b"),
        ("AZURE_INSTANCES", "east,,west"),
        ("AZURE_INSTANCE_WEST_API_BASE", "west"),
        ("AZURE_INSTANCE_EAST_WEIGHT", "0"),
        ("AZURE_ROUTING_STRATEGY", "best"),
        ("USE_REDIS_RATE_LIMITER", "maybe"),
    ]));

    let variables: Vec<&str> = problems
        .iter()
        .map(|p| p.split(':').next().unwrap())
        .collect();
    assert_eq!(
        variables,
        [
            "AZURE_INSTANCES",
            "MODEL_MAP_GPT4o",
            "AZURE_INSTANCE_EAST_API_KEY",
            "AZURE_INSTANCE_EAST_API_BASE",
            "AZURE_INSTANCE_EAST_WEIGHT",
            "AZURE_INSTANCE_WEST_API_KEY",
            "AZURE_INSTANCE_WEST_API_BASE",
            "AZURE_ROUTING_STRATEGY",
            "USE_REDIS_RATE_LIMITER",
            "PORT",
            "LOG_LEVEL",
        ]
    );
}

#[test]
fn requests_wait_only_where_it_is_asked_for() {
    let queue = |vars: &[(&str, &str)]| good(vars).queue;
    assert_eq!(queue(&[]).timeout, Duration::ZERO);
    assert_eq!(queue(&[]).most_waiting, 1_000);

    let set = queue(&[("QUEUE_TIMEOUT_SECS", "2.5"), ("QUEUE_MAX_WAITING", "7")]);

    assert_eq!(set.timeout, Duration::from_millis(2_500));
    assert_eq!(set.most_waiting, 7);
    for (variable, value, expected) in [
        ("QUEUE_TIMEOUT_SECS", "soon", "seconds"),
        ("QUEUE_TIMEOUT_SECS", "-1", "seconds"),
        ("QUEUE_TIMEOUT_SECS", "3601", "3600"),
        ("QUEUE_MAX_WAITING", "0", "1 to 100000"),
        ("QUEUE_MAX_WAITING", "many", "1 to 100000"),
    ] {
        assert_problem(&[(variable, value)], variable, expected);
    }
}

#[test]
fn waiting_for_as_long_as_a_stop_takes_draws_a_warning() {
    let waits = |seconds: &'static str| good(&[("QUEUE_TIMEOUT_SECS", seconds)]).warnings;

    let warnings = waits("31");

    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("QUEUE_TIMEOUT_SECS is 31 and SHUTDOWN_TIMEOUT_SECS 30:"));
    assert_eq!(waits("30").len(), 1, "the last would have no time");
    assert!(waits("29").is_empty());
    let neither = good(&[("QUEUE_TIMEOUT_SECS", "0"), ("SHUTDOWN_TIMEOUT_SECS", "0")]);
    assert!(neither.warnings.is_empty(), "{:?}", neither.warnings);
}
