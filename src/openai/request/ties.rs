//! What ties a request to one resource: the ids in it of what that resource keeps, or alone can read.
//!
//! A response or a conversation that is continued is named by a member of its own. Of the items of `input`, those
//! without content are only names for what is kept (`item_reference`, reasoning that is not encrypted, an image that
//! was generated, without its bytes: Azure looks them up and says `Item with id '..' not found`), and encrypted ones
//! can be read by their maker alone. An item that brings its content is taken everywhere, whatever its id. What is no
//! id is left to Azure to refuse.

use std::collections::HashMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::elements::Elements;
use crate::openai::response_ids::{is_legal, seal};

/// Ties of one request that are looked at: what is older than so many items seldom has another maker.
const MOST: usize = 64;

/// No item without content is longer, so that longer ones are read once only.
const LONGEST_BARE: usize = 512;

/// What ties a request to one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tie {
    /// The name of what is kept or encrypted; of an encrypted item without one, what marks its content.
    pub id: String,
    /// What it is.
    pub kept: Kept,
}

/// What a resource keeps, or alone can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// `previous_response_id`
    Response,
    /// `conversation`
    Conversation,
    /// An item that the input names and does not bring.
    Item,
    /// An item that the input brings in a form that only its maker can read.
    Encrypted,
}

impl Kept {
    /// Says whether it counts as input though the request does not show it.
    pub fn is_unseen(self) -> bool {
        match self {
            Self::Response | Self::Conversation | Self::Item => true,
            Self::Encrypted => false,
        }
    }
}

/// Finds the ties in the values of three members: what is continued first, then the items from the last on.
pub(super) fn ties(
    previous: Option<&str>,
    conversation: Option<&str>,
    input: Option<&str>,
) -> Vec<Tie> {
    let named = [
        (previous.and_then(string), Kept::Response),
        (conversation.and_then(named), Kept::Conversation),
    ];
    let named = named.into_iter().filter_map(|(id, kept)| tie(id?, kept));
    // Most requests bring neither, and so need not be read twice.
    let input = input.filter(|input| may_tie(input));
    let items = input.map(serde_json::from_str::<Elements<'_>>);
    let items = items.and_then(Result::ok).unwrap_or_default().0;
    let items = items.into_iter().rev().filter_map(of_item);
    named.chain(items).take(MOST).collect()
}

fn tie(id: String, kept: Kept) -> Option<Tie> {
    is_legal(&id).then_some(Tie { id, kept })
}

fn may_tie(text: &str) -> bool {
    let has = |key: &[u8]| memchr::memmem::find(text.as_bytes(), key).is_some();
    has(b"\"id\"") || has(b"\"encrypted_content\"")
}

fn string(raw: &str) -> Option<String> {
    serde_json::from_str(raw).ok()
}

/// Reads a conversation's id, which may stand in an object.
fn named(raw: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        id: String,
    }
    let object = || serde_json::from_str::<Named>(raw).ok();
    string(raw).or_else(|| object().map(|named| named.id))
}

fn of_item(raw: &str) -> Option<Tie> {
    #[derive(Deserialize)]
    struct Item<'a> {
        #[serde(rename = "type")]
        kind: Option<String>,
        id: Option<String>,
        #[serde(borrow)]
        encrypted_content: Option<&'a RawValue>,
        role: Option<IgnoredAny>,
        result: Option<IgnoredAny>,
    }
    if !may_tie(raw) {
        return None;
    }
    let item: Item<'_> = serde_json::from_str(raw).ok()?;
    let encrypted = item.encrypted_content.map(RawValue::get);
    let encrypted = encrypted.filter(|raw| *raw != "null");
    let kept = match item.kind.as_deref() {
        _ if encrypted.is_some() => Kept::Encrypted,
        Some("item_reference" | "reasoning") => Kept::Item,
        Some("image_generation_call") if item.result.is_none() => Kept::Item,
        // The type of a reference may be left out, and so may that of a message.
        None if item.role.is_none() => Kept::Item,
        Some(_) if is_bare(raw) => Kept::Item,
        Some(_) | None => return None,
    };
    let mark = || seal(encrypted?.trim_matches('"')).map(str::to_owned);
    tie(item.id.or_else(mark)?, kept)
}

