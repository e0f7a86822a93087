//! `GET /metrics`: every line is Prometheus' text format, and no client can add a name to it.

use serde_json::json;

use crate::helpers::*;

/// Splits off a metric or label name.
fn name(text: &str) -> Option<(&str, &str)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    (end > 0 && !text.starts_with(|c: char| c.is_ascii_digit())).then(|| text.split_at(end))
}

/// Takes `name="value",...}` and returns what follows the brace.
fn labels(mut text: &str) -> Option<&str> {
    loop {
        let (_, rest) = name(text)?;
        let value = rest.strip_prefix("=\"")?;
        let (value, rest) = value.split_at(value.find('"')?);
        if value.contains(['\\', '\n']) {
            return None;
        }
        match rest.strip_prefix("\",") {
            Some(more) => text = more,
            None => return rest.strip_prefix("\"}"),
        }
    }
}

/// Says whether a line is one of Prometheus' text format, version 0.0.4.
fn is_prometheus(line: &str) -> bool {
    if let Some(comment) = line.strip_prefix("# ") {
        let mut words = comment.splitn(3, ' ');
        let (kind, metric, rest) = (words.next(), words.next(), words.next());
        let has_name = metric
            .and_then(name)
            .is_some_and(|(_, rest)| rest.is_empty());
        return has_name
            && match kind {
                Some("HELP") => rest.is_some(),
                Some("TYPE") => {
                    rest.is_some_and(|kind| ["counter", "gauge", "histogram"].contains(&kind))
                }
                _ => false,
            };
    }
    let sample = name(line).and_then(|(_, rest)| match rest.strip_prefix('{') {
        Some(rest) => labels(rest),
        None => Some(rest),
    });
    sample
        .and_then(|rest| rest.strip_prefix(' '))
        .is_some_and(|value| value == "+Inf" || value.parse::<f64>().is_ok())
}

#[test]
fn the_checker_of_metrics_knows_good_lines_from_bad_ones() {
    for good in [
        "# HELP a_total What it counts.",
        "# TYPE a_total counter",
        "a_total 1",
        r#"a_bucket{le="+Inf",b="x y"} 2.5"#,
    ] {
        assert!(is_prometheus(good), "{good}");
    }
    for bad in [
        "",
        "a",
        "a b",
        "9a 1",
        "a{} 1",
        r#"a{b="c"}1"#,
        r#"a{b="c} 1"#,
        r#"a{b=c} 1"#,
        "# TYPE a_total thing",
        "# a comment",
        "a 1 x",
    ] {
        assert!(!is_prometheus(bad), "{bad}");
    }
}

#[actix_web::test]
async fn metrics_are_prometheus_text_without_any_name_that_a_client_sent() {
    let app = spawn_app(1).await;
    let mut strange = chat("hello", 50);
    strange["model"] = json!("no-such-model-of-ours");
    strange["user"] = json!("user-that-nobody-knows");

    app.chat(&chat("hello", 50)).await;
    assert_eq!(app.chat(&strange).await.status, 404);
    app.get("/no/such/path").await;
    app.wait_for(0, "settlement", |i| i["in_flight"] == 0).await;
    let metrics = app.get("/metrics").await;

    assert_eq!(
        metrics.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    for line in metrics.text().lines() {
        assert!(is_prometheus(line), "{line}");
    }
    for line in [
        r#"aoai_proxy_requests_total{endpoint="chat/completions",status="200"} 1"#,
        r#"aoai_proxy_requests_total{endpoint="chat/completions",status="404"} 1"#,
        r#"aoai_proxy_attempts_total{instance="a",outcome="answered"} 1"#,
        r#"aoai_proxy_attempts_total{instance="a",outcome="no_deployment"} 1"#,
        r#"aoai_proxy_window_limit_tokens{instance="a"} 1000000"#,
        r#"aoai_proxy_instance_healthy{instance="a"} 1"#,
        "aoai_proxy_in_flight 0",
        "aoai_proxy_first_byte_seconds_count 1",
    ] {
        assert!(
            metrics.text().lines().any(|known| known == line),
            "{line} in\n{}",
            metrics.text()
        );
    }
    for sent in ["no-such", "gpt-4o", "nobody", "path"] {
        assert!(
            !metrics.text().contains(sent),
            "{sent} in\n{}",
            metrics.text()
        );
    }
    app.finish().await;
}
