//! The Responses API: text, function calls, JSON, whole and as a stream of named events.
//!
//! What was answered is handed back beside the reply, so that the resource can keep it. Encrypted reasoning carries the
//! name of the resource, since no other can read it.

use bytes::Bytes;
use serde_json::{Value, json};

use super::calls::{called_tool, name};
use super::sample::sample;
use super::text::{Pieces, fill};
use super::{Made, Order, Stamp, versioned};
use crate::domain::Tokens;
use crate::simulator::ask::{Ask, tokens_of};
use crate::simulator::references;
use crate::simulator::reply::{Reply, named_event};

/// Marks what only one resource can read.
const ENCRYPTED: &str = "gAAAA-";

/// Encrypts nothing, but says for whom.
fn encrypted_by(resource: &str) -> String {
    format!("{ENCRYPTED}{resource}")
}

/// Says whether an item of the input was encrypted by another resource.
pub(in crate::simulator) fn is_foreign(ask: &Ask, resource: &str) -> bool {
    let items = ask.get("input").and_then(Value::as_array);
    items.into_iter().flatten().any(|item| {
        let content = item.get("encrypted_content").and_then(Value::as_str);
        content.is_some_and(|content| content != encrypted_by(resource))
    })
}

/// Answers a request of the Responses API.
pub(super) fn answer(order: Order<'_>, stamp: Stamp) -> Made {
    let ask = order.ask;
    let output = Output::of(order);
    let build = Build {
        input_tokens: order.overhead.on(input_tokens(ask)),
        encrypted: wants_encrypted(ask).then(|| encrypted_by(order.resource)),
        model: versioned(order.model),
        ask,
        stamp,
    };
    let response = build.response("completed", &output);
    let events = build.events(&output, &response);
    let is_background = ask.get("background").and_then(Value::as_bool) == Some(true);
    let reply = match (ask.is_stream(), order.bytes) {
        (true, _) => Reply::events(events.clone()),
        (false, Some(bytes)) => {
            let whole = |filler: &Pieces| {
                let output = Output {
                    call: None,
                    pieces: filler.clone(),
                };
                build.response("completed", &output).to_string()
            };
            Reply::json(200, fill(bytes, whole))
        }
        (false, None) if is_background => Reply::json(200, build.begun("queued").to_string()),
        (false, None) => Reply::json(200, response.to_string()),
    };
    let is_kept = ask.get("store").and_then(Value::as_bool) != Some(false);
    Made {
        reply,
        kept: is_kept.then_some((response, events)),
    }
}

/// Compacts the conversation that a request names.
pub(super) fn compacted(order: Order<'_>, stamp: &Stamp) -> Reply {
    let id = &stamp.id;
    let item = json!({
        "id": format!("cmp_{id}"), "type": "compaction",
        "encrypted_content": encrypted_by(order.resource),
    });
    let body = json!({
        "id": format!("resp_{id}"), "object": "response.compaction", "created_at": stamp.created,
        "output": [item], "usage": usage(input_tokens(order.ask), Tokens(1)),
    });
    Reply::json(200, body.to_string())
}

/// Says what a request would count.
pub(super) fn counted(order: Order<'_>) -> Reply {
    let input = order.overhead.on(input_tokens(order.ask));
    let body = json!({"object": "response.input_tokens", "input_tokens": input.0});
    Reply::json(200, body.to_string())
}

fn usage(input: Tokens, output: Tokens) -> Value {
    json!({
        "input_tokens": input.0, "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": output.0, "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": (input + output).0,
    })
}

fn input_tokens(ask: &Ask) -> Tokens {
    let said = ["instructions", "input", "tools"].map(|name| match ask.get(name) {
        Some(Value::String(text)) => tokens_of(text),
        Some(other) => tokens_of(&other.to_string()),
        None => Tokens::ZERO,
    });
    said.into_iter().fold(Tokens(3), |sum, tokens| sum + tokens)
}

fn wants_encrypted(ask: &Ask) -> bool {
    let include = ask.get("include").and_then(Value::as_array);
    let mut wanted = include.into_iter().flatten();
    wanted.any(|name| name == "reasoning.encrypted_content")
}

/// What is answered: text, or the arguments of a call of this function.
struct Output {
    call: Option<String>,
    pieces: Pieces,
}

impl Output {
    fn of(order: Order<'_>) -> Self {
        let ask = order.ask;
        if let (Some(bytes), true) = (order.bytes, ask.is_stream()) {
            return Self::text(Pieces::filler(bytes.get()));
        }
        if let Some(function) = called_tool(ask) {
            let arguments = function.get("parameters").map_or(json!({}), sample);
            return Self {
                call: Some(name(function).to_owned()),
                pieces: Pieces::json(&arguments.to_string(), ask.cap()),
            };
        }
        let schema = ask
            .get("text")
            .and_then(|text| text.pointer("/format/schema"));
        Self::text(match schema {
            Some(schema) => Pieces::json(&sample(schema).to_string(), ask.cap()),
            None => Pieces::echo(&ask.last_words(), 0, ask.cap()),
        })
    }

    fn text(pieces: Pieces) -> Self {
        Self { call: None, pieces }
    }
}

struct Build<'a> {
    input_tokens: Tokens,
    encrypted: Option<String>,
    model: String,
    ask: &'a Ask,
    stamp: Stamp,
}

