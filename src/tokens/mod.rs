//! From a request to the number of tokens it will be charged: exactly with a tokeniser, or roughly from its bytes.
//!
//! The exact count follows the rules by which the service renders a request into text before it tokenises it; they
//! were found by fitting real `usage`, and `tests/tokens` holds them to it. What a request holds beside text (images)
//! is charged by its size. A body that is not JSON is taken for text of four bytes a token, since it will be refused
//! anyway. Nothing here fails, panics or takes more than linear time. Learning from live answers is left to others.

mod calls;
mod chat;
mod encoding;
mod images;
mod json;
mod model;
mod preamble;
mod prompt;
mod responses;
mod rough;
mod schema;
mod tools;
mod types;

pub use rough::Rough;

use crate::domain::{Endpoint, Tokens};

use json::Json;
use model::Model;

/// Makes sure that the table of the model's encoding is in memory; without it the first count is slow.
pub fn load(model: &str) {
    Model::of(model).encoding.load();
}

/// Counts the tokens of a text as the model reads it; names of special tokens count as text.
pub fn count_text(model: &str, text: &str) -> Tokens {
    Tokens(Model::of(model).encoding.count(text))
}

/// Counts the prompt tokens of a request's JSON body.
///
/// Never exceeds the bound of [`rough`], where that gives one.
pub fn prompt_tokens(endpoint: Endpoint, model: &str, body: &[u8]) -> Tokens {
    let model = Model::of(model);
    let counted = match endpoint {
        Endpoint::ChatCompletions => count_tree(body, |tree| chat::count(&model, tree)),
        Endpoint::Completions => prompt::count_completion(model.encoding, body),
        Endpoint::Embeddings => prompt::count_embedding(model.encoding, body),
    };
    let tokens = Tokens(counted.unwrap_or_else(|| four_bytes_each(body)));
    rough::bound(endpoint, body).map_or(tokens, |bound| tokens.min(bound))
}

/// Counts the input tokens of a body of the Responses API.
pub fn responses_input_tokens(model: &str, body: &[u8]) -> Tokens {
    let model = Model::of(model);
    let counted = count_tree(body, |tree| responses::count(&model, tree));
    Tokens(counted.unwrap_or_else(|| four_bytes_each(body)))
}

/// Guesses and bounds the prompt tokens of a body without a tokeniser, in one pass at the speed of memory.
pub fn rough(endpoint: Endpoint, model: &str, body: &[u8]) -> Rough {
    rough::of(endpoint, model, body)
}

fn count_tree(body: &[u8], count: impl FnOnce(&Json<'_>) -> u64) -> Option<u64> {
    let mut scratch = Vec::new();
    let tree: Json<'_> = json::parse(body, &mut scratch)?;
    Some(count(&tree))
}

fn four_bytes_each(body: &[u8]) -> u64 {
    (body.len() as u64).div_ceil(4)
}

#[cfg(test)]
mod tests;
