//! Answers that break off. Before the first content another instance answers; after it the client learns that it has
//! only a part, whatever way the connection ended.

use azure_openai_proxy::simulator::{Cut, Mark, Play};
use serde_json::Value;

use crate::helpers::*;
use crate::raw::{ByHand, Line, RawClient, STREAM_HEAD, chunk, delta};

const WAYS: [Cut; 4] = [Cut::Fin, Cut::Reset, Cut::MidChunk, Cut::ShortContentLength];

/// Longer than what is held back of a JSON answer.
const PART: usize = 400_000;

fn cut(after: Mark, how: Cut) -> Play {
    Play::Cut { after, how }
}

/// Two instances whose silence is noticed fast; under round robin each test may leave faults at both.
async fn impatient_pair() -> TestApp {
    pool()
        .instance("a", 1_000_000)
        .instance("b", 1_000_000)
        .var("UPSTREAM_FIRST_BYTE_TIMEOUT_SECS", "0.3")
        .var("UPSTREAM_IDLE_TIMEOUT_SECS", "0.3")
        .start()
        .await
}

/// The answer is the second instance's and shows nothing of the first.
async fn assert_mended(app: &TestApp, play: Play, body: &Value) {
    let what = format!("{play:?}");
    let errors = app.instance(0).await["error_count"].as_u64().unwrap();
    app.sims[0].play([play]);

    let answer = app.chat(body).await;

    assert_eq!(answer.status, 200, "{what}: {answer:?}");
    assert_eq!(answer.instance(), "b", "{what}");
    assert_eq!(answer.header("x-proxy-attempts"), Some("2"), "{what}");
    if body["stream"] == true {
        let text = answer.text();
        assert!(text.ends_with("data: [DONE]\n\n"), "{what}: {text}");
        assert_eq!(text.matches("\"role\"").count(), 1, "{what}: {text}");
        assert!(!text.contains("\"error\""), "{what}: {text}");
    } else {
        assert_eq!(answer.json()["object"], "chat.completion", "{what}");
    }
    app.wait_for(0, &what, |i| i["error_count"] == errors + 1)
        .await;
    // An answer in between, since three faults in a row would take the instance out.
    app.sims[0].play([Play::Honest]);
    assert_eq!(app.chat(&chat("well?", 5)).await.instance(), "a", "{what}");
    app.wait_for(0, "the end of it", |i| i["in_flight"] == 0)
        .await;
}

/// The client has a proper beginning, then one error event, and no `[DONE]`.
fn assert_told(stream: &str, what: &str) {
    let told = events(stream);
    assert!(stream.ends_with("\n\n"), "{what}: {stream}");
    for event in &told {
        let read = serde_json::from_str::<Value>(event);
        assert!(read.is_ok(), "{what}: torn event {event}");
    }
    let last: Value = serde_json::from_str(told.last().unwrap()).unwrap();
    assert_eq!(
        last["error"]["code"], "upstream_stream_ended",
        "{what}: {stream}"
    );
    assert_eq!(stream.matches("\"error\"").count(), 1, "{what}: {stream}");
    assert!(!stream.contains("[DONE]"), "{what}: {stream}");
}

#[actix_web::test]
async fn a_stream_cut_before_its_first_content_is_answered_elsewhere() {
    let app = spawn_app(2).await;

    // The filter preamble and the role come before the first content.
    for mark in [
        Mark::Events(0),
        Mark::Events(1),
        Mark::Events(2),
        Mark::Bytes(9),
    ] {
        for how in WAYS {
            assert_mended(&app, cut(mark, how), &chat_stream("one two three", 50)).await;
        }
    }
    app.finish().await;
}

#[actix_web::test]
async fn a_json_answer_cut_anywhere_is_answered_elsewhere() {
    let app = spawn_app(2).await;

    for mark in [Mark::Events(0), Mark::Bytes(1), Mark::Bytes(200)] {
        for how in WAYS {
            assert_mended(&app, cut(mark, how), &chat("one two three", 50)).await;
        }
    }
    app.finish().await;
}

#[actix_web::test]
async fn an_answer_without_a_length_is_answered_elsewhere() {
    let app = spawn_app(2).await;

    assert_mended(&app, Play::EofDelimited, &chat("hello", 50)).await;
    assert_mended(&app, Play::EofDelimited, &chat_stream("hello", 50)).await;

    app.finish().await;
}

#[actix_web::test]
async fn a_connection_that_ends_before_the_head_is_answered_elsewhere() {
    for play in [Play::CloseBeforeHead, Play::ResetBeforeHead] {
        for body in [chat("hello", 50), chat_stream("hello", 50)] {
            // A new connection each time: one that was used before may just have been stale.
            let app = spawn_app(2).await;

            assert_mended(&app, play.clone(), &body).await;

            app.finish().await;
        }
    }
}

