//! Finds out which instances there are, and which variables belong to which.
//!
//! Names may be prefixes of each other: with `east` and `east_2` listed, `AZURE_INSTANCE_EAST_2_API_KEY` belongs to
//! `east_2`, the longest name that leaves a known field. A variable that belongs to nobody is a problem, because it is
//! a typo, and ignoring it would run the proxy with a setting the operator believes to be in force.

use std::collections::BTreeMap;

use super::findings::{Findings, shown};
use super::nearest::nearest;
use super::setting::Setting;
use crate::config::raw::{INSTANCE_PREFIX, Raw};
use crate::domain::InstanceName;

/// What can follow `AZURE_INSTANCE_<NAME>_`, in the order of the documentation.
pub(super) const FIELDS: [&str; 8] = [
    "API_KEY",
    "API_BASE",
    "API_VERSION",
    "PRIORITY",
    "WEIGHT",
    "MAX_TPM",
    "MAX_RPM",
    "MODELS",
];

/// What can follow `AZURE_INSTANCE_<NAME>_` when a model's name comes after it.
pub(super) const MODEL_FIELDS: [&str; 2] = [MODEL_MAP, MAX_TPM];

/// The instance's own part of the model map.
pub(super) const MODEL_MAP: &str = "MODEL_MAP_";

/// The limit of one deployment inside the instance.
pub(super) const MAX_TPM: &str = "MAX_TPM_";

/// The variables of one instance.
pub(super) struct Source {
    /// As the configuration spells it.
    pub(super) name: InstanceName,
    /// `AZURE_INSTANCE_<NAME>_`, or `AZURE_OPENAI_` for the legacy instance.
    prefix: String,
    /// Texts by what follows the prefix.
    fields: BTreeMap<String, String>,
}

impl Source {
    fn new(name: &str, prefix: String) -> Self {
        Self {
            name: InstanceName::new(name),
            prefix,
            fields: BTreeMap::new(),
        }
    }

    /// Returns the full name of a field's variable.
    pub(super) fn variable(&self, field: &str) -> String {
        format!("{}{field}", self.prefix)
    }

    /// Returns a field for parsing.
    pub(super) fn setting(&self, field: &str) -> Setting {
        Setting::new(self.variable(field), self.text(field))
    }

    /// Returns a field exactly as it was given, for keys.
    pub(super) fn text(&self, field: &str) -> Option<&str> {
        self.fields.get(field).map(String::as_str)
    }

    /// Returns every field that is set.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields
            .iter()
            .map(|(field, text)| (field.as_str(), text.as_str()))
    }

    /// Returns the field of one of this instance's variables.
    fn field_of<'a>(&self, variable: &'a str) -> Option<&'a str> {
        variable.strip_prefix(self.prefix.as_str())
    }

    /// Returns the name inside the prefix, as variables spell it.
    fn label(&self) -> &str {
        let label = self.prefix.strip_prefix(INSTANCE_PREFIX);
        label.unwrap_or_default().trim_end_matches('_')
    }
}

/// Returns the instances in their order, each with its variables.
pub(super) fn find(raw: &Raw, findings: &mut Findings) -> Vec<Source> {
    let list = raw.fixed.azure_instances.as_deref().map(str::trim);
    let Some(list) = list.filter(|list| !list.is_empty()) else {
        return legacy(raw, findings);
    };
    warn_of_ignored_legacy(raw, findings);
    let mut sources = listed(list, findings);
    if sources.is_empty() {
        // The list itself is reported; without it nothing can be said of the rest.
        return sources;
    }
    for (rest, text) in &raw.instances {
        let variable = format!("{INSTANCE_PREFIX}{rest}");
        let owner = sources
            .iter_mut()
            .filter(|source| source.field_of(&variable).is_some_and(is_field))
            .max_by_key(|source| source.prefix.len());
        match owner {
            Some(source) => {
                let field = source.field_of(&variable).unwrap_or_default().to_owned();
                source.fields.insert(field, text.clone());
            }
            None => unowned(&variable, &sources, findings),
        }
    }
    sources
}

/// Parses `AZURE_INSTANCES`.
fn listed(list: &str, findings: &mut Findings) -> Vec<Source> {
    const VARIABLE: &str = "AZURE_INSTANCES";
    let mut sources: Vec<Source> = Vec::new();
    for (index, name) in list.split(',').map(str::trim).enumerate() {
        let position = index + 1;
        if name.is_empty() {
            let expected = "names with one comma between two";
            findings.problem(VARIABLE, format!("entry {position} is empty"), expected);
            continue;
        }
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if !name.chars().all(is_allowed) {
            let found = format!("entry {position} is {}", shown(name));
            findings.problem(VARIABLE, found, "letters, digits, '-' and '_'");
            continue;
        }
        let label = name.to_ascii_uppercase().replace('-', "_");
        let source = Source::new(name, format!("{INSTANCE_PREFIX}{label}_"));
        if let Some(other) = sources.iter().find(|other| other.prefix == source.prefix) {
            let found = format!(
                "entries {} and {} share the variables {}*",
                shown(other.name.as_str()),
                shown(name),
                source.prefix
            );
            findings.problem(VARIABLE, found, "every name once");
            continue;
        }
        sources.push(source);
    }
    sources
}

