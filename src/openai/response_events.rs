//! The events of a Responses API stream: what one means, and how the stream ends.
//!
//! Each has its kind in an `event:` line and again in `type`; only the few that begin or end a stream are parsed, the
//! others are told by their kind. There is no `[DONE]`: the end is `response.completed`, `response.incomplete`, an
//! error, or `response.failed`, which is one. Some services send a `[DONE]` after it all the same.

use memchr::memmem;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::sse::{Event, StreamError, data, named_kind, stream_error};
use super::usage;

/// Reads one event.
pub fn read(event: &[u8]) -> Event {
    let Some(data) = data(event) else {
        return Event::Preamble;
    };
    let data = &*data;
    if data == b"[DONE]" {
        return Event::Done;
    }
    match kind(event, data) {
        b"response.created" | b"response.in_progress" | b"response.queued" => Event::Preamble,
        // Streams of images, speech and transcripts have their usage beside.
        b"response.completed"
        | b"response.incomplete"
        | b"response.cancelled"
        | b"image_generation.completed"
        | b"image_edit.completed"
        | b"speech.audio.done"
        | b"transcript.text.done" => {
            // Torn off, it is no end.
            match serde_json::from_slice::<IgnoredAny>(data) {
                Ok(_) => Event::End(usage::from_event(data)),
                Err(_) => Event::Other,
            }
        }
        b"response.failed" | b"error" => Event::Error(error(data)),
        kind if kind.ends_with(b".delta") => Event::Content,
        kind if kind.starts_with(b"response.") => Event::Other,
        // Some gateways put a bare error into the stream.
        _ if memmem::find(data, b"\"error\"").is_some() => match error(data) {
            StreamError { message, code, .. } if message.is_empty() && code.is_empty() => {
                Event::Other
            }
            error => Event::Error(error),
        },
        _ => Event::Other,
    }
}

/// Says whether an event tells a whole item, by which a client can refer to it before the stream has ended.
pub fn tells_item(event: &[u8]) -> bool {
    data(event).is_some_and(|data| kind(event, &data) == b"response.output_item.done")
}

/// Returns the kind of an event: its `event:` line, or the `type` that begins or ends its data.
fn kind<'a>(event: &'a [u8], data: &'a [u8]) -> &'a [u8] {
    if let Some(named) = named_kind(event) {
        return named;
    }
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(rename = "type", borrow, default)]
        kind: &'a str,
    }
    serde_json::from_slice::<Kind<'_>>(data).map_or(b"", |found| found.kind.as_bytes())
}

/// Reads an error from wherever it stands: `error` as Azure nests it, the event itself as OpenAI has it flat, or the
/// `error` of a response that failed.
fn error(data: &[u8]) -> StreamError {
    #[derive(Deserialize)]
    struct Failed<'a> {
        #[serde(borrow, default)]
        error: Option<&'a serde_json::value::RawValue>,
        #[serde(borrow, default)]
        response: Option<Inner<'a>>,
    }
    #[derive(Deserialize)]
    struct Inner<'a> {
        #[serde(borrow, default)]
        error: Option<&'a serde_json::value::RawValue>,
    }
    let found = serde_json::from_slice::<Failed<'_>>(data).ok();
    let (nested, of_response) = match found {
        Some(found) => (found.error, found.response.and_then(|inner| inner.error)),
        None => (None, None),
    };
    if let Some(error) = nested {
        return stream_error(error, data);
    }
    let whole = || serde_json::from_slice::<&serde_json::value::RawValue>(data).ok();
    match of_response.or_else(whole) {
        Some(error) => stream_error(error, b""),
        None => StreamError::default(),
    }
}

/// Returns the number after which a stream that breaks off goes on.
pub fn sequence_number(event: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Numbered {
        sequence_number: u64,
    }
    let numbered: Numbered = serde_json::from_slice(&data(event)?).ok()?;
    Some(numbered.sequence_number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Tokens;

    /// The ends of streams of images, speech and transcripts.
    const BESIDE: [&str; 4] = [
        "image_generation.completed",
        "image_edit.completed",
        "speech.audio.done",
        "transcript.text.done",
    ];

    fn event(kind: &str, data: &str) -> Vec<u8> {
        format!("event: {kind}\ndata: {data}\n\n").into_bytes()
    }

    #[test]
    fn a_stream_is_told_by_the_kinds_of_its_events() {
        let created =
            r#"{"type":"response.created","response":{"id":"resp_1","error":null,"usage":null}}"#;
        assert_eq!(read(&event("response.created", created)), Event::Preamble);
        assert_eq!(
            read(format!("data: {created}\n\n").as_bytes()),
            Event::Preamble
        );
        let delta = r#"{"type":"response.output_text.delta","delta":"\"error\""}"#;
        assert_eq!(
            read(&event("response.output_text.delta", delta)),
            Event::Content
        );
        assert_eq!(
            read(&event("response.output_item.added", "{}")),
            Event::Other
        );
        assert_eq!(read(b": ping\n\n"), Event::Preamble);
        assert_eq!(read(b"data: [DONE]\n\n"), Event::Done);
    }

    #[test]
    fn the_end_tells_the_usage() {
        let end = r#"{"type":"response.incomplete","response":{"usage":{"input_tokens":3,"output_tokens":4,"total_tokens":7}}}"#;

        let Event::End(Some(usage)) = read(&event("response.incomplete", end)) else {
            panic!("no end")
        };

        assert_eq!(usage.total, Tokens(7));
        assert_eq!(read(&event("response.completed", "{}")), Event::End(None));
        let image = r#"{"usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3}}"#;
        for kind in ["image_generation", "image_edit"] {
            let partial = event(&format!("{kind}.partial_image"), image);
            assert_eq!(read(&partial), Event::Other);
        }
        for kind in BESIDE {
            let end = read(&event(kind, image));
            assert!(matches!(end, Event::End(Some(usage)) if usage.total == Tokens(3)));
        }
    }

    #[test]
    fn an_end_that_is_torn_off_is_none() {
        let data = r#"{"usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3}}"#;
        for kind in BESIDE.into_iter().chain(["response.completed"]) {
            let whole = event(kind, data);
            let torn = &whole[..whole.len() - 20];
            assert_eq!(read(torn), Event::Other, "{kind}");
        }
    }

    #[test]
    fn errors_are_found_nested_flat_and_in_a_failed_response() {
        for (kind, data) in [
            (
                "error",
                r#"{"type":"error","error":{"type":"too_many_requests","code":"no_capacity","message":"m"},"sequence_number":1}"#,
            ),
            (
                "error",
                r#"{"type":"error","code":"rate_limit_exceeded","message":"m","param":null,"sequence_number":1}"#,
            ),
            (
                "response.failed",
                r#"{"type":"response.failed","response":{"error":{"code":"rate_limit_exceeded","message":"m"}}}"#,
            ),
            ("gateway", r#"{"error":{"code":"429","message":"m"}}"#),
        ] {
            let Event::Error(error) = read(&event(kind, data)) else {
                panic!("{data} is no error")
            };

            assert_eq!(
                (error.status(), error.message.as_str()),
                (429, "m"),
                "{data}"
            );
            let is_body = data.contains("\"error\":{\"type") || kind == "gateway";
            assert_eq!(error.data, if is_body { data } else { "" });
        }
    }

    #[test]
    fn the_sequence_number_is_that_of_the_event() {
        let numbered = event("x", r#"{"type":"x","sequence_number":41}"#);

        assert_eq!(sequence_number(&numbered), Some(41));
        assert_eq!(sequence_number(b"data: [DONE]\n\n"), None);
    }
}
