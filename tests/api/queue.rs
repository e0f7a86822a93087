//! Waiting for capacity instead of failing, as clients see it.

use std::time::Duration;

use azure_openai_proxy::simulator::{Answer as Scripted, Hint, Mark, Play, Throttle};
use serde_json::json;
use tokio::time::Instant;

use crate::helpers::*;

const WAITING: &str = "aoai_proxy_queue_waiting";

fn outcome(name: &str) -> String {
    format!("aoai_proxy_queue_requests_total{{outcome=\"{name}\"}}")
}

/// One instance whose tokens are all reserved by a stream that has begun; whoever waits may wait for minutes.
async fn full(most_waiting: usize) -> (TestApp, Opened) {
    let app = pool()
        .var("QUEUE_TIMEOUT_SECS", 90)
        .var("QUEUE_MAX_WAITING", most_waiting)
        .instance("a", 1_000)
        .start()
        .await;
    app.sims[0].play([Play::StallAfter(Mark::Events(4))]);
    let path = "/v1/chat/completions";
    let stream = app.open(path, &chat_stream("hello", 900)).await;
    assert_eq!(stream.status(), 200);
    (app, stream)
}

/// A 429 that closes an instance for so long.
fn closed_for(wait: Duration) -> Play {
    Play::throttle(Throttle::Provisioned, wait, &[Hint::RetryAfterMs])
}

/// Sees to it that this request, the only one, waits.
async fn until_it_waits(app: &TestApp, request: &mut (impl Future<Output = Answer> + Unpin)) {
    tokio::select! {
        answer = request => panic!("{answer:?}"),
        () = app.wait_for_metric(WAITING, 1.0) => {}
    }
}

/// Two instances of 1,000 tokens per minute each, and five seconds to wait for them.
async fn two() -> TestApp {
    pool()
        .var("QUEUE_TIMEOUT_SECS", 5)
        .instance("a", 1_000)
        .instance("b", 1_000)
        .start()
        .await
}

#[actix_web::test]
async fn a_request_waits_and_is_served_when_another_ends() {
    let (app, stream) = full(10).await;
    let request = chat("hello", 500);
    let mut waiting = Box::pin(app.chat(&request));
    until_it_waits(&app, &mut waiting).await;
    let status = app.status().await;
    assert_eq!(status["waiting"], 1);
    assert_eq!(status["queue"][0]["model"], "gpt4o");
    assert_eq!(status["queue"][0]["waiting"], 1);
    assert!(status["queue"][0]["longest_wait"].is_number(), "{status}");

    drop(stream);

    let answer = waiting.await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-proxy-attempts"), Some("1"));
    assert_eq!(app.metric(WAITING).await, 0.0);
    assert_eq!(app.metric(&outcome("served")).await, 1.0);
    let waits = app.metric("aoai_proxy_queue_wait_seconds_count").await;
    assert_eq!(waits, 1.0);
    app.finish().await;
}

#[actix_web::test]
async fn a_client_that_leaves_the_queue_frees_its_place() {
    let (app, stream) = full(1).await;
    let request = chat("hello", 500);
    {
        let mut waiting = Box::pin(app.chat(&request));
        until_it_waits(&app, &mut waiting).await;
        let refused = app.chat(&request).await;
        assert_eq!(refused.code(), "no_capacity_available");
        assert_eq!(app.metric(&outcome("refused_full")).await, 1.0);
    }

    app.wait_for_metric(WAITING, 0.0).await;

    assert_eq!(app.metric(&outcome("left")).await, 1.0);
    assert_eq!(app.sims[0].requests().len(), 1);
    drop(stream);
    app.settled(0).await;
    assert_eq!(app.chat(&request).await.status, 200);
    app.finish().await;
}

