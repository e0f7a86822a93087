//! Every documented shape, then every recorded answer.

use std::path::PathBuf;

use serde_json::Value;

use super::*;

fn usage(prompt: u64, output: u64, total: u64) -> Option<Usage> {
    Some(Usage {
        prompt: Tokens(prompt),
        output: Tokens(output),
        total: Tokens(total),
    })
}

#[test]
fn every_shape_of_usage_is_read() {
    for (shape, expected) in [
        (
            r#"{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13,"prompt_tokens_details":{"cached_tokens":0,
            "audio_tokens":null},"completion_tokens_details":null}"#,
            usage(9, 4, 13),
        ),
        (r#"{"prompt_tokens":8,"total_tokens":8}"#, usage(8, 0, 8)),
        (
            r#"{"input_tokens":5,"input_tokens_details":{"cached_tokens":1},"output_tokens":6,
            "output_tokens_details":{"reasoning_tokens":2},"total_tokens":11}"#,
            usage(5, 6, 11),
        ),
        (
            r#"{"prompt_tokens":3,"completion_tokens":null,"total_tokens":null}"#,
            usage(3, 0, 3),
        ),
        (r#"{"prompt_tokens":3,"total_tokens":10}"#, usage(3, 7, 10)),
        (
            r#"{"completion_tokens":4,"total_tokens":10}"#,
            usage(6, 4, 10),
        ),
        (r#"{"total_tokens":10}"#, usage(10, 0, 10)),
        (
            r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#,
            usage(0, 0, 0),
        ),
        (r#"{"type":"duration","seconds":3.5}"#, None),
        (r#"{"prompt_tokens":-1}"#, None),
        ("{}", None),
        ("null", None),
    ] {
        let answer =
            format!(r#"{{"id":"x","choices":[{{"usage":7}}],"usage":{shape},"model":"m"}}"#);
        let event = format!(
            r#"{{"type":"response.completed","response":{{"usage":{shape},"user":null}}}}"#
        );

        assert_eq!(from_json(answer.as_bytes()), expected, "{shape}");
        assert_eq!(from_event(answer.as_bytes()), expected, "{shape}");
        assert_eq!(from_event(event.as_bytes()), expected, "{shape}");
        assert_eq!(from_tail(answer.as_bytes()), expected, "{shape}");
    }
}

#[test]
fn an_answer_without_usage_has_none() {
    for answer in [
        "",
        "[DONE]",
        "{}",
        "\"usage\"",
        r#"{"choices":[{"delta":{"content":"\"usage\":{\"total_tokens\":1}"}}]}"#,
        r#"{"usage":{"total_tokens":1}"#,
        r#"{"nested":{"usage":{"total_tokens":1}}}"#,
    ] {
        assert_eq!(from_json(answer.as_bytes()), None, "{answer}");
        assert_eq!(from_event(answer.as_bytes()), None, "{answer}");
    }
}

#[test]
fn only_an_event_nests_usage_in_a_response() {
    let event = br#"{"response":{"usage":{"total_tokens":1}}}"#;

    assert_eq!(from_json(event), None);
    assert_eq!(from_event(event), usage(1, 0, 1));
}

#[test]
fn a_tail_may_begin_inside_a_character_and_end_after_usage() {
    let tail = b"\xA9 0.1],\"index\":0}],\"usage\" : {\n\"prompt_tokens\":8,\"total_tokens\":8},\"user\":null}";

    assert_eq!(from_tail(tail), usage(8, 0, 8));
}

#[test]
fn a_tail_is_not_fooled_by_text_or_by_other_members_of_the_name() {
    for (tail, expected) in [
        (&br#"hi \"usage\":{\"total_tokens\":1}"}]}"#[..], None),
        (br#""say \"usage":{"total_tokens":1}}"#, None),
        (
            br#""usage":{"total_tokens":2},"metadata":{"usage":"x"}}"#,
            usage(2, 0, 2),
        ),
        (
            br#""usage":{"total_tokens":2},"last":"usage"}"#,
            usage(2, 0, 2),
        ),
        (
            br#""usage":{"total_tokens":2},"usage":{"total_tokens":3}}"#,
            usage(3, 0, 3),
        ),
        (br#""usage":{"total_tok"#, None),
    ] {
        assert_eq!(from_tail(tail), expected);
    }
}

/// Reads the recordings, or says that they are not there.
fn recordings() -> Vec<Value> {
    let folder = std::env::var_os("RECORDINGS_DIR")
        .map_or_else(|| PathBuf::from("../shared/recordings"), PathBuf::from);
    let mut records = Vec::new();
    for endpoint in ["chat", "completions", "embeddings", "responses"] {
        let file = folder.join(endpoint).with_extension("jsonl");
        let Ok(lines) = std::fs::read_to_string(&file) else {
            eprintln!("skipped: no recordings at {}", file.display());
            continue;
        };
        records.extend(
            lines
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap()),
        );
    }
    records
}

/// Reads a recorded `usage` the plain way.
fn recorded(record: &Value) -> Option<Usage> {
    let counts = record["usage"].as_object()?;
    let count = |names: [&str; 2]| names.iter().find_map(|name| counts.get(*name)?.as_u64());
    let prompt = count(["prompt_tokens", "input_tokens"])?;
    let output = count(["completion_tokens", "output_tokens"]).unwrap_or(0);
    let total = count(["total_tokens", "total_tokens"])?;
    usage(prompt, output, total)
}

#[test]
fn recorded_json_answers_give_their_usage_whole_and_from_the_tail() {
    let records = recordings();
    let mut tails = 0;
    for record in &records {
        let answer = record["response"].as_str().unwrap();
        if !answer.trim_start().starts_with('{') {
            continue;
        }

        let expected = recorded(record);

        assert_eq!(from_json(answer.as_bytes()), expected, "{}", record["id"]);
        let tail = &answer.as_bytes()[answer.len().saturating_sub(2048)..];
        if memmem::rfind(tail, b"\"usage\":")
            .is_some_and(|at| tail[at + 8..].trim_ascii_start().starts_with(b"{"))
        {
            assert_eq!(from_tail(tail), expected, "{}", record["id"]);
            tails += 1;
        }
    }
    assert!(
        records.is_empty() || tails > 1000,
        "only {tails} answers had usage near the end"
    );
}

#[test]
fn recorded_streams_give_their_usage_from_an_event() {
    let records = recordings();
    let mut streams = 0;
    for record in &records {
        let answer = record["response"].as_str().unwrap();
        if answer.trim_start().starts_with('{') {
            continue;
        }

        let events = answer.lines().filter_map(|line| line.strip_prefix("data:"));
        let found = events
            .filter_map(|data| from_event(data.trim().as_bytes()))
            .next_back();

        assert_eq!(found, recorded(record), "{}", record["id"]);
        streams += usize::from(found.is_some());
    }
    assert!(
        records.is_empty() || streams > 100,
        "only {streams} streams had usage"
    );
}