impl Build<'_> {
    /// Returns the response as it is before anything was generated.
    fn begun(&self, status: &str) -> Value {
        let given = |name: &str| self.ask.get(name).cloned().unwrap_or(Value::Null);
        json!({
            "id": format!("resp_{}", self.stamp.id), "object": "response",
            "created_at": self.stamp.created, "status": status,
            "background": self.ask.get("background").cloned().unwrap_or(json!(false)),
            "error": null, "incomplete_details": null, "instructions": given("instructions"),
            "max_output_tokens": given("max_output_tokens"), "metadata": {}, "model": self.model,
            "output": [], "parallel_tool_calls": true,
            "previous_response_id": given("previous_response_id"),
            "conversation": references::conversation(self.ask).map(|id| json!({"id": id})),
            "store": self.ask.get("store").cloned().unwrap_or(json!(true)),
            "temperature": 1.0, "top_p": 1.0, "tool_choice": "auto", "tools": [],
            "text": {"format": {"type": "text"}}, "truncation": "disabled", "usage": null,
        })
    }

    fn response(&self, status: &str, output: &Output) -> Value {
        let mut response = self.begun(match output.pieces.is_cut {
            true => "incomplete",
            false => status,
        });
        if let Some(fields) = response.as_object_mut() {
            if output.pieces.is_cut {
                fields.insert(
                    "incomplete_details".to_owned(),
                    json!({"reason": "max_output_tokens"}),
                );
            }
            let mut items: Vec<Value> = self.reasoning().into_iter().collect();
            items.push(self.item("completed", output, &output.pieces.join()));
            fields.insert("output".to_owned(), items.into());
            fields.insert(
                "usage".to_owned(),
                usage(self.input_tokens, output.pieces.tokens()),
            );
        }
        response
    }

    fn reasoning(&self) -> Option<Value> {
        let id = format!("rs_{}", self.stamp.id);
        self.encrypted.as_ref().map(|content| {
            json!({"id": id, "type": "reasoning", "summary": [], "encrypted_content": content})
        })
    }

    fn item(&self, status: &str, output: &Output, text: &str) -> Value {
        let id = &self.stamp.id;
        match &output.call {
            Some(name) => json!({
                "id": format!("fc_{id}"), "type": "function_call", "status": status, "name": name,
                "call_id": format!("call_{id}"), "arguments": text,
            }),
            None => {
                let part =
                    json!({"type": "output_text", "annotations": [], "logprobs": [], "text": text});
                let content = match status {
                    "in_progress" => Vec::new(),
                    _ => vec![part],
                };
                json!({
                    "id": format!("msg_{id}"), "type": "message", "status": status,
                    "role": "assistant", "content": content,
                })
            }
        }
    }

    fn events(&self, output: &Output, response: &Value) -> Vec<Bytes> {
        let mut told = Told::default();
        for kind in ["response.created", "response.in_progress"] {
            told.push(kind, json!({"response": self.begun("in_progress")}));
        }
        let mut index = 0;
        if let Some(item) = self.reasoning() {
            for kind in ["response.output_item.added", "response.output_item.done"] {
                told.push(kind, json!({"output_index": index, "item": item}));
            }
            index += 1;
        }
        let whole = output.pieces.join();
        let opened = self.item("in_progress", output, "");
        told.push(
            "response.output_item.added",
            json!({"output_index": index, "item": opened}),
        );
        self.content(output, &opened, index, &mut told);
        let item = self.item("completed", output, &whole);
        told.push(
            "response.output_item.done",
            json!({"output_index": index, "item": item}),
        );
        let end = match output.pieces.is_cut {
            true => "response.incomplete",
            false => "response.completed",
        };
        told.push(end, json!({"response": response}));
        told.events
    }

    fn content(&self, output: &Output, item: &Value, index: u64, told: &mut Told) {
        let whole = output.pieces.join();
        let place = |more: Value| {
            let mut fields = json!({"item_id": item["id"], "output_index": index});
            if let (Some(fields), Value::Object(more)) = (fields.as_object_mut(), more) {
                fields.extend(more);
            }
            fields
        };
        if output.call.is_some() {
            for piece in &output.pieces.pieces {
                let delta = place(json!({"delta": piece}));
                told.push("response.function_call_arguments.delta", delta);
            }
            let done = place(json!({"arguments": whole}));
            told.push("response.function_call_arguments.done", done);
            return;
        }
        let part = |text: &str| {
            let part =
                json!({"type": "output_text", "annotations": [], "logprobs": [], "text": text});
            place(json!({"content_index": 0, "part": part}))
        };
        told.push("response.content_part.added", part(""));
        for piece in &output.pieces.pieces {
            let delta = place(json!({"content_index": 0, "delta": piece, "logprobs": []}));
            told.push("response.output_text.delta", delta);
        }
        let done = place(json!({"content_index": 0, "text": whole, "logprobs": []}));
        told.push("response.output_text.done", done);
        told.push("response.content_part.done", part(&whole));
    }
}

/// The events so far, which are numbered.
#[derive(Default)]
struct Told {
    events: Vec<Bytes>,
}

impl Told {
    fn push(&mut self, kind: &str, mut fields: Value) {
        if let Some(fields) = fields.as_object_mut() {
            fields.insert("type".to_owned(), json!(kind));
            fields.insert("sequence_number".to_owned(), json!(self.events.len()));
        }
        self.events.push(named_event(kind, &fields.to_string()));
    }
}
