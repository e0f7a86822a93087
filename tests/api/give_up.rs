//! What a client is told when no instance serves it: which answer, which error, when to come again.

use std::time::Duration;

use azure_openai_proxy::simulator::{Answer as Scripted, Hint, Play, Throttle};
use serde_json::{Value, json};

use crate::helpers::*;

/// A 429 that closes an instance for this many seconds.
fn closed_for(seconds: u64) -> Play {
    let wait = Duration::from_secs(seconds);
    Play::throttle(
        Throttle::Provisioned,
        wait,
        &[Hint::RetryAfterMs, Hint::RetryAfterSeconds],
    )
}

/// Checks that both headers say to come again after at most this long, and no earlier than a few seconds before.
fn comes_again_in(answer: &Answer, seconds: u64) {
    let number = |name: &str| answer.header(name).unwrap().parse::<u64>().unwrap();
    let millis = number("retry-after-ms");
    let most = seconds * 1_000;
    assert!(
        (most.saturating_sub(3_000).max(1)..=most).contains(&millis),
        "{millis} ms"
    );
    assert_eq!(number("retry-after"), millis.div_ceil(1_000));
}

/// Checks our own error: its shape, code and headers.
fn is_our_error(answer: &Answer, status: u16, code: &str, attempts: &str) {
    assert_refused(answer, status, code);
    let error = &answer.json()["error"];
    assert!(
        error["message"].is_string() && error["type"].is_string(),
        "{error}"
    );
    assert!(error.get("param").is_some(), "{error}");
    assert_eq!(answer.header("x-proxy-attempts"), Some(attempts));
    assert!(answer.header("x-request-id").unwrap().starts_with("req_"));
}

#[actix_web::test]
async fn a_pool_that_cools_says_when_the_first_comes_back() {
    let app = spawn_app(3).await;
    for (sim, seconds) in app.sims.iter().zip([40, 8, 20]) {
        sim.play([closed_for(seconds)]);
    }
    app.chat(&chat("hello", 50)).await;

    let answer = app.chat(&chat("hello", 50)).await;

    is_our_error(&answer, 429, "no_capacity_available", "0");
    assert_eq!(answer.json()["error"]["type"], "rate_limit_error");
    assert!(answer.text().contains("3 cooling"), "{}", answer.text());
    comes_again_in(&answer, 8);
    assert!(app.sims.iter().all(|sim| sim.requests().len() == 1));
    app.finish().await;
}

#[actix_web::test]
async fn the_reasons_are_counted_each_on_its_own() {
    let app = pool()
        .instance("a", 1_000)
        .instance("b", 1_000)
        .instance("c", 1_000);
    let app = app.instance("d", 100).start().await;
    app.sims[0].play([closed_for(30)]);
    app.sims[1].play([Play::access_denied()]);
    app.sims[2].play([Play::deployment_not_found()]);
    let usage = r#"{"usage":{"prompt_tokens":50,"completion_tokens":45,"total_tokens":95}}"#;
    app.sims[3].play([Play::status(200, usage)]);
    let filled = app.chat(&chat("hello", 50)).await;
    assert_eq!(
        (filled.instance(), filled.header("x-proxy-attempts")),
        ("d", Some("4"))
    );
    app.wait_for(3, "settlement", |i| i["current_tpm"] == 95)
        .await;

    let answer = app.chat(&chat("hello", 50)).await;

    is_our_error(&answer, 429, "no_capacity_available", "0");
    for reason in [
        "1 cooling",
        "1 refusing its key",
        "1 without the deployment",
        "1 out of tokens",
    ] {
        assert!(
            answer.text().contains(reason),
            "{reason} is not in {}",
            answer.text()
        );
    }
    comes_again_in(&answer, 30);
    app.finish().await;
}

#[actix_web::test]
async fn the_last_429_is_relayed_with_the_soonest_wait_of_all_that_were_tried() {
    let app = spawn_app(3).await;
    for (sim, seconds) in app.sims.iter().zip([40, 7, 86_400]) {
        sim.play([closed_for(seconds)]);
    }

    let answer = app.chat(&chat("hello", 50)).await;

    assert_refused(&answer, 429, "rate_limit_reached");
    assert_eq!(
        (answer.instance(), answer.header("x-proxy-attempts")),
        ("c", Some("3"))
    );
    comes_again_in(&answer, 7);
    app.finish().await;
}

#[actix_web::test]
async fn a_relayed_429_promises_what_the_proxy_will_keep() {
    for (wait, hints, kept) in [
        (86_400, vec![Hint::RetryAfterSeconds], 60),
        (99, vec![], 10),
    ] {
        let app = spawn_app(1).await;
        let wait = Duration::from_secs(wait);
        app.sims[0].play([Play::throttle(Throttle::Provisioned, wait, &hints)]);

        let answer = app.chat(&chat("hello", 50)).await;

        assert_refused(&answer, 429, "rate_limit_reached");
        comes_again_in(&answer, kept);
        app.finish().await;
    }
}

