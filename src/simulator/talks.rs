//! The conversations that a resource keeps: begun, read, changed and deleted by their ids, and continued by responses.
//!
//! As at Azure they belong to the resource that made them; another one answers that there is no such conversation.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::answers::Stamp;
use super::errors;
use super::reply::Reply;

/// Conversations kept; a resource may run for days, and forgets all when there are more.
const MOST: usize = 1_000;

/// Items in one list unless the caller says otherwise.
const PAGE: usize = 20;

/// The kept conversations.
#[derive(Debug, Default)]
pub(super) struct Talks {
    kept: HashMap<String, Talk>,
}

#[derive(Debug)]
struct Talk {
    head: Value,
    items: Vec<Value>,
}

/// A call about conversations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Errand<'a> {
    method: &'a str,
    id: Option<&'a str>,
    /// It is about the items, or about one of them.
    items: Option<Option<&'a str>>,
    query: &'a str,
}

impl<'a> Errand<'a> {
    /// Recognises a call by method and target.
    pub(super) fn parse(method: &'a str, target: &'a str) -> Option<Self> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (_, rest) = path.split_once("/openai/v1/")?;
        let mut segments = rest.split('/');
        if segments.next() != Some("conversations") {
            return None;
        }
        let id = segments.next();
        let items = match segments.next() {
            None => None,
            Some("items") => Some(segments.next()),
            Some(_) => return None,
        };
        let is_known = match (id, items) {
            (None, _) => method == "POST",
            (Some(_), None) => matches!(method, "GET" | "POST" | "DELETE"),
            (Some(_), Some(None)) => matches!(method, "GET" | "POST"),
            (Some(_), Some(Some(_))) => matches!(method, "GET" | "DELETE"),
        };
        (is_known && segments.next().is_none()).then_some(Self {
            method,
            id,
            items,
            query,
        })
    }

    fn value(&self, name: &str) -> Option<&str> {
        let mut pairs = self
            .query
            .split('&')
            .filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}

impl Talks {
    /// Returns what was said so far in a conversation, `None` if it is not kept here.
    pub(super) fn said(&self, id: &str) -> Option<&[Value]> {
        self.kept.get(id).map(|talk| &*talk.items)
    }

    /// Adds what was said.
    pub(super) fn add(&mut self, id: &str, items: impl IntoIterator<Item = Value>) {
        if let Some(talk) = self.kept.get_mut(id) {
            talk.items.extend(items);
        }
    }

    /// Answers a call; the stamp makes the ids of what is new.
    pub(super) fn run(&mut self, errand: &Errand<'_>, body: &[u8], stamp: &Stamp) -> Reply {
        let unique = &stamp.id;
        let body = serde_json::from_slice(body).unwrap_or(Value::Null);
        let Some(id) = errand.id else {
            return self.begin(&body, stamp);
        };
        let Some(talk) = self.kept.get_mut(id) else {
            return errors::conversation_not_found(id);
        };
        match (errand.items, errand.method) {
            (None, "DELETE") => {
                self.kept.remove(id);
                let gone = json!({"id": id, "object": "conversation.deleted", "deleted": true});
                Reply::json(200, gone.to_string())
            }
            (None, method) => {
                if method == "POST" {
                    let metadata = body.get("metadata").cloned().unwrap_or_default();
                    if let Some(fields) = talk.head.as_object_mut() {
                        fields.insert("metadata".to_owned(), metadata);
                    }
                }
                Reply::json(200, talk.head.to_string())
            }
            (Some(None), "POST") => {
                let added = with_ids(&body, unique);
                talk.items.extend(added.iter().cloned());
                list(added, false)
            }
            (Some(None), _) => talk.page(errand),
            (Some(Some(item)), method) => talk.one(item, method == "DELETE"),
        }
    }

    fn begin(&mut self, body: &Value, stamp: &Stamp) -> Reply {
        if self.kept.len() >= MOST {
            self.kept.clear();
        }
        let id = format!("conv_{}", stamp.id);
        let metadata = body.get("metadata").cloned().unwrap_or(json!({}));
        let head = json!({"id": id, "object": "conversation", "created_at": stamp.created, "metadata": metadata});
        let reply = Reply::json(200, head.to_string());
        let items = with_ids(body, &stamp.id);
        self.kept.insert(id, Talk { head, items });
        reply
    }
}

impl Talk {
    /// Shows one item, or deletes it and shows the conversation.
    fn one(&mut self, item: &str, is_deleted: bool) -> Reply {
        let place = self.items.iter().position(|kept| kept["id"] == item);
        let Some(at) = place else {
            return errors::item_not_in_conversation(item);
        };
        if is_deleted {
            self.items.remove(at);
            return Reply::json(200, self.head.to_string());
        }
        Reply::json(200, self.items.get(at).unwrap_or(&Value::Null).to_string())
    }

    fn page(&self, errand: &Errand<'_>) -> Reply {
        let most = errand.value("limit").and_then(|limit| limit.parse().ok());
        let mut items = self.items.clone();
        if errand.value("order") != Some("asc") {
            items.reverse();
        }
        if let Some(after) = errand.value("after") {
            let place = items.iter().position(|item| item["id"] == after);
            items.drain(..place.map_or(0, |at| at + 1));
        }
        let whole = items.len();
        items.truncate(most.unwrap_or(PAGE));
        let has_more = items.len() < whole;
        list(items, has_more)
    }
}

/// Gives items that were sent the ids that they lack.
pub(super) fn named(items: &[Value], unique: &str) -> Vec<Value> {
    let mut named = items.to_vec();
    for (number, item) in named.iter_mut().enumerate() {
        if let Some(fields) = item.as_object_mut() {
            fields.entry("type").or_insert_with(|| json!("message"));
            let id = format!("msg_{number}of{unique}");
            fields.entry("id").or_insert_with(|| json!(id));
        }
    }
    named
}

fn with_ids(body: &Value, unique: &str) -> Vec<Value> {
    let items = body.get("items").and_then(Value::as_array);
    named(items.map_or(&[][..], Vec::as_slice), unique)
}

fn list(items: Vec<Value>, has_more: bool) -> Reply {
    let id = |item: Option<&Value>| item.map_or(Value::Null, |item| item["id"].clone());
    let list = json!({
        "object": "list", "first_id": id(items.first()), "last_id": id(items.last()),
        "has_more": has_more, "data": items,
    });
    Reply::json(200, list.to_string())
}
