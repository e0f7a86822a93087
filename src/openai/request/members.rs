//! The members of a body that matter, found in one walk that skips all others without copying.
//!
//! Values are kept as the slices of the body that hold them, so their places are known too. Of repeated members the
//! last is read. What a single value may be is left to `values`.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::elements::Elements;
use super::ties::{Tie, ties};
use super::values::{checked_name, count, flag, kind, present, wrong_type, wrong_value};
use super::{Rejection, Spots};
use crate::domain::{Feature, Features, ModelName, Outline, Tokens};

/// The members that matter, as the text of their values.
#[derive(Default)]
pub(super) struct Members<'a> {
    count: usize,
    model: Vec<&'a str>,
    pub(super) stream: Option<&'a str>,
    stream_options: Vec<&'a str>,
    max_tokens: Option<&'a str>,
    max_completion_tokens: Option<&'a str>,
    max_output_tokens: Option<&'a str>,
    n: Option<&'a str>,
    best_of: Option<&'a str>,
    pub(super) prompt: Option<&'a str>,
    previous_response_id: Option<&'a str>,
    conversation: Option<&'a str>,
    input: Option<&'a str>,
    messages: Vec<&'a str>,
    tools: Option<&'a str>,
    functions: Option<&'a str>,
    tool_choice: Option<&'a str>,
    function_call: Option<&'a str>,
    response_format: Option<&'a str>,
    noted: Features,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Key {
    Model,
    Stream,
    StreamOptions,
    MaxTokens,
    MaxCompletionTokens,
    MaxOutputTokens,
    N,
    BestOf,
    Prompt,
    PreviousResponseId,
    Conversation,
    Input,
    Messages,
    Tools,
    Functions,
    ToolChoice,
    FunctionCall,
    ResponseFormat,
    Seed,
    ParallelToolCalls,
    ReasoningEffort,
    Store,
    Metadata,
    Prediction,
    #[serde(other)]
    Other,
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

/// Times that one member may stand in a body. Each is edited, so a body of nothing else would grow many times over.
const MOST_REPEATS: usize = 8;

fn repeat<'de, E: serde::de::Error>(seen: &mut Vec<&'de str>, value: &'de str) -> Result<(), E> {
    if seen.len() >= MOST_REPEATS {
        return Err(E::custom("a member is repeated too often"));
    }
    seen.push(value);
    Ok(())
}

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Members::default();
        while let Some(key) = map.next_key()? {
            members.count += 1;
            match key {
                Key::Model => repeat(&mut members.model, raw(&mut map)?)?,
                Key::Stream => members.stream = Some(raw(&mut map)?),
                Key::StreamOptions => repeat(&mut members.stream_options, raw(&mut map)?)?,
                Key::MaxTokens => members.max_tokens = Some(raw(&mut map)?),
                Key::MaxCompletionTokens => members.max_completion_tokens = Some(raw(&mut map)?),
                Key::MaxOutputTokens => members.max_output_tokens = Some(raw(&mut map)?),
                Key::N => members.n = Some(raw(&mut map)?),
                Key::BestOf => members.best_of = Some(raw(&mut map)?),
                Key::Prompt => members.prompt = Some(raw(&mut map)?),
                Key::PreviousResponseId => members.previous_response_id = Some(raw(&mut map)?),
                Key::Conversation => members.conversation = Some(raw(&mut map)?),
                Key::Input => members.input = Some(raw(&mut map)?),
                Key::Messages => members.messages = map.next_value::<Elements<'_>>()?.0,
                Key::Tools => members.tools = Some(raw(&mut map)?),
                Key::Functions => members.functions = Some(raw(&mut map)?),
                Key::ToolChoice => members.tool_choice = Some(raw(&mut map)?),
                Key::FunctionCall => members.function_call = Some(raw(&mut map)?),
                Key::ResponseFormat => members.response_format = Some(raw(&mut map)?),
                Key::Seed => members.note(Feature::Seed, &mut map)?,
                Key::ParallelToolCalls => members.note(Feature::ParallelToolCalls, &mut map)?,
                Key::ReasoningEffort => members.note(Feature::ReasoningEffort, &mut map)?,
                Key::Store => members.note(Feature::Store, &mut map)?,
                Key::Metadata => members.note(Feature::Metadata, &mut map)?,
                Key::Prediction => members.note(Feature::Prediction, &mut map)?,
                Key::Other => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(members)
    }
}

/// Takes a value as its text, without the space around it.
fn raw<'de, A: MapAccess<'de>>(map: &mut A) -> Result<&'de str, A::Error> {
    map.next_value::<&'de RawValue>().map(RawValue::get)
}