#[actix_web::test]
async fn an_instance_that_rests_already_counts_for_the_wait_of_a_relayed_429() {
    let app = spawn_app(2).await;
    app.sims[0].play([closed_for(9)]);
    assert_eq!(app.chat(&chat("hello", 50)).await.instance(), "b");
    app.sims[1].play([closed_for(50)]);

    let answer = app.chat(&chat("hello", 50)).await;

    assert_eq!((answer.status.as_u16(), answer.instance()), (429, "b"));
    comes_again_in(&answer, 9);
    app.finish().await;
}

#[actix_web::test]
async fn the_last_answer_is_relayed_byte_for_byte() {
    let app = spawn_app(2).await;
    let body = "{ \"error\" : {\"message\":\"h\\u00e9\", \"x\":1.0} }\n";
    app.sims[0].play([Play::unavailable_page()]);
    app.sims[1].play([Play::status(500, body)]);

    let answer = app.chat(&chat("hello", 50)).await;

    assert_eq!((answer.status.as_u16(), answer.text()), (500, body));
    assert_eq!(
        (answer.instance(), answer.header("x-proxy-attempts")),
        ("b", Some("2"))
    );
    app.finish().await;
}

#[actix_web::test]
async fn an_answer_is_relayed_even_if_the_instance_after_it_gave_none() {
    let app = spawn_app(3).await;
    app.sims[0].refuse().await;
    app.sims[1].play([closed_for(20)]);
    app.sims[2].refuse().await;

    let answer = app.chat(&chat("hello", 50)).await;

    assert_refused(&answer, 429, "rate_limit_reached");
    assert_eq!(
        (answer.instance(), answer.header("x-proxy-attempts")),
        ("b", Some("3"))
    );
    comes_again_in(&answer, 20);
    app.finish().await;
}

#[actix_web::test]
async fn without_any_answer_it_is_a_502() {
    let app = spawn_app(2).await;
    app.sims[0].refuse().await;
    app.sims[1].play([Play::CloseBeforeHead]);

    let answer = app.chat(&chat("hello", 50)).await;

    is_our_error(&answer, 502, "upstream_unreachable", "2");
    assert_eq!(answer.json()["error"]["type"], "server_error");
    app.finish().await;
}

#[actix_web::test]
async fn without_any_answer_in_time_it_is_a_504() {
    let app = pool().var("UPSTREAM_FIRST_BYTE_TIMEOUT_SECS", "0.2");
    let app = app.instance("a", 1_000).instance("b", 1_000).start().await;
    for sim in &app.sims {
        sim.play([Play::StallBeforeHead]);
    }

    let answer = app.chat(&chat("hello", 50)).await;

    is_our_error(&answer, 504, "upstream_timeout", "2");
    assert!(
        answer.text().contains("no answer within 0.2 s"),
        "{}",
        answer.text()
    );
    app.finish().await;
}

#[actix_web::test]
async fn a_model_that_nobody_serves_is_not_found() {
    let app = pool()
        .instance("a", 1_000)
        .var("AZURE_INSTANCE_A_MODELS", "gpt-4o");
    let app = app.start().await;

    let answer = app.chat(&json!({"model": "gpt-9", "messages": []})).await;

    is_our_error(&answer, 404, "model_not_found", "0");
    assert_eq!(answer.json()["error"]["param"], "model");
    assert!(answer.text().contains("gpt-9"));
    app.finish().await;
}

#[actix_web::test]
async fn readiness_follows_whether_anyone_can_serve() {
    let app = spawn_app(2).await;
    assert_eq!(app.get("/health/ready").await.status, 200);
    app.sims[0].play([Play::access_denied()]);
    let wait = Duration::from_secs(2);
    app.sims[1].play([Play::throttle(
        Throttle::Provisioned,
        wait,
        &[Hint::RetryAfterMs],
    )]);
    app.chat(&chat("hello", 50)).await;
    app.settled(1).await;

    let ready = app.get("/health/ready").await;

    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["available_instances"], 0);
    assert_eq!(app.get("/health").await.status, 200);
    app.wait_for(1, "the end of the cooldown", |i| i["status"] == "healthy")
        .await;
    assert_eq!(app.get("/health/ready").await.status, 200);
    app.finish().await;
}

