//! Clients that leave: the instance is hung up on within a second, nothing is tried again, nobody is blamed.

use std::time::Duration;

use azure_openai_proxy::simulator::{Answer, Pace, Play};
use serde_json::json;
use tokio::time::Instant;

use crate::helpers::*;
use crate::raw::{ByHand, End, RawClient, STREAM_HEAD, chunk, delta};

const LEFT: &str = r#"aoai_proxy_requests_total{endpoint="chat/completions",status="499"}"#;

/// How a client leaves.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    Closing,
    HalfClosing,
    Resetting,
}

const WAYS: [Leaves; 3] = [Leaves::Closing, Leaves::HalfClosing, Leaves::Resetting];

/// Leaves, and returns the connection if the client still listens.
async fn leave(mut client: RawClient, how: Leaves) -> Option<RawClient> {
    match how {
        Leaves::Closing => drop(client),
        Leaves::Resetting => client.reset(),
        Leaves::HalfClosing => {
            client.half_close().await;
            return Some(client);
        }
    }
    None
}

/// The first instance has been hung up on `times` times, and everything else is as if nothing had happened.
async fn assert_gone(app: &TestApp, times: u32, what: &str) {
    let left = Instant::now();
    eventually(what, || app.sims[0].abandoned() == u64::from(times)).await;
    assert!(left.elapsed() < Duration::from_secs(1), "{what}");
    let instance = app.wait_for(0, what, |i| i["in_flight"] == 0).await;
    assert_eq!(instance["status"], "healthy", "{what}");
    assert_eq!(instance["error_count"], 0, "{what}");
    assert!(app.sims[1].requests().is_empty(), "{what}: tried again");
    assert_eq!(
        app.sims[0].requests().len(),
        times as usize,
        "{what}: tried again"
    );
    app.wait_for_metric(LEFT, f64::from(times)).await;
    app.wait_for_metric("aoai_proxy_in_flight", 0.0).await;
    let attempts = r#"aoai_proxy_attempts_total{instance="a",outcome="client_left"}"#;
    assert_eq!(app.metric(attempts).await, f64::from(times), "{what}");
}

#[actix_web::test]
async fn a_client_that_leaves_before_the_head_keeps_its_reservation_charged() {
    let app = spawn_app(2).await;
    let mut times = 0;
    for body in [chat("hello", 50), chat_stream("hello", 50)] {
        for play in [Play::StallBeforeHead, Play::StallAfterHead] {
            for how in WAYS {
                app.sims[0].play([play.clone()]);
                let client = RawClient::chat(&app, &body).await;
                let asked = || app.sims[0].requests().len() > times as usize;
                eventually("the request", asked).await;
                let open = app.wait_for(0, "a lease", |i| i["in_flight"] == 1).await;

                let listening = leave(client, how).await;

                times += 1;
                assert_gone(&app, times, &format!("{play:?} {how:?}")).await;
                // Azure keeps what it charged at admission.
                assert_eq!(app.instance(0).await["current_tpm"], open["current_tpm"]);
                drop(listening);
            }
        }
    }
    app.finish().await;
}

#[actix_web::test]
async fn a_client_that_leaves_mid_stream_pays_for_what_was_streamed() {
    let app = spawn_app(2).await;
    let pace = Pace {
        first_byte: Duration::ZERO,
        per_chunk: Duration::from_millis(20),
    };
    let mut times = 0;
    let mut before = 0;
    for how in WAYS {
        app.sims[0].play([Play::Slow(pace)]);
        let text = "word ".repeat(400) + "end";
        let mut client = RawClient::chat(&app, &chat_stream(&text, 50_000)).await;
        client.read_until("\"content\":\"word").await;

        let listening = leave(client, how).await;

        times += 1;
        assert_gone(&app, times, &format!("{how:?}")).await;
        let settled = app.instance(0).await["current_tpm"].as_u64().unwrap();
        let used = settled - before;
        // The prompt of 400 words and a few of them back, not the 50,000 that were reserved.
        assert!((400..1_000).contains(&used), "{how:?}: {used}");
        before = settled;
        drop(listening);
    }
    app.finish().await;
}

#[actix_web::test]
async fn a_client_that_leaves_during_a_long_json_answer_ends_it() {
    let app = spawn_app(2).await;
    // More than all buffers on the way can take, so that it is still being sent.
    let body = "x".repeat(64 << 20);
    let mut times = 0;
    for how in WAYS {
        app.sims[0].play([Play::Answer(Answer::new(200, body.clone()))]);
        let mut client = RawClient::chat(&app, &chat("hello", 50)).await;
        client.read_bytes(300_000).await;

        let mut listening = leave(client, how).await;
        if let Some(client) = &mut listening {
            // What was on its way still arrives, and then the connection ends short of the whole.
            client.read_to_end().await;
            assert!(client.body().len() < body.len());
        }

        times += 1;
        assert_gone(&app, times, &format!("{how:?}")).await;
        drop(listening);
    }
    app.finish().await;
}

