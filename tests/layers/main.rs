//! Holds the sources to the architecture: who may import whom, and the few things that only one place may do; and all
//! files to their form.
//!
//! The sources are read as text, without their tests and comments; that is enough for `crate::` paths, which is the
//! only way in which modules of this crate name each other. The checker is itself tested on synthetic snippets.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use source::{Source, imports, read_all};

mod source;
mod tests;

/// Longest file, tests included.
const MOST_LINES: usize = 400;

/// What each module may import from this crate: itself, and what lies below it.
const LAYERS: [(&str, &[&str]); 22] = [
    // 0
    ("domain", &[]),
    ("config", &["domain"]),
    ("telemetry", &["domain", "config"]),
    // 1
    ("queue", &["domain"]),
    ("routing", &["domain"]),
    ("window", &["domain"]),
    ("health", &["domain"]),
    ("tokens", &["domain"]),
    ("openai", &["domain"]),
    ("correction", &["domain"]),
    ("output_average", &["domain"]),
    ("quota", &["domain", "health", "queue", "window"]),
    ("ledger", &["domain"]),
    // 2
    ("error", &["domain"]),
    ("metrics", &["domain"]),
    ("spool", &["metrics"]),
    ("store", &["config", "domain", "ledger"]),
    (
        "actors",
        &[
            "config",
            "domain",
            "health",
            "metrics",
            "correction",
            "output_average",
            "quota",
            "queue",
            "routing",
            "store",
            "window",
        ],
    ),
    // 3
    (
        "proxy",
        &[
            "actors",
            "config",
            "correction",
            "domain",
            "error",
            "health",
            "metrics",
            "openai",
            "quota",
            "spool",
            "tokens",
        ],
    ),
    (
        "http",
        &[
            "actors",
            "config",
            "correction",
            "domain",
            "error",
            "health",
            "metrics",
            "openai",
            "output_average",
            "proxy",
            "spool",
            "store",
        ],
    ),
    // 4
    (
        "app",
        &[
            "actors", "config", "domain", "http", "metrics", "proxy", "spool",
        ],
    ),
    // Beside the layers: it is an upstream, and knows nothing of the proxy but the words of the domain.
    ("simulator", &["domain"]),
];

/// Modules of layer 1: `now` is a parameter, and nothing outside is touched.
const PURE: [&str; 10] = [
    "queue",
    "routing",
    "window",
    "health",
    "tokens",
    "openai",
    "correction",
    "output_average",
    "quota",
    "ledger",
];

const IMPURE: [&str; 6] = [
    "actix",
    "tokio",
    "awc",
    "std::env",
    "SystemTime::now",
    "Instant::now",
];

/// Returns what is wrong with the form of a file, which tests and benches share.
fn misshapes(Source { path, text, .. }: &Source) -> Vec<String> {
    let mut found = Vec::new();
    if !text.starts_with("//! ") {
        found.push(format!("{path}: does not open with what it is"));
    }
    let lines = text.lines().count();
    if lines > MOST_LINES {
        found.push(format!("{path}: has {lines} lines, more than {MOST_LINES}"));
    }
    found
}

/// Returns everything in which a file of `src` breaks the architecture.
fn violations(source: &Source) -> Vec<String> {
    let mut found = misshapes(source);
    let mut complain = |what: String| found.push(format!("{}: {what}", source.path));
    let Source { path, code, .. } = source;
    let module = source.module();
    let is_binary = ["main", "commands"].contains(&module);
    match LAYERS.iter().find(|(known, _)| *known == module) {
        Some((_, allowed)) => {
            for import in imports(code) {
                if import != module && !allowed.contains(&import.as_str()) {
                    complain(format!("imports crate::{import}"));
                }
            }
        }
        None if is_binary || module == "lib" => {}
        None => complain(format!("`{module}` has no layer")),
    }
    if PURE.contains(&module) {
        for word in IMPURE.iter().filter(|word| code.contains(**word)) {
            complain(format!("is pure and mentions {word}"));
        }
    }
    if code.contains("std::env") && path != "config/raw.rs" {
        complain("touches the environment".to_owned());
    }
    let speaks_awc = ["proxy/upstream.rs", "proxy/connector.rs"].contains(&path.as_str());
    if code.contains("awc") && !speaks_awc {
        complain("speaks awc".to_owned());
    }
    let writes_errors = code.contains(r#""error":"#) || code.contains(r#"\"error\":"#);
    if writes_errors && module != "error" && module != "simulator" {
        complain("writes error JSON".to_owned());
    }
    if code.contains("simulator::") && module != "simulator" && !is_binary {
        complain("imports the simulator".to_owned());
    }
    found
}

#[test]
fn the_sources_keep_to_the_architecture() {
    let sources = read_all("src");

    for (module, _) in LAYERS {
        assert!(
            sources.iter().any(|source| source.module() == module),
            "there is no `{module}`"
        );
    }
    let mut found: Vec<String> = sources.iter().flat_map(violations).collect();
    found.sort();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn tests_and_benches_have_the_same_form() {
    let mut sources = read_all("tests");
    sources.extend(read_all("benches"));

    assert!(sources.iter().any(|source| source.path == "api/main.rs"));
    let found: Vec<String> = sources.iter().flat_map(misshapes).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}