#[actix_web::test]
async fn a_silence_before_the_first_content_is_answered_elsewhere() {
    let app = impatient_pair().await;

    for play in [
        Play::StallBeforeHead,
        Play::StallAfterHead,
        Play::StallAfter(Mark::Bytes(9)),
    ] {
        assert_mended(&app, play.clone(), &chat("one two three", 50)).await;
        assert_mended(&app, play, &chat_stream("one two three", 50)).await;
    }
    assert_mended(
        &app,
        Play::StallAfter(Mark::Bytes(200)),
        &chat("one two three", 50),
    )
    .await;
    app.finish().await;
}

#[actix_web::test]
async fn silence_everywhere_is_a_504() {
    let app = impatient_pair().await;
    for sim in &app.sims {
        sim.play([Play::StallAfterHead, Play::StallBeforeHead]);
    }

    for body in [chat("hello", 50), chat_stream("hello", 50)] {
        let answer = app.chat(&body).await;

        assert_refused(&answer, 504, "upstream_timeout");
        assert_eq!(answer.header("x-proxy-attempts"), Some("2"));
    }
    for sim in &app.sims {
        eventually("the end of silent connections", || {
            sim.open_connections() == 0
        })
        .await;
    }
    app.finish().await;
}

#[actix_web::test]
async fn a_broken_answer_everywhere_is_a_502() {
    let app = spawn_app(2).await;
    for sim in &app.sims {
        sim.play([cut(Mark::Bytes(20), Cut::Fin)]);
    }

    let answer = app.chat(&chat("hello", 50)).await;

    assert_refused(&answer, 502, "upstream_unreachable");
    app.finish().await;
}

#[actix_web::test]
async fn a_stream_cut_after_content_ends_with_an_error_event() {
    let app = spawn_app(2).await;
    let body = chat_stream("one two three four five six", 50);
    let mut errors = 0;

    for mark in [Mark::Events(4), Mark::Events(6), Mark::Bytes(1_500)] {
        for how in [Cut::Fin, Cut::MidChunk, Cut::ShortContentLength] {
            let what = format!("{mark:?} {how:?}");
            app.sims[0].play([cut(mark, how), Play::Honest]);

            let answer = app.chat(&body).await;

            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("x-proxy-attempts"), Some("1"));
            assert!(
                answer.text().contains("\"content\":\"You \""),
                "{what}: {answer:?}"
            );
            assert_told(answer.text(), &what);
            errors += 1;
            app.wait_for(0, &what, |i| i["error_count"] == errors).await;
            app.chat(&chat("well?", 5)).await;
            app.wait_for(0, "the end of it", |i| i["in_flight"] == 0)
                .await;
        }
    }
    assert!(app.sims[1].requests().is_empty());
    let cuts = r#"aoai_proxy_attempts_total{instance="a",outcome="cut"}"#;
    app.wait_for_metric(cuts, 9.0).await;
    app.finish().await;
}

#[actix_web::test]
async fn a_reset_after_content_ends_with_an_error_event() {
    let upstream = ByHand::bind().await;
    let app = upstream.pool(&["b"]).start().await;
    let mut client = RawClient::chat(&app, &chat_stream("hello", 50)).await;
    let mut line = upstream.request().await;

    line.write(STREAM_HEAD).await;
    line.chunk(&delta("first")).await;
    client.read_until("first").await;
    line.chunk("data: {\"choices\":[{\"ind").await;
    line.reset();
    client.read_until("0\r\n\r\n").await;

    let (stream, is_complete) = client.dechunked();
    assert!(is_complete);
    assert_told(&String::from_utf8(stream).unwrap(), "reset");
    app.wait_for(0, "the error", |i| i["error_count"] == 1)
        .await;
    assert!(app.sims[1].requests().is_empty());
    app.finish().await;
}

#[actix_web::test]
async fn a_silence_after_content_ends_with_an_error_event() {
    let app = impatient_pair().await;
    app.sims[0].play([
        Play::StallAfter(Mark::Events(4)),
        Play::StallAfter(Mark::Events(2)),
    ]);

    let answer = app.chat(&chat_stream("one two three", 50)).await;
    // Events without content are held back only for a moment; then they are shown, and it is too late to move on.
    let preamble = app.chat(&chat_stream("one two three", 50)).await;

    assert!(answer.text().contains("\"content\":\"You \""));
    assert_told(answer.text(), "after content");
    assert_told(preamble.text(), "after the preamble");
    eventually("the end of the silent connections", || {
        app.sims[0].open_connections() == 0
    })
    .await;
    app.finish().await;
}