#[actix_web::test]
async fn a_client_that_leaves_after_done_has_its_whole_answer() {
    let upstream = ByHand::bind().await;
    let app = upstream.pool(&[]).start().await;
    let mut client = RawClient::chat(&app, &chat_stream("hello", 50)).await;
    let mut line = upstream.request().await;

    line.write(STREAM_HEAD).await;
    line.chunk(&(delta("hi") + "data: [DONE]\n\n")).await;
    client.read_until("[DONE]").await;
    drop(client);

    line.closed_by_proxy().await;
    app.wait_for(0, "the end of the lease", |i| i["in_flight"] == 0)
        .await;
    let answered = LEFT.replace("499", "200");
    app.wait_for_metric(&answered, 1.0).await;
    assert_eq!(app.metric(LEFT).await, 0.0);
    app.finish().await;
}

#[actix_web::test]
async fn an_upstream_waits_for_a_client_that_does_not_read() {
    let upstream = ByHand::bind().await;
    let app = upstream
        .pool(&[])
        .var("UPSTREAM_IDLE_TIMEOUT_SECS", "0.3")
        .start()
        .await;
    let mut client = RawClient::chat(&app, &chat_stream("hello", 50)).await;
    let mut line = upstream.request().await;
    let piece = chunk(&delta(&"x".repeat(60_000)));
    let most = 256 << 20;

    line.write(STREAM_HEAD).await;
    let patience = Duration::from_millis(500);
    let sent = line.flood(piece.as_bytes(), patience, most).await;
    // What fits into the buffers of four sockets, far from all that was on offer.
    assert!(sent < 64 << 20, "{sent} bytes were taken from the upstream");

    let rest = &piece.as_bytes()[sent % piece.len()..];
    let finish = async {
        line.write(rest).await;
        line.chunk("data: [DONE]\n\n").await;
        line.write("0\r\n\r\n").await;
    };
    let (_, ()) = tokio::join!(client.read_bytes(sent), finish);
    client.read_until("[DONE]").await;

    let (stream, _) = client.dechunked();
    let events = stream.len() / delta(&"x".repeat(60_000)).len();
    assert_eq!(events, sent.div_ceil(piece.len()));
    app.finish().await;
}

#[actix_web::test]
async fn a_client_that_takes_nothing_for_too_long_is_cut_off_and_its_instance_let_go() {
    let upstream = ByHand::bind().await;
    let app = upstream
        .pool(&[])
        .var("CLIENT_STALL_TIMEOUT_SECS", "0.5")
        .start()
        .await;
    let mut client = RawClient::chat(&app, &chat_stream("hello", 50_000)).await;
    let mut line = upstream.request().await;
    let piece = chunk(&delta(&"x".repeat(60_000)));

    line.write(STREAM_HEAD).await;
    line.write_until_closed(piece.as_bytes()).await;

    let settled = app.settled(0).await;
    assert_eq!(
        (&settled["status"], &settled["error_count"]),
        (&json!("healthy"), &json!(0))
    );
    app.wait_for_metric(LEFT, 1.0).await;
    assert_eq!(client.read_to_end().await, End::Reset);
    assert!(!client.text().contains("[DONE]"));
    app.finish().await;
}

#[actix_web::test]
async fn a_client_that_takes_little_and_pauses_twice_gets_all() {
    let upstream = ByHand::bind().await;
    let app = upstream
        .pool(&[])
        .var("CLIENT_STALL_TIMEOUT_SECS", "2")
        .start()
        .await;
    let mut client = RawClient::narrow_chat(&app, &chat_stream("hello", 50_000)).await;
    let mut line = upstream.request().await;
    let events = 10_000;

    let answer = async {
        line.write(STREAM_HEAD).await;
        for _ in 0..events {
            line.chunk(&delta(&"x".repeat(200))).await;
        }
        line.chunk("data: [DONE]\n\n").await;
        line.write("0\r\n\r\n").await;
    };
    let take = async {
        // Far less than waits, and far more than the buffers hold.
        for so_far in [600_000, 1_200_000] {
            client.read_bytes(so_far).await;
            tokio::time::sleep(Duration::from_millis(1_200)).await;
        }
        client.read_until("[DONE]").await;
    };
    tokio::join!(answer, take);

    let (stream, _) = client.dechunked();
    let whole = events * delta(&"x".repeat(200)).len() + "data: [DONE]\n\n".len();
    assert_eq!(stream.len(), whole);
    app.finish().await;
}

#[actix_web::test]
async fn an_upstream_that_thinks_for_longer_is_no_client_that_takes_nothing() {
    let upstream = ByHand::bind().await;
    let app = upstream
        .pool(&[])
        .var("CLIENT_STALL_TIMEOUT_SECS", "0.2")
        .start()
        .await;
    let mut client = RawClient::chat(&app, &chat_stream("hello", 50_000)).await;
    let mut line = upstream.request().await;

    line.write(STREAM_HEAD).await;
    line.chunk(&delta("first")).await;
    client.read_until("first").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    line.chunk(&delta("second")).await;
    line.chunk("data: [DONE]\n\n").await;
    line.write("0\r\n\r\n").await;

    client.read_until("[DONE]").await;
    assert!(client.text().contains("second"));
    app.finish().await;
}
