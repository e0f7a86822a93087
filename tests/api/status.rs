//! What the proxy says of itself: the status page, models, health, metrics, the dashboard, and its own errors.

mod access;
mod metrics;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use azure_openai_proxy::simulator::{Hint, Play, Throttle};
use serde_json::{Value, json};

use self::access::assert_error;
use crate::helpers::*;

fn now() -> f64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    since_epoch.unwrap().as_secs_f64()
}

/// Says whether a time lies in the last seconds.
fn is_recent(time: &Value) -> bool {
    let ago = now() - time.as_f64().unwrap();
    (-0.1..5.0).contains(&ago)
}

fn is_time_or_null(value: &Value) -> bool {
    value.is_null() || value.is_f64()
}

/// A documented field and what its value must be.
type Field = (&'static str, fn(&Value) -> bool);

/// Holds a status page to the documented names and types.
fn assert_documented(status: &Value) {
    let is_state = |state: &Value| {
        ["healthy", "rate_limited", "error"]
            .iter()
            .any(|s| state == s)
    };
    let page: [Field; 6] = [
        ("status", |v| v == "success"),
        ("timestamp", |v| v.is_u64() && is_recent(v)),
        ("instances", Value::is_array),
        ("total_instances", Value::is_u64),
        ("healthy_instances", Value::is_u64),
        ("routing_strategy", Value::is_string),
    ];
    let instance: [Field; 12] = [
        ("name", Value::is_string),
        ("status", is_state),
        ("current_tpm", Value::is_u64),
        ("max_tpm", Value::is_u64),
        ("tpm_usage_percent", Value::is_f64),
        ("error_count", Value::is_u64),
        ("last_error", |v| v.is_null() || v.is_string()),
        ("rate_limited_until", is_time_or_null),
        ("priority", Value::is_u64),
        ("weight", Value::is_u64),
        ("last_used", is_time_or_null),
        ("deployments", Value::is_array),
    ];
    for (name, holds) in page {
        assert!(holds(&status[name]), "{name} in {status}");
    }
    let instances = status["instances"].as_array().unwrap();
    for shown in instances {
        for (name, holds) in instance {
            assert!(shown.get(name).is_some_and(holds), "{name} in {shown}");
        }
    }
    let healthy = instances
        .iter()
        .filter(|i| i["status"] == "healthy")
        .count();
    assert_eq!(status["healthy_instances"], healthy);
    assert_eq!(status["total_instances"], instances.len());
}

#[actix_web::test]
async fn the_status_page_has_the_documented_fields_before_any_request() {
    let app = pool()
        .var("AZURE_ROUTING_STRATEGY", "weighted")
        .var("AZURE_INSTANCE_B_PRIORITY", 7)
        .var("AZURE_INSTANCE_B_WEIGHT", 30)
        .instance("a", 60_000)
        .instance("b", 30_000)
        .start()
        .await;

    let status = app.status().await;

    assert_documented(&status);
    assert_eq!(status["routing_strategy"], "weighted");
    assert_eq!(
        status["instances"],
        json!([
            {
                "name": "a", "status": "healthy", "current_tpm": 0, "max_tpm": 60_000, "tpm_usage_percent": 0.0,
                "error_count": 0, "last_error": null, "rate_limited_until": null, "priority": 100, "weight": 100,
                "last_used": null, "in_flight": 0, "available_in": 0.0,
                "deployments": [], "corrections": [], "expected_output": []
            },
            {
                "name": "b", "status": "healthy", "current_tpm": 0, "max_tpm": 30_000, "tpm_usage_percent": 0.0,
                "error_count": 0, "last_error": null, "rate_limited_until": null, "priority": 7, "weight": 30,
                "last_used": null, "in_flight": 0, "available_in": 0.0,
                "deployments": [], "corrections": [], "expected_output": []
            }
        ])
    );
    app.finish().await;
}

#[actix_web::test]
async fn the_status_page_counts_what_was_used_and_when() {
    let app = pool().instance("a", 30_000).start().await;
    let body =
        r#"{"usage": {"prompt_tokens": 1000, "completion_tokens": 557, "total_tokens": 1557}}"#;
    app.sims[0].play([Play::status(200, body)]);

    app.chat(&chat("hello", 700)).await;

    let is_settled = |i: &Value| i["current_tpm"] == 1_557;
    let instance = app.wait_for(0, "settlement", is_settled).await;
    assert_documented(&app.status().await);
    assert_eq!(instance["tpm_usage_percent"], 5.19);
    assert!(is_recent(&instance["last_used"]), "{instance}");
    app.finish().await;
}

#[actix_web::test]
async fn a_throttled_instance_says_until_when() {
    let app = spawn_app(2).await;
    let wait = Duration::from_secs(20);
    app.sims[0].play([Play::throttle(
        Throttle::Current,
        wait,
        &[Hint::RetryAfterMs],
    )]);

    let answer = app.chat(&chat("hello", 50)).await;

    assert_eq!(
        (answer.instance(), answer.header("x-proxy-attempts")),
        ("b", Some("2"))
    );
    let is_limited = |i: &Value| i["status"] == "rate_limited";
    let instance = app.wait_for(0, "the cooldown", is_limited).await;
    let left = instance["rate_limited_until"].as_f64().unwrap() - now();
    assert!((14.0..20.1).contains(&left), "{left} s left");
    let error = instance["last_error"].as_str().unwrap();
    assert!(error.starts_with("429"), "{error}");
    let status = app.status().await;
    assert_documented(&status);
    assert_eq!(status["healthy_instances"], 1);
    app.finish().await;
}

#[actix_web::test]
async fn an_instance_with_a_wrong_key_is_in_error_and_not_rate_limited() {
    let app = spawn_app(2).await;
    app.sims[0].play([Play::access_denied()]);

    app.chat(&chat("hello", 50)).await;

    let is_in_error = |i: &Value| i["status"] == "error";
    let instance = app.wait_for(0, "the error", is_in_error).await;
    assert_eq!(instance["rate_limited_until"], Value::Null);
    assert_eq!(instance["error_count"], 1);
    assert!(instance["last_error"].as_str().unwrap().starts_with("401"));
    assert_documented(&app.status().await);
    app.finish().await;
}

#[actix_web::test]
async fn models_are_those_of_the_configuration() {
    let app = pool()
        .var("MODEL_MAP_GPT4o", "gpt-4o")
        .var("MODEL_MAP_GPT35TURBO", "gpt-35-turbo")
        .var("AZURE_INSTANCE_A_MODELS", "gpt-4o,text-embedding-3-small")
        .instance("a", 30_000)
        .instance("b", 30_000)
        .start()
        .await;

    let list = app.get("/v1/models").await.json();

    assert_eq!(list["object"], "list");
    let models = list["data"].as_array().unwrap();
    let ids: Vec<&str> = models
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["gpt-3.5-turbo", "gpt-4o", "text-embedding-3-small"]);
    for model in models {
        assert_eq!(model["object"], "model");
        assert!(is_recent(&model["created"]), "{model}");
        let path = format!("/v1/models/{}", model["id"].as_str().unwrap());
        assert_eq!(app.get(&path).await.json(), *model);
    }
    assert_eq!(app.get("/v1/models/GPT35Turbo").await.json(), models[0]);
    let missing = app.get("/v1/models/gpt-9").await;
    assert_eq!(missing.status, 404);
    assert_error(&missing, "invalid_request_error", "model_not_found");
    assert_eq!(missing.json()["error"]["param"], "model");
    app.finish().await;
}

