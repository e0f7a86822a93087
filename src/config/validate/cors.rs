//! Parses `CORS_ALLOW_ORIGINS`, the sites whose pages may call the proxy.
//!
//! A browser compares origins letter by letter, so they are kept as browsers write them. `*` stands alone.

use url::Url;

use super::findings::{Findings, shown};
use crate::config::{AllowedOrigins, ClientKey};

const VARIABLE: &str = "CORS_ALLOW_ORIGINS";
const EXPECTED: &str = "`*` alone, or origins such as https://app.example.com or http://localhost:5173, with one comma \
                        between two";

/// Parses a list of origins; unset allows none.
pub(super) fn parse(list: Option<&str>, findings: &mut Findings) -> AllowedOrigins {
    let list = list.map(str::trim).filter(|list| !list.is_empty());
    let mut origins = Vec::new();
    match list {
        None => return AllowedOrigins::None,
        Some("*") => return AllowedOrigins::Any,
        Some(list) => {
            for entry in list.split(',').map(str::trim) {
                match origin(entry) {
                    Some(origin) => origins.push(origin),
                    None => findings.problem(VARIABLE, shown(entry), EXPECTED),
                }
            }
        }
    }
    AllowedOrigins::Listed(origins)
}

/// Warns of a proxy that any page in a browser near it may use.
pub(super) fn warn_if_open(origins: &AllowedOrigins, keys: &[ClientKey], findings: &mut Findings) {
    if *origins == AllowedOrigins::Any && keys.is_empty() {
        findings.warn(format!(
            "{VARIABLE}: * while PROXY_API_KEYS is not set: every page that is open in a browser from which the proxy can \
             be reached may spend your quota and read the answers; set keys or name the origins"
        ));
    }
}

/// Returns an origin as browsers write it: scheme and host in lower case, no default port, no path.
fn origin(entry: &str) -> Option<String> {
    let url = Url::parse(entry).ok()?;
    let (scheme, rest) = entry.split_once("://")?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let is_bare = !authority.is_empty() && !authority.contains(['/', '?', '#', '@', '*']);
    let is_text = authority.chars().all(|c| c.is_ascii_graphic());
    if !is_bare || !is_text {
        return None;
    }
    match url.scheme() {
        "http" | "https" => Some(url.origin().ascii_serialization()),
        // Pages of extensions and desktop applications: `vscode-webview://id`, `tauri://localhost`.
        _ => Some(format!("{scheme}://{authority}").to_ascii_lowercase()),
    }
}
