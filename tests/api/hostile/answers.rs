//! Answers as no instance should send them: a fault of that one, or what HTTP says they mean.

use azure_openai_proxy::simulator::{Answer as Script, Play};
use bytes::Bytes;

use crate::helpers::*;

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
