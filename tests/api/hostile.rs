//! Requests and answers as nobody should send them: each has one outcome, and nothing of it reaches anybody else.

use azure_openai_proxy::simulator::{Answer as Script, Play};
use bytes::Bytes;

use crate::forms::{KIND, field, file, form, pool_of_two};
use crate::helpers::*;
use crate::raw::RawClient;

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
async fn an_answer_that_is_no_http_or_contradicts_itself_is_a_fault() {
    let json = "content-type: application/json\r\n";
    let long = format!("x-long: {}\r\n", "x".repeat(200_000));
    for head in [
        "nonsense\r\n\r\n".to_owned(),
        "HTTP/1.1 abc OK\r\n\r\n".to_owned(),
        "HTTP/3.0 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_owned(),
        "HTTP/1.1 999 Odd\r\ncontent-length: 2\r\n\r\n{}".to_owned(),
        format!("HTTP/1.1 200 OK\r\n{json}content-length: 2\r\ncontent-length: 3\r\n\r\n{{}}"),
        format!("HTTP/1.1 200 OK\r\n{json}content-length: 2, 2\r\n\r\n{{}}"),
        format!("HTTP/1.1 200 OK\r\n{json}content-length: -2\r\n\r\n{{}}"),
        format!("HTTP/1.1 200 OK\r\n{json}content-length: 18446744073709551615\r\n\r\n{{}}"),
        format!(
            "HTTP/1.1 200 OK\r\n{json}transfer-encoding: gzip, chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
        ),
        format!(
            "HTTP/1.1 200 OK\r\n{json}transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n{{}}"
        ),
        format!(
            "HTTP/1.1 200 OK\r\n{json}transfer-encoding: chunked\r\n\r\n-2\r\n{{}}\r\n0\r\n\r\n"
        ),
        format!("HTTP/1.1 200 OK\r\n{long}content-length: 2\r\n\r\n{{}}"),
        "HTTP/1.1 304 Not Modified\r\n\r\n".to_owned(),
        "HTTP/1.1 302 Found\r\nlocation: http://elsewhere.example/\r\ncontent-length: 0\r\n\r\n"
            .to_owned(),
    ] {
        let app = spawn_app(2).await;
        app.sims[0].play([Play::Raw {
            bytes: Bytes::from(head.clone()),
            keep_alive: false,
        }]);

        let answer = app.chat(&chat("hello", 5)).await;

        let what = &head[..head.len().min(100)];
        assert_eq!(
            (answer.status.as_u16(), answer.instance()),
            (200, "b"),
            "{what}"
        );
        app.wait_for(0, what, |i| i["error_count"] == 1).await;
        app.finish().await;
    }
}

#[actix_web::test]
async fn chunks_win_over_a_length_and_trailers_are_dropped() {
    let app = spawn_app(1).await;
    let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n\
                  trailer: x-late\r\n\r\n2;ext=\"x\"\r\n{}\r\n0\r\nx-late: 1\r\nconnection: x\r\n\r\n";
    app.sims[0].play([Play::Raw {
        bytes: Bytes::from(answer),
        keep_alive: true,
    }]);

    let first = app.chat(&chat("hello", 5)).await;
    let second = app.chat(&chat("hello", 5)).await;

    assert_eq!((first.status.as_u16(), first.text()), (200, "{}"));
    assert_eq!(
        (first.header("trailer"), first.header("x-late")),
        (None, None)
    );
    assert_eq!(second.status, 200);
    app.finish().await;
}

#[actix_web::test]
async fn an_answer_without_a_body_passes() {
    let app = spawn_app(1).await;
    for status in [204, 205] {
        let bytes = Bytes::from(format!(
            "HTTP/1.1 {status} None\r\ncontent-length: 0\r\n\r\n"
        ));
        app.sims[0].play([Play::Raw {
            bytes,
            keep_alive: true,
        }]);

        let answer = app.chat(&chat("hello", 5)).await;

        assert_eq!((answer.status.as_u16(), answer.text()), (status, ""));
    }
    app.finish().await;
}

#[actix_web::test]
async fn a_stream_that_begins_with_many_comments_comes_whole() {
    let app = spawn_app(1).await;
    let comments = ": ping\n\n".repeat(100_000);
    let content = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\ndata: [DONE]\n\n";
    let stream = comments + content;
    let answer = Script::new(200, stream.clone()).header("content-type", "text/event-stream");
    app.sims[0].play([Play::Answer(answer)]);

    let answer = app.chat(&chat_stream("hello", 5)).await;

    assert!(answer.text() == stream, "other bytes");
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
