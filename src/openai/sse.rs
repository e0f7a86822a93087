//! Server-sent events as the inference endpoints stream them: where one ends, and the little that matters inside.
//!
//! Bytes are cut at event ends and never changed. A torn event at the end of a broken stream is therefore known to be
//! torn. After the first content an event is only scanned for a few needles; JSON is parsed where one is found.
//! What follows from what is seen (failover, hiding, settlement) is left to `proxy::relay`.

use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::usage::{self, Usage};

mod lines;
mod streamed;

pub use self::lines::{data, named_kind};
pub use self::streamed::{Streamed, delta_of};

/// What events are scanned for. Preparing a search costs more than searching one event.
struct Needles {
    done: Finder<'static>,
    error: Finder<'static>,
    usage: Finder<'static>,
}

static NEEDLES: LazyLock<Needles> = LazyLock::new(|| Needles {
    done: Finder::new("[DONE]"),
    error: Finder::new("\"error\""),
    usage: Finder::new("\"usage\""),
});

/// `[DONE]` has an event to itself, at most with a comment before it, and parts of an answer are longer than this.
const LONGEST_DONE: usize = 128;

/// How events end that have no usage to tell yet, as Azure writes them.
const NO_USAGE_YET: &[u8] = b"\"usage\":null}";

/// A larger unfinished event is passed on in parts, so that memory stays bounded whatever an upstream sends. The last
/// event of a generated image holds all of it, several megabytes.
const LARGEST_EVENT: usize = 16 << 20;

/// Cuts a byte stream at event ends.
#[derive(Debug, Default)]
pub struct Splitter {
    carry: BytesMut,
    /// The event that began in `carry` was passed on in parts.
    torn: bool,
}

impl Splitter {
    /// Takes the next bytes and returns those that form whole events, empty if none is complete yet.
    pub fn push(&mut self, chunk: Bytes) -> Bytes {
        if self.carry.is_empty() {
            let end = last_end(&chunk, 0);
            if end == chunk.len() {
                self.torn = false;
                return chunk;
            }
            self.carry
                .extend_from_slice(chunk.get(end..).unwrap_or_default());
            if end > 0 {
                self.torn = false;
            }
            return self.overflow(chunk.slice(..end));
        }
        // An end may begin in the last three bytes of what was carried.
        let from = self.carry.len().saturating_sub(3);
        self.carry.extend_from_slice(&chunk);
        let end = last_end(&self.carry, from);
        if end > 0 {
            self.torn = false;
        }
        let whole = self.carry.split_to(end).freeze();
        self.overflow(whole)
    }

    /// Returns what is left of an unfinished event.
    pub fn rest(&mut self) -> Bytes {
        self.carry.split().freeze()
    }

    /// Says whether the bytes passed on so far end inside an event.
    pub fn is_torn(&self) -> bool {
        self.torn
    }

    fn overflow(&mut self, whole: Bytes) -> Bytes {
        if !whole.is_empty() || self.carry.len() <= LARGEST_EVENT {
            return whole;
        }
        self.torn = true;
        self.carry.split().freeze()
    }
}

/// Returns the end of the last complete event in `bytes`, 0 if there is none; ends before `from` are not looked for.
fn last_end(bytes: &[u8], from: usize) -> usize {
    let mut until = bytes.len();
    while let Some(found) =
        memchr::memrchr2(b'\n', b'\r', bytes.get(from..until).unwrap_or_default())
    {
        let at = from + found;
        if ends_event(bytes, at) {
            return at + 1;
        }
        until = at;
    }
    0
}

/// Says whether the line end at this place follows another one.
fn ends_event(bytes: &[u8], at: usize) -> bool {
    let Some((before, [end, after @ ..])) = bytes.split_at_checked(at) else {
        return false;
    };
    if *end == b'\n' {
        return [&b"\n"[..], b"\n\r", b"\r\r"]
            .iter()
            .any(|line_end| before.ends_with(line_end));
    }
    match after.first() {
        // It is half of a line end.
        Some(b'\n') => false,
        Some(_) => before.ends_with(b"\n") || before.ends_with(b"\r"),
        // The other half may still come; where lines end in CR alone, it will not.
        None => before.ends_with(b"\r"),
    }
}

/// Iterates over the events of bytes that [`Splitter::push`] returned, each with its terminator.
pub fn events(whole: &Bytes) -> impl Iterator<Item = Bytes> {
    let mut rest = whole.clone();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = first_end(&rest).unwrap_or(rest.len());
        Some(rest.split_to(end))
    })
}

fn first_end(bytes: &[u8]) -> Option<usize> {
    let mut line_ends = memchr::memchr2_iter(b'\n', b'\r', bytes);
    line_ends.find(|at| ends_event(bytes, *at)).map(|at| at + 1)
}

/// What one event means.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// `data: [DONE]`
    Done,
    /// Nothing that a person would read yet: a comment, Azure's prompt filter chunk, the chunk with the role.
    Preamble,
    /// A part of the answer.
    Content,
    /// A part without text of its own: an item that begins or ends. Only the Responses API has them.
    Other,
    /// The chunk that carries only the usage.
    Usage(Usage),
    /// The last event of the Responses API.
    End(Option<Usage>),
    /// An error instead of a part of the answer.
    Error(StreamError),
}

/// The error object of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamError {
    /// `error.code`, or else `error.type`.
    pub code: String,
    /// `error.type`.
    pub kind: String,
    /// `error.message`.
    pub message: String,
    /// The event's data as it came: what would have been the body of an error answer. Empty if it has another form.
    pub data: String,
    /// `error.headers`, in which Azure's Responses API tells when to come again.
    pub headers: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    delta: Option<&'a RawValue>,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    finish_reason: Option<&'a RawValue>,
}

