//! The prompt of legacy completions and the input of embeddings: text, a list of texts, token ids, lists of ids.
//!
//! Neither endpoint renders anything around them, so the tokens of all texts and the number of ids are the count. Ids
//! are never stored: a list of a million of them costs no more than reading it.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::counter::Counter;
use super::json;

/// The fields that hold what is charged.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    prompt: Input<'a>,
    #[serde(borrow, default)]
    input: Input<'a>,
}

/// Texts, and how many token ids beside them.
#[derive(Default)]
struct Input<'a> {
    texts: Vec<Cow<'a, str>>,
    ids: u64,
}

/// Counts the `prompt` of a legacy completion; `None` when the body is not a JSON object.
pub(super) fn count_completion(counter: &Counter, body: &[u8]) -> Option<u64> {
    let mut scratch = Vec::new();
    let body: Body<'_> = json::parse(body, &mut scratch)?;
    Some(body.prompt.count(counter))
}

/// Counts the `input` of an embedding; `None` when the body is not a JSON object.
pub(super) fn count_embedding(counter: &Counter, body: &[u8]) -> Option<u64> {
    let mut scratch = Vec::new();
    let body: Body<'_> = json::parse(body, &mut scratch)?;
    Some(body.input.count(counter))
}

impl Input<'_> {
    fn count(&self, counter: &Counter) -> u64 {
        let texts: u64 = self.texts.iter().map(|text| counter.count(text)).sum();
        texts + self.ids
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Input<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(InputVisitor)
    }
}

struct InputVisitor;

impl<'de> Visitor<'de> for InputVisitor {
    type Value = Input<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, token ids or lists of them")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Input::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Input::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Input {
            ids: 1,
            ..Input::default()
        })
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Input {
            ids: 1,
            ..Input::default()
        })
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Input {
            ids: 1,
            ..Input::default()
        })
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Input {
            texts: vec![Cow::Borrowed(text)],
            ids: 0,
        })
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Input {
            texts: vec![Cow::Owned(text.to_owned())],
            ids: 0,
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut all = Input::default();
        while let Some(mut item) = access.next_element::<Input<'de>>()? {
            all.texts.append(&mut item.texts);
            all.ids += item.ids;
        }
        Ok(all)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        while access.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Input::default())
    }
}

#[cfg(test)]
mod tests {
    use super::super::encoding::Encoding;
    use super::*;

    fn embedding(body: &str) -> Option<u64> {
        count_embedding(&Counter::unlimited(Encoding::Cl100k), body.as_bytes())
    }

    #[test]
    fn texts_add_up() {
        let one = embedding(r#"{"input":"hello world"}"#);

        assert_eq!(one, Some(2));
        assert_eq!(
            embedding(r#"{"input":["hello world","hello world"],"model":"m"}"#),
            Some(4)
        );
    }

    #[test]
    fn token_ids_count_one_each() {
        assert_eq!(embedding(r#"{"input":[1,2,3]}"#), Some(3));
        assert_eq!(embedding(r#"{"input":[[1,2,3],[4]]}"#), Some(4));
    }

    #[test]
    fn a_completion_counts_its_prompt_only() {
        let body = br#"{"prompt":["hello world"],"input":"not this","suffix":null}"#;

        assert_eq!(
            count_completion(&Counter::unlimited(Encoding::Cl100k), body),
            Some(2)
        );
    }

    #[test]
    fn wrong_types_count_nothing() {
        for body in [
            r#"{"input":null}"#,
            r#"{"input":{"a":["b"]}}"#,
            r#"{"input":[true,{}]}"#,
            "{}",
        ] {
            assert_eq!(embedding(body), Some(0), "{body}");
        }
        assert_eq!(embedding("[1"), None);
        assert_eq!(embedding("7"), None);
    }

    #[test]
    fn a_lone_surrogate_is_one_character() {
        assert!(embedding(r#"{"input":"a\ud800b"}"#).is_some_and(|tokens| tokens >= 3));
    }
}
