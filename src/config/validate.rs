//! Turns the text of the environment into [`Config`], or into the list of everything that is wrong with it.
//!
//! Nothing stops at the first problem: a value that cannot be used is reported, its default stands in, and the rest is
//! looked at. No key is ever part of a problem or a warning, not even one that was pasted into the wrong variable.
//! Each submodule parses one part; this file parses the settings with fixed names and puts the parts together.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;

use log::LevelFilter;

use super::raw::{Fixed, Raw};
use super::{Config, Log, Problem, QueueConfig, Server, Timeouts};
use crate::domain::{StrategyKind, Tokens};

mod api_base;
mod catalog;
mod client_keys;
mod cors;
mod findings;
mod instances;
mod limits;
mod models;
mod nearest;
mod redis;
mod redis_url;
mod setting;
mod sources;
#[cfg(test)]
mod tests;

pub(super) use catalog::spelling;
use findings::Findings;
use setting::Setting;

/// No quota of Azure is near this, and a hundred times it still fits a u64.
const MOST_TOKENS: u64 = 1_000_000_000_000;

/// Bodies are held in memory, so a gigabyte is already generous.
const MOST_BODY_BYTES: u64 = 1 << 30;

/// More than the disk of any machine this runs on.
const MOST_STORAGE_BYTES: u64 = 1 << 50;

/// More requests than any machine this runs on holds connections.
const MOST_WAITING: u64 = 100_000;

/// More threads than any machine this runs on has processors.
const MOST_WORKERS: u64 = 1024;

/// Validates everything; `read` is what went wrong before, while reading.
pub(super) fn config(raw: &Raw, read: Vec<Problem>) -> Result<Config, Vec<Problem>> {
    let mut findings = Findings::new(read, raw);

    let instances = instances::parse(raw, token_rate_limit(&raw.fixed), &mut findings);
    let strategy = strategy(&raw.fixed, &mut findings);
    let sharing = redis::parse(&raw.fixed, &mut findings);
    findings.strange(&raw.strange);
    let config = Config {
        server: server(&raw.fixed, &mut findings),
        timeouts: timeouts(&raw.fixed, &mut findings),
        log: log(&raw.fixed, &mut findings),
        strategy,
        keeps_filter_chunks: keeps_filter_chunks(&raw.fixed, &mut findings),
        queue: queue(&raw.fixed, &mut findings),
        sharing,
        catalog: instances.catalog,
        instances: instances.list,
        warnings: Vec::new(),
    };

    warn_if_stops_cut_waiting(&config, &mut findings);
    let warnings = findings.finish()?;
    Ok(Config { warnings, ..config })
}

/// Validates where the proxy listens, and nothing else.
pub(super) fn address(raw: &Raw, read: Vec<Problem>) -> Result<SocketAddr, Vec<Problem>> {
    let mut findings = Findings::new(read, raw);
    let host = host(&raw.fixed, &mut findings);
    let port = port(&raw.fixed, &mut findings);
    findings.finish()?;
    Ok(SocketAddr::new(host, port))
}

/// Returns the setting that every instance without `MAX_TPM` falls back to.
fn token_rate_limit(fixed: &Fixed) -> Setting {
    Setting::new("TOKEN_RATE_LIMIT", fixed.token_rate_limit.as_deref())
}

fn strategy(fixed: &Fixed, findings: &mut Findings) -> StrategyKind {
    let choices = StrategyKind::ALL.map(|kind| (kind.as_str(), kind));
    Setting::new(
        "AZURE_ROUTING_STRATEGY",
        fixed.azure_routing_strategy.as_deref(),
    )
    .choice(&choices, StrategyKind::Failover, findings)
}

fn keeps_filter_chunks(fixed: &Fixed, findings: &mut Findings) -> bool {
    Setting::new("AZURE_FILTER_CHUNKS", fixed.azure_filter_chunks.as_deref()).choice(
        &[("drop", false), ("keep", true)],
        false,
        findings,
    )
}

