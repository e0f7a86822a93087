//! Chat requests: each message's text, its role and name, its images and tool calls, and what stands before them all.
//!
//! The service renders a message as `<|im_start|>role<|im_sep|>text<|im_end|>` and primes the answer with three more
//! tokens. Tools and response formats become text of the leading system message, or a message of their own (see
//! `preamble`). A message's text is tokenised at once, because punctuation merges with the line ends that follow it.

use std::borrow::Cow;

use super::json::Json;
use super::model::Model;
use super::preamble::Preamble;
use super::{calls, images};

/// `<|im_start|>`, `<|im_sep|>` and `<|im_end|>`.
const AROUND_MESSAGE: u64 = 3;
/// What primes the answer.
const PRIMING: u64 = 3;

/// Counts a chat body.
pub(super) fn count(model: &Model, body: &Json<'_>) -> u64 {
    let mut messages = body.list("messages");
    let preamble = Preamble::of(model, body);
    let mut total = PRIMING.saturating_sub(u64::from(model.generation.is_reasoning()));
    if let Some(preamble) = &preamble {
        let leading = messages
            .split_first()
            .filter(|(first, _)| preamble.joins(first));
        let text = leading.map(|(first, _)| text_of(first));
        total += preamble.count(model, text.as_deref());
        if let Some((first, rest)) = leading {
            total += count_around(model, first);
            messages = rest;
        }
    }
    for message in messages {
        total += count_around(model, message) + model.encoding.count(&text_of(message));
    }
    total
}

/// Counts what a message costs beside its text.
fn count_around(model: &Model, message: &Json<'_>) -> u64 {
    let role = message.text("role").unwrap_or("");
    let name = message.text("name").map_or(0, |name| {
        // A name that repeats the role costs the separator only.
        1 + if name == role {
            0
        } else {
            model.encoding.count(name)
        }
    });
    let thinks = model.generation.is_reasoning() && role == "assistant";
    let channel = if thinks { 2 } else { 0 };
    let attachments: u64 = message
        .list("content")
        .iter()
        .map(|part| count_attachment(model, part))
        .sum();
    AROUND_MESSAGE
        + model.encoding.count(role)
        + name
        + channel
        + attachments
        + calls::count(model, message)
}

fn count_attachment(model: &Model, part: &Json<'_>) -> u64 {
    match part.text("type") {
        Some("image_url") => images::count(model, part),
        Some("input_audio" | "file") => images::UNKNOWN_TOKENS,
        Some(_) | None => 0,
    }
}

/// Returns the text of a message; that of several parts is joined with nothing between them.
pub(super) fn text_of<'m>(message: &'m Json<'_>) -> Cow<'m, str> {
    match message.get("content") {
        Some(Json::Text(text)) => Cow::Borrowed(text),
        Some(content) => content
            .items()
            .iter()
            .filter_map(|part| {
                part.text("text")
                    .or_else(|| part.text("refusal"))
                    .or_else(|| part.as_text())
            })
            .collect::<Vec<&str>>()
            .concat()
            .into(),
        None => Cow::Borrowed(""),
    }
}
