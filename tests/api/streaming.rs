//! Streams: every event at once, every byte as it came, and the usage asked for without the client noticing.

use std::num::NonZeroUsize;
use std::time::Duration;

use azure_openai_proxy::simulator::{Answer, Chunking, Pace, Play};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::helpers::*;
use crate::raw::{ByHand, End, RawClient, STREAM_HEAD, delta};

const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":13,\"completion_tokens\":5,\"total_tokens\":18}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn stream_of(body: &str, chunks: Chunking) -> Play {
    let answer = Answer::new(200, body.to_owned()).header("content-type", "text/event-stream");
    Play::Answer(answer.chunks(chunks))
}

/// Every framing that splits characters, terminators and needles, the whole in one write besides.
fn chunkings(body: &str) -> Vec<Chunking> {
    let sizes = (1..=7)
        .chain([64])
        .map(|size| NonZeroUsize::new(size).unwrap());
    let mut all: Vec<Chunking> = sizes.map(Chunking::Every).collect();
    all.push(Chunking::LengthEvery(NonZeroUsize::new(5).unwrap()));
    all.push(Chunking::Whole);
    all.push(Chunking::At(vec![body.len() / 2]));
    all
}

/// Asks for a stream with the usage chunk.
fn asking_usage(text: &str) -> Value {
    let mut body = chat_stream(text, 50);
    body["stream_options"] = json!({"include_usage": true});
    body
}

#[actix_web::test]
async fn every_event_is_passed_on_before_the_next_one_is_sent() {
    let upstream = ByHand::bind().await;
    let app = upstream.pool(&[]).start().await;
    let mut client = RawClient::chat(&app, &chat_stream("hello", 50)).await;
    let mut line = upstream.request().await;

    line.write(STREAM_HEAD).await;
    for number in 0..50 {
        let word = format!("word{number};");
        line.chunk(&delta(&word)).await;
        client.read_until(&word).await;
    }
    line.chunk(DONE).await;
    line.write("0\r\n\r\n").await;
    client.read_until("0\r\n\r\n").await;

    let (stream, is_complete) = client.dechunked();
    assert!(is_complete);
    assert!(stream.ends_with(DONE.as_bytes()));
    app.finish().await;
}

#[actix_web::test]
async fn events_that_are_sent_apart_arrive_apart() {
    let app = spawn_app(1).await;
    let apart = Duration::from_millis(100);
    app.sims[0].play([Play::Slow(Pace {
        first_byte: Duration::ZERO,
        per_chunk: apart,
    })]);

    let mut response = app
        .open(
            "/v1/chat/completions",
            &chat_stream("one two three four five", 50),
        )
        .await;
    let mut arrivals = Vec::new();
    while let Some(chunk) = response.next().await {
        chunk.unwrap();
        arrivals.push(Instant::now());
    }

    let gaps: Vec<Duration> = arrivals.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let wide = gaps.iter().filter(|gap| **gap > apart / 2).count();
    assert!(gaps.len() >= 5, "{gaps:?}");
    assert!(wide * 3 >= gaps.len() * 2, "{gaps:?}");
    app.finish().await;
}

#[actix_web::test]
async fn the_first_events_are_shown_soon_even_if_no_content_follows_them() {
    let upstream = ByHand::bind().await;
    let app = upstream.pool(&[]).start().await;
    let mut client = RawClient::chat(&app, &chat_stream("hello", 50)).await;
    let mut line = upstream.request().await;
    let role = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";

    line.write(STREAM_HEAD).await;
    line.chunk(role).await;
    client.read_until("assistant").await;
    line.chunk(&(delta("hi") + DONE)).await;
    line.write("0\r\n\r\n").await;
    client.read_until("0\r\n\r\n").await;

    let (stream, _) = client.dechunked();
    assert_eq!(
        String::from_utf8(stream).unwrap(),
        role.to_owned() + &delta("hi") + DONE
    );
    app.finish().await;
}