/// Reads one event in full.
pub fn read(event: &[u8]) -> Event {
    let Some(data) = data(event) else {
        return Event::Preamble;
    };
    if *data == *b"[DONE]" {
        return Event::Done;
    }
    let Ok(chunk) = serde_json::from_slice::<Chunk<'_>>(&data) else {
        // Not ours to judge: the client gets what came.
        return Event::Content;
    };
    if let Some(error) = chunk.error {
        return Event::Error(stream_error(error, &data));
    }
    match chunk.choices {
        Some(choices) if choices.is_empty() => match usage::from_event(&data) {
            Some(usage) => Event::Usage(usage),
            None => Event::Preamble,
        },
        Some(choices) if choices.iter().all(is_silent) => Event::Preamble,
        Some(_) | None => Event::Content,
    }
}

/// Reads an event after the first content: the same as [`read`] at a fraction of its cost.
pub fn skim(event: &[u8]) -> Event {
    match is_bare(event) {
        true => Event::Content,
        false => match read(event) {
            Event::Preamble => Event::Content,
            known => known,
        },
    }
}

/// Says whether an event after the first content has nothing but a part of the answer: no usage, no error, no end.
pub fn is_bare(event: &[u8]) -> bool {
    let may_be_done = event.len() <= LONGEST_DONE || !event.starts_with(b"data:");
    let is_done = may_be_done && NEEDLES.done.find(event).is_some();
    !(is_done || NEEDLES.error.find(event).is_some() || tells_usage(event))
}

/// Returns the usage that a content chunk may carry beside its choices, as some services send it.
pub fn usage_beside_content(event: &[u8]) -> Option<Usage> {
    if !tells_usage(event) {
        return None;
    }
    usage::from_event(&data(event)?)
}

/// Says whether an event has a usage that is not null.
fn tells_usage(event: &[u8]) -> bool {
    if event.trim_ascii_end().ends_with(NO_USAGE_YET) {
        return false;
    }
    let mut keys = NEEDLES.usage.find_iter(event);
    keys.any(|at| !is_null(event.get(at + 7..).unwrap_or_default()))
}

fn is_null(after_key: &[u8]) -> bool {
    let value = after_key.trim_ascii_start();
    let value = value.strip_prefix(b":").unwrap_or(value);
    value.trim_ascii_start().starts_with(b"null")
}

fn is_silent(choice: &Choice<'_>) -> bool {
    let is_empty = |value: Option<&RawValue>| {
        value.is_none_or(|value| matches!(value.get(), "null" | "\"\"" | "[]" | "{}"))
    };
    is_empty(choice.finish_reason) && is_empty(choice.text) && choice.delta.is_none_or(only_role)
}

fn only_role(delta: &RawValue) -> bool {
    let Ok(delta) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(delta.get())
    else {
        return false;
    };
    delta.iter().all(|(key, value)| {
        key == "role" || value.is_null() || value.as_str() == Some("") || is_hollow(value)
    })
}

fn is_hollow(value: &serde_json::Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(|o| o.is_empty())
}

pub(super) fn stream_error(error: &RawValue, data: &[u8]) -> StreamError {
    #[derive(Deserialize)]
    struct Fields {
        #[serde(default)]
        code: serde_json::Value,
        #[serde(default, rename = "type")]
        kind: serde_json::Value,
        #[serde(default)]
        message: serde_json::Value,
        #[serde(default)]
        headers: serde_json::Value,
    }
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    };
    let data = String::from_utf8_lossy(data).into_owned();
    let Ok(fields) = serde_json::from_str::<Fields>(error.get()) else {
        return StreamError {
            message: error.get().to_owned(),
            data,
            ..StreamError::default()
        };
    };
    let (code, kind) = (text(&fields.code), text(&fields.kind));
    let headers = fields.headers.as_object().into_iter().flatten();
    StreamError {
        headers: headers
            .map(|(name, value)| (name.clone(), text(value)))
            .collect(),
        code: if code.is_empty() { kind.clone() } else { code },
        kind,
        message: text(&fields.message),
        data,
    }
}

impl StreamError {
    /// Returns the HTTP status that the error would have had before the stream began.
    ///
    /// The names are those of Azure's table for errors inside a stream; a code may also be the status itself. The
    /// Responses API tells what is wrong with a request by a code alone, and has many of them: there the errors of the
    /// service are those that are known.
    pub fn status(&self) -> u16 {
        for name in [self.code.as_str(), self.kind.as_str()] {
            match name {
                "too_many_requests" | "no_capacity" | "insufficient_quota" => return 429,
                "user_error" | "invalid_request_error" | "content_filter" => return 400,
                "forbidden" => return 403,
                own if own.starts_with("server_") || own.starts_with("internal_") => return 500,
                limit if limit.starts_with("rate_limit") => return 429,
                // What the Responses API says of a prompt or an image when a response has failed for it.
                own if own.starts_with("invalid_") || own.contains("image") => return 400,
                number => {
                    if let Ok(status @ 400..=599) = number.parse() {
                        return status;
                    }
                }
            }
        }
        match self.names_a_cause() {
            true => 400,
            false => 500,
        }
    }

    /// Says whether it is the Responses API's own form of an error and has a code in words.
    fn names_a_cause(&self) -> bool {
        let is_number = self.code.bytes().all(|byte| byte.is_ascii_digit());
        // The type of the event stands in for a code that is missing.
        self.data.is_empty() && !is_number && self.code != "error"
    }
}

#[cfg(test)]
mod tests;
