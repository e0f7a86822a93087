//! One variable with its text, and the ways to read a number, a duration or a word out of it.
//!
//! A text that does not fit is reported once, and the default stands in, so that parsing can go on.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::findings::{Findings, shown};

/// A variable's name and its value without surrounding white space; blank counts as unset.
pub(super) struct Setting {
    variable: String,
    value: Option<String>,
}

impl Setting {
    pub(super) fn new(variable: impl Into<String>, value: Option<&str>) -> Self {
        let value = value.map(str::trim).filter(|text| !text.is_empty());
        Self {
            variable: variable.into(),
            value: value.map(str::to_owned),
        }
    }

    pub(super) fn variable(&self) -> &str {
        &self.variable
    }

    pub(super) fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }

    /// Reports the value as it is.
    pub(super) fn wrong(&self, expected: impl Into<String>, findings: &mut Findings) {
        let found = self.value().map_or_else(|| "not set".to_owned(), shown);
        findings.problem(&self.variable, found, expected);
    }

    /// Reads a whole number; `range` must fit into `T`.
    pub(super) fn whole<T: TryFrom<u64>>(
        &self,
        range: RangeInclusive<u64>,
        default: T,
        findings: &mut Findings,
    ) -> T {
        let Some(text) = self.value() else {
            return default;
        };
        let number = text.parse().ok().filter(|number| range.contains(number));
        if let Some(number) = number.and_then(|number| T::try_from(number).ok()) {
            return number;
        }
        let (least, most) = (range.start(), range.end());
        self.wrong(format!("a whole number from {least} to {most}"), findings);
        default
    }

    /// Reads seconds, with fractions.
    pub(super) fn seconds(
        &self,
        range: RangeInclusive<f64>,
        default: f64,
        findings: &mut Findings,
    ) -> Duration {
        let mut seconds = default;
        if let Some(text) = self.value() {
            match text.parse().ok().filter(|number| range.contains(number)) {
                Some(number) => seconds = number,
                None => {
                    let (least, most) = (range.start(), range.end());
                    self.wrong(
                        format!("seconds from {least} to {most}, such as 30 or 0.5"),
                        findings,
                    );
                }
            }
        }
        Duration::try_from_secs_f64(seconds).unwrap_or_default()
    }

    /// Reads one of some words, whatever their case, with `-` for `_` allowed.
    pub(super) fn choice<T: Copy>(
        &self,
        choices: &[(&str, T)],
        default: T,
        findings: &mut Findings,
    ) -> T {
        let Some(text) = self.value() else {
            return default;
        };
        let word = text.to_ascii_lowercase().replace('-', "_");
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == word) {
            return *choice;
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        self.wrong(format!("one of {}", names.join(", ")), findings);
        default
    }
}
