//! Holds the sources to the architecture: who may import whom, and the few things that only one place may do.
//!
//! The sources are read as text, without their tests and comments; that is enough for `crate::` paths, which is the
//! only way in which modules of this crate name each other. The checker is itself tested on synthetic snippets.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

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

/// One source file.
struct Source {
    /// Relative to `src`, with slashes.
    path: String,
    text: String,
    /// Its code, without tests and comments.
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let path = path.replace('\\', "/");
        let code = match is_test_file(&path) {
            true => String::new(),
            false => code(text),
        };
        Self {
            text: text.to_owned(),
            path,
            code,
        }
    }

    /// The top-level module that the file belongs to.
    fn module(&self) -> &str {
        let first = self.path.split('/').next().unwrap();
        first.strip_suffix(".rs").unwrap_or(first)
    }
}

fn is_test_file(path: &str) -> bool {
    path.split('/')
        .any(|part| ["tests", "tests.rs", "properties.rs"].contains(&part))
}

/// Drops comments and everything that follows `#[cfg(test)]`: an item up to its closing brace or semicolon.
fn code(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let trimmed = line.trim_start();
        if trimmed.starts_with("#[cfg(test)]") {
            let indent = line.len() - trimmed.len();
            skip_item(&mut lines, indent);
        } else if !trimmed.starts_with("//") {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// Skips one item, which rustfmt ends with `;` on its line or with a brace at its own indent.
fn skip_item<'a>(lines: &mut impl Iterator<Item = &'a str>, indent: usize) {
    for line in lines {
        let is_outside = line.len() - line.trim_start().len() == indent;
        let is_end = line.ends_with(';') || line.ends_with('}');
        if is_outside && is_end {
            return;
        }
    }
}

/// Returns the modules that code names after `crate::`, groups included.
fn imports(code: &str) -> Vec<String> {
    let mut modules = Vec::new();
    for (at, prefix) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c == '_' || c == '$' || c.is_alphanumeric()) {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(group) => modules.extend(group_heads(group)),
            None => modules.push(identifier(rest)),
        }
    }
    modules.sort();
    modules.dedup();
    modules
}

/// Returns the first name of each entry of `a::{b, c}, d}`.
fn group_heads(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let mut depth = 0;
    let mut is_head = true;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => is_head = true,
            c if is_head && c.is_alphanumeric() => {
                heads.push(identifier(&group[at..]));
                is_head = false;
            }
            _ => {}
        }
    }
    heads
}

fn identifier(text: &str) -> String {
    let is_part = |c: &char| *c == '_' || c.is_alphanumeric();
    text.chars().take_while(is_part).collect()
}

/// Returns everything in which a file breaks the architecture.
fn violations(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let mut complain = |what: String| found.push(format!("{}: {what}", source.path));
    let Source { path, text, code } = source;
    let module = source.module();
    if !text.starts_with("//! ") {
        complain("does not open with what it is".to_owned());
    }
    let lines = text.lines().count();
    if lines > MOST_LINES {
        complain(format!("has {lines} lines, more than {MOST_LINES}"));
    }
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

/// Reads every Rust file below a folder.
fn read(folder: &Path, root: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.is_dir() {
            read(&path, root, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            sources.push(Source::new(name, &fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn the_sources_keep_to_the_architecture() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    read(&root, &root, &mut sources);

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

fn complaints(path: &str, code: &str) -> Vec<String> {
    violations(&Source::new(path, &format!("//! A file.\n\n{code}\n")))
}

#[test]
fn each_breach_is_found() {
    for (path, code, what) in [
        (
            "health.rs",
            "use crate::actors::Lease;",
            "imports crate::actors",
        ),
        (
            "actors/lease.rs",
            "use crate::{domain::Tokens, proxy::{self, Call}};",
            "imports crate::proxy",
        ),
        (
            "http/models.rs",
            "fn f() { crate::app::run() }",
            "imports crate::app",
        ),
        (
            "proxy/mod.rs",
            "pub use crate::simulator::Play;",
            "imports the simulator",
        ),
        (
            "app.rs",
            "use crate::simulator::Play;",
            "imports crate::simulator",
        ),
        ("newcomer.rs", "", "has no layer"),
        (
            "window.rs",
            "let now = Instant::now();",
            "mentions Instant::now",
        ),
        ("tokens/chat.rs", "use actix_web::web;", "mentions actix"),
        (
            "routing/weighted.rs",
            "tokio::spawn(f());",
            "mentions tokio",
        ),
        (
            "telemetry.rs",
            "std::env::var(\"X\")",
            "touches the environment",
        ),
        ("http/inference.rs", "use awc::Client;", "speaks awc"),
        (
            "http/auth.rs",
            "json!({\"error\": {}})",
            "writes error JSON",
        ),
        (
            "http/auth.rs",
            "let body = \"{\\\"error\\\":1}\";",
            "writes error JSON",
        ),
        ("domain.rs", &"\n".repeat(MOST_LINES), "lines, more than"),
    ] {
        let found = complaints(path, code);
        assert!(
            found.iter().any(|line| line.contains(what)),
            "{what} in {path}: {found:?}"
        );
    }
    let headless = violations(&Source::new("domain.rs", "use std::fmt;"));
    assert!(headless[0].contains("does not open"));
}

#[test]
fn what_is_allowed_is_not_found() {
    for (path, code) in [
        (
            "health.rs",
            "use crate::domain::Tokens;\nuse crate::health::Pass;",
        ),
        ("config/raw.rs", "std::env::vars_os()"),
        ("proxy/upstream.rs", "use awc::Client;"),
        ("error.rs", "json!({\"error\": {}})"),
        ("simulator/errors.rs", "json!({\"error\": {}})"),
        (
            "commands/demo.rs",
            "use azure_openai_proxy::simulator::Play;",
        ),
        (
            "window.rs",
            "// Instant::now() is the caller's.\n/// See [`crate::actors`].",
        ),
        (
            "window.rs",
            "#[cfg(test)]\nmod tests {\n    use crate::actors::X;\n    fn f() {}\n}\n",
        ),
        ("window.rs", "#[cfg(test)]\nmod tests;"),
        ("health/tests.rs", "let now = tokio::time::Instant::now();"),
        ("domain.rs", "$crate::app::f(); other_crate::proxy::g();"),
    ] {
        assert_eq!(
            complaints(path, code),
            Vec::<String>::new(),
            "{path}: {code}"
        );
    }
}

#[test]
fn code_after_a_test_module_is_checked_again() {
    let found = complaints(
        "window.rs",
        "#[cfg(test)]\nmod tests {\n    fn f() {}\n}\n\nuse crate::app::App;",
    );

    assert_eq!(found, ["window.rs: imports crate::app"]);
}
