//! Recorded exchanges: reading them, and sorting them into the categories that are measured apart.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// One real exchange whose prompt tokens are known.
pub struct Record {
    pub id: String,
    pub endpoint: String,
    /// The model that answered: on Azure a deployment can have any name.
    pub model: String,
    /// The body as it stands in the file, so that the order of its keys is kept.
    pub request: String,
    /// The service's own count.
    pub actual: u64,
    body: Value,
}

#[derive(Deserialize)]
struct Line<'a> {
    id: String,
    endpoint: String,
    model: Option<String>,
    status: u16,
    #[serde(borrow)]
    request: &'a RawValue,
    response: Value,
    usage: Option<Value>,
}

/// Returns the folder that holds the recordings.
pub fn folder() -> PathBuf {
    std::env::var_os("RECORDINGS_DIR")
        .map_or_else(|| PathBuf::from("../shared/recordings"), PathBuf::from)
}

/// Reads every usable record; `None` when there is no folder.
pub fn read_all() -> Option<Vec<Record>> {
    if !folder().is_dir() {
        return None;
    }
    let files = [
        "chat",
        "completions",
        "embeddings",
        "responses",
        "input_tokens",
    ];
    let texts = files.map(|file| {
        std::fs::read_to_string(folder().join(file).with_extension("jsonl")).unwrap_or_default()
    });
    Some(
        texts
            .iter()
            .flat_map(|text| text.lines())
            .filter_map(read)
            .collect(),
    )
}

fn read(line: &str) -> Option<Record> {
    let line: Line<'_> = serde_json::from_str(line).ok()?;
    let response = line.response.as_str().unwrap_or_default();
    let counted = serde_json::from_str(response)
        .ok()
        .filter(|_| line.endpoint == "input_tokens");
    let usage = counted.or(line.usage)?;
    let actual = usage
        .get("prompt_tokens")
        .or_else(|| usage.get("input_tokens"))?
        .as_u64()?;
    let model = answered_model(response).or(line.model)?;
    let request = line.request.get().to_owned();
    let is_foreign = ["grok", "cohere"]
        .iter()
        .any(|vendor| model.to_lowercase().contains(vendor));
    let is_sound = model.contains("audio") || request.contains("\"input_audio\"");
    let is_usable = line.status == 200
        && actual > 0
        && !is_foreign
        && !is_sound
        && !model.contains("search-preview");
    is_usable.then_some(Record {
        body: serde_json::from_str(&request).ok()?,
        id: line.id,
        endpoint: line.endpoint,
        model,
        request,
        actual,
    })
}

/// Reads the model out of an answer, JSON or events.
fn answered_model(response: &str) -> Option<String> {
    let (_, rest) = response.split_once("\"model\":")?;
    let (_, rest) = rest.split_once('"')?;
    let (model, _) = rest.split_once('"')?;
    (!model.is_empty()).then(|| model.to_owned())
}

impl Record {
    /// Returns the category that the record is measured in.
    pub fn category(&self) -> &'static str {
        match self.endpoint.as_str() {
            "chat" => self.chat_category(),
            "completions" => "completions",
            "embeddings" => "embeddings",
            _ => self.responses_category(),
        }
    }

    fn chat_category(&self) -> &'static str {
        let list = |value: &Value, key: &str| {
            value
                .get(key)
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default()
        };
        let messages = list(&self.body, "messages");
        let parts = || messages.iter().flat_map(|message| list(message, "content"));
        let has_part =
            |kind: &str| parts().any(|part| part.get("type").and_then(Value::as_str) == Some(kind));
        let has_calls = |message: &Value| message.get("tool_calls").is_some_and(Value::is_array);
        if has_part("file") {
            return "files";
        }
        if has_part("image_url") {
            let is_inline = !self.request.contains("\"http");
            return if is_inline {
                "images, inline"
            } else {
                "images, by URL"
            };
        }
        if messages.iter().any(|message| {
            has_calls(message) || message.get("function_call").is_some_and(Value::is_object)
        }) {
            return "tool calls in history";
        }
        if !list(&self.body, "tools").is_empty() || !list(&self.body, "functions").is_empty() {
            return "tools";
        }
        if self
            .body
            .pointer("/response_format/type")
            .and_then(Value::as_str)
            == Some("json_schema")
        {
            return "json_schema";
        }
        let reasons = self.model.starts_with('o') || self.model.starts_with("gpt-5");
        if reasons {
            "plain text, reasoning"
        } else {
            "plain text"
        }
    }

    fn responses_category(&self) -> &'static str {
        let has = |mark: &str| self.request.contains(mark);
        // Nobody outside the service knows what these add to the prompt.
        let unknown = [
            "\"encrypted_content\"",
            "\"item_reference\"",
            "\"previous_response_id\"",
            "\"conversation\"",
            "\"compaction\"",
            "\"prompt\":",
        ];
        let types = |key: &str| {
            self.body
                .get(key)
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default()
        };
        let is_hosted = |tool: &Value| tool.get("type").and_then(Value::as_str) != Some("function");
        if unknown.iter().any(|mark| has(mark))
            || types("tools").iter().any(is_hosted)
            || has("\"additional_tools\"")
        {
            return "responses, partly kept by the service";
        }
        if has("\"input_image\"") || has("\"input_file\"") {
            return "responses, images and files";
        }
        if has("\"function_call\"") {
            return "responses, calls";
        }
        if !types("tools").is_empty() {
            return "responses, tools";
        }
        let format = self
            .body
            .pointer("/text/format/type")
            .and_then(Value::as_str);
        if format == Some("json_schema") {
            "responses, json_schema"
        } else {
            "responses, plain text"
        }
    }
}
