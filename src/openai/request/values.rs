//! What single values of a body may be, and the words in which they are refused.
//!
//! Works on the text of a value. No message quotes that text.

use super::Rejection;
use crate::domain::ModelName;

/// Longer than any model or deployment name (Azure allows 64 characters), short enough to be logged.
const MODEL_NAME_MAX_BYTES: usize = 256;

pub(super) fn checked_name(name: &str) -> Result<ModelName, Rejection> {
    let expected = "a model name of 1 to 256 bytes without control characters";
    let found = if name.trim().is_empty() {
        "an empty string"
    } else if name.len() > MODEL_NAME_MAX_BYTES {
        "a longer one"
    } else if name.chars().any(char::is_control) {
        "one with control characters"
    } else {
        return Ok(ModelName::new(name));
    };
    Err(wrong_value("model", expected, found))
}

/// Takes null for absent.
pub(super) fn present(raw: Option<&str>) -> Option<&str> {
    raw.filter(|raw| *raw != "null")
}

pub(super) fn flag(param: &'static str, raw: Option<&str>) -> Result<Option<bool>, Rejection> {
    match present(raw) {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(other) => Err(wrong_type(param, "a boolean", kind(other))),
    }
}

/// Reads a whole number that is at least `least`.
pub(super) fn count(
    param: &'static str,
    raw: Option<&str>,
    least: u64,
) -> Result<Option<u64>, Rejection> {
    let Some(raw) = present(raw) else {
        return Ok(None);
    };
    let expected = if least == 0 {
        "a non-negative integer"
    } else {
        "a positive integer"
    };
    match whole_number(raw) {
        Some(number) if number >= least => Ok(Some(number)),
        Some(_) => Err(wrong_value(param, expected, "0")),
        None if raw.starts_with('-') => Err(wrong_value(param, expected, "a negative number")),
        None if kind(raw) == "a number" => Err(wrong_value(param, expected, "a fraction")),
        None => Err(wrong_type(param, expected, kind(raw))),
    }
}

/// Reads `7`, and also `7.0` and `7e2`, which JSON does not tell from integers.
fn whole_number(raw: &str) -> Option<u64> {
    if let Ok(exact) = raw.parse() {
        return Some(exact);
    }
    let number: f64 = raw.parse().ok()?;
    let is_whole = number.is_infinite() || number.fract() == 0.0;
    (number >= 0.0 && is_whole).then_some(number as u64)
}

/// Names the type of a JSON value by its first byte.
pub(super) fn kind(raw: &str) -> &'static str {
    match raw.as_bytes().first() {
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

pub(super) fn bad_body(what: &str) -> Rejection {
    Rejection {
        param: None,
        code: "invalid_json",
        message: format!("The request body {what}."),
    }
}

pub(super) fn wrong_type(param: &'static str, expected: &str, found: &str) -> Rejection {
    Rejection {
        param: Some(param),
        code: "invalid_type",
        message: format!(
            "Invalid type for '{param}': expected {expected}, but got {found} instead."
        ),
    }
}

pub(super) fn wrong_value(param: &'static str, expected: &str, found: &str) -> Rejection {
    Rejection {
        param: Some(param),
        code: "invalid_value",
        message: format!(
            "Invalid value for '{param}': expected {expected}, but got {found} instead."
        ),
    }
}
