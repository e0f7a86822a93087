//! What Azure says that OpenAI does not: chunks of the content filter, errors in shapes of their own.
//!
//! Clients of OpenAI's paths are spared it, clients of Azure's paths get it byte for byte.

use std::num::NonZeroUsize;
use std::time::Duration;

use azure_openai_proxy::simulator::{Answer as Scripted, Chunking, Hint, Play, Throttle};
use serde_json::{Value, json};

use crate::helpers::*;
use crate::raw::delta;

const AZURE_PATH: &str = "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21";
const PROMPT: &str = r#"{"id":"","object":"","created":0,"model":"","choices":[],"prompt_filter_results":[{"prompt_index":0,"content_filter_results":{}}]}"#;
const LATER: &str = r#"{"id":"","choices":[{"index":0,"finish_reason":null,"content_filter_results":{"hate":{"filtered":false}},"content_filter_offsets":{"check_offset":4}}]}"#;
const STOP: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const FILTERED: &str = r#"{"choices":[{"index":0,"finish_reason":"content_filter","content_filter_results":{"hate":{"filtered":true}}}]}"#;
const ODD: &str = r#"{"choices":[],"note":"of a kind that nobody knows"}"#;
const USAGE: &str =
    r#"{"choices":[],"usage":{"prompt_tokens":13,"completion_tokens":2,"total_tokens":15}}"#;

fn stream_of(events: &[&str]) -> String {
    let data: Vec<String> = events
        .iter()
        .map(|event| format!("data: {event}\n\n"))
        .collect();
    data.concat()
}

/// Azure's stream with the filter in every place, and what is left of it.
fn streams() -> (String, String) {
    let text = |word: &str| delta(word);
    let with = [
        stream_of(&[PROMPT]),
        text("a"),
        stream_of(&[LATER]),
        text("b"),
        stream_of(&[ODD, STOP, LATER, FILTERED, LATER, USAGE, "[DONE]"]),
    ];
    let without = [
        text("a"),
        text("b"),
        stream_of(&[ODD, STOP, FILTERED, USAGE, "[DONE]"]),
    ];
    (with.concat(), without.concat())
}

fn play(stream: &str, chunks: Chunking) -> Play {
    let answer = Scripted::new(200, stream.to_owned()).header("content-type", "text/event-stream");
    Play::Answer(answer.header("x-accel-buffering", "no").chunks(chunks))
}

fn asking_usage() -> Value {
    let mut body = chat_stream("hello", 50);
    body["stream_options"] = json!({"include_usage": true});
    body
}

#[actix_web::test]
async fn chunks_of_the_filter_alone_are_dropped_and_nothing_else() {
    let app = spawn_app(1).await;
    let (with, without) = streams();
    for end in ["\n", "\r\n"] {
        let (with, without) = (with.replace('\n', end), without.replace('\n', end));
        for size in [1, 3, 7, 64, 9_999] {
            let size = NonZeroUsize::new(size).unwrap();
            app.sims[0].play([play(&with, Chunking::Every(size))]);

            let answer = app.chat(&asking_usage()).await;

            assert_eq!(answer.text(), without, "{size}");
            assert_eq!(answer.header("x-accel-buffering"), Some("no"));
        }
    }
    app.wait_for(0, "settlement", |i| i["current_tpm"] == 150)
        .await;
    app.finish().await;
}

#[actix_web::test]
async fn clients_of_azures_paths_get_the_filters_chunks() {
    let app = spawn_app(1).await;
    let (with, _) = streams();
    for path in [AZURE_PATH, "/openai/v1/chat/completions"] {
        app.sims[0].play([play(&with, Chunking::Whole)]);

        let answer = app.post(path, &asking_usage()).await;

        assert_eq!(answer.text(), with, "{path}");
    }
    app.finish().await;
}

#[actix_web::test]
async fn the_filters_chunks_can_be_kept() {
    let app = pool()
        .var("AZURE_FILTER_CHUNKS", "keep")
        .instance("a", 30_000)
        .start()
        .await;
    let (with, _) = streams();
    app.sims[0].play([play(&with, Chunking::Whole)]);

    let answer = app.chat(&asking_usage()).await;

    assert_eq!(answer.text(), with);
    app.finish().await;
}

#[actix_web::test]
async fn chunks_of_the_filter_do_not_count_as_output() {
    let app = pool()
        .instance("a", 30_000)
        .var("AZURE_INSTANCE_A_API_VERSION", "2023-07-01-preview")
        .start()
        .await;
    let tail = stream_of(&[LATER, LATER, LATER, STOP, LATER, "[DONE]"]);
    let plain = delta("a") + &stream_of(&[STOP, "[DONE]"]);

    app.sims[0].play([play(&plain, Chunking::Whole)]);
    app.chat(&chat_stream("hello", 50)).await;
    let without = app.settled(0).await["current_tpm"].as_u64().unwrap();
    app.sims[0].play([play(&(delta("a") + &tail), Chunking::Whole)]);
    app.chat(&chat_stream("hello", 50)).await;

    app.wait_for(0, "settlement", |i| i["current_tpm"] == 2 * without)
        .await;
    app.finish().await;
}

