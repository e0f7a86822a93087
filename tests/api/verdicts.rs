//! What each answer of an instance means: for the client, for the instance, for its quota.
//!
//! Of two instances the first plays the fault. Throttling and the breaker have files of their own.

mod breaker;
mod throttled;

use std::time::{SystemTime, UNIX_EPOCH};

use azure_openai_proxy::simulator::{Answer as Scripted, Cut, Mark, Play};
use serde_json::{Value, json};

use crate::helpers::*;

/// What clocks and rounding may take from a time on the status page, in seconds.
const SLACK: f64 = 0.01;

/// Sends one request that `b` must serve because `a` fails it. Returns `a` of the status page.
async fn b_serves(app: &TestApp, request: &Value) -> Value {
    let before = epoch();
    let errors = app.instance(0).await["error_count"].as_u64().unwrap();
    app.sims.iter().for_each(|sim| sim.forget_requests());

    let answer = app.chat(request).await;

    let attempts = answer.header("x-proxy-attempts");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!((answer.instance(), attempts), ("b", Some("2")));
    assert!(app.sims.iter().all(|sim| sim.requests().len() <= 1));
    for position in [0, 1] {
        let instance = app.settled(position).await;
        assert!(is_within(
            &instance["last_used"],
            before - SLACK,
            epoch() + SLACK
        ));
    }
    let b = app.instance(1).await;
    assert_eq!(
        (&b["status"], &b["error_count"]),
        (&json!("healthy"), &json!(0))
    );
    let a = app.instance(0).await;
    assert_eq!(a["error_count"], errors + 1);
    a
}

fn epoch() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_secs_f64()
}

fn is_within(value: &Value, least: f64, most: f64) -> bool {
    value
        .as_f64()
        .is_some_and(|value| (least..=most).contains(&value))
}

fn says(instance: &Value, part: &str) -> bool {
    instance["last_error"]
        .as_str()
        .is_some_and(|error| error.contains(part))
}

/// Sends a request past the proxy, to learn what the first resource really writes.
async fn directly(app: &TestApp, request: &Value) -> Answer {
    let path = "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21";
    let sent = client()
        .post(format!("{}{path}", app.sims[0].url()))
        .insert_header(("api-key", app.sims[0].resource().api_key().expose()))
        .send_json(request);
    read(sent.await.unwrap()).await
}