#[actix_web::test]
async fn a_stream_arrives_byte_for_byte_however_it_is_cut_into_chunks() {
    let app = spawn_app(1).await;
    let text = delta("é€😀 \\\"error\\\" [DONE] \"usage\":");
    for stream in [
        format!("{text}{}{USAGE}{DONE}", delta("ende")),
        format!("{text}{USAGE}{DONE}").replace('\n', "\r\n"),
        format!(": warming up\n\n{text}: keep-alive\n\nevent: x\nid: 7\n{USAGE}data:[DONE]\n\n"),
        format!("\n\n{text}\n{text}{USAGE}data:  [DONE] \n\n: bye\n\n"),
        format!("{text}{USAGE}data: [DONE]\n"),
        format!("{text}{USAGE}data: [DONE]"),
        format!("{text}{USAGE}data: [DONE]\r\n"),
    ] {
        for chunks in chunkings(&stream) {
            app.sims[0].play([stream_of(&stream, chunks.clone())]);

            let answer = app.chat(&asking_usage("hello")).await;

            assert_eq!(answer.text(), stream, "{chunks:?}");
        }
    }
    let attempts = 7.0 * 11.0;
    let answered = r#"aoai_proxy_attempts_total{instance="a",outcome="answered"}"#;
    app.wait_for_metric(answered, attempts).await;
    app.finish().await;
}

#[actix_web::test]
async fn only_the_usage_chunk_is_hidden_from_a_client_that_did_not_ask() {
    let app = spawn_app(1).await;
    for end in ["\n", "\r\n"] {
        let before = format!(": hi\n\n{}{}", delta("é€😀"), delta("b")).replace('\n', end);
        let usage = USAGE.replace('\n', end);
        let after = format!(": bye\n\n{DONE}").replace('\n', end);
        let stream = format!("{before}{usage}{after}");
        for chunks in chunkings(&stream) {
            app.sims[0].play([stream_of(&stream, chunks.clone())]);

            let answer = app.chat(&chat_stream("hello", 50)).await;

            assert_eq!(answer.text(), before.clone() + &after, "{chunks:?}");
        }
    }
    app.wait_for(0, "settlement", |i| i["current_tpm"] == 18 * 22)
        .await;
    app.finish().await;
}

#[actix_web::test]
async fn usage_is_asked_for_and_settles_the_reservation() {
    let app = spawn_app(1).await;

    let shown = app.chat(&asking_usage("one two three")).await;
    let usage = events(shown.text()).into_iter().rev().nth(1).unwrap();
    let total = serde_json::from_str::<Value>(usage).unwrap()["usage"]["total_tokens"].clone();
    let total = total.as_u64().unwrap();
    app.wait_for(0, "settlement", |i| i["current_tpm"] == total)
        .await;
    let hidden = app.chat(&chat_stream("one two three", 50)).await;
    app.wait_for(0, "settlement", |i| i["current_tpm"] == 2 * total)
        .await;

    let seen = app.sims[0].requests();
    let body: Value = serde_json::from_slice(&seen[1].body).unwrap();
    assert_eq!(seen[0].body, asking_usage("one two three").to_string());
    assert_eq!(body["stream_options"], json!({"include_usage": true}));
    assert!(!hidden.text().contains("total_tokens"));
    assert!(hidden.text().ends_with(DONE));
    assert_eq!(events(shown.text()).len(), events(hidden.text()).len() + 1);
    app.finish().await;
}

#[actix_web::test]
async fn the_other_stream_options_of_a_client_are_kept() {
    let app = spawn_app(1).await;
    let mut body = chat_stream("hello", 50);
    body["stream_options"] =
        json!({"include_obfuscation": false, "include_usage": false, "new": [1]});

    let answer = app.chat(&body).await;

    let sent: Value = serde_json::from_slice(&app.sims[0].requests()[0].body).unwrap();
    body["stream_options"]["include_usage"] = json!(true);
    assert_eq!(sent, body);
    assert!(answer.text().ends_with(DONE) && !answer.text().contains("total_tokens"));
    app.finish().await;
}

#[actix_web::test]
async fn an_old_api_version_is_not_asked_for_usage_and_what_was_streamed_counts() {
    let app = pool()
        .instance("a", 1_000_000)
        .var("AZURE_INSTANCE_A_API_VERSION", "2023-07-01-preview")
        .start()
        .await;
    let pieces = delta("a") + &delta("b") + &delta("c");
    let answer = Answer::new(200, pieces + DONE).header("content-type", "text/event-stream");
    let stalled = Play::StallBeforeHead;
    app.sims[0].play([stalled, Play::Answer(answer)]);
    let body = chat_stream("hello", 50);

    let waiting = RawClient::chat(&app, &body).await;
    let open = app
        .wait_for(0, "a reservation", |i| i["in_flight"] == 1)
        .await;
    let reserved = open["current_tpm"].as_u64().unwrap();
    let prompt = reserved - 50;
    drop(waiting);
    app.wait_for(0, "the end of the first", |i| i["in_flight"] == 0)
        .await;
    app.chat(&body).await;

    // The first keeps its reservation, since Azure keeps the charge.
    let settled = reserved + prompt + 3;
    app.wait_for(0, "settlement", |i| i["current_tpm"] == settled)
        .await;
    for seen in app.sims[0].requests() {
        assert_eq!(seen.body, body.to_string());
    }
    app.finish().await;
}

