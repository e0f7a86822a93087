//! The ids by which clients come back to what the Responses API made: responses, conversations, and items of both, be they
//! messages, calls or reasoning.
//!
//! An answer has them as values of `id`, each with a short prefix that tells its kind. Text of the model cannot be
//! mistaken for one, since its quotes are escaped, and what clients name so in their `metadata` is passed over. What a
//! request makes of them is told by its ties.

use std::ops::Range;

use memchr::memmem;

/// Longest prefix that is taken for one; `mcpr`, of a request for approval, has four letters.
const LONGEST_PREFIX: usize = 8;

/// More than one answer has in earnest.
const MOST: usize = 256;

/// Length of what marks an encrypted content: more than its check sum of 32 bytes takes in base64.
const SEAL: usize = 64;

/// Longest id that is taken for one.
const LONGEST: usize = 256;

/// Returns the ids in an answer, or in one of its events.
pub fn made(answer: &[u8]) -> Vec<&str> {
    let notes: Vec<Range<usize>> = notes(answer).collect();
    let places = memmem::find_iter(answer, b"\"id\"").take(MOST);
    places
        .filter(|at| !notes.iter().any(|note| note.contains(at)))
        .filter_map(|at| id_after(answer.get(at + 4..)?))
        .collect()
}

/// Finds where an answer repeats the `metadata` of its client: flat, and of short strings.
fn notes(answer: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let key = b"\"metadata\"";
    memmem::find_iter(answer, key).filter_map(move |at| {
        let from = at + key.len();
        let value = answer.get(from..)?.trim_ascii_start().strip_prefix(b":")?;
        let value = value.trim_ascii_start().strip_prefix(b"{")?;
        let (mut is_text, mut is_escaped) = (false, false);
        let end = value.iter().position(|byte| {
            let is_end = *byte == b'}' && !is_text;
            is_text ^= *byte == b'"' && !is_escaped;
            is_escaped = *byte == b'\\' && !is_escaped;
            is_end
        });
        let begin = answer.len() - value.len();
        Some(begin..begin + end.unwrap_or(value.len()))
    })
}

/// Returns what marks each encrypted item of an answer, or of one of its events.
pub fn sealed(answer: &[u8]) -> Vec<&str> {
    let key = b"\"encrypted_content\"";
    let places = memmem::find_iter(answer, key).take(MOST);
    let value = |at: usize| seal(string_after(answer.get(at + key.len()..)?)?);
    places.filter_map(value).collect()
}

/// Returns what marks an encrypted content: its end, where its check sum stands. Clients that let nothing be kept send it
/// back without the id of its item.
pub fn seal(content: &str) -> Option<&str> {
    let text = content.trim_end_matches('=');
    let end = text.get(text.len().saturating_sub(SEAL)..)?;
    is_legal(end).then_some(end)
}

/// Says whether an id names a response or a conversation, not an item of one.
pub fn is_whole(id: &str) -> bool {
    id.starts_with("resp_") || id.starts_with("conv_")
}

/// Says whether a text can be an id, and so a part of a path.
pub fn is_legal(id: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    !id.is_empty() && id.len() <= LONGEST && id.bytes().all(is_part)
}

/// Reads the string whose key stands before `text`, up to its first quote.
fn string_after(text: &[u8]) -> Option<&str> {
    let value = text.trim_ascii_start().strip_prefix(b":")?;
    let value = value.trim_ascii_start().strip_prefix(b"\"")?;
    let end = memchr::memchr(b'"', value)?;
    std::str::from_utf8(value.get(..end)?).ok()
}

/// Reads the id whose key stands before `text`.
fn id_after(text: &[u8]) -> Option<&str> {
    let id = string_after(text)?;
    let (prefix, _) = id.split_once('_')?;
    let is_prefix = (1..=LONGEST_PREFIX).contains(&prefix.len())
        && prefix.bytes().all(|byte| byte.is_ascii_lowercase());
    (is_prefix && is_legal(id)).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_tells_what_was_made_and_not_what_it_continues() {
        let answer = br#"{"id": "resp_1","previous_response_id":"resp_0","conversation":{"id":"conv_4"},"output":[
            {"id":"rs_2","type":"reasoning"},{"id":"msg_3","content":[{"text":"{\"id\":\"resp_9\"}"}]},
            {"id":"fc_5","name":"f"}],"tools":[{"id":"Not_6"},{"id":"none"},{"id":7}]}"#;

        assert_eq!(made(answer), ["resp_1", "conv_4", "rs_2", "msg_3", "fc_5"]);
        assert!(is_whole("resp_1") && is_whole("conv_4") && !is_whole("rs_2"));
    }

    #[test]
    fn what_a_client_notes_down_is_not_made() {
        let answer =
            br#"{"id":"resp_1","metadata": {"a":"}\"{","id":"conv_0"},"output":[{"id":"msg_2"}],
            "data":[{"metadata":{},"id":"msg_3"},{"metadata":null,"id":"msg_4"}]}"#;

        assert_eq!(made(answer), ["resp_1", "msg_2", "msg_3", "msg_4"]);
        assert_eq!(made(br#"{"metadata":{"id":"conv_0""#), [""; 0]);
    }

    #[test]
    fn an_encrypted_content_is_marked_by_its_end() {
        let content = format!("gAAAA{}-_x==", "y".repeat(100));
        let answer = format!(
            r#"{{"output":[{{"id":"rs_1","encrypted_content":"{content}"}},{{"encrypted_content":null}},
            {{"encrypted_content" : "short"}},{{"encrypted_content":"not base64"}}]}}"#
        );

        let mark = format!("{}-_x", "y".repeat(61));
        assert_eq!(sealed(answer.as_bytes()), [mark.as_str(), "short"]);
        assert_eq!(seal("\u{e4}".repeat(64).as_str()), None);
        assert_eq!(seal("="), None);
    }

    #[test]
    fn what_could_leave_its_place_in_a_path_is_no_id() {
        for odd in ["", "..", "a/b", "a?b", "a%2f", "resp_\u{e4}"] {
            assert!(!is_legal(odd), "{odd}");
        }
        assert!(is_legal(
            "resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b"
        ));
        assert!(!is_legal(&"x".repeat(257)));
        assert_eq!(made(br#"{"id":"resp_../secret"}"#), [""; 0]);
    }
}
