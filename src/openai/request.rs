//! Reading a request body without understanding all of it.
//!
//! [`Ask::read`] walks the body once: it keeps what routing and accounting need, remembers where `model`,
//! `stream_options` and the messages stand, and skips the rest without copying it. [`Ask::upstream_body`] changes only
//! the first two. Calls with files come as forms, of which `form` reads as much; [`Fields`] says what changes there.
//!
//! Invariant: what was read is a form, or UTF-8 and one JSON object, and every byte outside an edited member goes up as
//! it came. Of repeated members the last counts, as in every common JSON reader, and an edit reaches all of them,
//! because nobody promises which one Azure reads. Judging other members is left to Azure, counting the prompt to
//! `tokens`.

use std::ops::Range;

use bytes::Bytes;
use serde_json::Value;

use self::members::{Members, Options, prompts, span_in};
use self::values::{bad_body, checked_name, flag, kind};
use crate::domain::{Deployment, Endpoint, Features, ModelName, Outline, Tokens};

pub use self::form::{Edit, Fields};
pub use self::ties::{Kept, Tie};

mod elements;
mod form;
mod members;
mod ties;
mod values;

/// What is known of a request after one look at its body.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The call that was made.
    pub endpoint: Endpoint,
    /// The model of the path if there is one, else of the body.
    pub model: ModelName,
    /// The client asked for server-sent events.
    pub stream: bool,
    /// The client itself set `stream_options.include_usage` to true, so it expects the extra chunk.
    pub wants_usage: bool,
    /// The largest of `max_tokens`, `max_completion_tokens` and `max_output_tokens`, per generated answer.
    pub output_cap: Option<Tokens>,
    /// How many answers are generated: the larger of `n` and `best_of`, for each prompt of a legacy completion.
    pub completions: u64,
    /// What only one resource knows or can read; that which a replica is most likely to remember comes first.
    pub ties: Vec<Tie>,
    /// Where a chat's messages stand, and what else becomes part of its prompt.
    pub outline: Outline,
    /// Fields that not every api-version knows.
    pub features: Features,
    /// What a form brings; `None` if the body is JSON.
    pub uploads: Option<Uploads>,
    spots: Spots,
}

/// What a form brings that is to be weighed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uploads {
    /// Its files: sounds, or images with their masks.
    pub files: u64,
    /// Length of its `prompt`.
    pub prompt_bytes: u64,
}

/// Where a JSON body can be edited; in a form that is for its [`Fields`] to say.
#[derive(Clone, Debug, Default)]
struct Spots {
    /// Offset just after the opening brace.
    opened: usize,
    /// The object has no member, so that an added one takes no comma.
    is_empty: bool,
    /// Values of every `model` member.
    model: Vec<Range<usize>>,
    /// Values of every `stream_options` member.
    stream_options: Vec<Range<usize>>,
}

/// Why a body is refused: the parts of a 400 in OpenAI's shape, worded as OpenAI words them.
///
/// The message never quotes the body, since it may be logged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    /// The offending member, if it is one.
    pub param: Option<&'static str>,
    /// Stable, for programs.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

impl Ask {
    /// Reads the JSON body of a call.
    ///
    /// With `model_in_path` the body's own `model` is not looked at, as Azure ignores it there. A member that is null
    /// counts as absent. Numbers beyond 64 bits saturate.
    pub fn read(
        endpoint: Endpoint,
        body: &[u8],
        model_in_path: Option<&str>,
    ) -> Result<Self, Rejection> {
        let text = utf8(body)?;
        let members = object(text)?;
        let model = match model_in_path {
            Some(name) => checked_name(name)?,
            None => members.model_name()?,
        };
        let prompts = match endpoint {
            Endpoint::Completions => prompts(members.prompt),
            Endpoint::ChatCompletions
            | Endpoint::Embeddings
            | Endpoint::Responses
            | Endpoint::ResponsesCompact
            | Endpoint::ResponsesInputTokens
            | Endpoint::ImageGenerations
            | Endpoint::ImageEdits
            | Endpoint::Speech
            | Endpoint::Transcriptions
            | Endpoint::Translations => 1,
        };

        Ok(Self {
            endpoint,
            model,
            stream: flag("stream", members.stream)?.unwrap_or(false),
            wants_usage: members.wants_usage()?,
            output_cap: members.output_cap()?,
            completions: members.answers_per_prompt()?.saturating_mul(prompts),
            ties: match endpoint.keeps_state() {
                true => members.ties(),
                false => Vec::new(),
            },
            outline: members.outline(text),
            // Elsewhere fields of the same names are others, as old as their endpoint.
            features: match endpoint == Endpoint::ChatCompletions {
                true => members.features(),
                false => Features::default(),
            },
            uploads: None,
            spots: members.spots(text),
        })
    }

    /// Returns a JSON body without its `model`, for calls in which Azure refuses the name of a deployment there.
    pub fn body_without_model(&self, body: &Bytes) -> Bytes {
        let mut rest = body.to_vec();
        // From the last on, so that the places of the others stay right.
        for value in self.spots.model.iter().rev() {
            if let Some(member) = member_around(&rest, value) {
                rest.drain(member);
            }
        }
        Bytes::from(rest)
    }

