//! Request bodies: what may come, how it goes up, and what is said about one that cannot.

use std::time::Duration;

use azure_openai_proxy::simulator::{self, Play};
use bytes::Bytes;
use futures_util::stream;
use serde_json::json;
use tokio::time::sleep;

use crate::helpers::*;
use crate::raw::RawClient;

/// A valid chat request of about this many bytes.
fn long_request(bytes: usize) -> String {
    let text = "lorem ipsum dolor ".repeat(bytes / 18);
    format!(
        r#"{{"model":"gpt-4o", "max_tokens":5, "messages":[{{"role":"user","content":"{text}"}}]}}"#
    )
}

/// A pool with room for millions of prompt tokens.
fn roomy() -> Pool {
    pool().instance("a", 100_000_000)
}

#[actix_web::test]
async fn unknown_fields_and_odd_spelling_reach_the_instance_byte_for_byte() {
    let app = spawn_app(1).await;
    let body = "\n{ \"new_field\" : {\"a\":[1.50,1e3,null],\"é\":\"\\u00e9\"},\"model\":\"gpt-4o\",\r\n\t\"max_tokens\":7.0 ,\
                \"messages\":[{\"role\":\"user\",\"content\":\"hi \\ud83d\\ude00\",\"x\":0.10}], \"stream\":false }\n";

    let answer = app.post_bytes("/v1/chat/completions", body).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(app.sims[0].requests()[0].body, body);
    app.finish().await;
}

#[actix_web::test]
async fn the_v1_form_changes_the_model_and_nothing_else() {
    let app = pool()
        .instance("a", 1_000_000)
        .var("AZURE_INSTANCE_A_API_VERSION", "v1")
        .var("MODEL_MAP_FAST", "gpt-4o")
        .start()
        .await;
    let body = r#"{ "x":1.0, "model" : "fast","messages":[{"role":"user","content":"hi"}],"max_tokens":5 }"#;

    let answer = app.post_bytes("/v1/chat/completions", body).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = &app.sims[0].requests()[0];
    assert_eq!(seen.body, body.replace("\"fast\"", "\"gpt-4o\""));
    assert_eq!(seen.target, "/openai/v1/chat/completions");
    app.finish().await;
}

#[actix_web::test]
async fn credentials_and_marks_of_the_client_never_go_up() {
    let app = spawn_app(1).await;
    let sent = client()
        .post(format!("{}/v1/chat/completions", app.url))
        .insert_header(("authorization", "Bearer client-secret"))
        .insert_header(("api-key", "client-secret"))
        .insert_header(("cookie", "session=client-secret"))
        .insert_header(("x-stainless-lang", "python"))
        .insert_header(("openai-organization", "org-client"))
        .insert_header(("x-forwarded-for", "192.0.2.1"))
        .insert_header(("x-ms-client-request-id", "trace-me"))
        .insert_header(("user-agent", "OpenAI/Python 1.0"))
        .insert_header(("accept-encoding", "gzip, br"))
        .send_json(&chat("hello", 5));

    let answer = read(sent.await.unwrap()).await;

    assert_eq!(answer.status, 200);
    let seen = &app.sims[0].requests()[0];
    let keys: Vec<_> = seen
        .headers
        .iter()
        .filter(|(name, _)| name == "api-key")
        .collect();
    assert_eq!(keys, [&("api-key".to_owned(), "simulated-key".to_owned())]);
    assert!(!format!("{:?}", seen.headers).contains("client-secret"));
    for name in [
        "authorization",
        "cookie",
        "x-stainless-lang",
        "openai-organization",
        "x-forwarded-for",
    ] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert_eq!(seen.header("x-ms-client-request-id"), Some("trace-me"));
    assert_eq!(seen.header("user-agent"), Some("OpenAI/Python 1.0"));
    assert_eq!(seen.header("accept-encoding"), Some("identity"));
    assert_eq!(seen.header("content-type"), Some("application/json"));
    app.finish().await;
}