#[actix_web::test]
async fn a_simulated_stream_begins_with_text_for_openais_clients() {
    let app = spawn_app(1).await;

    let openai = app.chat(&chat_stream("hello", 50)).await;
    let azure = app.post(AZURE_PATH, &chat_stream("hello", 50)).await;

    assert!(events(openai.text())[0].contains("\"role\":\"assistant\""));
    assert!(events(azure.text())[0].contains("prompt_filter_results"));
    app.finish().await;
}

/// Errors that reach the client because nobody else is left, with the message that it should read.
fn odd_errors() -> Vec<(Play, u16, &'static str)> {
    let page = "<html><title>502 Bad Gateway</title><body>nginx</body></html>";
    let html = Scripted::new(502, page).header("content-type", "text/html");
    vec![
        (Play::token_denied(), 401, "Unauthorized. Access token"),
        (
            Play::status(403, r#"{"error":"No entry."}"#),
            403,
            "No entry.",
        ),
        (
            Play::status(400, r#"{"error":{"code":400,"message":"Odd number."}}"#),
            400,
            "Odd number.",
        ),
        (Play::status(418, ""), 418, "418 I'm a teapot"),
        (Play::Answer(html), 502, "502 Bad Gateway"),
        (Play::empty_server_error(), 500, "500 Internal Server Error"),
    ]
}

#[actix_web::test]
async fn odd_errors_reach_openais_clients_in_openais_shape() {
    for (odd, status, message) in odd_errors() {
        let app = spawn_app(1).await;
        app.sims[0].play([odd]);

        let answer = app.chat(&chat("hello", 5)).await;

        assert_eq!(answer.status, status);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.instance(), "a");
        let error = &answer.json()["error"];
        assert!(
            error["message"].as_str().unwrap().contains(message),
            "{error}"
        );
        assert!(error["type"].is_string(), "{error}");
        assert!(
            error["code"].is_string() || error["code"].is_null(),
            "{error}"
        );
        assert!(error.get("upstream").is_some(), "{error}");
        app.finish().await;
    }
}

#[actix_web::test]
async fn odd_errors_reach_azures_clients_byte_for_byte() {
    for (odd, status, _) in odd_errors() {
        let app = spawn_app(1).await;
        let Play::Answer(scripted) = &odd else {
            panic!("all are answers");
        };
        app.sims[0].play([odd.clone(), Play::Answer(scripted.clone())]);

        let answer = app.post(AZURE_PATH, &chat("hello", 5)).await;
        let direct = client()
            .post(format!("{}{AZURE_PATH}", app.sims[0].url()))
            .insert_header(("api-key", "simulated-key"))
            .send_json(&chat("hello", 5));
        let direct = read(direct.await.unwrap()).await;

        assert_eq!(answer.status, status);
        assert_eq!(answer.body, direct.body);
        assert_eq!(answer.header("content-type"), direct.header("content-type"));
        app.finish().await;
    }
}

#[actix_web::test]
async fn errors_in_openais_shape_are_not_touched() {
    for (known, status) in [
        (Play::content_filter(), 400),
        (Play::context_length(), 400),
        (Play::access_denied(), 401),
    ] {
        let app = spawn_app(1).await;
        app.sims[0].play([known.clone(), known]);

        let answer = app.chat(&chat("hello", 5)).await;
        let direct = client()
            .post(format!("{}{AZURE_PATH}", app.sims[0].url()))
            .send_json(&chat("hello", 5));
        let direct = read(direct.await.unwrap()).await;

        assert_eq!(answer.status, status);
        assert_eq!(answer.body, direct.body);
        app.finish().await;
    }
}

#[actix_web::test]
async fn a_compressed_error_is_left_to_the_client() {
    let app = spawn_app(1).await;
    let body: &[u8] = &[0x1f, 0x8b, 0x08, 0x00, 0xff];
    let answer = Scripted::new(400, body).header("content-encoding", "gzip");
    app.sims[0].play([Play::Answer(answer)]);

    let answer = app.chat(&chat("hello", 5)).await;

    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    assert_eq!(&answer.body[..], body);
    app.finish().await;
}

#[actix_web::test]
async fn a_compressed_answer_is_a_fault_that_another_instance_mends() {
    let app = spawn_app(2).await;
    let body: &[u8] = &[0x1f, 0x8b, 0x08, 0x00, 0xff];
    let packed = Scripted::new(200, body).header("content-encoding", "gzip");
    app.sims[0].play([Play::Answer(packed)]);

    let answer = app.chat(&chat("hello", 5)).await;

    assert_eq!((answer.status.as_u16(), answer.instance()), (200, "b"));
    let told = app.instance(0).await["last_error"].to_string();
    assert!(told.contains("gzip"), "{told}");
    app.finish().await;
}

#[actix_web::test]
async fn a_client_that_comes_back_when_it_is_told_to_is_served() {
    let app = spawn_app(1).await;
    let wait = Duration::from_millis(300);
    app.sims[0].play([Play::throttle(Throttle::Short, wait, &[Hint::RetryAfterMs])]);

    let refused = app.chat(&chat("hello", 5)).await;
    let told: u64 = refused.header("retry-after-ms").unwrap().parse().unwrap();
    actix_rt::time::sleep(Duration::from_millis(told)).await;
    let served = app.chat(&chat("hello", 5)).await;

    assert_eq!(refused.status, 429);
    assert!((1..=300).contains(&told), "{told}");
    assert_eq!(refused.header("x-should-retry"), None);
    assert_eq!(served.status, 200);
    app.finish().await;
}