/// Returns the single instance of `AZURE_OPENAI_*`, if it is set.
fn legacy(raw: &Raw, findings: &mut Findings) -> Vec<Source> {
    let fixed = &raw.fixed;
    // AZURE_OPENAI_API_VERSION alone is often there for another program.
    if fixed.azure_openai_api_key.is_none() && fixed.azure_openai_api_base.is_none() {
        let found = match raw.instances.keys().next() {
            Some(rest) => format!("not set, though {INSTANCE_PREFIX}{rest} is"),
            None => "not set".to_owned(),
        };
        findings.problem(
            "AZURE_INSTANCES",
            found,
            "instance names such as primary,backup (or AZURE_OPENAI_API_KEY and AZURE_OPENAI_API_BASE)",
        );
        return Vec::new();
    }
    for rest in raw.instances.keys() {
        findings.problem(
            format!("{INSTANCE_PREFIX}{rest}"),
            "set, but AZURE_INSTANCES is not",
            "its instance in AZURE_INSTANCES, or only AZURE_OPENAI_* variables",
        );
    }
    let mut source = Source::new("default", "AZURE_OPENAI_".to_owned());
    let given = [
        ("API_KEY", &fixed.azure_openai_api_key),
        ("API_BASE", &fixed.azure_openai_api_base),
        ("API_VERSION", &fixed.azure_openai_api_version),
    ];
    for (field, text) in given {
        if let Some(text) = text {
            source.fields.insert(field.to_owned(), text.clone());
        }
    }
    vec![source]
}

fn warn_of_ignored_legacy(raw: &Raw, findings: &mut Findings) {
    let given = [
        ("AZURE_OPENAI_API_KEY", &raw.fixed.azure_openai_api_key),
        ("AZURE_OPENAI_API_BASE", &raw.fixed.azure_openai_api_base),
        (
            "AZURE_OPENAI_API_VERSION",
            &raw.fixed.azure_openai_api_version,
        ),
    ];
    let mut names = Vec::new();
    for (name, text) in given {
        if text.is_some() {
            names.push(name);
        }
    }
    if !names.is_empty() {
        let names = names.join(", ");
        findings.warn(format!("ignored, because AZURE_INSTANCES is set: {names}"));
    }
}

fn is_field(text: &str) -> bool {
    FIELDS.contains(&text) || MODEL_FIELDS.iter().any(|field| text.starts_with(field))
}

/// Reports a variable that belongs to no listed instance, with the name that was probably meant.
fn unowned(variable: &str, sources: &[Source], findings: &mut Findings) {
    let rest = variable.strip_prefix(INSTANCE_PREFIX).unwrap_or_default();
    let labels: Vec<&str> = sources.iter().map(Source::label).collect();
    if let Some((label, field)) = split(rest) {
        let expected = match nearest(label, labels.iter().copied()) {
            Some(meant) => format!("{INSTANCE_PREFIX}{meant}_{field}, or {label} in the list"),
            None => format!("{label} in the list, or one of {}", labels.join(", ")),
        };
        let found = format!("AZURE_INSTANCES lists no instance {label}");
        findings.problem(variable, found, expected);
        return;
    }
    let owner = sources
        .iter()
        .filter_map(|source| Some((source, source.field_of(variable)?)))
        .max_by_key(|(source, _)| source.prefix.len());
    let Some((source, field)) = owner else {
        let expected = format!("{INSTANCE_PREFIX}<NAME>_ with one of {}", FIELDS.join(", "));
        findings.problem(variable, "no such variable", expected);
        return;
    };
    let expected = match nearest(field, FIELDS) {
        Some(meant) => source.variable(meant),
        None => format!("one of {}, {MODEL_MAP}<MODEL>", FIELDS.join(", ")),
    };
    findings.problem(variable, format!("no such field {field}"), expected);
}

/// Splits `<NAME>_<FIELD>` at the first place where a known field follows.
fn split(rest: &str) -> Option<(&str, &str)> {
    rest.match_indices('_')
        .filter_map(|(end, _)| Some((rest.get(..end)?, rest.get(end + 1..)?)))
        .find(|(label, field)| !label.is_empty() && is_field(field))
}
