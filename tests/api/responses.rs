//! The Responses API: routed, limited and failed over as chat is, in its own words.

use std::time::Duration;

use azure_openai_proxy::simulator::{Answer as Script, Chunking, Cut, Hint, Mark, Play, Throttle};
use futures_util::StreamExt;
use serde_json::{Value, json};

use self::makers::*;
use crate::helpers::*;

mod affinity;
mod conversations;
mod failed;
mod homes;
mod makers;
mod misfits;
mod references;

const V1: &str = "v1";
const DATED: &str = "2025-04-01-preview";

/// A pool whose instances know the Responses API.
async fn pool_of(count: usize, version: &str) -> TestApp {
    let mut description = pool();
    for name in ["a", "b", "c"].into_iter().take(count) {
        let variable = format!("AZURE_INSTANCE_{}_API_VERSION", name.to_uppercase());
        description = description
            .instance(name, 1_000_000)
            .var(&variable, version);
    }
    description.start().await
}

fn ask(text: &str) -> Value {
    json!({"model": "gpt-4o", "input": text, "max_output_tokens": 50})
}

fn ask_stream(text: &str) -> Value {
    let mut body = ask(text);
    body["stream"] = json!(true);
    body
}

/// An instance that answers this stream.
fn streams(body: impl Into<String>) -> Play {
    let answer = Script::new(200, body.into()).header("content-type", "text/event-stream");
    Play::Answer(answer.chunks(Chunking::Every(64.try_into().unwrap())))
}

fn event(kind: &str, fields: Value) -> String {
    let mut data = fields;
    data["type"] = json!(kind);
    format!("event: {kind}\ndata: {data}\n\n")
}

fn created() -> String {
    let response = json!({"id": "resp_1", "status": "in_progress", "error": null, "usage": null});
    event(
        "response.created",
        json!({"response": response, "sequence_number": 0}),
    )
}

#[actix_web::test]
async fn an_answer_settles_to_its_usage_in_every_dialect() {
    for (version, upstream) in [
        (V1, "/openai/v1/responses"),
        (DATED, "/openai/responses?api-version=2025-04-01-preview"),
    ] {
        let app = pool_of(1, version).await;
        let mut used = 0;
        for path in [
            "/v1/responses",
            "/responses/",
            "/openai/v1/responses",
            "/openai/responses?api-version=2025-03-01-preview",
        ] {
            let answer = app.post(path, &ask("How far is the moon?")).await;

            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            used += answer.json()["usage"]["total_tokens"].as_u64().unwrap();
            let settled = app.settled(0).await;
            assert_eq!(settled["current_tpm"], used, "{path}");
            let seen = app.sims[0].requests().pop().unwrap();
            assert_eq!(seen.target, upstream);
        }
        app.finish().await;
    }
}

#[actix_web::test]
async fn the_deployment_is_put_into_the_body_of_both_forms() {
    for version in [V1, DATED] {
        let app = pool()
            .instance("a", 1_000_000)
            .var("AZURE_INSTANCE_A_API_VERSION", version)
            .var("MODEL_MAP_GPT5", "gpt-4o")
            .start()
            .await;
        let body = r#"{ "model" : "gpt-5", "input": "hi", "new_field": [1.0] }"#;

        // In Azure's form the deployment itself may be named.
        for (path, name) in [("/v1/responses", "gpt-5"), ("/openai/responses", "gpt-4o")] {
            let answer = app.post_bytes(path, body.replace("gpt-5", name)).await;

            assert_eq!(answer.status, 200, "{}", answer.text());
            let seen = app.sims[0].requests().pop().unwrap();
            assert_eq!(seen.body, body.replace("gpt-5", "gpt-4o"));
        }
        app.finish().await;
    }
}

#[actix_web::test]
async fn a_stream_comes_as_it_is_and_settles_to_the_usage_of_its_end() {
    let app = pool_of(1, V1).await;

    let answer = app.post("/v1/responses", &ask_stream("hello")).await;

    assert_eq!(answer.status, 200);
    let text = answer.text();
    assert!(text.starts_with("event: response.created\ndata: {"));
    assert!(!text.contains("[DONE]"));
    let end = text.split("\n\n").filter(|part| !part.is_empty()).last();
    let (kind, data) = end.unwrap().split_once("\ndata: ").unwrap();
    assert_eq!(kind, "event: response.completed");
    let end: Value = serde_json::from_str(data).unwrap();
    let total = &end["response"]["usage"]["total_tokens"];
    assert_eq!(&app.settled(0).await["current_tpm"], total);
    let seen = app.sims[0].requests().pop().unwrap();
    assert_eq!(seen.body, ask_stream("hello").to_string());
    app.finish().await;
}

