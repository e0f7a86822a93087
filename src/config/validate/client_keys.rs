//! Parses `PROXY_API_KEYS`, the keys that clients must send.
//!
//! Entries are named by their position in every problem: a name could be the first half of a key with a colon in it.

use std::collections::HashSet;

use super::findings::{Findings, SHORTEST_KEY};
use super::instances::key_fault;
use crate::config::ClientKey;
use crate::domain::Secret;

const VARIABLE: &str = "PROXY_API_KEYS";

/// Parses `key` and `name:key` entries; unset means that anyone may call.
pub(super) fn parse(list: Option<&str>, findings: &mut Findings) -> Vec<ClientKey> {
    let list = list.map(str::trim).filter(|list| !list.is_empty());
    let mut keys = Vec::new();
    let mut seen = HashSet::new();
    for (index, entry) in list.iter().flat_map(|list| list.split(',')).enumerate() {
        let position = index + 1;
        match client_key(entry.trim()) {
            Err((found, expected)) => {
                findings.problem(VARIABLE, format!("entry {position} {found}"), expected);
            }
            Ok(client) if !seen.insert(client.key.expose().to_owned()) => {
                let found = format!("entry {position} repeats the key of another");
                findings.problem(VARIABLE, found, "a key of its own for each client");
            }
            Ok(client) => keys.push(client),
        }
    }
    keys
}

/// Parses one entry, or says what is wrong with it and what would be right.
fn client_key(entry: &str) -> Result<ClientKey, (String, String)> {
    if entry.is_empty() {
        let expected = "entries `key` or `name:key`, with one comma between two";
        return Err(("is empty".to_owned(), expected.to_owned()));
    }
    let (name, key) = match entry.split_once(':') {
        Some((name, key)) => (Some(name.trim()), key.trim()),
        None => (None, entry),
    };
    let is_name = |name: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        !name.is_empty() && name.chars().all(allowed)
    };
    if !name.is_none_or(is_name) {
        let expected = "letters, digits, '-', '_' and '.' before the colon";
        return Err(("has no proper name".to_owned(), expected.to_owned()));
    }
    let length = key.chars().count();
    if length < SHORTEST_KEY {
        let expected = format!("at least {SHORTEST_KEY}");
        return Err((format!("has a key of {length} characters"), expected));
    }
    if let Some((found, expected)) = key_fault(key) {
        return Err((format!("has a key with {found}"), expected.to_owned()));
    }
    Ok(ClientKey {
        name: name.map(str::to_owned),
        key: Secret::new(key),
    })
}
