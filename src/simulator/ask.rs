//! The parts of a request body that a simulated resource acts on.
//!
//! Reading is lenient: a field of the wrong type counts as absent. What must be refused is left to `gate`.

use memchr::memmem;
use serde_json::{Map, Value, json};

use super::wire::Head;
use crate::domain::Tokens;

/// A parsed request body.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    body: Value,
}

/// One prompt of a completion or one input of an embedding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// Plain text.
    Text(String),
    /// Token ids.
    Ids(Vec<u64>),
}

impl Ask {
    /// Parses the body of a request, a form if its content-type says so; `None` unless it is what it should be.
    pub(super) fn of(head: &Head, body: &[u8]) -> Option<Self> {
        match head.header("content-type") {
            Some(kind) if kind.starts_with("multipart/form-data") => Self::of_form(kind, body),
            Some(_) | None => Self::parse(body),
        }
    }

    /// Parses a form: texts and numbers as such, files by their sizes and checksums, in a list under the name without
    /// brackets.
    fn of_form(kind: &str, body: &[u8]) -> Option<Self> {
        let (_, boundary) = kind.split_once("boundary=")?;
        let mark = format!("\r\n--{}", boundary.trim_matches('"'));
        let whole = [b"\r\n", body].concat();
        let mut starts = memmem::find_iter(&whole, mark.as_bytes()).map(|at| at + mark.len());
        let mut from = starts.next()?;
        let mut fields = Map::new();
        for next in starts {
            let part = whole.get(from..next - mark.len())?;
            let at = memmem::find(part, b"\r\n\r\n")?;
            let (head, value) = part.split_at_checked(at)?;
            note_field(
                &mut fields,
                std::str::from_utf8(head).ok()?,
                value.get(4..)?,
            )?;
            from = next;
        }
        let body = Value::Object(fields);
        whole
            .get(from..)?
            .starts_with(b"--")
            .then_some(Self { body })
    }

    /// Parses a body; `None` unless it is a JSON object.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let body: Value = serde_json::from_slice(body).ok()?;
        body.is_object().then_some(Self { body })
    }

    /// Returns the same request with another `input`.
    pub(super) fn with_input(&self, items: Vec<Value>) -> Self {
        let mut body = self.body.clone();
        if let Some(fields) = body.as_object_mut() {
            fields.insert("input".to_owned(), Value::Array(items));
        }
        Self { body }
    }

    pub(super) fn has(&self, field: &str) -> bool {
        self.body.get(field).is_some_and(|value| !value.is_null())
    }

    pub(super) fn get(&self, field: &str) -> Option<&Value> {
        self.body.get(field)
    }

    pub(super) fn text(&self, field: &str) -> Option<&str> {
        self.body.get(field).and_then(Value::as_str)
    }

    pub(super) fn amount(&self, field: &str) -> Option<u64> {
        self.body.get(field).and_then(Value::as_u64)
    }

    pub(super) fn is_stream(&self) -> bool {
        self.get("stream").and_then(Value::as_bool) == Some(true)
    }

    pub(super) fn wants_usage(&self) -> bool {
        self.body
            .pointer("/stream_options/include_usage")
            .and_then(Value::as_bool)
            == Some(true)
    }

    /// Returns the largest output cap present.
    pub(super) fn cap(&self) -> Option<Tokens> {
        let caps = ["max_tokens", "max_completion_tokens", "max_output_tokens"];
        caps.iter()
            .filter_map(|field| self.amount(field))
            .max()
            .map(Tokens)
    }

    /// Returns `n`, at least 1 and at most Azure's 128.
    pub(super) fn choices(&self) -> u64 {
        self.amount("n").unwrap_or(1).clamp(1, 128)
    }

    /// Returns how many outputs are generated for each prompt: the larger of `n` and `best_of`.
    pub(super) fn outputs(&self) -> u64 {
        self.choices()
            .max(self.amount("best_of").unwrap_or(1).min(128))
    }

    /// Returns the text of each chat message, in order.
    pub(super) fn messages(&self) -> Vec<String> {
        let Some(messages) = self.get("messages").and_then(Value::as_array) else {
            return Vec::new();
        };
        messages
            .iter()
            .map(|message| content_text(message.get("content")))
            .collect()
    }

    /// Returns the text of the last user message, or of the last message if no user spoke; the Responses API may have it as
    /// plain text.
    pub(super) fn last_words(&self) -> String {
        let items = match (self.get("messages"), self.get("input")) {
            (Some(Value::Array(items)), _) | (None, Some(Value::Array(items))) => items,
            (None, Some(Value::String(text))) => return text.clone(),
            (Some(_) | None, _) => return String::new(),
        };
        let by_user =
            |message: &&Value| message.get("role").and_then(Value::as_str) == Some("user");
        let last = items.iter().rev().find(by_user).or(items.last());
        last.map(|message| content_text(message.get("content")))
            .unwrap_or_default()
    }

    /// Returns the prompts or inputs under `field`, in all four forms that OpenAI takes.
    pub(super) fn inputs(&self, field: &str) -> Vec<Input> {
        match self.get(field) {
            Some(Value::String(text)) => vec![Input::Text(text.clone())],
            Some(Value::Array(items)) if items.iter().any(Value::is_u64) => vec![ids(items)],
            Some(Value::Array(items)) => items.iter().filter_map(input).collect(),
            Some(_) | None => Vec::new(),
        }
    }
}

