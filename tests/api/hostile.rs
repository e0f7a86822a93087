//! Requests as nobody should send them: each has one outcome, and nothing of it reaches anybody else.

use crate::forms::{KIND, field, file, form, pool_of_two};
use crate::helpers::*;
use crate::raw::RawClient;

mod answers;

const BODY: &str = r#"{"model":"gpt-4o","messages":[],"max_tokens":5}"#;

/// Sends bytes over a connection of their own and returns all that comes back.
async fn exchange(app: &TestApp, bytes: &str) -> String {
    let mut client = RawClient::connect(app).await;
    client.send(bytes.as_bytes()).await;
    client.read_to_end().await;
    client.text()
}

#[actix_web::test]
async fn a_request_whose_end_can_be_read_in_two_ways_is_refused_with_all_that_follows() {
    let app = spawn_app(1).await;
    let length = BODY.len();
    let smuggled = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: proxy\r\ncontent-length: {length}\r\n\r\n{BODY}"
    );
    for framing in [
        format!("content-length: {length}\r\ntransfer-encoding: chunked"),
        format!("transfer-encoding: chunked\r\ncontent-length: {length}"),
        format!("content-length: {length}\r\ncontent-length: {length}"),
        format!("content-length: {length}\r\nContent-Length: 0"),
        format!("content-length: {length}, {length}"),
        format!("content-length: +{length}"),
        format!("content-length: -{length}"),
        "content-length: 0x10".to_owned(),
        "content-length: 99999999999999999999999".to_owned(),
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked".to_owned(),
        "transfer-encoding: identity, chunked".to_owned(),
        "transfer-encoding: xchunked".to_owned(),
        "transfer-encoding : chunked".to_owned(),
        format!("content-length: {length}\r\n folded: x"),
    ] {
        for chunked in ["0\r\n\r\n", BODY] {
            let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: proxy\r\nconnection: close\r\n";
            let text = exchange(&app, &format!("{head}{framing}\r\n\r\n{chunked}{smuggled}")).await;

            assert!(text.starts_with("HTTP/1.1 400"), "{framing}: {text}");
            assert_eq!(text.matches("HTTP/1.1").count(), 1, "{framing}: {text}");
        }
    }
    assert!(app.sims[0].requests().is_empty());
    app.finish().await;
}

#[actix_web::test]
async fn odd_ways_to_the_same_place_lead_there_or_nowhere() {
    let app = spawn_app(1).await;
    let place = "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21";
    for target in [
        "/v1/chat/completions?api-version=1999-01-01&api-version=x#/../y",
        "/v1//chat/completions/",
        "/openai/deployments/gpt-4o/chat/completions?api-version=a&API-VERSION=b&x=%0d%0aevil:1",
        "/openai/deployments/gpt%2D4o/chat/completions?",
        "http://elsewhere.example/v1/chat/completions",
    ] {
        let text = post_to(&app, target).await;
        assert!(text.starts_with("HTTP/1.1 200"), "{target}: {text}");
        let seen = app.sims[0].requests().pop().unwrap();
        assert_eq!(seen.target, place, "{target}");
        app.sims[0].forget_requests();
    }
    for target in [
        "/openai/deployments/../chat/completions",
        "/openai/deployments/%2e%2e/chat/completions",
        "/openai/deployments/a%2Fb/chat/completions",
        "/openai/deployments/gpt-4o%3Fx/chat/completions",
        "/openai/deployments/gpt-4o;x/chat/completions",
        "/openai/deployments/gpt-4o%00/chat/completions",
        "/openai/deployments/gpt-4o/../../chat/completions",
        "/v1/../v1/chat/completions",
        "/v1/chat/completions;x",
        "/v1/chat/completions%00",
        "/v1/responses/..",
        "/v1/conversations/%2e%2e/items/x",
        "/v1/responses/a%2f..%2fb/cancel",
        "//elsewhere.example/v1/chat",
        "*",
    ] {
        let text = post_to(&app, target).await;
        let is_refused = ["HTTP/1.1 400", "HTTP/1.1 404", "HTTP/1.1 405"];
        let is_refused = is_refused.iter().any(|status| text.starts_with(status));
        assert!(is_refused, "{target}: {text}");
    }
    assert!(app.sims[0].requests().is_empty());
    app.finish().await;
}

async fn post_to(app: &TestApp, target: &str) -> String {
    let length = BODY.len();
    let head = format!("POST {target} HTTP/1.1\r\nhost: proxy\r\nconnection: close\r\n");
    exchange(
        app,
        &format!("{head}content-length: {length}\r\n\r\n{BODY}"),
    )
    .await
}

#[actix_web::test]
async fn a_form_goes_up_under_the_one_content_type_by_which_it_was_read() {
    let app = pool_of_two().start().await;
    let body = form(&[file("file", b"RIFF"), field("model", "whisper-1")]);
    let other = "multipart/form-data; boundary=another";
    let head = format!(
        "POST /v1/audio/transcriptions HTTP/1.1\r\nhost: proxy\r\nconnection: close\r\ncontent-type: {KIND}\r\n\
         content-type: {other}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut client = RawClient::connect(&app).await;

    client.send(&[head.as_bytes(), &body].concat()).await;
    client.read_to_end().await;

    assert!(
        client.text().starts_with("HTTP/1.1 200"),
        "{}",
        client.text()
    );
    let seen = app.sims[0].requests().pop().unwrap();
    let kinds = seen
        .headers
        .iter()
        .filter(|(name, _)| name == "content-type");
    let kinds: Vec<&str> = kinds.map(|(_, kind)| kind.as_str()).collect();
    assert_eq!(kinds, [KIND]);
    app.finish().await;
}

#[actix_web::test]
async fn a_client_that_waits_for_leave_to_send_its_body_gets_it() {
    let app = spawn_app(1).await;
    let mut client = RawClient::connect(&app).await;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: proxy\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        BODY.len()
    );

    client.send(head.as_bytes()).await;
    client.read_until("HTTP/1.1 100 Continue\r\n\r\n").await;
    client.send(BODY.as_bytes()).await;
    client.read_until("HTTP/1.1 200 OK").await;
    client.read_until("\"choices\"").await;

    assert_eq!(app.sims[0].requests()[0].header("expect"), None);
    app.finish().await;
}

