//! The checker on synthetic snippets: what it must find, and what it must not.

use super::source::Source;
use super::{MOST_LINES, violations};

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