#[actix_web::test]
async fn instances_of_older_versions_are_passed_over() {
    let app = pool()
        .instance("a", 1_000_000)
        .instance("b", 1_000_000)
        .var("AZURE_INSTANCE_B_API_VERSION", "2025-03-01-preview")
        .start()
        .await;

    let answer = app.post("/v1/responses", &ask("hello")).await;

    assert_eq!((answer.status.as_u16(), answer.instance()), (200, "b"));
    assert_eq!(app.sims[0].counters().requests, 0);
    app.finish().await;
}

#[actix_web::test]
async fn a_pool_of_older_versions_says_which_variable_to_change() {
    let app = spawn_app(2).await;

    for (path, needed) in [
        ("/v1/responses", "2025-03-01-preview or newer, or to v1"),
        ("/v1/responses/compact", "to v1"),
    ] {
        let answer = app.post(path, &ask("hello")).await;

        assert_refused(&answer, 404, "api_version_too_old");
        let text = answer.text();
        for part in [
            "AZURE_INSTANCE_A_API_VERSION",
            "a has 2024-10-21, b has 2024-10-21",
            needed,
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }
    assert_eq!(app.sims[0].counters().requests, 0);
    app.finish().await;
}

#[actix_web::test]
async fn a_limit_that_a_stream_begins_with_moves_the_request_on() {
    let nested = event(
        "error",
        json!({"sequence_number": 1, "error": {
            "type": "too_many_requests", "code": "rate_limit_exceeded", "message": "Slow down.",
            "headers": {"retry-after-ms": "20000"}, "param": null,
        }}),
    );
    let flat = event(
        "error",
        json!({"code": "rate_limit_exceeded", "message": "Slow down.", "param": null, "sequence_number": 1}),
    );
    let failed = event(
        "response.failed",
        json!({"sequence_number": 1, "response": {"id": "resp_1", "status": "failed",
            "error": {"code": "rate_limit_exceeded", "message": "Slow down."}, "usage": null}}),
    );
    for (first, rest) in [(nested, 20.0), (flat, 10.0), (failed, 10.0)] {
        for stream in [first.clone(), created() + &first] {
            let app = pool_of(2, V1).await;
            app.sims[0].play([streams(stream.clone())]);

            let answer = app.post("/v1/responses", &ask_stream("hello")).await;

            assert_eq!((answer.status.as_u16(), answer.instance()), (200, "b"));
            assert!(answer.text().contains("event: response.completed"));
            let limited = app.settled(0).await;
            assert_eq!(limited["current_tpm"], 0);
            let wait = limited["available_in"].as_f64().unwrap();
            assert!(wait > rest - 5.0 && wait <= rest, "{wait} after {stream}");
            app.finish().await;
        }
    }
}

#[actix_web::test]
async fn an_error_that_a_stream_begins_with_is_an_error_answer_if_nobody_is_left() {
    let app = pool_of(1, V1).await;
    let failed = event(
        "response.failed",
        json!({"response": {"error": {"code": "server_error", "message": "Sorry."}}}),
    );
    app.sims[0].play([streams(created() + &failed)]);

    let answer = app.post("/v1/responses", &ask_stream("hello")).await;

    assert_eq!(answer.status, 500);
    let error = &answer.json()["error"];
    assert_eq!(error["code"], "server_error");
    assert_eq!(error["message"], "Sorry.");
    app.finish().await;
}

#[actix_web::test]
async fn a_cut_stream_ends_with_an_event_that_sdks_raise() {
    let app = pool_of(1, V1).await;
    app.sims[0].play([Play::Cut {
        after: Mark::Events(6),
        how: Cut::Fin,
    }]);

    let answer = app.post("/v1/responses", &ask_stream("hello")).await;

    let last = answer.text().trim_end().rsplit("\n\n").next().unwrap();
    let (kind, data) = last.split_once("\ndata: ").unwrap();
    assert_eq!(kind, "event: error");
    let data: Value = serde_json::from_str(data).unwrap();
    assert_eq!(data["type"], "error");
    assert_eq!(data["code"], "upstream_stream_ended");
    assert_eq!(data["sequence_number"], 6);
    assert_eq!(data["error"]["code"], "upstream_stream_ended");
    assert!(data["message"].is_string() && data["param"].is_null());
    let cut = app.settled(0).await;
    assert_eq!(cut["error_count"], 1);
    // What was streamed counts: the prompt and two pieces of text.
    let used = cut["current_tpm"].as_u64().unwrap();
    assert!((3..30).contains(&used), "{used}");
    app.finish().await;
}

#[actix_web::test]
async fn a_stream_that_fails_after_content_comes_as_it_is() {
    let app = pool_of(2, V1).await;
    let delta = event(
        "response.output_text.delta",
        json!({"delta": "Hel", "sequence_number": 1}),
    );
    let failed = event(
        "response.failed",
        json!({"sequence_number": 2, "response": {
            "error": {"code": "server_error", "message": "Sorry."},
            "usage": {"input_tokens": 3, "output_tokens": 40, "total_tokens": 43}}}),
    );
    let stream = created() + &delta + &failed;
    app.sims[0].play([streams(stream.clone())]);

    let answer = app.post("/v1/responses", &ask_stream("hello")).await;

    assert_eq!(answer.text(), stream);
    let failed = app.settled(0).await;
    assert_eq!(failed["error_count"], 1);
    assert!(failed["last_error"].as_str().unwrap().contains("Sorry."));
    app.finish().await;
}

#[actix_web::test]
async fn a_stream_without_usage_is_counted_by_its_deltas() {
    let app = pool_of(1, V1).await;
    let mut stream = created();
    for _ in 0..3 {
        let delta = json!({"delta": "0123456789abcdef", "sequence_number": 1});
        stream += &event("response.output_text.delta", delta);
    }
    let text = json!({"text": "0123456789abcdef".repeat(3)});
    stream += &event("response.output_text.done", text);
    stream += &event("response.completed", json!({"response": {"usage": null}}));
    app.sims[0].play([streams(stream.clone())]);

    let answer = app.post("/v1/responses", &ask_stream("hello")).await;

    assert_eq!(answer.text(), stream);
    // 48 bytes of text are 12 tokens; the prompt is a handful more.
    let used = app.settled(0).await["current_tpm"].as_u64().unwrap();
    assert!((13..30).contains(&used), "{used}");
    app.finish().await;
}

#[actix_web::test]
async fn an_end_mark_after_the_end_does_no_harm_and_its_absence_none_either() {
    let app = pool_of(1, V1).await;
    let end = event(
        "response.completed",
        json!({"response": {"usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}}}),
    );
    let marked = created() + &end + "data: [DONE]\n\n";
    let unterminated = created() + end.trim_end();
    for stream in [marked, unterminated] {
        let before = app.settled(0).await["current_tpm"].as_u64().unwrap();
        app.sims[0].play([streams(stream.clone())]);

        let answer = app.post("/v1/responses", &ask_stream("hello")).await;

        assert_eq!(answer.text(), stream);
        assert_eq!(app.settled(0).await["current_tpm"], before + 7);
    }
    assert_eq!(app.instance(0).await["error_count"], 0);
    app.finish().await;
}

#[actix_web::test]
async fn the_reservation_is_the_input_and_the_output_cap() {
    let app = pool()
        .instance("a", 100)
        .var("AZURE_INSTANCE_A_API_VERSION", V1)
        .start()
        .await;
    let mut large = ask("hello");
    large["max_output_tokens"] = json!(200);

    let refused = app.post("/v1/responses", &large).await;

    assert_refused(&refused, 429, "request_exceeds_tpm");
    app.sims[0].play([Play::Slow(azure_openai_proxy::simulator::Pace {
        first_byte: Duration::from_millis(300),
        per_chunk: Duration::ZERO,
    })]);
    let small = ask("hello");
    let sending = app.post("/v1/responses", &small);
    let watching = app.wait_for(0, "a reservation", |instance| {
        instance["current_tpm"].as_u64() > Some(50)
    });
    let (answer, instance) = futures_util::future::join(sending, watching).await;
    assert_eq!(answer.status, 200);
    assert!(instance["current_tpm"].as_u64().unwrap() < 70);
    app.finish().await;
}

#[actix_web::test]
async fn counting_and_compacting_are_balanced_too() {
    let app = pool_of(2, V1).await;

    let counted = app.post("/v1/responses/input_tokens", &ask("hello")).await;
    assert_eq!(counted.status, 200, "{}", counted.text());
    assert_eq!(counted.json()["object"], "response.input_tokens");
    assert_eq!(app.settled(0).await["current_tpm"], 0);

    app.sims[0].play([Play::server_error()]);
    let compacted = app.post("/v1/responses/compact", &ask("hello")).await;
    assert_eq!(
        (compacted.status.as_u16(), compacted.instance()),
        (200, "b")
    );
    let total = &compacted.json()["usage"]["total_tokens"];
    assert_eq!(&app.settled(1).await["current_tpm"], total);
    app.finish().await;
}
