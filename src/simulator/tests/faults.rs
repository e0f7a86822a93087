//! Every scripted play, as a client sees it.

use std::num::NonZeroUsize;

use super::*;

fn cut(after: Mark, how: Cut) -> Play {
    Play::Cut { after, how }
}

#[actix_web::test]
async fn scripted_plays_come_in_order_before_the_standing_one() {
    let simulator = start().await;
    simulator.play([Play::server_error(), Play::Honest]);
    simulator.always(Some(Play::unavailable_page()));

    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(chat(&simulator, HELLO).await.unwrap().status);
    }
    simulator.always(None);
    statuses.push(chat(&simulator, HELLO).await.unwrap().status);

    assert_eq!(statuses, [500, 200, 503, 200]);
    assert_eq!(simulator.unplayed(), 0);
}

#[actix_web::test]
async fn ready_made_errors_have_their_status() {
    let simulator = start().await;
    for (play, status, part) in [
        (Play::access_denied(), 401, "Access denied due to invalid"),
        (Play::token_denied(), 401, r#"{"statusCode":401"#),
        (Play::firewall(), 403, "Virtual Network"),
        (Play::not_found(), 404, "Resource not found"),
        (Play::deployment_not_found(), 404, "DeploymentNotFound"),
        (Play::content_filter(), 400, "ResponsibleAIPolicyViolation"),
        (Play::context_length(), 400, "context_length_exceeded"),
        (Play::timeout(), 408, "Timeout"),
        (Play::too_large(), 413, "413"),
        (Play::unprocessable(), 422, "invalid_request_error"),
        (Play::server_error(), 500, "server_error"),
        (Play::empty_server_error(), 500, ""),
        (Play::unavailable_page(), 503, "<html>"),
        (Play::status(418, "{}"), 418, "{}"),
    ] {
        simulator.play([play]);

        let response = chat(&simulator, HELLO).await.unwrap();

        assert_eq!(response.status, status);
        assert!(response.text().contains(part), "{part}");
    }
    assert_eq!(simulator.used_tokens("chat"), Tokens::ZERO);
}

#[actix_web::test]
async fn a_scripted_429_has_exactly_the_hints_that_were_asked() {
    let wait = Duration::from_millis(2_500);
    let hints = [
        Hint::RetryAfterMs,
        Hint::ResetRequests,
        Hint::MisspeltResetTokens,
    ];
    let simulator = playing(Play::throttle(Throttle::Current, wait, &hints)).await;
    simulator.play([Play::throttle(Throttle::OldRequests, wait, &[])]);

    let hinted = chat(&simulator, HELLO).await.unwrap();
    let bare = chat(&simulator, HELLO).await.unwrap();

    assert_eq!((hinted.status, bare.status), (429, 429));
    assert_eq!(hinted.header("retry-after-ms"), Some("2500"));
    assert_eq!(hinted.header("x-ratelimit-reset-requests"), Some("3"));
    assert_eq!(hinted.header("x-rate-limit-reset-tokens"), Some("3"));
    assert_eq!(hinted.header("retry-after"), None);
    assert!(
        hinted
            .text()
            .contains("Your requests to chat for gpt-4o in East US")
    );
    assert!(!bare.head.contains("retry") && !bare.head.contains("reset"));
    assert!(bare.text().contains(
        "call rate limit of your current OpenAI S0 pricing tier. Please retry after 3 seconds."
    ));
}

#[actix_web::test]
async fn a_replayed_body_arrives_whole_however_it_is_cut() {
    let body = "data: {\"a\":\"é€😀\"}\n\ndata: [DONE]\n\n";
    let size = NonZeroUsize::new(3).unwrap();
    for chunks in [
        Chunking::Whole,
        Chunking::LengthEvery(size),
        Chunking::Every(size),
        Chunking::At(vec![13, 20]),
    ] {
        let answer = Answer::new(200, body)
            .header("Content-Type", "text/event-stream")
            .pause(Duration::from_millis(1))
            .chunks(chunks);
        let simulator = playing(Play::Answer(answer)).await;

        let response = chat(&simulator, HELLO).await.unwrap();

        assert!(response.is_whole);
        assert_eq!(response.text(), body);
        assert_eq!(response.header("content-type"), Some("text/event-stream"));
    }
}

#[actix_web::test]
async fn raw_bytes_are_written_as_they_are() {
    let bytes = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nX-Odd:value\r\n\r\nok";
    let raw = |keep_alive| Play::Raw {
        bytes: bytes.into(),
        keep_alive,
    };
    let simulator = playing(raw(true)).await;
    simulator.play([raw(false)]);
    let mut client = Client::connect(&simulator).await;

    client.send(&request(CHAT, HELLO)).await;
    assert_eq!(client.response().await.unwrap().text(), "ok");
    client.send(&request(CHAT, HELLO)).await;
    while client.read().await.unwrap() > 0 {}

    assert_eq!(client.inbox, bytes.as_bytes());
}

#[actix_web::test]
async fn a_connection_can_end_before_any_answer() {
    let closed = playing(Play::CloseBeforeHead).await;
    let reset = playing(Play::ResetBeforeHead).await;

    let by_fin = chat(&closed, HELLO).await.err().unwrap();
    let by_reset = chat(&reset, HELLO).await.err().unwrap();

    assert_eq!(by_fin.kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(by_reset.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(closed.counters().answered, 0);
    assert_eq!(closed.used_tokens("chat"), Tokens(642));
}

#[actix_web::test]
async fn a_reused_connection_can_close_without_an_answer() {
    let simulator = playing(Play::CloseOnReuse).await;
    simulator.play([Play::server_error()]);
    let mut client = Client::connect(&simulator).await;

    client.send(&request(CHAT, HELLO)).await;
    assert_eq!(client.response().await.unwrap().status, 200);
    client.send(&request(CHAT, HELLO)).await;
    let second = client.response().await;

    assert!(second.is_err());
    assert_eq!(simulator.unplayed(), 1);
    assert_eq!(chat(&simulator, HELLO).await.unwrap().status, 500);
}

#[actix_web::test]
async fn a_stalled_answer_notices_at_once_that_the_client_left() {
    for (play, expected) in [
        (Play::StallBeforeHead, ""),
        (Play::StallAfterHead, "\r\n\r\n"),
        (Play::StallAfter(Mark::Events(2)), "\n\n\r\n"),
        (Play::StallAfter(Mark::Bytes(10)), "data: {\"ch\r\n"),
    ] {
        let simulator = playing(play).await;
        let mut client = Client::connect(&simulator).await;
        client.send(&request(CHAT, HELLO_STREAM)).await;
        until("the request arrives", || !simulator.requests().is_empty()).await;
        while !client.inbox.ends_with(expected.as_bytes()) {
            client.read().await.unwrap();
        }
        assert_eq!(simulator.abandoned(), 0);
        let left = tokio::time::Instant::now();

        drop(client);
        until("the client is missed", || simulator.abandoned() == 1).await;

        assert!(left.elapsed() < Duration::from_millis(500));
        until("the connection closes", || {
            simulator.open_connections() == 0
        })
        .await;
        assert_eq!(simulator.counters().answered, 0);
    }
}

#[actix_web::test]
async fn a_slow_answer_notices_between_its_writes_that_the_client_left() {
    let simulator = playing(Play::Slow(Pace {
        first_byte: Duration::ZERO,
        per_chunk: Duration::from_secs(60),
    }))
    .await;
    let mut client = Client::connect(&simulator).await;
    client.send(&request(CHAT, HELLO_STREAM)).await;
    client.read().await.unwrap();

    drop(client);

    until("the client is missed", || simulator.abandoned() == 1).await;
}

#[actix_web::test]
async fn a_cut_stream_ends_where_and_how_it_was_asked() {
    let simulator = start().await;
    simulator.play([
        cut(Mark::Events(3), Cut::Fin),
        cut(Mark::Bytes(20), Cut::MidChunk),
        cut(Mark::Events(3), Cut::ShortContentLength),
    ]);

    let fin = chat(&simulator, HELLO_STREAM).await.unwrap();
    let mid_chunk = chat(&simulator, HELLO_STREAM).await.unwrap();
    let short = chat(&simulator, HELLO_STREAM).await.unwrap();

    assert!(!fin.is_whole && !mid_chunk.is_whole && !short.is_whole);
    assert_eq!(fin.events().len(), 3);
    assert_eq!(mid_chunk.text(), "");
    assert_eq!(short.events().len(), 3);
    let promised: usize = short.header("content-length").unwrap().parse().unwrap();
    assert!(promised > short.body.len());
}

#[actix_web::test]
async fn a_cut_by_reset_is_a_reset_for_the_client() {
    let simulator = playing(cut(Mark::Events(2), Cut::Reset)).await;

    let error = chat(&simulator, HELLO_STREAM).await.err().unwrap();

    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[actix_web::test]
async fn a_whole_answer_can_be_cut_too() {
    let simulator = playing(cut(Mark::Bytes(40), Cut::ShortContentLength)).await;

    let response = chat(&simulator, HELLO).await.unwrap();

    assert!(!response.is_whole);
    assert_eq!(response.body.len(), 40);
}

#[actix_web::test]
async fn a_stream_can_carry_an_error_first_or_later() {
    let simulator = playing(Play::ErrorEventFirst).await;
    simulator.play([Play::ErrorEventAfter { events: 3 }, Play::NoDone]);

    let first = chat(&simulator, HELLO_STREAM).await.unwrap();
    let later = chat(&simulator, HELLO_STREAM).await.unwrap();
    let endless = chat(&simulator, HELLO_STREAM).await.unwrap();

    assert_eq!(first.status, 200);
    assert_eq!(first.events().len(), 1);
    assert!(first.text().starts_with(r#"data: {"error":{"#));
    assert_eq!(later.events().len(), 4);
    assert!(later.events()[3].contains("server_error"));
    assert!(first.is_whole && later.is_whole && endless.is_whole);
    assert!(!endless.text().contains("[DONE]"));
    assert!(endless.text().contains(r#""finish_reason":"stop""#));
}

#[actix_web::test]
async fn an_answer_can_end_with_its_connection() {
    let simulator = playing(Play::EofDelimited).await;

    let response = chat(&simulator, HELLO_STREAM).await.unwrap();

    assert_eq!(response.header("connection"), Some("close"));
    assert_eq!(response.header("transfer-encoding"), None);
    assert_eq!(response.events().last().unwrap(), "[DONE]");
}

#[actix_web::test]
async fn a_large_answer_is_valid_and_has_exactly_its_size() {
    for bytes in [2_000, 50_001, 3_000_000].map(|bytes| NonZeroUsize::new(bytes).unwrap()) {
        let simulator = playing(Play::Large { bytes }).await;
        simulator.play([Play::Large { bytes }]);

        let whole = chat(&simulator, HELLO).await.unwrap();
        let stream = chat(&simulator, HELLO_STREAM).await.unwrap();

        assert_eq!(whole.body.len(), bytes.get());
        assert!(whole.json()["choices"][0]["message"]["content"].is_string());
        assert!(stream.is_whole && stream.body.len() > bytes.get());
    }
}

#[actix_web::test]
async fn an_early_answer_comes_before_the_upload_ends() {
    let answer = Answer::new(413, r#"{"error":{"code":"413","message":"too large"}}"#);
    let simulator = playing(Play::EarlyAnswer(answer)).await;
    let mut client = Client::connect(&simulator).await;

    client
        .send(&format!(
            "POST {CHAT} HTTP/1.1\r\napi-key: k\r\ncontent-length: 900000\r\n\r\n{{"
        ))
        .await;
    let response = client.response().await.unwrap();
    client.send(&" ".repeat(100_000)).await;

    assert_eq!(response.status, 413);
    assert_eq!(response.header("connection"), Some("close"));
    assert!(response.is_whole);
}

#[actix_web::test]
async fn a_call_without_an_honest_answer_can_be_replayed() {
    let simulator = playing(Play::status(200, r#"{"object":"response"}"#)).await;
    let target = "/openai/v1/responses";

    let replayed = post(&simulator, target, "{}").await.unwrap();
    let honest = post(&simulator, target, "{}").await.unwrap();

    assert_eq!((replayed.status, honest.status), (200, 404));
    assert_eq!(replayed.text(), r#"{"object":"response"}"#);
}
