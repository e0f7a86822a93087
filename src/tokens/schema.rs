//! A `response_format` with a JSON schema, as the service shows it to the model.
//!
//! The rendering is the service's own, found by comparing counts with its usage; `types` writes those of tools.

use super::json::{Json, Style};

/// Keys that the service drops from a schema before it shows it.
const DROPPED: [&str; 8] = [
    "additionalProperties",
    "required",
    "default",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "$schema",
];

/// How the service writes a schema: the keys in the request's order, everything outside ASCII escaped.
const STYLE: Style = Style {
    spaced: false,
    ascii: true,
};

/// A JSON schema the answer must follow.
pub(super) struct Format<'b> {
    /// Its name.
    pub(super) name: &'b str,
    description: Option<&'b str>,
    schema: &'b Json<'b>,
}

/// Returns the response format of a body, if it is a schema: that of chat, or that of the Responses API.
pub(super) fn of<'b>(body: &'b Json<'_>) -> Option<Format<'b>> {
    let format = body
        .get("response_format")
        .or_else(|| body.get("text")?.get("format"))?;
    (format.text("type") == Some("json_schema")).then_some(())?;
    let format = format.get("json_schema").unwrap_or(format);
    Some(Format {
        name: format.text("name").unwrap_or(""),
        description: format.text("description"),
        schema: format.get("schema").unwrap_or(&Json::Null),
    })
}

impl Format<'_> {
    /// Renders the block.
    pub(super) fn render(&self) -> String {
        let mut text = format!("# Response Formats\n\n## {}\n\n", self.name);
        if let Some(description) = self.description {
            text.push_str(&format!("// {description}\n"));
        }
        without_dropped(self.schema, false).write(&mut text, STYLE);
        text
    }
}

/// Copies a schema without what the service drops; under `properties` keys are names, and all stay.
fn without_dropped<'b>(schema: &'b Json<'_>, keys_are_names: bool) -> Json<'b> {
    match schema {
        Json::Object(entries) => Json::Object(
            entries
                .iter()
                .filter(|(key, _)| keys_are_names || !DROPPED.contains(&key.as_ref()))
                .map(|(key, value)| {
                    let holds_names = !keys_are_names
                        && matches!(key.as_ref(), "properties" | "$defs" | "definitions");
                    (key.as_ref().into(), without_dropped(value, holds_names))
                })
                .collect(),
        ),
        Json::List(items) => Json::List(
            items
                .iter()
                .map(|item| without_dropped(item, false))
                .collect(),
        ),
        Json::Text(text) => Json::Text(text.as_ref().into()),
        Json::Number(number) => Json::Number(number.clone()),
        Json::Bool(value) => Json::Bool(*value),
        Json::Null => Json::Null,
    }
}