/// Says whether an item has nothing but its name, and what tells of its kind and state.
fn is_bare(raw: &str) -> bool {
    if raw.len() > LONGEST_BARE {
        return false;
    }
    let members = serde_json::from_str::<HashMap<String, Option<IgnoredAny>>>(raw);
    members.is_ok_and(|members| {
        let mut said = members.iter().filter(|(_, value)| value.is_some());
        said.all(|(name, _)| matches!(name.as_str(), "type" | "id" | "status"))
    })
}

#[cfg(test)]
mod tests {
    use super::super::Ask;
    use super::*;
    use crate::domain::Endpoint;

    fn found(members: &str) -> Vec<(String, Kept)> {
        let body = format!("{{{members}}}");
        let ask = Ask::read(Endpoint::Responses, body.as_bytes(), Some("m")).unwrap();
        let ties = ask.ties.into_iter();
        ties.map(|tie| (tie.id, tie.kept)).collect()
    }

    fn pairs(expected: &[(&str, Kept)]) -> Vec<(String, Kept)> {
        let owned = |(id, kept): &(&str, Kept)| ((*id).to_owned(), *kept);
        expected.iter().map(owned).collect()
    }

    #[test]
    fn what_is_continued_is_named_by_members_of_its_own() {
        for (members, expected) in [
            (
                r#""previous_response_id":"resp_1""#,
                vec![("resp_1", Kept::Response)],
            ),
            (
                r#""conversation":"conv_1""#,
                vec![("conv_1", Kept::Conversation)],
            ),
            (
                r#""conversation":{"id":"conv_1"}, "input":"hi""#,
                vec![("conv_1", Kept::Conversation)],
            ),
            (
                r#""previous_response_id":null,"conversation":7,"input":{"id":"x"}"#,
                vec![],
            ),
            (r#""previous_response_id":"../secret""#, vec![]),
        ] {
            assert_eq!(found(members), pairs(&expected), "{members}");
        }
    }

    #[test]
    fn items_that_do_not_bring_their_content_are_ties_and_the_last_comes_first() {
        let input = r#""input":[
            {"role":"user","content":"{\"id\":\"rs_0\"}"},
            {"type":"reasoning","id":"rs_1","summary":[]},
            {"type":"reasoning","id":"rs_2","summary":[],"encrypted_content":"gAAA"},
            {"type":"reasoning","id":"rs_3","encrypted_content":null},
            {"type":"message","id":"msg_4","role":"assistant","content":[{"text":"yes"}]},
            {"id":"msg_5","role":"assistant","content":"yes"},
            {"type":"item_reference","id":"fc_6"},
            {"id":"msg_7"},
            {"type":"function_call","id":"fc_8","name":"f","arguments":"{}"},
            {"type":"reasoning","summary":[],"encrypted_content":"gBBB=="},
            {"type":"reasoning","summary":[]},
            {"type":"image_generation_call","id":"ig_9"},
            {"type":"image_generation_call","id":"ig_10","size":"auto","result":null},
            {"type":"image_generation_call","id":"ig_11","result":"iVBO"},
            {"type":"code_interpreter_call","id":"ci_12","status":"completed","code":null},
            {"type":"web_search_call","id":"ws_13","status":"completed","action":{}},
            {"type":"compaction_trigger"},
            "odd", 7, null]"#;

        let expected = [
            ("ci_12", Kept::Item),
            ("ig_10", Kept::Item),
            ("ig_9", Kept::Item),
            ("gBBB", Kept::Encrypted),
            ("msg_7", Kept::Item),
            ("fc_6", Kept::Item),
            ("rs_3", Kept::Item),
            ("rs_2", Kept::Encrypted),
            ("rs_1", Kept::Item),
        ];
        assert_eq!(found(input), pairs(&expected));
    }

    #[test]
    fn other_endpoints_have_none_and_no_request_has_too_many() {
        let reference = r#"{"type":"item_reference","id":"fc_1"}"#;
        let body = format!(r#"{{"input":[{}]}}"#, vec![reference; 1_000].join(","));

        let of = |endpoint| Ask::read(endpoint, body.as_bytes(), Some("m")).unwrap();
        assert_eq!(of(Endpoint::Responses).ties.len(), MOST);
        assert_eq!(of(Endpoint::Embeddings).ties, []);
    }
}
