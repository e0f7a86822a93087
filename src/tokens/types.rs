//! A JSON schema as the TypeScript type that the service shows to the model.
//!
//! An object whose properties have neither comments nor defaults stands on one line, any other one property a line.
//! Schemas can refer to themselves: references are followed to a depth, and only while the text is short, so that the
//! text stays linear in the request.

use std::collections::{HashMap, HashSet};

use super::json::{Json, Style};
use super::model::{Generation, Model};

/// References inside references that are followed.
const MAX_REFERENCE_DEPTH: u32 = 12;
/// Bytes of text after which no more references are followed; far above what real tools need.
const MAX_REFERRING_BYTES: usize = 256 * 1024;
/// Values inside referenced schemas that are passed before no more references are followed.
const MAX_REFERRED_VALUES: usize = 200_000;

/// Writes types.
pub(super) struct Writer<'t, 'b> {
    text: &'t mut String,
    root: &'b Json<'b>,
    /// What references point to, by name.
    definitions: HashMap<&'b str, Definition<'b>>,
    /// Newer models are told the limits of numbers.
    shows_limits: bool,
    reference_depth: u32,
    referred_values: usize,
}

/// A schema that others refer to.
#[derive(Clone, Copy)]
struct Definition<'b> {
    schema: &'b Json<'b>,
    /// How many values it holds.
    values: usize,
}

impl<'b> Definition<'b> {
    fn new(schema: &'b Json<'b>) -> Self {
        Self {
            schema,
            values: schema.count_values(),
        }
    }
}

/// Writes a text as comment lines; the text and each of its lines are trimmed.
pub(super) fn push_comment(text: &mut String, comment: &str) {
    let comment = comment.trim();
    if comment.is_empty() {
        return;
    }
    for line in comment.split('\n') {
        match line.trim() {
            "" => text.push_str("//\n"),
            line => {
                text.push_str("// ");
                text.push_str(line);
                text.push('\n');
            }
        }
    }
}

/// Writes what comments a schema has: its title, and after a blank one its description.
fn push_comments(text: &mut String, schema: &Json<'_>) {
    let description = schema.text("description").unwrap_or("").trim();
    if let Some(title) = schema
        .text("title")
        .filter(|title| !title.trim().is_empty())
    {
        push_comment(text, title);
        if !description.is_empty() {
            text.push_str("//\n");
        }
    }
    push_comment(text, description);
}

fn has_comments(schema: &Json<'_>) -> bool {
    schema.get("title").is_some() || schema.get("description").is_some()
}

/// What a union is made of.
struct Member<'b> {
    schema: &'b Json<'b>,
    /// The one of several types of `schema` that is meant.
    kind: Option<&'b str>,
}

impl<'t, 'b> Writer<'t, 'b> {
    /// Makes a writer of types that appends to `text`.
    pub(super) fn new(text: &'t mut String, model: &Model, root: &'b Json<'_>) -> Self {
        let definitions = ["definitions", "$defs"]
            .into_iter()
            .filter_map(|key| root.get(key));
        Self {
            text,
            root,
            definitions: definitions
                .flat_map(Json::entries)
                .map(|(name, schema)| (name.as_ref(), Definition::new(schema)))
                .collect(),
            shows_limits: model.generation == Generation::Gpt5,
            reference_depth: 0,
            referred_values: 0,
        }
    }

    /// Writes the root as the parameters of a function.
    pub(super) fn push_parameters(&mut self) {
        push_comments(self.text, self.root);
        self.push_object(self.root);
    }

    /// Follows a reference; a schema without one is itself.
    fn resolved(&mut self, schema: &'b Json<'b>) -> &'b Json<'b> {
        let schema = match schema.list("allOf") {
            [only] => only,
            _ => schema,
        };
        let Some(reference) = schema.text("$ref") else {
            return schema;
        };
        let is_exhausted =
            self.text.len() > MAX_REFERRING_BYTES || self.referred_values > MAX_REFERRED_VALUES;
        if is_exhausted || self.reference_depth >= MAX_REFERENCE_DEPTH {
            return &Json::Null;
        }
        let definition = match reference.rsplit('/').next() {
            Some("#") => Some(Definition::new(self.root)),
            Some(name) => self.definitions.get(name).copied(),
            None => None,
        };
        let Some(Definition { schema, values }) = definition else {
            return &Json::Null;
        };
        self.referred_values += values;
        schema
    }

    /// Writes an object with its properties.
    fn push_object(&mut self, schema: &'b Json<'b>) {
        let properties = schema.get("properties").map_or(&[][..], Json::entries);
        let required: HashSet<&str> = schema
            .list("required")
            .iter()
            .filter_map(Json::as_text)
            .collect();
        let on_one_line = properties
            .iter()
            .all(|(_, property)| self.is_plain(property));
        self.text.push_str(if on_one_line { "{" } else { "{\n" });
        for (index, (key, property)) in properties.iter().enumerate() {
            let optional = if required.contains(key.as_ref()) {
                ""
            } else {
                "?"
            };
            if on_one_line {
                self.text.push_str(if index == 0 { "" } else { ", " });
                self.push_key(key, optional);
                self.push_type(property);
            } else {
                self.push_property(key, optional, property);
            }
        }
        self.text.push('}');
    }

