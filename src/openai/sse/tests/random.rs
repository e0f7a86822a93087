//! Random events in every spelling of the standard: however a stream is cut, its bytes pass unchanged and mean the same.

use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

use super::super::*;

/// Text with the words that events are scanned for.
fn text() -> impl Strategy<Value = String> {
    let words = vec![
        "\"error\"",
        "[DONE]",
        "\"usage\":{",
        "\"usage\":null}",
        "\\\"",
        "é€",
        " ",
        "\n",
    ];
    let piece = prop_oneof![select(words).prop_map(str::to_owned), "[a-z]{0,60}"];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

fn choices() -> impl Strategy<Value = String> {
    let one = text().prop_flat_map(|text| {
        let text = serde_json::json!(text).to_string();
        select(vec![
            format!(r#"{{"index":0,"delta":{{"content":{text}}},"finish_reason":null}}"#),
            format!(r#"{{"delta":{{"tool_calls":[{{"function":{{"arguments":{text}}}}}]}}}}"#),
            format!(r#"{{"text":{text},"index":0}}"#),
            r#"{"delta":{"role":"assistant","content":""}}"#.to_owned(),
            r#"{"delta":{},"finish_reason":"stop"}"#.to_owned(),
        ])
    });
    prop::collection::vec(one, 0..3).prop_map(|all| format!("[{}]", all.join(",")))
}

fn usage() -> impl Strategy<Value = &'static str> {
    select(vec![
        "null",
        "{}",
        r#"{"prompt_tokens":5,"completion_tokens":7}"#,
        r#"{"total_tokens":3}"#,
    ])
}

/// What may stand where nothing of ours is looked for.
fn aside() -> impl Strategy<Value = String> {
    let word = text().prop_map(|text| serde_json::json!(text).to_string());
    let nested = usage().prop_map(|usage| format!(r#"{{"usage":{usage}}}"#));
    let plain = select(vec![
        "\"usage\"",
        "\"error\"",
        "{\"error\":1}",
        "{\"choices\":[]}",
        "7",
    ]);
    prop_oneof![word, nested, plain.prop_map(str::to_owned)]
}

/// The JSON of a chunk: some of what there can be, in any order, on one line or on several.
fn chunk() -> impl Strategy<Value = String> {
    let error = select(vec![
        "null",
        "\"sorry\"",
        r#"{"message":"busy","code":"no_capacity"}"#,
    ]);
    let members = (choices(), usage(), error, aside(), aside()).prop_map(
        |(choices, usage, error, one, other)| {
            vec![
                format!(r#""choices":{choices}"#),
                format!(r#""usage":{usage}"#),
                format!(r#""error": {error}"#),
                format!(r#""a" : {one}"#),
                format!(r#""z":{other}"#),
            ]
        },
    );
    let members = members.prop_flat_map(|members| subsequence(members, 1..=5).prop_shuffle());
    (members, any::<bool>()).prop_map(|(members, is_pretty)| {
        let compact = format!("{{{}}}", members.join(","));
        match is_pretty {
            true => serde_json::to_string_pretty(
                &serde_json::from_str::<serde_json::Value>(&compact).unwrap(),
            )
            .unwrap(),
            false => compact,
        }
    })
}

/// A whole event.
fn event() -> impl Strategy<Value = String> {
    let data =
        prop_oneof![8 => chunk(), 1 => Just("[DONE]".to_owned()), 1 => Just("not json".to_owned())];
    let other = prop_oneof![
        6 => Just(String::new()),
        1 => "id: [0-9]{1,4}\n",
        1 => "event: [a-z]{1,9}\n",
        1 => ": [a-z ]{0,200}\n",
    ];
    let line_end = select(vec!["\n", "\r\n", "\r"]);
    let is_comment = prop::bool::weighted(0.1);
    (data, other, line_end, any::<bool>(), is_comment).prop_map(
        |(data, other, line_end, has_space, is_comment)| {
            let mark = if has_space { "data: " } else { "data:" };
            let data = match is_comment {
                true => ": ping\n".to_owned(),
                false => data.lines().map(|line| format!("{mark}{line}\n")).collect(),
            };
            format!("{other}{data}\n").replace('\n', line_end)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn skimming_agrees_with_reading_after_the_first_content(event in event()) {
        let expected = match read(event.as_bytes()) {
            Event::Preamble => Event::Content,
            known => known,
        };

        prop_assert_eq!(skim(event.as_bytes()), expected);
    }

    /// However the network cuts a stream, every byte comes out once, in order, and every event means what it means alone.
    #[test]
    fn any_cut_gives_the_same_bytes_and_the_same_events(
        all in prop::collection::vec(event(), 1..12),
        has_mark in any::<bool>(),
        torn in prop_oneof![Just(""), Just("data: torn")],
        cuts in prop::collection::vec(any::<Index>(), 0..40),
    ) {
        let mark = if has_mark { "\u{feff}" } else { "" };
        let stream = Bytes::from(format!("{mark}{}{torn}", all.concat()));
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        cuts.push(stream.len());
        cuts.sort_unstable();
        let (mut splitter, mut out, mut meanings) = (Splitter::default(), Vec::new(), Vec::new());
        let mut from = 0;
        for cut in cuts {
            let whole = splitter.push(stream.slice(from..cut));
            meanings.extend(events(&whole).map(|event| read(&event)));
            out.extend_from_slice(&whole);
            from = cut;
        }
        let rest = splitter.rest();
        out.extend_from_slice(&rest);

        prop_assert_eq!(&out, &stream);
        let alone: Vec<Event> = all.iter().map(|event| read(event.as_bytes())).collect();
        prop_assert_eq!(meanings, alone);
        prop_assert_eq!(rest, torn.as_bytes());
    }
}
