//! Turns the variables of each instance into an [`InstanceConfig`].
//!
//! An instance that lacks its key or base is reported and left out; the others are looked at all the same, so that one
//! start tells everything. What a key looks like is judged here, but never shown.

use super::findings::Findings;
use super::models::{self, Mapping};
use super::setting::Setting;
use super::sources::{self, Source};
use super::{api_base, catalog, limits, tokens_per_minute};
use crate::config::raw::Raw;
use crate::config::{ApiVersion, InstanceConfig, LimitNames, Limits};
use crate::domain::{ModelName, Secret, Tokens};

/// What is used when `_API_VERSION` is unset.
const DEFAULT_API_VERSION: &str = "2023-07-01-preview";

/// `TOKEN_RATE_LIMIT` when it is unset.
const DEFAULT_TOKENS_PER_MINUTE: u64 = 30_000;

/// `_PRIORITY` and `_WEIGHT` when they are unset.
const DEFAULT_RANK: u32 = 100;

/// Bounds priorities and weights, so that sums over all instances stay small numbers.
const HIGHEST_RANK: u64 = 1_000_000;

/// Requests per minute; far more than one resource serves.
const MOST_REQUESTS: u64 = 100_000_000;

/// The instances and the names of the models they serve.
pub(super) struct Instances {
    /// In the order of `AZURE_INSTANCES`.
    pub(super) list: Vec<InstanceConfig>,
    /// As clients spell them, sorted.
    pub(super) catalog: Vec<ModelName>,
}

/// Parses every instance; one that lacks its key or base is reported and left out.
pub(super) fn parse(raw: &Raw, rate_limit: Setting, findings: &mut Findings) -> Instances {
    let sources = sources::find(raw, findings);
    warn_of_default_limits(&sources, &rate_limit, findings);
    let rate_limit = tokens_per_minute(&rate_limit, DEFAULT_TOKENS_PER_MINUTE, findings);
    let shared = models::shared_map(raw, findings);
    let mut list = Vec::new();
    let mut mappings = shared.clone();
    let mut spelled = Vec::new();
    for source in &sources {
        let own = models::own_map(source, findings);
        let models = models::served(source, findings);
        let (map, served) = (models::merged(&shared, &own), models.as_deref());
        list.extend(instance(source, rate_limit, served, map, findings));
        mappings.extend(own);
        spelled.extend(models.into_iter().flatten());
    }
    warn_of_unserved(&mappings, &list, findings);
    Instances {
        catalog: catalog::list(&spelled, &mappings, &list),
        list,
    }
}

fn instance(
    source: &Source,
    rate_limit: Tokens,
    served: Option<&[ModelName]>,
    model_map: models::Map,
    findings: &mut Findings,
) -> Option<InstanceConfig> {
    let api_key = api_key(source, findings);
    let api_base = api_base::parse(&source.setting("API_BASE"), findings);
    let api_version = api_version(&source.setting("API_VERSION"), findings);
    let mut rank = |field, least| {
        source
            .setting(field)
            .whole(least..=HIGHEST_RANK, DEFAULT_RANK, findings)
    };
    let priority = rank("PRIORITY", 0);
    let weight = rank("WEIGHT", 1);
    let max_tpm = source.setting("MAX_TPM");
    let mut limit_names = LimitNames::of(&max_tpm);
    let max_tpm = tokens_per_minute(&max_tpm, rate_limit.0, findings);
    let max_rpm = source.setting("MAX_RPM");
    let max_rpm = max_rpm.whole(1..=MOST_REQUESTS, 0, findings);
    let max_tpm_of = limits::parse(source, max_tpm, &model_map, &mut limit_names, findings);
    Some(InstanceConfig {
        name: source.name.clone(),
        api_key: api_key?,
        api_base: api_base?,
        api_version,
        priority,
        weight,
        max_tpm,
        max_rpm: (max_rpm > 0).then_some(max_rpm),
        max_tpm_of: Limits::new(max_tpm_of, &model_map),
        limit_names,
        models: served.map(models::keys),
        model_map,
    })
}