#[actix_web::test]
async fn usage_beside_the_last_content_settles_too_and_is_never_hidden() {
    let app = spawn_app(1).await;
    let last = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"b\"}}],\"usage\":{\"prompt_tokens\":2,\"completion_tokens\":2,\"total_tokens\":4}}\n\n";
    let stream = delta("a") + last + DONE;
    app.sims[0].play([stream_of(&stream, Chunking::Whole)]);

    let answer = app.chat(&chat_stream("hello", 50)).await;

    assert_eq!(answer.text(), stream);
    app.wait_for(0, "settlement", |i| i["current_tpm"] == 4)
        .await;
    app.finish().await;
}

#[actix_web::test]
async fn a_legacy_completion_streams_and_settles_as_chat_does() {
    let app = spawn_app(1).await;
    let body = json!({"model": "gpt-35-turbo-instruct", "prompt": "one two", "max_tokens": 20, "stream": true});

    let answer = app.post("/v1/completions", &body).await;

    assert!(answer.text().ends_with(DONE));
    assert!(!answer.text().contains("total_tokens"));
    let charged = app.wait_for(0, "settlement", |i| i["in_flight"] == 0).await;
    let used = charged["current_tpm"].as_u64().unwrap();
    assert!((1..22).contains(&used), "{used}");
    app.finish().await;
}

#[actix_web::test]
async fn usage_that_was_told_counts_even_if_the_end_of_the_stream_is_missing() {
    let upstream = ByHand::bind().await;
    let app = upstream.pool(&[]).start().await;
    let reasoned = USAGE.replace("\"completion_tokens\":5", "\"completion_tokens\":5000");
    let last = delta("hi") + &reasoned;
    let mut before = 0;
    for client_stays in [true, false] {
        let mut client = RawClient::chat(&app, &chat_stream("hello", 50_000)).await;
        let mut line = upstream.request().await;

        line.write(STREAM_HEAD).await;
        line.chunk(&last).await;
        client.read_until("hi").await;
        match client_stays {
            true => drop(line),
            false => {
                drop(client);
                line.closed_by_proxy().await;
            }
        }

        let settled = app.wait_for(0, "settlement", |i| i["in_flight"] == 0).await;
        let after = settled["current_tpm"].as_u64().unwrap();
        assert!((5_001..5_100).contains(&(after - before)), "{after}");
        before = after;
    }
    app.finish().await;
}

#[actix_web::test]
async fn a_client_of_http_1_0_gets_a_stream_without_chunks() {
    let app = spawn_app(1).await;
    let body = chat_stream("hello", 5).to_string();
    let mut client = RawClient::connect(&app).await;
    let head = "POST /v1/chat/completions HTTP/1.0\r\nconnection: keep-alive\r\n";

    client
        .send(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes())
        .await;

    assert_eq!(client.read_to_end().await, End::Closed);
    let text = client.text().to_lowercase();
    assert!(text.starts_with("http/1.0 200 ok\r\n"), "{text}");
    assert!(!text.contains("transfer-encoding"), "{text}");
    assert!(text.contains("\r\n\r\ndata: "), "{text}");
    assert!(text.ends_with("\n\ndata: [done]\n\n"), "{text}");
    app.finish().await;
}

#[actix_web::test]
async fn usage_in_several_lines_of_data_settles_whatever_ends_them() {
    let usage = "data: {\"choices\": [],\ndata: \"usage\":\ndata: {\"prompt_tokens\": 13, \"total_tokens\": 18}}\n\n";
    for line_end in ["\n", "\r\n", "\r"] {
        let app = spawn_app(1).await;
        let shown = format!("\u{feff}: hi\n\n{}{DONE}", delta("one")).replace('\n', line_end);
        let usage = usage.replace('\n', line_end);
        let (begin, end) = shown.split_at(shown.len() - DONE.replace('\n', line_end).len());
        let sent = format!("{begin}{usage}{end}");
        let framings = chunkings(&sent);
        let count = framings.len();
        let plays = framings.into_iter().map(|chunks| stream_of(&sent, chunks));
        app.sims[0].play(plays);

        for number in 1..=count {
            let hidden = app.chat(&chat_stream("hello", 50)).await;

            assert_eq!(hidden.text(), shown, "{line_end:?}");
            assert_eq!(app.settled(0).await["current_tpm"], 18 * number);
        }
        app.finish().await;
    }
}