/// Checks the headers about quota: those of the pool and no others.
fn speaks_of_the_pool(answer: &Answer, limit: u64) {
    let mut names: Vec<&str> = answer.headers.keys().map(|name| name.as_str()).collect();
    names.retain(|name| name.starts_with("x-ratelimit") || name.starts_with("x-rate-limit"));
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "x-ratelimit-limit-tokens",
            "x-ratelimit-remaining-tokens",
            "x-ratelimit-reset-tokens"
        ]
    );
    // This request's own tokens return a minute after its admission.
    let reset = answer.header("x-ratelimit-reset-tokens").unwrap();
    let seconds = reset.strip_suffix('s').and_then(|text| text.parse().ok());
    assert!(
        reset == "1m0s" || seconds.is_some_and(|left: f64| (50.0..60.0).contains(&left)),
        "{reset}"
    );
    let number = |name: &str| answer.header(name).unwrap().parse::<u64>().unwrap();
    assert_eq!(number("x-ratelimit-limit-tokens"), limit);
    let remaining = number("x-ratelimit-remaining-tokens");
    assert!(
        (limit - 1_000..=limit).contains(&remaining),
        "{remaining} tokens"
    );
}

#[actix_web::test]
async fn an_answer_speaks_of_the_pool_and_never_of_one_instances_quota() {
    let app = pool().instance("a", 600_000).instance("b", 500_000);
    let app = app
        .instance("c", 70_000)
        .var("AZURE_INSTANCE_C_MODELS", "other");
    let app = app.start().await;
    let quota = [
        ("x-ratelimit-limit-tokens", "700007"),
        ("x-ratelimit-remaining-tokens", "700006"),
        ("x-ratelimit-remaining-requests", "5"),
        ("x-ratelimit-reset-tokens", "4"),
        ("x-rate-limit-reset-tokens", "3"),
    ];
    for status in [200, 400, 503] {
        let answer = Scripted::new(status, "{}").header("x-request-id", "from-azure");
        let answer = quota
            .iter()
            .fold(answer, |answer, (name, value)| answer.header(name, value));
        app.sims[0].play([Play::Answer(answer.clone())]);
        if status == 503 {
            app.sims[1].play([Play::Answer(answer)]);
        }

        let answer = app.chat(&chat("hello", 50)).await;

        assert_eq!(answer.status, status);
        speaks_of_the_pool(&answer, 1_100_000);
        assert_eq!(answer.header("x-request-id"), Some("from-azure"));
        assert!(answer.header("x-proxy-attempts").is_some());
        assert!(answer.header("x-proxy-instance").is_some());
    }
    let stream = app.chat(&chat_stream("hello", 50)).await;
    speaks_of_the_pool(&stream, 1_100_000);
    app.finish().await;
}

#[actix_web::test]
async fn every_refused_request_has_an_id_and_a_number_of_attempts() {
    let app = pool().instance("a", 1_000).var("MAX_BODY_BYTES", 2_000);
    let app = app.start().await;
    let path = "/v1/chat/completions";

    is_our_error(&app.post_bytes(path, "{").await, 400, "invalid_json", "0");
    let large = app.post(path, &chat(&"x".repeat(3_000), 5)).await;
    is_our_error(&large, 413, "request_too_large", "0");
    is_our_error(
        &app.chat(&chat("hello", 5_000)).await,
        429,
        "request_exceeds_tpm",
        "0",
    );
    is_our_error(
        &app.post("/v1/nothing", &Value::Null).await,
        404,
        "not_found",
        "0",
    );
    is_our_error(&app.get(path).await, 405, "method_not_allowed", "0");
    app.finish().await;
}

#[actix_web::test]
async fn streams_that_all_begin_with_a_throttling_error_end_as_a_429_that_says_when() {
    let app = spawn_app(1).await;
    let data = r#"{"error":{"code":"429","message":"Please retry after 7 seconds."}}"#;
    let stream = Scripted::new(200, format!("data: {data}\n\n"));
    app.sims[0].play([Play::Answer(
        stream.header("content-type", "text/event-stream"),
    )]);

    let answer = app.chat(&chat_stream("hello", 50)).await;

    assert_eq!((answer.status.as_u16(), answer.text()), (429, data));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("retry-after"), Some("7"));
    app.finish().await;
}

#[actix_web::test]
async fn an_answer_never_carries_the_request_id_of_an_instance_that_failed_before() {
    let app = spawn_app(1).await;
    let torn = Scripted::new(200, "data: {\"choices\":[]}\n\n");
    app.sims[0].play([Play::Answer(
        torn.header("content-type", "text/event-stream")
            .header("x-request-id", "of-the-torn-answer"),
    )]);

    let answer = app.chat(&chat_stream("hello", 50)).await;

    assert_eq!(answer.status, 502);
    let id = answer.header("x-request-id").unwrap();
    assert!(id.starts_with("req_"), "{id}");
    app.finish().await;
}
