//! Parses the model map and the lists of served models.
//!
//! Names of models are compared without case and punctuation, since names of variables cannot hold them. Two spellings
//! of one model must agree; an instance's own map goes over the shared one.

use std::collections::HashMap;

use super::findings::{Findings, shown};
use super::setting::Setting;
use super::sources::{MODEL_MAP, Source};
use crate::config::raw::{MODEL_MAP_PREFIX, Raw};
use crate::domain::{Deployment, ModelKey, ModelName};

/// The model map of one instance, as the rest of the program uses it.
pub(super) type Map = HashMap<ModelKey, Deployment>;

/// One variable of a model map.
#[derive(Clone)]
pub(super) struct Mapping {
    /// The variable's full name, for problems.
    pub(super) variable: String,
    /// The model as the variable's name spells it.
    pub(super) spelling: String,
    /// What the spelling is compared by.
    pub(super) key: ModelKey,
    /// Where the model is deployed.
    pub(super) deployment: Deployment,
}

/// Parses `MODEL_MAP_*`.
pub(super) fn shared_map(raw: &Raw, findings: &mut Findings) -> Vec<Mapping> {
    let entries = raw
        .model_map
        .iter()
        .map(|(model, text)| (format!("{MODEL_MAP_PREFIX}{model}"), model, text.as_str()));
    parse_map(entries, findings)
}

/// Parses the `_MODEL_MAP_*` of one instance.
pub(super) fn own_map(source: &Source, findings: &mut Findings) -> Vec<Mapping> {
    let entries = source.fields().filter_map(|(field, text)| {
        let model = field.strip_prefix(MODEL_MAP)?;
        Some((source.variable(field), model, text))
    });
    parse_map(entries, findings)
}

/// Lays an instance's own map over the shared one.
pub(super) fn merged(shared: &[Mapping], own: &[Mapping]) -> Map {
    shared
        .iter()
        .chain(own)
        .map(|mapping| (mapping.key.clone(), mapping.deployment.clone()))
        .collect()
}

/// Parses `_MODELS`; `None` if it is unset.
pub(super) fn served(source: &Source, findings: &mut Findings) -> Option<Vec<ModelName>> {
    let setting = source.setting("MODELS");
    let mut models = Vec::new();
    for (index, model) in setting.value()?.split(',').map(str::trim).enumerate() {
        if ModelKey::of(model).as_str().is_empty() {
            findings.problem(
                setting.variable(),
                format!("entry {} is {}", index + 1, shown(model)),
                "model names with one comma between two, or no such variable for all models",
            );
            continue;
        }
        models.push(ModelName::new(model));
    }
    Some(models)
}

/// Returns what the names are compared by, each once.
pub(super) fn keys(models: &[ModelName]) -> Vec<ModelKey> {
    let mut keys = Vec::new();
    for model in models {
        let key = ModelKey::of(model.as_str());
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

fn parse_map<'a>(
    entries: impl Iterator<Item = (String, impl AsRef<str>, &'a str)>,
    findings: &mut Findings,
) -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for (variable, spelling, text) in entries {
        let setting = Setting::new(variable, Some(text));
        let Some(mapping) = mapping(&setting, spelling.as_ref(), findings) else {
            continue;
        };
        let other = mappings.iter().find(|other| other.key == mapping.key);
        match other {
            Some(other) if other.deployment != mapping.deployment => findings.problem(
                mapping.variable,
                format!("another deployment than in {}", other.variable),
                "one deployment, since both names mean the same model",
            ),
            Some(_) => {}
            None => mappings.push(mapping),
        }
    }
    mappings
}

fn mapping(setting: &Setting, spelling: &str, findings: &mut Findings) -> Option<Mapping> {
    let deployment = setting.value()?;
    let key = ModelKey::of(spelling);
    if key.as_str().is_empty() {
        let expected = "letters or digits of a model's name after MODEL_MAP_";
        findings.problem(
            setting.variable(),
            "no model in the variable's name",
            expected,
        );
        return None;
    }
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !deployment.chars().all(is_allowed) {
        setting.wrong(
            "a deployment's name: letters, digits, '-', '_' and '.'",
            findings,
        );
        return None;
    }
    Some(Mapping {
        variable: setting.variable().to_owned(),
        spelling: spelling.to_owned(),
        key,
        deployment: Deployment::new(deployment),
    })
}
