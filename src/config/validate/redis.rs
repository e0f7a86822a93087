//! Parses how replicas share the quota: `USE_REDIS_RATE_LIMITER` and `REDIS_*`.
//!
//! What `REDIS_URL` says is left to `redis_url`.

use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::findings::Findings;
use super::redis_url;
use super::setting::Setting;
use crate::config::Sharing;
use crate::config::raw::Fixed;

/// Shared Redis servers hold keys of others, so ours begin with what we are.
const PREFIX: &str = "azure-openai-proxy";

/// Whoever waits longer for its quota than this does not need a limiter.
const MOST_TIMEOUT_MS: u64 = 5_000;

/// More replicas than anyone runs of a proxy that is not the bottleneck.
const MOST_REPLICAS: u64 = 1000;

/// Reads the settings, `None` unless the limiter is on. What is set is checked even if it is off.
pub(super) fn parse(fixed: &Fixed, findings: &mut Findings) -> Option<Sharing> {
    let timeout = Setting::new("REDIS_TIMEOUT_MS", fixed.redis_timeout_ms.as_deref());
    let timeout = Duration::from_millis(timeout.whole(1..=MOST_TIMEOUT_MS, 50, findings));
    let replicas = Setting::new("REDIS_REPLICAS", fixed.redis_replicas.as_deref());
    let is_set = replicas.value().is_some();
    let replicas = replicas.whole(1..=MOST_REPLICAS, 1, findings);
    let prefix = prefix(fixed, findings);
    let url = Setting::new("REDIS_URL", fixed.redis_url.as_deref());
    if !is_on(fixed, findings) {
        // Compose files pass the URL on whether it is used or not.
        if url.value().is_some() {
            let warning = "REDIS_URL is not used, because USE_REDIS_RATE_LIMITER is not on";
            findings.warn(warning.to_owned());
        }
        return None;
    }
    let servers = redis_url::parse(&url, findings)?;
    let ca = ca(fixed, servers.is_tls(), findings);
    Some(Sharing {
        servers,
        prefix,
        timeout,
        ca,
        replicas: is_set.then_some(replicas),
    })
}

fn is_on(fixed: &Fixed, findings: &mut Findings) -> bool {
    let words = [
        ("true", true),
        ("false", false),
        ("1", true),
        ("0", false),
        ("yes", true),
        ("no", false),
        ("on", true),
        ("off", false),
    ];
    let text = fixed.use_redis_rate_limiter.as_deref();
    Setting::new("USE_REDIS_RATE_LIMITER", text).choice(&words, false, findings)
}

fn prefix(fixed: &Fixed, findings: &mut Findings) -> String {
    let setting = Setting::new("REDIS_KEY_PREFIX", fixed.redis_key_prefix.as_deref());
    let text = setting.value().unwrap_or(PREFIX);
    // Braces would move the hash tag that keeps an instance's keys on one node.
    let is_plain = |c: char| c.is_ascii_graphic() && c != '{' && c != '}';
    if text.len() > 100 || !text.chars().all(is_plain) {
        setting.wrong(
            "at most 100 letters, digits or signs, without spaces and braces",
            findings,
        );
    }
    text.to_owned()
}

fn ca(fixed: &Fixed, is_tls: bool, findings: &mut Findings) -> Option<Vec<u8>> {
    let setting = Setting::new("REDIS_CA_FILE", fixed.redis_ca_file.as_deref());
    let path = setting.value()?;
    if !is_tls {
        findings.warn("REDIS_CA_FILE is not used, because REDIS_URL is not rediss://".to_owned());
        return None;
    }
    let expected = "a readable file with certificates in PEM form";
    let content = match std::fs::read(path) {
        Ok(content) => content,
        Err(error) => {
            findings.problem(
                setting.variable(),
                format!("cannot be read ({error})"),
                expected,
            );
            return None;
        }
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&content) {
        let is_usable = certificate.is_ok_and(|certificate| roots.add(certificate).is_ok());
        if !is_usable {
            let found = "a certificate in the file cannot be used";
            findings.problem(setting.variable(), found, expected);
            return None;
        }
    }
    if roots.is_empty() {
        findings.problem(setting.variable(), "no certificate in the file", expected);
        return None;
    }
    Some(content)
}