    /// Tells whether a property needs no line of its own.
    fn is_plain(&mut self, property: &'b Json<'b>) -> bool {
        let is_commented = has_comments(property) || has_comments(self.resolved(property));
        !is_commented && property.get("default").is_none() && self.limits_of(property).is_none()
    }

    fn push_key(&mut self, key: &str, optional: &str) {
        self.text.push_str(key);
        self.text.push_str(optional);
        self.text.push_str(": ");
    }

    /// Writes a property on lines of its own.
    fn push_property(&mut self, key: &str, optional: &str, property: &'b Json<'b>) {
        let commented = if has_comments(property) {
            property
        } else {
            self.resolved(property)
        };
        push_comments(self.text, commented);
        self.push_key(key, optional);
        self.push_type(property);
        self.text.push(',');
        let default = property
            .get("default")
            .map(|default| format!("default: {}", default.to_text(Style::COMPACT)));
        let remarks: Vec<String> = default
            .into_iter()
            .chain(self.limits_of(property))
            .collect();
        if !remarks.is_empty() {
            self.text.push_str(" // ");
            self.text.push_str(&remarks.join(", "));
        }
        self.text.push('\n');
    }

    /// Returns the limits of a number, as far as the model is told them.
    fn limits_of(&self, property: &Json<'_>) -> Option<String> {
        let limits = ["minimum", "maximum"]
            .into_iter()
            .filter(|_| self.shows_limits);
        let remarks: Vec<String> = limits
            .filter_map(|key| {
                Some(format!(
                    "{key}: {}",
                    property.get(key)?.to_text(Style::COMPACT)
                ))
            })
            .collect();
        (!remarks.is_empty()).then(|| remarks.join(", "))
    }

    /// Writes the type that a schema describes.
    fn push_type(&mut self, schema: &'b Json<'b>) {
        let target = self.resolved(schema);
        let follows = !std::ptr::eq(target, schema);
        self.reference_depth += u32::from(follows);
        if follows && target.get("$ref").is_some() {
            self.push_type(target);
        } else {
            self.push_own_type(target);
        }
        self.reference_depth -= u32::from(follows);
    }

    fn push_own_type(&mut self, schema: &'b Json<'b>) {
        for union in ["anyOf", "oneOf"] {
            if schema.get(union).is_some() {
                let members = schema
                    .list(union)
                    .iter()
                    .map(|schema| Member { schema, kind: None });
                return self.push_union(&members.collect::<Vec<_>>());
            }
        }
        let choices = schema.list("enum");
        if !choices.is_empty() {
            let choices: Vec<String> = choices
                .iter()
                .map(|choice| choice.to_text(Style::COMPACT))
                .collect();
            return self.text.push_str(&choices.join(" | "));
        }
        if let Some(constant) = schema.get("const") {
            return constant.write(self.text, Style::COMPACT);
        }
        match schema.get("type") {
            Some(Json::Text(kind)) => self.push_kind(kind, schema),
            Some(kinds) => {
                let kinds = kinds.items().iter().filter_map(Json::as_text);
                let members = kinds.map(|kind| Member {
                    schema,
                    kind: Some(kind),
                });
                self.push_union(&members.collect::<Vec<_>>());
            }
            None => self.push_kind(
                if schema.get("properties").is_some() {
                    "object"
                } else {
                    ""
                },
                schema,
            ),
        }
    }

    /// Writes a union: on one line, or one member a line if any has a comment. A list of types repeats its comment.
    fn push_union(&mut self, members: &[Member<'b>]) {
        let has_comments = members
            .iter()
            .any(|member| has_comments(self.resolved(member.schema)));
        for (index, member) in members.iter().enumerate() {
            if has_comments {
                self.text.push_str(if index == 0 { "\n" } else { "" });
                let commented = self.resolved(member.schema);
                push_comments(self.text, commented);
                self.text.push_str(" | ");
            } else {
                self.text.push_str(if index == 0 { "" } else { " | " });
            }
            match member.kind {
                Some(kind) => self.push_kind(kind, member.schema),
                None => self.push_type(member.schema),
            }
            self.text.push_str(if has_comments { "\n" } else { "" });
        }
    }

    fn push_kind(&mut self, kind: &str, schema: &'b Json<'b>) {
        match kind {
            "string" | "boolean" | "null" => self.text.push_str(kind),
            "number" | "integer" => self.text.push_str("number"),
            "array" => self.push_array(schema.get("items").unwrap_or(&Json::Null)),
            "object" if schema.get("properties").is_some() => self.push_object(schema),
            "object" => self.text.push_str("object"),
            _ => self.text.push_str("any"),
        }
    }

    /// Writes an array: `T[]`, or in angle brackets if its items have a comment.
    fn push_array(&mut self, items: &'b Json<'b>) {
        let commented = self.resolved(items);
        if !has_comments(commented) {
            self.push_type(items);
            return self.text.push_str("[]");
        }
        self.text.push_str("Array<\n");
        push_comments(self.text, commented);
        self.push_type(items);
        self.text.push_str("\n>");
    }
}

#[cfg(test)]
mod tests;