fn server(fixed: &Fixed, findings: &mut Findings) -> Server {
    // A container without a readable CPU quota still gets a thread.
    let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let host = host(fixed, findings);
    let port = port(fixed, findings);
    let workers = Setting::new("WORKERS", fixed.workers.as_deref());
    let workers = workers.whole(1..=MOST_WORKERS, processors, findings);
    let client_keys = client_keys::parse(fixed.proxy_api_keys.as_deref(), findings);
    let max_body = Setting::new("MAX_BODY_BYTES", fixed.max_body_bytes.as_deref());
    let max_storage = Setting::new(
        "MAX_UPLOAD_STORAGE_BYTES",
        fixed.max_upload_storage_bytes.as_deref(),
    );
    let body_timeout = Setting::new(
        "CLIENT_BODY_TIMEOUT_SECS",
        fixed.client_body_timeout_secs.as_deref(),
    );
    let stall_timeout = Setting::new(
        "CLIENT_STALL_TIMEOUT_SECS",
        fixed.client_stall_timeout_secs.as_deref(),
    );
    let temporary = Setting::new("TMPDIR", fixed.tmpdir.as_deref());
    let shutdown = Setting::new(
        "SHUTDOWN_TIMEOUT_SECS",
        fixed.shutdown_timeout_secs.as_deref(),
    );
    let allowed_origins = cors::parse(fixed.cors_allow_origins.as_deref(), findings);
    cors::warn_if_open(&allowed_origins, &client_keys, findings);
    Server {
        host,
        port,
        workers,
        max_body_bytes: max_body.whole(1024..=MOST_BODY_BYTES, 64 << 20, findings),
        // Zero keeps every upload in memory, and refuses those that are too large for that.
        max_upload_storage_bytes: max_storage.whole(0..=MOST_STORAGE_BYTES, 4 << 30, findings),
        body_timeout: body_timeout.seconds(0.1..=3600.0, 30.0, findings),
        stall_timeout: stall_timeout.seconds(0.1..=86_400.0, 300.0, findings),
        temporary_folder: temporary.value().unwrap_or("/tmp").into(),
        // The server first looks after a second, so that is what zero grants.
        shutdown: shutdown.seconds(0.0..=3600.0, 30.0, findings),
        client_keys,
        allowed_origins,
    }
}

fn port(fixed: &Fixed, findings: &mut Findings) -> u16 {
    Setting::new("PORT", fixed.port.as_deref()).whole(0..=65_535, 3010, findings)
}

fn host(fixed: &Fixed, findings: &mut Findings) -> IpAddr {
    let setting = Setting::new("HOST", fixed.host.as_deref());
    let every_interface = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    match setting.value() {
        None => every_interface,
        Some("localhost") => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Some(text) => text.parse().unwrap_or_else(|_| {
            setting.wrong(
                "an IP address of this machine, such as 0.0.0.0 for all or 127.0.0.1",
                findings,
            );
            every_interface
        }),
    }
}

fn timeouts(fixed: &Fixed, findings: &mut Findings) -> Timeouts {
    let mut seconds = |name: &str, value: &Option<String>, default: f64| {
        // Below a tenth of a second a healthy upstream across a continent would count as dead.
        Setting::new(name, value.as_deref()).seconds(0.1..=86_400.0, default, findings)
    };
    Timeouts {
        connect: seconds(
            "UPSTREAM_CONNECT_TIMEOUT_SECS",
            &fixed.upstream_connect_timeout_secs,
            5.0,
        ),
        first_byte: seconds(
            "UPSTREAM_FIRST_BYTE_TIMEOUT_SECS",
            &fixed.upstream_first_byte_timeout_secs,
            300.0,
        ),
        idle: seconds(
            "UPSTREAM_IDLE_TIMEOUT_SECS",
            &fixed.upstream_idle_timeout_secs,
            120.0,
        ),
    }
}

fn queue(fixed: &Fixed, findings: &mut Findings) -> QueueConfig {
    let timeout = Setting::new("QUEUE_TIMEOUT_SECS", fixed.queue_timeout_secs.as_deref());
    let most = Setting::new("QUEUE_MAX_WAITING", fixed.queue_max_waiting.as_deref());
    QueueConfig {
        // Zero is off. An hour is beyond what any client waits for.
        timeout: timeout.seconds(0.0..=3600.0, 0.0, findings),
        // Each holds its request's body in memory.
        most_waiting: most.whole(1..=MOST_WAITING, 1_000, findings),
    }
}

/// Those who wait are open answers too, and a stop must leave them the time to be served.
fn warn_if_stops_cut_waiting(config: &Config, findings: &mut Findings) {
    let (waits, shutdown) = (config.queue.timeout, config.server.shutdown);
    // Who is served at the very last moment needs time for its answer.
    if waits >= shutdown && !waits.is_zero() {
        findings.warn(format!(
            "QUEUE_TIMEOUT_SECS is {} and SHUTDOWN_TIMEOUT_SECS {}: a stop cuts off requests that still wait; make the \
             latter longer than the former",
            waits.as_secs_f64(),
            shutdown.as_secs_f64(),
        ));
    }
}

fn log(fixed: &Fixed, findings: &mut Findings) -> Log {
    let levels = [
        ("off", LevelFilter::Off),
        ("error", LevelFilter::Error),
        ("warn", LevelFilter::Warn),
        ("info", LevelFilter::Info),
        ("debug", LevelFilter::Debug),
        ("trace", LevelFilter::Trace),
        // Python's spelling, which such setups often carry over.
        ("warning", LevelFilter::Warn),
    ];
    let level = Setting::new("LOG_LEVEL", fixed.log_level.as_deref());
    let format = Setting::new("LOG_FORMAT", fixed.log_format.as_deref());
    Log {
        level: level.choice(&levels, LevelFilter::Info, findings),
        json: format.choice(&[("text", false), ("json", true)], false, findings),
    }
}

/// Parses a number of tokens per minute.
fn tokens_per_minute(setting: &Setting, default: u64, findings: &mut Findings) -> Tokens {
    Tokens(setting.whole(1..=MOST_TOKENS, default, findings))
}
