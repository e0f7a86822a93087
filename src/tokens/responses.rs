//! The Responses API: instructions and input items, counted as the chat messages they become.

use super::images;
use super::json::Json;
use super::model::Model;

/// Counts a Responses body.
pub(super) fn count(model: &Model, body: &Json<'_>) -> u64 {
    let message =
        |role: &str, text: &str| 3 + model.encoding.count(role) + model.encoding.count(text);
    let mut total = 3;
    if let Some(instructions) = body.text("instructions") {
        total += message("system", instructions);
    }
    match body.get("input") {
        Some(Json::Text(text)) => total += message("user", text),
        Some(input) => {
            total += input
                .items()
                .iter()
                .map(|item| count_item(model, item))
                .sum::<u64>()
        }
        None => {}
    }
    total
}

fn count_item(model: &Model, item: &Json<'_>) -> u64 {
    let content = super::chat::text_of(item);
    let images: u64 = item
        .list("content")
        .iter()
        .filter(|part| part.text("type") == Some("input_image"))
        .map(|part| images::count(model, part))
        .sum();
    3 + model
        .encoding
        .count(item.text("role").unwrap_or("assistant"))
        + model.encoding.count(&content)
        + images
}