impl Members<'_> {
    /// Notes a field that not every api-version knows.
    fn note<'de, A: MapAccess<'de>>(
        &mut self,
        feature: Feature,
        map: &mut A,
    ) -> Result<(), A::Error> {
        self.noted.insert(feature);
        map.next_value::<IgnoredAny>().map(drop)
    }

    /// Returns the fields that not every api-version knows.
    pub(super) fn features(&self) -> Features {
        let mut found = self.noted;
        for (feature, value) in [
            (Feature::Tools, self.tools),
            (Feature::Tools, self.tool_choice),
            (Feature::ResponseFormat, self.response_format),
            (Feature::StreamOptions, self.stream_options.last().copied()),
            (Feature::MaxCompletionTokens, self.max_completion_tokens),
        ] {
            // Null counts: what is not known is refused whatever it holds.
            if value.is_some() {
                found.insert(feature);
            }
        }
        // The type and the member that holds the schema have the same name.
        let format = self.response_format.unwrap_or_default();
        if format.contains("\"json_schema\"") {
            found.insert(Feature::JsonSchema);
        }
        found
    }

    pub(super) fn model_name(&self) -> Result<ModelName, Rejection> {
        let Some(raw) = present(self.model.last().copied()) else {
            return Err(Rejection {
                param: Some("model"),
                code: "missing_required_parameter",
                message: "Missing required parameter: 'model' (expected a non-empty string)."
                    .to_owned(),
            });
        };
        if !raw.starts_with('"') {
            return Err(wrong_type("model", "a non-empty string", kind(raw)));
        }
        match serde_json::from_str::<String>(raw) {
            Ok(name) => checked_name(&name),
            Err(_) => Err(wrong_value(
                "model",
                "a string with valid escapes",
                "an invalid one",
            )),
        }
    }

    pub(super) fn wants_usage(&self) -> Result<bool, Rejection> {
        let Some(raw) = present(self.stream_options.last().copied()) else {
            return Ok(false);
        };
        if !raw.starts_with('{') {
            return Err(wrong_type("stream_options", "an object", kind(raw)));
        }
        let Ok(options) = serde_json::from_str::<Options<'_>>(raw) else {
            return Err(wrong_value(
                "stream_options",
                "keys with valid escapes",
                "an invalid one",
            ));
        };
        let last = options.include_usage.last().copied();
        Ok(flag("stream_options.include_usage", last)?.unwrap_or(false))
    }

    /// Returns what ties the request to one resource.
    pub(super) fn ties(&self) -> Vec<Tie> {
        ties(self.previous_response_id, self.conversation, self.input)
    }

    pub(super) fn output_cap(&self) -> Result<Option<Tokens>, Rejection> {
        let mut largest = None;
        for (param, raw) in [
            ("max_tokens", self.max_tokens),
            ("max_completion_tokens", self.max_completion_tokens),
            ("max_output_tokens", self.max_output_tokens),
        ] {
            largest = largest.max(count(param, raw, 0)?);
        }
        Ok(largest.map(Tokens))
    }

    pub(super) fn answers_per_prompt(&self) -> Result<u64, Rejection> {
        let n = count("n", self.n, 1)?;
        let best_of = count("best_of", self.best_of, 1)?;
        Ok(n.max(best_of).unwrap_or(1))
    }

    pub(super) fn spots(&self, text: &str) -> Spots {
        let spans = |values: &[&str]| values.iter().map(|value| span_in(text, value)).collect();
        Spots {
            // Nothing but white space can stand before the brace of an object that was read.
            opened: text.find('{').map_or(0, |brace| brace + 1),
            is_empty: self.count == 0,
            model: spans(&self.model),
            stream_options: spans(&self.stream_options),
        }
    }

    pub(super) fn outline(&self, text: &str) -> Outline {
        let beside = [
            self.tools,
            self.functions,
            self.tool_choice,
            self.function_call,
            self.response_format,
        ];
        Outline {
            messages: self
                .messages
                .iter()
                .map(|message| span_in(text, message))
                .collect(),
            beside: beside.map(|value| value.map(|value| span_in(text, value))),
        }
    }
}

/// The members of `stream_options` that matter.
#[derive(Default)]
pub(super) struct Options<'a> {
    pub(super) count: usize,
    pub(super) include_usage: Vec<&'a str>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum OptionsKey {
    IncludeUsage,
    #[serde(other)]
    Other,
}

impl<'de: 'a, 'a> Deserialize<'de> for Options<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OptionsVisitor)
    }
}

struct OptionsVisitor;

impl<'de> Visitor<'de> for OptionsVisitor {
    type Value = Options<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut options = Options::default();
        while let Some(key) = map.next_key()? {
            options.count += 1;
            match key {
                OptionsKey::IncludeUsage => options.include_usage.push(raw(&mut map)?),
                OptionsKey::Other => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(options)
    }
}

/// Counts the prompts of a legacy completion: a list of texts or of token lists is a batch, a list of tokens is one.
pub(super) fn prompts(raw: Option<&str>) -> u64 {
    let Some(list) = raw.filter(|raw| raw.starts_with('[')) else {
        return 1;
    };
    let mut deserializer = serde_json::Deserializer::from_str(list);
    let counted = serde::Deserializer::deserialize_seq(&mut deserializer, PromptsVisitor);
    // An empty list is Azure's to refuse.
    counted.map_or(1, |count| count.max(1))
}

struct PromptsVisitor;

impl<'de> Visitor<'de> for PromptsVisitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<u64, A::Error> {
        let mut count = 0;
        let mut is_token_list = false;
        while let Some(item) = items.next_element::<&RawValue>()? {
            is_token_list |= count == 0 && kind(item.get()) == "a number";
            count += 1;
        }
        Ok(if is_token_list { 1 } else { count })
    }
}

/// Returns where `part`, a slice of `text`, stands in it.
pub(super) fn span_in(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr().saturating_sub(text.as_ptr().addr());
    start..start + part.len()
}
