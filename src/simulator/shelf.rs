//! The responses that a resource keeps: read, listed, cancelled and deleted by their ids.
//!
//! As at Azure they belong to the resource that made them; another one answers that there is no such response.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use serde_json::{Value, json};

use super::ask::Ask;
use super::errors;
use super::reply::Reply;
use super::{references, talks};

/// Responses kept; a resource may run for days.
const MOST: usize = 1_000;

/// The kept responses.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    kept: HashMap<String, Kept>,
    items: HashMap<String, Value>,
    order: VecDeque<String>,
}

#[derive(Debug)]
struct Kept {
    response: Value,
    input: Vec<Value>,
    events: Vec<Bytes>,
}

/// A call about a kept response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Errand {
    id: String,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Get { streamed_after: Option<u64> },
    Delete,
    Cancel,
    InputItems,
}

impl Errand {
    /// Recognises a call by method and target.
    pub(super) fn parse(method: &str, target: &str) -> Option<Self> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (_, rest) = path.split_once("/openai/")?;
        let rest = rest.strip_prefix("v1/").unwrap_or(rest);
        let rest = rest.strip_prefix("responses/")?;
        let (id, action) = rest.split_once('/').unwrap_or((rest, ""));
        let value = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        let what = match (method, action) {
            ("GET", "") if value("stream") == Some("true") => {
                let after = value("starting_after").and_then(|number| number.parse().ok());
                What::Get {
                    streamed_after: Some(after.map_or(0, |number: u64| number + 1)),
                }
            }
            ("GET", "") => What::Get {
                streamed_after: None,
            },
            ("DELETE", "") => What::Delete,
            ("POST", "cancel") => What::Cancel,
            ("GET", "input_items") => What::InputItems,
            _ => return None,
        };
        Some(Self {
            id: id.to_owned(),
            what,
        })
    }
}

impl Shelf {
    /// Keeps a response with the request that led to it, and forgets the oldest when there are too many.
    pub(super) fn keep(&mut self, ask: &Ask, response: Value, events: Vec<Bytes>) {
        let id = response.get("id").and_then(Value::as_str);
        let id = id.unwrap_or_default().to_owned();
        let input = talks::named(&references::sent(ask), &id);
        for item in output(&response) {
            if let Some(id) = item.get("id").and_then(Value::as_str) {
                self.items.insert(id.to_owned(), item.clone());
            }
        }
        self.order.push_back(id.clone());
        let kept = Kept {
            response,
            input,
            events,
        };
        self.kept.insert(id, kept);
        while self.order.len() > MOST {
            if let Some(oldest) = self.order.pop_front() {
                self.remove(&oldest);
            }
        }
    }

    /// Returns an item that a response had in its output.
    pub(super) fn item(&self, id: &str) -> Option<Value> {
        self.items.get(id).cloned()
    }

    fn remove(&mut self, id: &str) {
        let Some(kept) = self.kept.remove(id) else {
            return;
        };
        for item in output(&kept.response) {
            let id = item.get("id").and_then(Value::as_str);
            self.items.remove(id.unwrap_or_default());
        }
    }

    /// Says whether a response can be continued here.
    pub(super) fn knows(&self, id: &str) -> bool {
        self.kept.contains_key(id)
    }

    /// Answers a call about a kept response.
    pub(super) fn run(&mut self, errand: &Errand) -> Reply {
        let Some(kept) = self.kept.get_mut(&errand.id) else {
            return errors::response_not_found(&errand.id);
        };
        match errand.what {
            What::Get {
                streamed_after: Some(first),
            } => {
                let skipped = usize::try_from(first).unwrap_or(usize::MAX);
                Reply::events(kept.events.iter().skip(skipped).cloned().collect())
            }
            What::Get {
                streamed_after: None,
            } => Reply::json(200, kept.response.to_string()),
            What::InputItems => {
                let list = json!({"object": "list", "data": kept.input, "has_more": false});
                Reply::json(200, list.to_string())
            }
            What::Cancel => cancel(&mut kept.response),
            What::Delete => {
                self.remove(&errand.id);
                let gone = json!({"id": errand.id, "object": "response", "deleted": true});
                Reply::json(200, gone.to_string())
            }
        }
    }
}

fn output(response: &Value) -> &[Value] {
    let items = response.get("output").and_then(Value::as_array);
    items.map_or(&[], Vec::as_slice)
}

fn cancel(response: &mut Value) -> Reply {
    if response.get("background") != Some(&json!(true)) {
        let message = "Cannot cancel a synchronous response.";
        return errors::bad_request(message, None, None);
    }
    if let Some(fields) = response.as_object_mut() {
        fields.insert("status".to_owned(), json!("cancelled"));
    }
    Reply::json(200, response.to_string())
}