#[actix_web::test]
async fn five_megabytes_go_up_byte_for_byte_however_they_are_framed() {
    let app = roomy().start().await;
    let body = long_request(5 << 20);
    let answer = || {
        Play::status(
            200,
            r#"{"usage":{"prompt_tokens":3,"completion_tokens":4}}"#,
        )
    };
    app.sims[0].play([answer(), answer()]);

    let whole = app.post_bytes("/v1/chat/completions", body.clone()).await;
    let pieces: Vec<Bytes> = body
        .as_bytes()
        .chunks(70_001)
        .map(Bytes::copy_from_slice)
        .collect();
    let chunked = send_chunked(&app, pieces).await;

    assert_eq!((whole.status.as_u16(), chunked.status.as_u16()), (200, 200));
    for seen in app.sims[0].requests() {
        assert!(seen.body == body, "the body was changed");
        assert_eq!(
            seen.header("content-length"),
            Some(&*body.len().to_string())
        );
    }
    app.wait_for(0, "settlement", |i| i["current_tpm"] == 14)
        .await;
    app.finish().await;
}

/// Posts a chat request without telling its length.
async fn send_chunked(app: &TestApp, pieces: Vec<Bytes>) -> Answer {
    let request = client().post(format!("{}/v1/chat/completions", app.url));
    let pieces = stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>));
    read(request.send_stream(pieces).await.unwrap()).await
}

#[actix_web::test]
async fn a_body_over_the_limit_is_a_413_however_it_is_framed() {
    let app = roomy().var("MAX_BODY_BYTES", 10_000).start().await;
    let body = long_request(10_100);
    let limit = long_request(9_800);
    let fitting = format!("{limit}{}", " ".repeat(10_000 - limit.len()));

    let whole = app.post_bytes("/v1/chat/completions", body.clone()).await;
    let pieces = body.as_bytes().chunks(999).map(Bytes::copy_from_slice);
    let chunked = send_chunked(&app, pieces.collect()).await;
    let exact = app.post_bytes("/v1/chat/completions", fitting).await;

    for refused in [whole, chunked] {
        assert_refused(&refused, 413, "request_too_large");
        assert!(refused.text().contains("MAX_BODY_BYTES"));
    }
    assert_eq!(exact.status, 200, "{exact:?}");
    assert_eq!(app.sims[0].requests().len(), 1);
    app.finish().await;
}

