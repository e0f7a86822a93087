//! What stands before the conversation: the tools and the response format, as text the model reads.
//!
//! Plain models get it at the end of the leading system message, or in one made for it. Reasoning models always get it
//! in a message of its own.

use super::json::Json;
use super::model::{Generation, Model};
use super::{schema, tools};

/// A rendered preamble and what it costs beside its text.
pub(super) struct Preamble {
    text: String,
    can_join: bool,
    added: u64,
}

impl Preamble {
    /// Renders the preamble of a request; `None` when it has neither tools nor a schema.
    pub(super) fn of(model: &Model, body: &Json<'_>) -> Option<Self> {
        let tools = tools::render(body);
        let format = schema::of(body);
        let mut blocks: Vec<&str> = Vec::new();
        blocks.extend(tools.as_deref());
        let rendered = format.as_ref().map(schema::Format::render);
        blocks.extend(rendered.as_deref());
        if blocks.is_empty() {
            return None;
        }
        let mut added = 0;
        if tools.is_some() {
            added += match model.generation {
                Generation::Classic => 0,
                Generation::OSeries => 1,
                Generation::Gpt5 => 82,
            };
            added += forced_choice(body).map_or(0, |name| 7 + model.encoding.count(name));
        } else if let Some(format) = &format {
            let name = model.encoding.count(format.name);
            added += if model.generation.is_reasoning() {
                name
            } else {
                3 + name
            };
        }
        Some(Self {
            text: blocks.join("\n\n"),
            can_join: !model.generation.is_reasoning(),
            added,
        })
    }

    /// Tells whether the preamble becomes part of this leading message.
    pub(super) fn joins(&self, first: &Json<'_>) -> bool {
        self.can_join && matches!(first.text("role"), Some("system" | "developer"))
    }

    /// Counts the preamble together with the text it joins, if any.
    pub(super) fn count(&self, model: &Model, joined: Option<&str>) -> u64 {
        let text = match joined {
            Some(text) => model.encoding.count(&format!("{text}\n\n{}", self.text)),
            None => 4 + model.encoding.count(&self.text),
        };
        (text + self.added).saturating_sub(1)
    }
}

/// Returns the name of the function that the request insists on.
fn forced_choice<'b>(body: &'b Json<'_>) -> Option<&'b str> {
    let choice = body
        .get("tool_choice")
        .or_else(|| body.get("function_call"))?;
    choice.get("function").unwrap_or(choice).text("name")
}
