//! Parses the limits of single deployments, `_MAX_TPM_<MODEL>`.
//!
//! They are set by model, as the model map is, and hold for the deployment that serves it.

use std::collections::BTreeMap;

use super::findings::Findings;
use super::models::Map;
use super::setting::Setting;
use super::sources::{MAX_TPM, Source};
use super::{MOST_TOKENS, tokens_per_minute};
use crate::config::LimitNames;
use crate::domain::{ModelKey, Tokens};

/// Parses the limits of one instance's deployments, and notes in `names` which variables set them; `map` is where its
/// models are deployed.
pub(super) fn parse(
    source: &Source,
    whole: Tokens,
    map: &Map,
    names: &mut LimitNames,
    findings: &mut Findings,
) -> BTreeMap<ModelKey, Tokens> {
    let mut limits: BTreeMap<ModelKey, Tokens> = BTreeMap::new();
    let mut read: Vec<(ModelKey, String)> = Vec::new();
    for (model, setting) in set(source, findings) {
        let limit = tokens_per_minute(&setting, MOST_TOKENS, findings);
        let same = |other: &ModelKey| {
            *other == model || map.get(other).is_some_and(|to| map.get(&model) == Some(to))
        };
        let other = read.iter().find(|(other, _)| same(other));
        if let Some((other, variable)) = other
            && limits.get(other) != Some(&limit)
        {
            let found = format!("another limit than in {variable}");
            let expected = "one limit, since both mean the same deployment";
            findings.problem(setting.variable(), found, expected);
        }
        if limit > whole {
            findings.warn(format!(
                "{} has no effect: {limit} is more than the instance has, {whole}",
                setting.variable()
            ));
        }
        let variable = setting.variable().to_owned();
        names.max_tpm_of.insert(model.clone(), variable.clone());
        read.push((model.clone(), variable));
        limits.insert(model, limit);
    }
    limits
}

/// Returns the variables of such limits that are set, each with the model in its name.
fn set(source: &Source, findings: &mut Findings) -> Vec<(ModelKey, Setting)> {
    let mut set = Vec::new();
    for (field, _) in source.fields() {
        let Some(spelling) = field.strip_prefix(MAX_TPM) else {
            continue;
        };
        let setting = source.setting(field);
        let model = ModelKey::of(spelling);
        if model.as_str().is_empty() {
            let expected = "letters or digits of a model's name after MAX_TPM_";
            let found = "no model in the variable's name";
            findings.problem(setting.variable(), found, expected);
        } else if setting.value().is_some() {
            set.push((model, setting));
        }
    }
    set
}