#[actix_web::test]
async fn a_body_far_over_the_limit_is_refused_before_it_is_sent() {
    let app = roomy().var("MAX_BODY_BYTES", 10_000).start().await;
    let mut client = RawClient::connect(&app).await;

    client
        .send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: proxy\r\ncontent-length: 900000000000\r\n\r\n{")
        .await;

    client.read_until("request_too_large").await;
    assert!(client.text().starts_with("HTTP/1.1 413"));
    app.finish().await;
}

#[actix_web::test]
async fn a_client_that_goes_on_uploading_reads_the_413_all_the_same() {
    let app = roomy().var("MAX_BODY_BYTES", 10_000).start().await;
    for framing in [
        "content-length: 8388608\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n800000\r\n",
    ] {
        let mut client = RawClient::connect(&app).await;
        let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: proxy\r\n{framing}");

        client.send(head.as_bytes()).await;
        client.send(&vec![b'x'; 8 << 20]).await;

        client.read_until("request_too_large").await;
    }
    app.finish().await;
}

#[actix_web::test]
async fn a_client_that_uploads_slowly_reads_its_413_when_it_has_sent_all() {
    let app = roomy().var("MAX_BODY_BYTES", 10_000).start().await;
    let mut client = RawClient::connect(&app).await;

    client
        .send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: proxy\r\ncontent-length: 20000\r\n\r\n")
        .await;
    // For longer than servers commonly wait for such a client.
    for _ in 0..10 {
        sleep(Duration::from_millis(150)).await;
        client.send(&[b'x'; 2_000]).await;
    }

    client.read_until("request_too_large").await;
    drop(client);
    app.finish().await;
}

#[actix_web::test]
async fn an_announced_length_takes_no_memory_and_a_client_that_stops_sending_leaves_nothing() {
    let app = spawn_app(1).await;
    let mut client = RawClient::connect(&app).await;

    client
        .send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: proxy\r\ncontent-length: 60000000\r\n\r\n{\"model\"")
        .await;
    client.half_close().await;

    client.read_to_end().await;
    assert!(!client.text().starts_with("HTTP/1.1 2"));
    assert!(app.sims[0].requests().is_empty());
    app.finish().await;
}

#[actix_web::test]
async fn a_compressed_body_is_refused_with_the_reason() {
    let app = spawn_app(1).await;
    let sent = client()
        .post(format!("{}/v1/chat/completions", app.url))
        .insert_header(("content-encoding", "gzip"))
        .send_body(&b"\x1f\x8b\x08\x00"[..]);

    let answer = read(sent.await.unwrap()).await;

    assert_refused(&answer, 400, "invalid_request_body");
    assert!(
        answer
            .text()
            .contains("Compressed request bodies are not supported")
    );
    app.finish().await;
}

#[actix_web::test]
async fn a_body_that_cannot_be_used_is_a_400_that_names_the_field() {
    let app = spawn_app(1).await;
    for (body, param, code) in [
        ("", json!(null), "invalid_json"),
        ("{\"model\":", json!(null), "invalid_json"),
        ("[1]", json!(null), "invalid_json"),
        ("\"model\"", json!(null), "invalid_json"),
        ("{}", json!("model"), "missing_required_parameter"),
        (
            r#"{"model":null}"#,
            json!("model"),
            "missing_required_parameter",
        ),
        (r#"{"model":7}"#, json!("model"), "invalid_type"),
        (r#"{"model":""}"#, json!("model"), "invalid_value"),
        (
            r#"{"model":"m","stream":"yes"}"#,
            json!("stream"),
            "invalid_type",
        ),
        (
            r#"{"model":"m","max_tokens":-1}"#,
            json!("max_tokens"),
            "invalid_value",
        ),
        (
            r#"{"model":"m","max_tokens":"9"}"#,
            json!("max_tokens"),
            "invalid_type",
        ),
        (r#"{"model":"m","n":0}"#, json!("n"), "invalid_value"),
        (
            r#"{"model":"m","stream_options":[]}"#,
            json!("stream_options"),
            "invalid_type",
        ),
    ] {
        let answer = app.post_bytes("/v1/chat/completions", body).await;

        assert_eq!(answer.status, 400, "{body}");
        let error = &answer.json()["error"];
        assert_eq!(error["param"], param, "{body}");
        assert_eq!(error["code"], code, "{body}");
        assert_eq!(error["type"], "invalid_request_error", "{body}");
        assert!(!error["message"].as_str().unwrap().is_empty());
    }
    let answer = app
        .post_bytes("/v1/chat/completions", &b"{\"model\":\"\xff\"}"[..])
        .await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("UTF-8"), "{answer:?}");
    assert!(app.sims[0].requests().is_empty());
    app.finish().await;
}

#[actix_web::test]
async fn an_answer_that_comes_during_the_upload_counts_like_a_later_one() {
    let app = roomy().instance("b", 100_000_000).start().await;
    let body = long_request(5 << 20);
    let early =
        |status, text: &str| Play::EarlyAnswer(simulator::Answer::new(status, text.to_owned()));
    let refusal = r#"{"error":{"message":"too large","code":"early"}}"#;
    app.sims[0].play([early(413, refusal), early(429, "{}")]);
    app.sims[1].play([Play::status(200, "{}")]);

    let refused = app.post_bytes("/v1/chat/completions", body.clone()).await;
    let moved = app.post_bytes("/v1/chat/completions", body).await;

    assert_eq!((refused.status.as_u16(), refused.text()), (413, refusal));
    assert_eq!((moved.status.as_u16(), moved.instance()), (200, "b"));
    app.finish().await;
}