#[actix_web::test]
async fn who_cannot_be_served_in_time_learns_at_once_when_and_why() {
    let app = two().await;
    app.sims[0].play([closed_for(Duration::from_secs(30))]);
    let usage = r#"{"usage":{"prompt_tokens":50,"completion_tokens":900,"total_tokens":950}}"#;
    app.sims[1].play([Play::status(200, usage)]);
    assert_eq!(app.chat(&chat("hello", 500)).await.instance(), "b");
    app.wait_for(1, "settlement", |i| i["current_tpm"] == 950)
        .await;
    let asked_at = Instant::now();

    let answer = app.chat(&chat("hello", 500)).await;

    assert!(asked_at.elapsed() < Duration::from_secs(2));
    assert_refused(&answer, 429, "no_capacity_available");
    let instances = answer.json()["error"]["instances"].clone();
    let available = |position: usize| instances[position]["available_in_ms"].as_u64().unwrap();
    assert_eq!(instances[0]["name"], "a");
    assert_eq!(instances[0]["reason"], "cooling");
    assert!((25_000..=30_000).contains(&available(0)), "{instances}");
    assert_eq!(instances[1]["name"], "b");
    assert_eq!(instances[1]["reason"], "out of tokens");
    assert!((55_000..=61_000).contains(&available(1)), "{instances}");
    // It may come back as soon as the rest can be waited for here.
    let again_in: u64 = answer.header("retry-after-ms").unwrap().parse().unwrap();
    assert!((20_000..=25_000).contains(&again_in), "{again_in} ms");
    assert_eq!(app.metric(&outcome("refused_too_late")).await, 1.0);
    app.finish().await;
}

#[actix_web::test]
async fn a_failed_attempt_waits_for_the_instance_that_is_left() {
    let app = two().await;
    let rest = Duration::from_millis(700);
    app.sims[0].play([closed_for(rest)]);
    assert_eq!(app.chat(&chat("hello", 50)).await.instance(), "b");
    app.settled(0).await;
    app.sims[1].play([Play::status(500, "{}")]);

    let answer = app.chat(&chat("hello", 50)).await;

    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.instance(), "a");
    assert_eq!(answer.header("x-proxy-attempts"), Some("2"));
    assert_eq!(app.metric(&outcome("served")).await, 1.0);
    app.finish().await;
}

#[actix_web::test]
async fn a_request_whose_time_is_over_gets_its_429() {
    let app = pool()
        .var("QUEUE_TIMEOUT_SECS", 1)
        .instance("a", 1_000_000)
        .start()
        .await;
    app.sims[0].play([
        closed_for(Duration::from_millis(500)),
        closed_for(Duration::from_secs(30)),
    ]);
    app.chat(&chat("hello", 50)).await;
    let request = chat("hello", 50);
    let asked_at = Instant::now();

    // One of them is the probe, which the instance throttles again; the other one's time passes.
    let (one, other) = tokio::join!(app.chat(&request), app.chat(&request));

    let mut codes = [one.code(), other.code()];
    codes.sort();
    assert_eq!(codes, ["no_capacity_available", "rate_limit_reached"]);
    let took = asked_at.elapsed();
    assert!((900..3_000).contains(&took.as_millis()), "{took:?}");
    assert_eq!(app.metric(&outcome("timed_out")).await, 1.0);
    app.finish().await;
}

#[actix_web::test]
async fn many_wait_at_once_and_all_are_served_within_the_limit() {
    let app = pool()
        .var("WORKERS", 2)
        .var("QUEUE_TIMEOUT_SECS", 3_600)
        .instance("a", 1_000)
        .start()
        .await;
    let usage = json!({"usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}});
    let answer = Play::Answer(Scripted::new(200, usage.to_string()));
    app.sims[0].always(Some(answer));
    let request = chat("hello", 400);

    let asked = (0..60).map(|_| app.chat(&request));
    let answers = futures_util::future::join_all(asked).await;

    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(app.settled(0).await["current_tpm"], 600);
    assert_eq!(app.metric(WAITING).await, 0.0);
    app.finish().await;
}

#[actix_web::test]
async fn a_stop_lets_those_who_wait_be_served() {
    // Of four workers three have nothing to do, and end at once.
    for workers in [1, 4] {
        let app = pool()
            .var("WORKERS", workers)
            .var("QUEUE_TIMEOUT_SECS", 5)
            .instance("a", 1_000)
            .start()
            .await;
        app.sims[0].play([closed_for(Duration::from_millis(700))]);
        app.chat(&chat("hello", 50)).await;
        let request = chat("hello", 50);
        let mut waiting = Box::pin(app.chat(&request));
        until_it_waits(&app, &mut waiting).await;

        let (answer, ()) = tokio::join!(waiting, app.stop_gracefully());

        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}
