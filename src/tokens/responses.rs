//! The Responses API: instructions and input items, counted as the chat messages they become.

use super::chat;
use super::json::Json;
use super::model::Model;
use super::preamble::Preamble;

/// Counts a Responses body.
pub(super) fn count(model: &Model, body: &Json<'_>) -> u64 {
    chat::count_messages(model, body.list("input"), &Preamble::of(model, body))
}