    /// Says whether its stream tells the usage only if `stream_options` asks for it, which this one does not.
    pub fn leaves_usage_out(&self) -> bool {
        let is_asked_for = matches!(
            self.endpoint,
            Endpoint::ChatCompletions | Endpoint::Completions
        );
        self.stream && is_asked_for && !self.wants_usage
    }

    /// Returns a JSON body as one instance needs it.
    ///
    /// With `model`, every `model` member becomes that deployment, or one is added. With `ask_usage`, a stream whose
    /// client did not ask for usage gets `stream_options.include_usage`, its other options untouched. If nothing has
    /// to change, the very same buffer comes back. `body` must be the one that was read.
    pub fn upstream_body(
        &self,
        body: &Bytes,
        model: Option<&Deployment>,
        ask_usage: bool,
    ) -> Bytes {
        let spots = &self.spots;
        let mut edits = Vec::new();
        let mut added = Vec::new();
        if let Some(deployment) = model {
            let name = Value::from(deployment.as_str()).to_string();
            if spots.model.is_empty() {
                added.push(format!(r#""model":{name}"#));
            }
            for span in &spots.model {
                if body.get(span.clone()) != Some(name.as_bytes()) {
                    edits.push((span.clone(), name.clone()));
                }
            }
        }
        if ask_usage && self.stream && !self.wants_usage {
            if spots.stream_options.is_empty() {
                added.push(r#""stream_options":{"include_usage":true}"#.to_owned());
            }
            for span in &spots.stream_options {
                let options = body.get(span.clone()).unwrap_or_default();
                edits.push((span.clone(), with_usage(options)));
            }
        }
        if !added.is_empty() {
            let comma = if spots.is_empty { "" } else { "," };
            let opened = spots.opened;
            edits.push((opened..opened, added.join(",") + comma));
        }
        if edits.is_empty() {
            return body.clone();
        }
        Bytes::from(splice(body, edits))
    }
}

/// Returns the value of `stream_options` with `include_usage` set.
fn with_usage(options: &[u8]) -> String {
    let whole = || r#"{"include_usage":true}"#.to_owned();
    let Ok(text) = std::str::from_utf8(options) else {
        return whole();
    };
    // Null, or an overridden earlier member that is no object.
    let Ok(found) = serde_json::from_str::<Options<'_>>(text) else {
        return whole();
    };
    let mut edits = Vec::new();
    for value in &found.include_usage {
        edits.push((span_in(text, value), "true".to_owned()));
    }
    if edits.is_empty() {
        let comma = if found.count == 0 { "" } else { "," };
        edits.push((1..1, format!(r#""include_usage":true{comma}"#)));
    }
    String::from_utf8(splice(options, edits)).unwrap_or_else(|_| whole())
}

/// Returns the place of the member whose value stands at `value`, with one of the commas beside it.
fn member_around(body: &[u8], value: &Range<usize>) -> Option<Range<usize>> {
    let before = body.get(..value.start)?.trim_ascii_end();
    let key_end = before
        .strip_suffix(b":")?
        .trim_ascii_end()
        .strip_suffix(b"\"")?;
    // The key is `model`, however its letters are escaped, so it has no quote inside.
    let key = memchr::memrchr(b'"', key_end)?;
    let after = body.get(value.end..)?;
    let rest = after.trim_ascii_start();
    if rest.starts_with(b",") {
        return Some(key..body.len() - rest.len() + 1);
    }
    let earlier = body.get(..key)?.trim_ascii_end();
    let start = match earlier.ends_with(b",") {
        true => earlier.len() - 1,
        false => key,
    };
    Some(start..value.end)
}

/// Replaces each span of `body`; spans do not overlap.
fn splice(body: &[u8], mut edits: Vec<(Range<usize>, String)>) -> Vec<u8> {
    edits.sort_by_key(|(span, _)| span.start);
    let grown: usize = edits.iter().map(|(_, text)| text.len()).sum();
    let mut spliced = Vec::with_capacity(body.len() + grown);
    let mut copied = 0;
    for (span, text) in edits {
        debug_assert!(copied <= span.start && span.end <= body.len());
        spliced.extend_from_slice(body.get(copied..span.start).unwrap_or_default());
        spliced.extend_from_slice(text.as_bytes());
        copied = span.end;
    }
    spliced.extend_from_slice(body.get(copied..).unwrap_or_default());
    spliced
}

fn utf8(body: &[u8]) -> Result<&str, Rejection> {
    // The bytes go up as they came, and RFC 8259 lets a reader refuse the mark: better a clear answer from here.
    if body.starts_with(b"\xEF\xBB\xBF") {
        return Err(bad_body(
            "starts with a byte order mark; expected JSON in plain UTF-8",
        ));
    }
    std::str::from_utf8(body).map_err(|error| {
        bad_body(&format!(
            "is not valid UTF-8 at byte {}; expected JSON in UTF-8",
            error.valid_up_to()
        ))
    })
}

fn object(text: &str) -> Result<Members<'_>, Rejection> {
    let start = text.trim_ascii_start();
    if start.is_empty() {
        return Err(bad_body("is empty; expected a JSON object"));
    }
    serde_json::from_str(text).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => {
            bad_body(&format!("is {}; expected a JSON object", kind(start)))
        }
        // Syntax errors have fixed texts that quote nothing of the body.
        _ => bad_body(&format!("is not valid JSON: {error}")),
    })
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
