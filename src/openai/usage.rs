//! Finding the token usage of an answer.
//!
//! Three places to look: a whole JSON answer, the end of a long one, one event of a stream. Each skips what it does
//! not need without copying it. Usage that is missing, null or without a token count is `None`, never zero: it means
//! that nobody said what was used. Splitting streams into events is left to `sse`.

use std::sync::LazyLock;

use memchr::memmem;
use serde::Deserialize;

use crate::domain::Tokens;

/// More matches than this in one tail come from a hostile answer, not from usage.
const TAIL_CANDIDATES: usize = 8;

/// Preparing a search costs about as much as searching the end of an answer.
static KEY: LazyLock<memmem::FinderRev<'static>> =
    LazyLock::new(|| memmem::FinderRev::new(b"\"usage\""));

/// What an answer says it used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// `prompt_tokens` or `input_tokens`.
    pub prompt: Tokens,
    /// `completion_tokens` or `output_tokens`; zero for embeddings, which have neither.
    pub output: Tokens,
    /// `total_tokens`, or the sum where it is not given.
    pub total: Tokens,
}

impl Usage {
    /// Adds what another part of the same answer used.
    pub fn plus(self, other: Self) -> Self {
        Self {
            prompt: self.prompt + other.prompt,
            output: self.output + other.output,
            total: self.total + other.total,
        }
    }
}

/// Reads the top-level `usage` of a whole JSON answer.
pub fn from_json(answer: &[u8]) -> Option<Usage> {
    let answer: Answer = serde_json::from_slice(answer).ok()?;
    answer.usage?.read()
}

/// Reads the last `usage` member in the last bytes of a JSON answer.
///
/// For answers too long to keep: embeddings put `usage` last, the Responses API near the end. The tail may begin
/// anywhere, even inside a character. Text of the model cannot be mistaken for it, since its quotes are escaped.
pub fn from_tail(tail: &[u8]) -> Option<Usage> {
    let places = KEY.rfind_iter(tail).take(TAIL_CANDIDATES);
    for place in places {
        let (before, key) = tail.split_at_checked(place)?;
        if before.ends_with(b"\\") {
            continue;
        }
        if let Some(usage) = member_value(key).and_then(counts_at_start) {
            return Some(usage);
        }
    }
    None
}

/// Reads `usage` or, as the Responses API nests it, `response.usage` from the data of one event.
///
/// Most events have none, so those that do not even contain the word are not parsed.
pub fn from_event(data: &[u8]) -> Option<Usage> {
    memmem::rfind(data, b"\"usage\"")?;
    let event: Event = serde_json::from_slice(data).ok()?;
    let nested = || event.response.and_then(|response| response.usage);
    event.usage.or_else(nested)?.read()
}

#[derive(Deserialize)]
struct Event {
    usage: Option<Counts>,
    response: Option<Answer>,
}

#[derive(Deserialize)]
struct Answer {
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Counts {
    #[serde(alias = "input_tokens")]
    prompt_tokens: Option<u64>,
    #[serde(alias = "output_tokens")]
    completion_tokens: Option<u64>,
    total_tokens: Option<u64>,
}

impl Counts {
    /// Fills in what follows from the rest.
    fn read(self) -> Option<Usage> {
        let (prompt, output) = match (self.prompt_tokens, self.completion_tokens) {
            (Some(prompt), Some(output)) => (prompt, output),
            (Some(prompt), None) => (
                prompt,
                self.total_tokens
                    .map_or(0, |total| total.saturating_sub(prompt)),
            ),
            (None, Some(output)) => (
                self.total_tokens
                    .map_or(0, |total| total.saturating_sub(output)),
                output,
            ),
            (None, None) => (self.total_tokens?, 0),
        };
        let (prompt, output) = (Tokens(prompt), Tokens(output));
        let total = self.total_tokens.map_or(prompt + output, Tokens);
        Some(Usage {
            prompt,
            output,
            total,
        })
    }
}

/// Returns what follows the colon of the member at the start of `text`.
fn member_value(text: &[u8]) -> Option<&[u8]> {
    let after_key = text.strip_prefix(b"\"usage\"")?.trim_ascii_start();
    Some(after_key.strip_prefix(b":")?.trim_ascii_start())
}

/// Reads the object at the start of `text`, whatever follows it.
fn counts_at_start(text: &[u8]) -> Option<Usage> {
    if !text.starts_with(b"{") {
        return None;
    }
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    Counts::deserialize(&mut deserializer).ok()?.read()
}

#[cfg(test)]
mod tests;
