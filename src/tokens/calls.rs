//! Tool calls in the history: each call of an assistant's message, rendered after its text.

use super::json::Json;
use super::model::Model;

/// Counts the tool calls of a message.
pub(super) fn count(model: &Model, message: &Json<'_>) -> u64 {
    let calls = message.list("tool_calls");
    let mut functions: Vec<&Json<'_>> = calls
        .iter()
        .filter_map(|call| call.get("function"))
        .collect();
    functions.extend(message.get("function_call"));
    if functions.is_empty() {
        return 0;
    }
    let mut total = 0;
    for function in &functions {
        let name = function.text("name").unwrap_or("");
        let arguments = function.text("arguments").unwrap_or("");
        total += 2 * model.encoding.count(name) + model.encoding.count(arguments) + 5;
    }
    if functions.len() > 1 {
        total += 9 + 3 * functions.len() as u64;
    }
    if model.generation.is_reasoning() {
        total += 7;
    }
    total
}