#[actix_web::test]
async fn health_is_about_the_process_and_readiness_about_the_instances() {
    let app = spawn_app(1).await;
    assert_eq!(app.get("/health").await.status, 200);
    assert_eq!(app.get("/health/ready").await.status, 200);
    app.sims[0].play([Play::access_denied()]);

    app.chat(&chat("hello", 50)).await;
    let is_in_error = |i: &Value| i["status"] == "error";
    app.wait_for(0, "the error", is_in_error).await;

    assert_eq!(app.get("/health").await.status, 200);
    let ready = app.get("/health/ready").await;
    assert_eq!(ready.status, 503);
    assert_eq!(
        ready.json(),
        json!({"status": "unavailable", "available_instances": 0, "total_instances": 1})
    );
    app.finish().await;
}

#[actix_web::test]
async fn a_name_that_does_not_exist_does_not_make_an_instance_ready() {
    let app = spawn_app(1).await;
    let wrong = json!({"model": "gpt-9", "max_tokens": 50, "messages": []});
    assert_eq!(app.chat(&wrong).await.code(), "DeploymentNotFound");
    let wait = Duration::from_secs(60);
    let hints = [Hint::RetryAfterSeconds];
    app.sims[0].play([Play::throttle(Throttle::Provisioned, wait, &hints)]);

    assert_eq!(app.chat(&chat("hello", 50)).await.status, 429);
    let instance = app.settled(0).await;

    assert!(instance["available_in"].as_f64() > Some(50.0), "{instance}");
    let ready = app.get("/health/ready").await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["available_instances"], 0);
    app.finish().await;
}

#[actix_web::test]
async fn the_dashboard_is_a_page_that_loads_nothing_from_elsewhere() {
    let app = spawn_app(1).await;

    let page = app.get("/").await;

    assert_eq!(page.status, 200);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(page.text().starts_with("<!"), "{}", page.text());
    assert!(page.text().contains("v1/instances/status"));
    assert!(!page.text().contains("https://"));
    app.finish().await;
}
