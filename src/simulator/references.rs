//! What a request only names: items that the resource keeps, and the conversation that it continues.
//!
//! As at Azure an item that brings its content is taken whatever its id. One that does not is looked up, and so is
//! reasoning that is not encrypted, or an image without its bytes.

use serde_json::{Value, json};

use super::ask::Ask;
use super::books::Books;
use super::errors;
use super::reply::Reply;

/// Returns the request with everything in its input that it only names, or the error for what is not kept here.
pub(super) fn resolved(ask: &Ask, books: &Books) -> Result<Ask, Box<Reply>> {
    let said = match conversation(ask) {
        Some(id) => {
            let said = books.talks.said(id);
            said.ok_or_else(|| errors::conversation_not_found(id))?
        }
        None => &[],
    };
    let sent = sent(ask);
    if said.is_empty() && sent.iter().all(|item| referred(item).is_none()) {
        return Ok(ask.clone());
    }
    let mut items = said.to_vec();
    for item in sent {
        let Some(id) = referred(&item) else {
            items.push(item);
            continue;
        };
        let is_unstored = ask.get("store").and_then(Value::as_bool) == Some(false);
        let kept = books.shelf.item(id);
        items.push(kept.ok_or_else(|| errors::item_not_found(id, is_unstored))?);
    }
    Ok(ask.with_input(items))
}

/// Returns the conversation that a request continues.
pub(super) fn conversation(ask: &Ask) -> Option<&str> {
    let named = ask.get("conversation")?;
    named.as_str().or_else(|| named.get("id")?.as_str())
}

/// Returns the items of the input; plain text is one.
pub(super) fn sent(ask: &Ask) -> Vec<Value> {
    match ask.get("input") {
        Some(Value::Array(items)) => items.clone(),
        Some(Value::String(text)) => {
            let content = json!([{"type": "input_text", "text": text}]);
            vec![json!({
                "type": "message", "status": "completed", "role": "user", "content": content,
            })]
        }
        Some(_) | None => Vec::new(),
    }
}

fn referred(item: &Value) -> Option<&str> {
    let has = |name: &str| item.get(name).is_some_and(|value| !value.is_null());
    let is_named_only = match item.get("type").and_then(Value::as_str) {
        Some("item_reference") => true,
        Some("reasoning") => !has("encrypted_content"),
        None => !has("role"),
        Some("image_generation_call") => !has("result"),
        Some(_) => {
            let mut names = item.as_object().into_iter().flatten();
            names.all(|(name, _)| !has(name) || matches!(&**name, "type" | "id" | "status"))
        }
    };
    let id = item.get("id").and_then(Value::as_str);
    id.filter(|_| is_named_only)
}
