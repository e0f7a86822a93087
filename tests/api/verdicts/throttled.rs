//! A 429: which wording means what, and how long the instance rests.

use std::time::Duration;

use azure_openai_proxy::simulator::{Hint, Mark, Play, Throttle};
use futures_util::future::{Either, select};
use serde_json::{Value, json};

use super::{SLACK, b_serves, epoch, is_within, says};
use crate::helpers::*;

/// Seconds that an instance rests, at least and at most.
type Rest = (f64, f64);

/// Plays a 429 at `a`, which must then rest that long while `b` serves.
async fn rests(play: Play, rest: Rest) {
    let app = spawn_app(2).await;
    let what = format!("{play:?}");
    app.sims[0].play([play]);
    let start = epoch();

    let a = b_serves(&app, &chat("hello", 50)).await;

    assert_eq!(a["status"], "rate_limited", "{what}");
    assert_eq!(a["current_tpm"], 0, "{what}");
    assert!(says(&a, "429"), "{what}: {a}");
    let (least, most) = (start + rest.0 - SLACK, epoch() + rest.1 + SLACK);
    let until = &a["rate_limited_until"];
    assert!(
        is_within(until, least, most),
        "{what}: {until} is not in {least}..{most}"
    );
    let status = app.status().await;
    assert_eq!(status["healthy_instances"], 1, "{what}");
    let next = app.chat(&chat("hello", 50)).await;
    assert_eq!(
        (next.instance(), next.header("x-proxy-attempts")),
        ("b", Some("1"))
    );
    app.finish().await;
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[actix_web::test]
async fn every_wording_but_that_of_capacity_closes_the_instance() {
    let wordings = Throttle::ALL.into_iter();
    for kind in wordings.filter(|kind| *kind != Throttle::Capacity) {
        let wait = Duration::from_millis(21_500);
        let play = Play::throttle(kind, wait, &[Hint::RetryAfterMs, Hint::PolicyId]);
        rests(play, (21.5, 21.5)).await;
    }
}

#[actix_web::test]
async fn each_header_tells_the_wait() {
    // The provisioned wording names no time, so the header alone can.
    let kind = Throttle::Provisioned;
    for (hint, least) in [
        (Hint::RetryAfterMs, 23.0),
        (Hint::RetryAfterSeconds, 23.0),
        // A date has whole seconds.
        (Hint::RetryAfterDate, 22.0),
        (Hint::ResetTokens, 23.0),
        (Hint::ResetRequests, 23.0),
        (Hint::MisspeltResetTokens, 23.0),
    ] {
        rests(Play::throttle(kind, seconds(23), &[hint]), (least, 23.0)).await;
    }
}

#[actix_web::test]
async fn without_a_header_the_text_tells_the_wait() {
    for kind in [
        Throttle::OldTokens,
        Throttle::OldRequests,
        Throttle::Short,
        Throttle::Current,
    ] {
        rests(Play::throttle(kind, seconds(22), &[]), (22.0, 22.0)).await;
    }
}

#[actix_web::test]
async fn without_any_word_it_is_ten_seconds() {
    let play = Play::throttle(Throttle::Provisioned, seconds(99), &[Hint::PolicyId]);
    rests(play, (10.0, 10.0)).await;
    rests(Play::status(429, ""), (10.0, 10.0)).await;
}

#[actix_web::test]
async fn no_wait_is_longer_than_a_minute() {
    let day = seconds(86_400);
    rests(Play::throttle(Throttle::ZeroQuota, day, &[]), (60.0, 60.0)).await;
    let header = &[Hint::RetryAfterSeconds];
    rests(
        Play::throttle(Throttle::Provisioned, day, header),
        (60.0, 60.0),
    )
    .await;
    let date = &[Hint::RetryAfterDate];
    rests(
        Play::throttle(Throttle::Provisioned, day, date),
        (60.0, 60.0),
    )
    .await;
}

#[actix_web::test]
async fn a_lack_of_capacity_keeps_away_requests_of_that_size_only() {
    let app = spawn_app(2).await;
    app.sims[0].play([Play::throttle(
        Throttle::Capacity,
        seconds(30),
        &[Hint::RetryAfterMs],
    )]);

    let a = b_serves(&app, &chat("hello", 4_000)).await;

    assert_eq!(
        (&a["status"], &a["current_tpm"]),
        (&json!("healthy"), &json!(0))
    );
    assert_eq!(a["rate_limited_until"], Value::Null);
    assert!(says(&a, "429 no_capacity"), "{a}");
    let same = app.chat(&chat("hello", 4_000)).await;
    assert_eq!(
        (same.instance(), same.header("x-proxy-attempts")),
        ("b", Some("1"))
    );
    let larger = app.chat(&chat("hello", 5_000)).await;
    assert_eq!(larger.instance(), "b");
    let smaller = app.chat(&chat("hello", 40)).await;
    assert_eq!((smaller.status.as_u16(), smaller.instance()), (200, "a"));
    // What a small request got does not prove capacity for a large one.
    assert_eq!(app.chat(&chat("hello", 4_000)).await.instance(), "b");
    app.finish().await;
}

#[actix_web::test]
async fn after_the_wait_the_instance_is_asked_again() {
    let app = spawn_app(2).await;
    let throttle = |millis| {
        let wait = Duration::from_millis(millis);
        Play::throttle(Throttle::Current, wait, &[Hint::RetryAfterMs])
    };
    app.sims[0].play([throttle(200), throttle(300)]);

    for errors in [1, 2] {
        let a = b_serves(&app, &chat("hello", 50)).await;
        assert_eq!(a["error_count"], errors);
        app.wait_for(0, "the end of the cooldown", |i| i["status"] == "healthy")
            .await;
    }

    let answer = app.chat(&chat("hello", 50)).await;
    assert_eq!(
        (answer.instance(), answer.header("x-proxy-attempts")),
        ("a", Some("1"))
    );
    let a = app.settled(0).await;
    assert_eq!(
        (&a["status"], &a["rate_limited_until"]),
        (&json!("healthy"), &Value::Null)
    );
    app.finish().await;
}

/// Two instances of which the first has cooled and waits for its probe.
async fn before_the_probe() -> TestApp {
    let app = spawn_app(2).await;
    let wait = Duration::from_millis(100);
    app.sims[0].play([Play::throttle(
        Throttle::Current,
        wait,
        &[Hint::RetryAfterMs],
    )]);
    b_serves(&app, &chat("hello", 50)).await;
    app.wait_for(0, "the end of the cooldown", |i| i["status"] == "healthy")
        .await;
    app.sims[0].forget_requests();
    app
}

#[actix_web::test]
async fn a_stream_that_has_begun_lets_others_through_before_it_ends() {
    let app = before_the_probe().await;
    app.sims[0].play([Play::StallAfter(Mark::Events(4))]);

    let probe = app
        .open("/v1/chat/completions", &chat_stream("hello", 50))
        .await;
    let next = app.chat(&chat("hello", 50)).await;

    assert_eq!(probe.headers().get("x-proxy-instance").unwrap(), "a");
    assert_eq!(
        (next.instance(), next.header("x-proxy-attempts")),
        ("a", Some("1"))
    );
    drop(probe);
    app.finish().await;
}

#[actix_web::test]
async fn a_probe_whose_client_leaves_passes_the_probation_on() {
    let app = before_the_probe().await;
    app.sims[0].play([Play::StallBeforeHead]);
    let request = chat("hello", 50);

    let asked = eventually("the probe", || app.sims[0].requests().len() == 1);
    match select(Box::pin(app.chat(&request)), Box::pin(asked)).await {
        Either::Left((answer, _)) => panic!("{answer:?} instead of silence"),
        Either::Right(((), _gone)) => {}
    }
    app.settled(0).await;

    let next = app.chat(&request).await;
    assert_eq!(
        (next.instance(), next.header("x-proxy-attempts")),
        ("a", Some("1"))
    );
    assert_eq!(app.instance(0).await["error_count"], 1);
    app.finish().await;
}