impl LimitNames {
    fn of(max_tpm: &Setting) -> Self {
        let set = max_tpm.value().map(|_| max_tpm.variable());
        Self {
            max_tpm: set.unwrap_or("TOKEN_RATE_LIMIT").to_owned(),
            ..Self::default()
        }
    }
}

fn api_key(source: &Source, findings: &mut Findings) -> Option<Secret> {
    let variable = source.variable("API_KEY");
    let Some(key) = source.text("API_KEY") else {
        findings.problem(variable, "not set", "the key of the resource");
        return None;
    };
    if let Some((found, expected)) = key_fault(key) {
        findings.problem(variable, found, expected);
        return None;
    }
    Some(Secret::new(key))
}

/// Says what keeps a key from being one and what would be right, without a word of the key.
pub(super) fn key_fault(key: &str) -> Option<(&'static str, &'static str)> {
    if key.trim() != key {
        return Some(("white space around it", "the key alone"));
    }
    // What an HTTP header can carry (RFC 9110, 5.5), without the bytes that servers read differently.
    if !key.chars().all(|c| c == ' ' || c.is_ascii_graphic()) {
        let found = "control characters or letters outside ASCII";
        return Some((found, "characters that are legal in a header"));
    }
    if key.contains("://") {
        return Some(("a URL", "a key"));
    }
    None
}

fn api_version(setting: &Setting, findings: &mut Findings) -> ApiVersion {
    let text = setting.value().unwrap_or(DEFAULT_API_VERSION);
    let version = match text {
        "v1" => ApiVersion::V1,
        dated => ApiVersion::Dated(dated.to_owned()),
    };
    if !is_version(text) {
        let expected = "v1, or a date with or without -preview, such as 2024-10-21";
        setting.wrong(expected, findings);
        return version;
    }
    if !version.knows_stream_usage() {
        let unset = setting.value().map_or(" (the default)", |_| "");
        findings.warn(format!(
            "{}: {text}{unset} is older than 2024-09-01-preview, so Azure refuses tools, JSON schemas and stream usage \
             there; 2024-10-21 is a good choice",
            setting.variable()
        ));
    }
    version
}

fn is_version(text: &str) -> bool {
    let date = text.strip_suffix("-preview").unwrap_or(text);
    let parts: Vec<&str> = date.split('-').collect();
    let [year, month, day] = parts.as_slice() else {
        return text == "v1";
    };
    let number = |part: &str, digits: usize| {
        let is_plain = part.len() == digits && part.bytes().all(|b| b.is_ascii_digit());
        part.parse::<u32>().ok().filter(|_| is_plain)
    };
    number(year, 4).is_some()
        && number(month, 2).is_some_and(|month| (1..=12).contains(&month))
        && number(day, 2).is_some_and(|day| (1..=31).contains(&day))
}

/// Warns of instances whose limit nobody has chosen: what Azure grants is hardly ever the default.
fn warn_of_default_limits(sources: &[Source], rate_limit: &Setting, findings: &mut Findings) {
    let mut names = Vec::new();
    for source in sources {
        if source.setting("MAX_TPM").value().is_none() {
            names.push(source.name.as_str());
        }
    }
    if rate_limit.value().is_none() && !names.is_empty() {
        findings.warn(format!(
            "{} is not set, so each instance without MAX_TPM has {DEFAULT_TOKENS_PER_MINUTE} tokens per minute for all \
             its deployments together: {}; set the sum of the deployments' quotas at Azure",
            rate_limit.variable(),
            names.join(", ")
        ));
    }
}

/// Warns of mapped models that `_MODELS` keeps from every instance.
fn warn_of_unserved(mappings: &[Mapping], list: &[InstanceConfig], findings: &mut Findings) {
    for mapping in mappings {
        if !list.is_empty() && !list.iter().any(|instance| instance.serves(&mapping.key)) {
            findings.warn(format!(
                "{} has no effect: every instance's MODELS leaves the model out",
                mapping.variable
            ));
        }
    }
}