#[actix_web::test]
async fn odd_headers_of_a_client_go_nowhere() {
    let app = spawn_app(1).await;
    let length = BODY.len();
    let text = exchange(
        &app,
        &format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: proxy\r\nconnection: close, x-hop\r\nx-hop: 1\r\nte: trailers\r\n\
             api-key: theirs\r\napi-key: another\r\ncontent-type: text/plain\r\ncontent-type: application/json\r\n\
             user-agent: caf\u{e9}\tx\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\ncontent-length: {length}\r\n\r\n{BODY}"
        ),
    )
    .await;

    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    let seen = app.sims[0].requests().pop().unwrap();
    let keys = seen.headers.iter().filter(|(name, _)| name == "api-key");
    assert_eq!(keys.count(), 1);
    for name in ["x-hop", "te", "upgrade", "http2-settings", "connection"] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert_eq!(seen.header("content-type"), Some("application/json"));
    assert_eq!(seen.body, BODY);
    app.finish().await;
}

#[actix_web::test]
async fn an_answer_to_head_has_no_body_that_would_be_taken_for_the_next_answer() {
    let app = spawn_app(1).await;
    for path in [
        "/",
        "/health",
        "/metrics",
        "/v1/models",
        "/v1/models/none",
        "/v1/chat/completions",
        "/v1/responses/resp_1",
        "/nowhere",
    ] {
        let mut client = RawClient::connect(&app).await;
        let head = format!("HEAD {path} HTTP/1.1\r\nhost: proxy\r\n\r\n");
        client.send(head.as_bytes()).await;
        client.read_until("\r\n\r\n").await;
        let next = b"GET /health HTTP/1.1\r\nhost: proxy\r\nconnection: close\r\n\r\n";
        client.send(next).await;
        client.read_to_end().await;

        let text = client.text();
        let (first, rest) = text.split_once("\r\n\r\n").unwrap();
        assert!(first.contains("content-length: "), "{path}: {text}");
        assert!(rest.starts_with("HTTP/1.1 200 OK\r\n"), "{path}: {text}");
    }
    app.finish().await;
}

#[actix_web::test]
async fn a_body_that_nobody_wants_is_not_taken_for_a_request() {
    let app = spawn_app(1).await;
    let hidden = "POST /v1/chat/completions HTTP/1.1\r\nhost: proxy\r\ncontent-length: 47\r\n\r\n";
    let hidden = format!("{hidden}{BODY}");
    let length = hidden.len();
    for (start, framed) in [
        ("GET /v1/models", hidden.clone()),
        ("GET /nowhere", hidden.clone()),
        ("DELETE /health", hidden.clone()),
        ("OPTIONS /v1/chat/completions", hidden.clone()),
        (
            "GET /v1/models",
            format!("{length:x}\r\n{hidden}\r\n0\r\nx: 1\r\n\r\n"),
        ),
    ] {
        let framing = match framed.len() == length {
            true => format!("content-length: {length}"),
            false => "transfer-encoding: chunked".to_owned(),
        };
        let head =
            format!("{start} HTTP/1.1\r\nhost: proxy\r\nconnection: close\r\n{framing}\r\n\r\n");

        let mut client = RawClient::connect(&app).await;
        client.send(format!("{head}{framed}").as_bytes()).await;
        client.read_until("\r\n\r\n").await;
        // The proxy waits a while for a client that may still be sending.
        client.half_close().await;
        client.read_to_end().await;

        let text = client.text();
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{start}: {text}");
    }
    assert!(app.sims[0].requests().is_empty());
    app.finish().await;
}

#[actix_web::test]
async fn heads_that_are_too_large_or_broken_are_refused_and_others_go_on() {
    let app = spawn_app(1).await;
    let line = |name: &str, bytes: usize| format!("{name}: {}\r\n", "x".repeat(bytes));
    let get = "GET /health HTTP/1.1\r\nhost: proxy\r\n";
    for head in [
        format!("{get}{}\r\n", line("x-long", 200_000)),
        format!("{get}{}\r\n", line("x", 1).repeat(100)),
        format!(
            "GET /{} HTTP/1.1\r\nhost: proxy\r\n\r\n",
            "x".repeat(70_000)
        ),
        format!("{get}host: another\r\n\r\n"),
        "GET /health HTTP/1.1\r\n\r\n".to_owned(),
        "GET /health HTTP/1.1\r\nhost: proxy\r\nb@d\u{0}: x\r\n\r\n".to_owned(),
        "GET /hea lth HTTP/1.1\r\nhost: proxy\r\n\r\n".to_owned(),
        "GET /health HTTP/2.0\r\nhost: proxy\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\r\n\r\n".to_owned(),
    ] {
        let text = exchange(&app, &head).await;

        let what = &head[..head.len().min(60)];
        assert!(text.starts_with("HTTP/1.1 4"), "{what}: {text}");
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{what}: {text}");
    }
    assert_eq!(app.chat(&chat("hello", 5)).await.status, 200);
    app.finish().await;
}