#[actix_web::test]
async fn a_fault_moves_on_counts_one_error_and_gives_the_tokens_back() {
    let app = spawn_app(2).await;
    let faults = [
        (Play::timeout(), "408 Timeout: The operation was timeout."),
        (Play::server_error(), "500: The server had an error"),
        (Play::empty_server_error(), "500 Internal Server Error"),
        (Play::unavailable_page(), "503: 503 Service Temporarily"),
        (Play::status(502, "bad"), "502: bad"),
        (
            Play::status(424, r#"{"error":{"code":"server_error"}}"#),
            "424 server_error",
        ),
        (Play::status(301, ""), "301 Moved Permanently"),
    ];
    for (fault, error) in faults {
        let before = app.settled(0).await;
        app.sims[0].play([fault]);

        let a = b_serves(&app, &chat("hello", 50)).await;

        assert_eq!(a["status"], "healthy", "{error}");
        assert!(says(&a, error), "{error} is not in {a}");
        assert_eq!(a["current_tpm"], before["current_tpm"], "{error}");
        assert_eq!(a["rate_limited_until"], Value::Null);
        // A good answer ends the row of faults, so that the next one is the first again.
        assert_eq!(app.chat(&chat("hello", 50)).await.instance(), "a");
    }
    app.finish().await;
}

#[actix_web::test]
async fn a_connection_that_fails_before_the_answer_moves_on() {
    for fault in [Play::ResetBeforeHead, Play::CloseBeforeHead] {
        let app = spawn_app(2).await;
        app.sims[0].play([fault]);

        let a = b_serves(&app, &chat("hello", 50)).await;

        assert_eq!(
            (&a["status"], &a["current_tpm"]),
            (&json!("healthy"), &json!(0))
        );
        assert!(says(&a, "the connection broke"), "{a}");
        app.finish().await;
    }
}

#[actix_web::test]
async fn an_instance_that_refuses_connections_is_passed_over() {
    let app = spawn_app(2).await;
    app.sims[0].refuse().await;

    let a = b_serves(&app, &chat("hello", 50)).await;

    assert_eq!(
        (&a["status"], &a["current_tpm"]),
        (&json!("healthy"), &json!(0))
    );
    assert!(says(&a, "cannot connect"), "{a}");
    app.sims[0].resume().await.unwrap();
    assert_eq!(app.chat(&chat("hello", 50)).await.instance(), "a");
    app.finish().await;
}

#[actix_web::test]
async fn a_silence_moves_on_and_keeps_the_charge_of_a_call_that_may_still_run() {
    let silences = [
        (Play::StallBeforeHead, false, "no answer within 0.3 s"),
        (Play::StallAfterHead, false, "fell silent"),
        (Play::StallAfterHead, true, "silent"),
        (Play::StallAfter(Mark::Bytes(20)), false, "fell silent"),
    ];
    for (silence, is_stream, error) in silences {
        let app = pool().var("UPSTREAM_FIRST_BYTE_TIMEOUT_SECS", "0.3");
        let app = app.instance("a", 10_000).instance("b", 10_000);
        let app = app.start().await;
        app.sims[0].play([silence]);
        let mut request = chat("hello", 50);
        request["stream"] = json!(is_stream);

        let a = b_serves(&app, &request).await;

        assert_eq!(a["status"], "healthy");
        assert!(says(&a, error), "{error} is not in {a}");
        assert!(is_within(&a["current_tpm"], 50.0, 150.0), "{a}");
        app.finish().await;
    }
}

#[actix_web::test]
async fn a_pooled_connection_that_was_closed_is_replaced_unnoticed() {
    let app = spawn_app(2).await;
    app.sims[0].play([Play::CloseOnReuse]);
    assert_eq!(app.chat(&chat("hello", 50)).await.instance(), "a");

    let answer = app.chat(&chat("again", 50)).await;

    assert_eq!((answer.status.as_u16(), answer.instance()), (200, "a"));
    assert_eq!(answer.header("x-proxy-attempts"), Some("1"));
    let a = app.settled(0).await;
    assert_eq!(
        (&a["error_count"], &a["last_error"]),
        (&json!(0), &Value::Null)
    );
    let connections = app.sims[0].requests();
    assert_eq!(connections.last().unwrap().connection, 2);
    assert!(app.sims[1].requests().is_empty());
    app.finish().await;
}

#[actix_web::test]
async fn a_refused_key_takes_the_instance_out_for_long() {
    let refusals = [
        (
            Play::access_denied(),
            "401: Access denied due to invalid subscription key",
        ),
        (
            Play::token_denied(),
            "401: Unauthorized. Access token is missing",
        ),
        (
            Play::firewall(),
            "403: Access denied due to Virtual Network/Firewall",
        ),
    ];
    for (refusal, error) in refusals {
        let app = spawn_app(2).await;
        app.sims[0].play([refusal]);

        let a = b_serves(&app, &chat("hello", 50)).await;

        assert_eq!(
            (&a["status"], &a["current_tpm"]),
            (&json!("error"), &json!(0))
        );
        assert!(says(&a, error), "{error} is not in {a}");
        assert_eq!(a["rate_limited_until"], Value::Null);
        assert!(is_within(&a["available_in"], 290.0, 300.0), "{a}");
        assert_eq!(app.status().await["healthy_instances"], 1);
        let next = app.chat(&chat("hello", 50)).await;
        assert_eq!(
            (next.instance(), next.header("x-proxy-attempts")),
            ("b", Some("1"))
        );
        app.finish().await;
    }
}

#[actix_web::test]
async fn a_missing_deployment_parks_its_model_and_no_other() {
    let app = spawn_app(2).await;
    app.sims[0].play([Play::deployment_not_found()]);

    let a = b_serves(&app, &chat("hello", 50)).await;

    assert_eq!(
        (&a["status"], &a["current_tpm"]),
        (&json!("healthy"), &json!(0))
    );
    assert!(
        says(&a, "404 DeploymentNotFound: The API deployment"),
        "{a}"
    );
    let again = app.chat(&chat("hello", 50)).await;
    assert_eq!(
        (again.instance(), again.header("x-proxy-attempts")),
        ("b", Some("1"))
    );
    let other = json!({"model": "text-embedding-3-small", "input": "hello"});
    let other = app.post("/v1/embeddings", &other).await;
    assert_eq!((other.status.as_u16(), other.instance()), (200, "a"));
    app.finish().await;
}

#[actix_web::test]
async fn an_error_of_the_client_is_relayed_as_it_is_and_never_retried() {
    let app = spawn_app(2).await;
    let odd = "{\"error\" :\n {\"code\": null, \"x\": 1.50, \"message\": \"h\u{e9}\\u00e9\"}}  ";
    let errors = [
        Play::content_filter(),
        Play::context_length(),
        Play::too_large(),
        Play::unprocessable(),
        Play::not_found(),
        Play::status(400, odd),
    ];
    for error in errors {
        let request = chat("hello", 50);
        app.sims[0].play([error.clone(), error]);
        let expected = directly(&app, &request).await;
        app.sims[0].forget_requests();
        let before = app.settled(0).await["current_tpm"].as_u64().unwrap();

        let answer = app.chat(&request).await;

        assert_eq!(answer.status, expected.status);
        assert_eq!(answer.body, expected.body);
        assert_eq!(
            answer.header("content-type"),
            expected.header("content-type")
        );
        assert_eq!(
            (answer.instance(), answer.header("x-proxy-attempts")),
            ("a", Some("1"))
        );
        assert_eq!(app.sims[0].requests().len(), 1);
        assert!(app.sims[1].requests().is_empty());
        let a = app.settled(0).await;
        assert_eq!(
            (&a["status"], &a["error_count"]),
            (&json!("healthy"), &json!(0))
        );
        // The prompt may have been charged, the output cannot.
        let charged = a["current_tpm"].as_u64().unwrap() - before;
        assert!((1..50).contains(&charged), "{charged} tokens");
    }
    app.finish().await;
}

#[actix_web::test]
async fn a_stream_that_fails_before_its_first_content_moves_on() {
    let failures = [
        (Play::ErrorEventFirst, "error in the stream"),
        (
            Play::Cut {
                after: Mark::Events(0),
                how: Cut::Fin,
            },
            "cut off",
        ),
        (
            Play::Cut {
                after: Mark::Events(1),
                how: Cut::Reset,
            },
            "cut off",
        ),
    ];
    for (failure, error) in failures {
        let app = spawn_app(2).await;
        app.sims[0].play([failure]);

        let a = b_serves(&app, &chat_stream("hello", 50)).await;

        assert_eq!(a["status"], "healthy");
        assert!(says(&a, error), "{error} is not in {a}");
        app.finish().await;
    }
}

#[actix_web::test]
async fn an_error_event_that_throttles_counts_as_a_429() {
    let app = spawn_app(2).await;
    let event =
        "data: {\"error\":{\"code\":\"429\",\"message\":\"Please retry after 7 seconds.\"}}\n\n";
    let stream = Scripted::new(200, event).header("content-type", "text/event-stream");
    app.sims[0].play([Play::Answer(stream)]);
    let start = epoch();

    let a = b_serves(&app, &chat_stream("hello", 50)).await;

    assert_eq!(
        (&a["status"], &a["current_tpm"]),
        (&json!("rate_limited"), &json!(0))
    );
    let until = &a["rate_limited_until"];
    assert!(
        is_within(until, start + 7.0 - SLACK, epoch() + 7.0 + SLACK),
        "{a}"
    );
    app.finish().await;
}

#[actix_web::test]
async fn a_stream_cut_after_content_ends_with_an_error_and_is_not_retried() {
    let app = spawn_app(2).await;
    app.sims[0].play([Play::Cut {
        after: Mark::Events(4),
        how: Cut::Fin,
    }]);

    let answer = app.chat(&chat_stream("tell me more of this", 50)).await;

    let last: Value = serde_json::from_str(events(answer.text()).last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "upstream_stream_ended");
    assert!(!answer.text().contains("[DONE]"));
    let a = app.settled(0).await;
    assert_eq!(
        (&a["status"], &a["error_count"]),
        (&json!("healthy"), &json!(1))
    );
    assert!(app.sims[1].requests().is_empty());
    app.finish().await;
}

#[actix_web::test]
async fn a_model_without_a_deployment_is_not_found_however_often_it_is_asked_for() {
    let app = spawn_app(2).await;
    let mut body = chat("hello", 50);
    body["model"] = json!("gpt-unknown");

    for _ in 0..3 {
        let answer = app.chat(&body).await;

        assert_refused(&answer, 404, "DeploymentNotFound");
        assert_eq!(answer.header("retry-after"), None);
    }

    // Each was asked once, and others are served as before.
    assert!(app.sims.iter().all(|sim| sim.requests().len() == 1));
    let answer = app.chat(&body).await;
    let message =
        "No instance has a deployment for `gpt-unknown` (a: without the deployment for 30 s, b: ";
    assert!(answer.text().contains(message), "{}", answer.text());
    assert_eq!(app.chat(&chat("hello", 50)).await.status, 200);
    app.finish().await;
}