#[actix_web::test]
async fn a_cut_stream_costs_what_was_streamed_and_not_its_reservation() {
    let app = spawn_app(1).await;
    app.sims[0].play([cut(Mark::Events(6), Cut::Fin)]);

    app.chat(&chat_stream("one two three four five six", 50_000))
        .await;

    let settled = app
        .wait_for(0, "the error", |i| i["error_count"] == 1)
        .await;
    let used = settled["current_tpm"].as_u64().unwrap();
    // Four events of content and a prompt of a few words.
    assert!((5..100).contains(&used), "{used}");
    app.finish().await;
}

#[actix_web::test]
async fn a_stream_without_done_ends_with_an_error_event() {
    let app = spawn_app(2).await;
    app.sims[0].play([Play::NoDone]);

    let answer = app.chat(&chat_stream("one two three", 50)).await;

    assert!(answer.text().contains("\"finish_reason\":\"stop\""));
    assert_told(answer.text(), "no [DONE]");
    app.wait_for(0, "the error", |i| i["error_count"] == 1)
        .await;
    app.finish().await;
}

#[actix_web::test]
async fn an_error_event_is_mended_before_content_and_passed_on_after_it() {
    let app = spawn_app(2).await;

    assert_mended(&app, Play::ErrorEventFirst, &chat_stream("one two", 50)).await;
    assert_mended(
        &app,
        Play::ErrorEventAfter { events: 2 },
        &chat_stream("one two", 50),
    )
    .await;
    app.sims[0].play([Play::ErrorEventAfter { events: 4 }]);
    let answer = app.chat(&chat_stream("one two three", 50)).await;

    let told = events(answer.text());
    let last: Value = serde_json::from_str(told.last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "server_error");
    assert_eq!(answer.text().matches("\"error\"").count(), 1);
    assert!(!answer.text().contains("[DONE]"));
    app.wait_for(0, "the third error", |i| i["error_count"] == 3)
        .await;
    app.finish().await;
}

/// Sends the head and a part of a long JSON answer, which must reach the client before it breaks off.
async fn long_answer(upstream: &ByHand, client: &mut RawClient, framing: &str) -> Line {
    let mut line = upstream.request().await;
    let part = "x".repeat(PART);
    line.write(format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{framing}\r\n\r\n"
    ))
    .await;
    if framing.starts_with("content-length") {
        line.write(part).await;
    } else {
        line.write(chunk(&part)).await;
    }
    client.read_bytes(PART).await;
    line
}

#[actix_web::test]
async fn a_long_json_answer_that_breaks_off_breaks_the_connection_of_the_client() {
    let upstream = ByHand::bind().await;
    let app = upstream
        .pool(&["b"])
        .var("UPSTREAM_IDLE_TIMEOUT_SECS", "0.3")
        .start()
        .await;
    let mut errors = 0;
    for framing in ["content-length: 1000000", "transfer-encoding: chunked"] {
        for way in ["closed", "reset", "silent"] {
            let mut client = RawClient::chat(&app, &chat("hello", 50)).await;
            let line = long_answer(&upstream, &mut client, framing).await;

            let mut silent = None;
            match way {
                "closed" => drop(line),
                "reset" => line.reset(),
                _ => silent = Some(line),
            }
            let end = client.read_to_end().await;

            drop(silent);
            let what = format!("{framing}, {way}, {end:?}");
            let received = match framing.starts_with("content-length") {
                true => client.body().to_vec(),
                false => {
                    let (payload, is_complete) = client.dechunked();
                    assert!(!is_complete, "{what}: a part passes for the whole");
                    payload
                }
            };
            assert_eq!(received.len(), PART, "{what}");
            assert!(received.iter().all(|byte| *byte == b'x'), "{what}");
            errors += 1;
            app.wait_for(0, &what, |i| i["error_count"] == errors).await;
            app.wait_for(0, "the end of it", |i| i["in_flight"] == 0)
                .await;
            if errors % 2 == 0 {
                recover(&upstream, &app).await;
            }
        }
    }
    assert!(app.sims[1].requests().is_empty());
    app.finish().await;
}

/// Lets the first instance answer once, so that its faults do not add up to three in a row.
async fn recover(upstream: &ByHand, app: &TestApp) {
    let mut client = RawClient::chat(app, &chat("well?", 5)).await;
    let mut line = upstream.request().await;
    line.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        .await;
    client.read_until("{}").await;
    assert_eq!(client.body(), b"{}");
}
