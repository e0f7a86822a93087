//! Streams cut at any byte, and what their events mean.

use super::*;
use crate::domain::Tokens;

mod random;

const ROLE: &str = r#"data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"finish_reason":null}],"usage":null}

"#;
const FILTER: &str = r#"data: {"id":"","object":"","created":0,"model":"","choices":[],"prompt_filter_results":[{"prompt_index":0}]}

"#;
const TEXT: &str = r#"data: {"choices":[{"index":0,"delta":{"content":"Hello \"you\""},"finish_reason":null}],"usage":null}

"#;
const TOOL: &str = r#"data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a"}}]}}]}

"#;
const FINISH: &str = r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

"#;
const USAGE: &str = r#"data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}

"#;
const ERROR: &str = r#"data: {"error":{"message":"busy","type":"too_many_requests","code":"no_capacity"}}

"#;

#[test]
fn events_are_told_apart() {
    let usage = Usage {
        prompt: Tokens(5),
        output: Tokens(7),
        total: Tokens(12),
    };
    let error = StreamError {
        code: "no_capacity".to_owned(),
        kind: "too_many_requests".to_owned(),
        message: "busy".to_owned(),
        data: ERROR.trim().trim_start_matches("data: ").to_owned(),
        headers: Vec::new(),
    };
    for (event, expected) in [
        (": ping\n\n", Event::Preamble),
        (FILTER, Event::Preamble),
        (ROLE, Event::Preamble),
        (TEXT, Event::Content),
        (TOOL, Event::Content),
        (FINISH, Event::Content),
        (USAGE, Event::Usage(usage)),
        (ERROR, Event::Error(error)),
        ("data: [DONE]\n\n", Event::Done),
        ("data: not json\n\n", Event::Content),
        (
            "data: {\"choices\":[{\"text\":\"x\",\"index\":0}]}\r\n\r\n",
            Event::Content,
        ),
    ] {
        assert_eq!(read(event.as_bytes()), expected, "{event}");
    }
}

#[test]
fn usage_and_errors_are_found_in_data_of_several_lines() {
    let usage = "data: {\"choices\": [],\ndata: \"usage\":\ndata:  {\"total_tokens\": 3}}\n\n";
    let error = "data: {\r\ndata: \"error\": {\"message\": \"busy\"}\r\ndata: }\r\n\r\n";
    let beside = usage.replace("[]", "[{\"text\": \"x\"}]");

    assert!(matches!(skim(usage.as_bytes()), Event::Usage(usage) if usage.total == Tokens(3)));
    let usage = usage_beside_content(beside.as_bytes());
    assert_eq!(usage.map(|usage| usage.total), Some(Tokens(3)));
    assert!(matches!(skim(error.as_bytes()), Event::Error(error) if error.message == "busy"));
}

#[test]
fn text_that_speaks_of_errors_and_ends_is_content() {
    let event = br#"data: {"choices":[{"delta":{"content":"\"error\": [DONE] \"usage\":{"}}]}

"#;

    assert_eq!(skim(event), Event::Content);
    assert_eq!(usage_beside_content(event), None);
}

#[test]
fn usage_beside_content_is_found() {
    let event = br#"data: {"choices":[{"delta":{"content":"x"}}],"usage":{"prompt_tokens":1,"completion_tokens":2}}

"#;

    assert_eq!(skim(event), Event::Content);
    assert_eq!(usage_beside_content(event).unwrap().total, Tokens(3));
}

#[test]
fn usage_that_is_null_is_none_wherever_it_stands() {
    for event in [
        r#"data: {"choices":[{"delta":{"content":"x"}}],"usage":null}"#,
        r#"data: {"usage": null,"choices":[{"delta":{"content":"x"}}]}"#,
        r#"data: {"choices":[{"delta":{"content":"x"}}],"usage":null,"x":1}"#,
    ] {
        let event = format!("{event}\r\n\r\n");
        assert_eq!(skim(event.as_bytes()), Event::Content, "{event}");
        assert_eq!(usage_beside_content(event.as_bytes()), None, "{event}");
    }
}

#[test]
fn an_error_without_code_or_object_is_still_an_error() {
    let flat = br#"data: {"error":"it broke"}

"#;
    let typed = br#"data: {"error":{"type":"server_error","message":"sorry","code":null}}

"#;

    assert!(matches!(read(flat), Event::Error(error) if error.message.contains("it broke")));
    assert!(matches!(read(typed), Event::Error(error) if error.code == "server_error"));
}

#[test]
fn an_error_has_the_status_that_it_would_have_had_before_the_stream() {
    for (code, kind, status) in [
        ("no_capacity", "too_many_requests", 429),
        ("rate_limit_exceeded", "", 429),
        ("429", "", 429),
        ("", "server_error", 500),
        ("whatever", "server_error", 500),
        ("content_filter", "", 400),
        ("", "user_error", 400),
        ("", "forbidden", 403),
        ("", "", 500),
        ("200", "", 500),
        ("error", "error", 500),
        ("internal_error", "error", 500),
        ("context_length_exceeded", "", 400),
        ("context_length_exceeded", "error", 400),
        ("vector_store_not_found", "server_error", 500),
    ] {
        let error = StreamError {
            code: code.to_owned(),
            kind: kind.to_owned(),
            ..StreamError::default()
        };
        assert_eq!(error.status(), status, "{code} {kind}");
    }
    // In a stream of chunks, errors of requests are known and others may be the service's.
    let of_chunks = StreamError {
        code: "whatever".to_owned(),
        data: "{}".to_owned(),
        ..StreamError::default()
    };
    assert_eq!(of_chunks.status(), 500);
}

#[test]
fn streamed_output_is_the_larger_of_events_and_text() {
    let mut single = Streamed::default();
    for _ in 0..10 {
        single.add(br#"data: {"choices":[{"delta":{"content":"a"}}]}"#);
    }
    let mut gathered = Streamed::default();
    let text = "word ".repeat(80);
    gathered.add(format!(r#"data: {{"choices":[{{"delta":{{"content":"{text}"}}}}]}}"#).as_bytes());

    let mut call = Streamed::default();
    let arguments = r#"{"choices":[{"delta":{"content":null,"tool_calls":[{"function":{"arguments":"12345678"}}]}}]}"#;
    call.add(format!("data: {arguments}").as_bytes());
    let mut legacy = Streamed::default();
    legacy.add(br#"data: {"choices":[{"text":"123456789","index":0}]}"#);

    assert_eq!(single.tokens(), Tokens(10));
    assert_eq!(call.tokens(), Tokens(2));
    assert_eq!(legacy.tokens(), Tokens(3));
    assert_eq!(gathered.tokens(), Tokens(100));
}

#[test]
fn a_whole_event_is_not_copied() {
    let chunk = Bytes::from_static(TEXT.as_bytes());
    let mut splitter = Splitter::default();

    let whole = splitter.push(chunk.clone());

    assert_eq!(whole.as_ptr(), chunk.as_ptr());
}

#[test]
fn an_endless_event_is_passed_on_in_parts() {
    let mut splitter = Splitter::default();
    let part = Bytes::from(vec![b'x'; 300_000]);
    let mut passed = 0;

    for _ in 0..100 {
        passed += splitter.push(part.clone()).len();
    }

    assert!(passed >= 16_000_000);
    assert!(splitter.is_torn());
    splitter.push(Bytes::from_static(b"\n\n"));
    assert!(!splitter.is_torn());
}