impl Input {
    /// Estimates real tokens: a quarter of the characters, or the ids themselves.
    pub(super) fn tokens(&self) -> Tokens {
        match self {
            Self::Text(text) => tokens_of(text),
            Self::Ids(ids) => Tokens(length(ids.len())),
        }
    }

    /// Returns the length that Azure divides by four; an id counts as four characters.
    pub(super) fn chars(&self) -> u64 {
        match self {
            Self::Text(text) => length(text.chars().count()),
            Self::Ids(ids) => length(ids.len()).saturating_mul(4),
        }
    }
}

/// Estimates the tokens of a text as the simulator reports them in `usage`.
pub(super) fn tokens_of(text: &str) -> Tokens {
    Tokens(length(text.chars().count()).div_ceil(4))
}

/// Widens a length.
pub(super) fn length(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn note_field(fields: &mut Map<String, Value>, head: &str, value: &[u8]) -> Option<()> {
    let (_, named) = head.split_once(" name=\"")?;
    let (name, _) = named.split_once('"')?;
    if head.contains("filename=") {
        let files = fields
            .entry(name.trim_end_matches("[]"))
            .or_insert_with(|| json!([]));
        let file = json!({"bytes": value.len(), "checksum": adler32(value)});
        files.as_array_mut()?.push(file);
        return Some(());
    }
    let text = std::str::from_utf8(value).ok()?;
    let value = match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => text
            .parse::<u64>()
            .map_or_else(|_| Value::from(text), Value::from),
    };
    fields.insert(name.to_owned(), value);
    Some(())
}

fn input(item: &Value) -> Option<Input> {
    match item {
        Value::String(text) => Some(Input::Text(text.clone())),
        Value::Array(items) => Some(ids(items)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

/// Returns the checksum of zlib (RFC 1950), which clients in any language can compute.
fn adler32(bytes: &[u8]) -> u32 {
    const PRIME: u32 = 65_521;
    let (mut low, mut high) = (1_u32, 0_u32);
    // As many as the sums can hold before they must be reduced.
    for chunk in bytes.chunks(5_552) {
        for byte in chunk {
            low += u32::from(*byte);
            high += low;
        }
        low %= PRIME;
        high %= PRIME;
    }
    high << 16 | low
}

fn ids(items: &[Value]) -> Input {
    Input::Ids(items.iter().filter_map(Value::as_u64).collect())
}

/// Returns the text of a message's content, its parts joined.
pub(super) fn content_text(content: Option<&Value>) -> String {
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts
            .iter()
            .filter_map(|part| part.get("text").and_then(Value::as_str))
            .collect::<Vec<_>>()
            .join("\n"),
        Some(_) | None => String::new(),
    }
}
