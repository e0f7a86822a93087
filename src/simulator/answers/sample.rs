//! A value that satisfies a JSON schema, for structured outputs and the arguments of tool calls.
//!
//! Covers what structured outputs allow: objects, arrays, strings, numbers, booleans, enums, `const`, `anyOf`, `$ref`.

use serde_json::{Map, Value, json};

/// Deeper than any schema that Azure accepts; a recursive `$ref` ends here.
const MAX_DEPTH: usize = 12;

/// Builds the smallest useful value of a schema.
pub(super) fn sample(schema: &Value) -> Value {
    of(schema, schema, 0)
}

fn of(schema: &Value, root: &Value, depth: usize) -> Value {
    if depth > MAX_DEPTH {
        return Value::Null;
    }
    if let Some(constant) = schema.get("const") {
        return constant.clone();
    }
    if let Some(first) = first(schema, "enum") {
        return first.clone();
    }
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        let pointed = target.strip_prefix('#').and_then(|path| root.pointer(path));
        return pointed.map_or(Value::Null, |schema| of(schema, root, depth + 1));
    }
    for union in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = first(schema, union) {
            return of(first, root, depth + 1);
        }
    }
    match kind(schema) {
        "object" => object(schema, root, depth),
        "array" => array(schema, root, depth),
        "integer" | "number" => number(schema),
        "boolean" => json!(true),
        "null" => Value::Null,
        _ => string(schema),
    }
}

fn kind(schema: &Value) -> &str {
    let named = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str),
        Some(kind) => kind.as_str(),
        None => None,
    };
    let implied = if schema.get("properties").is_some() {
        "object"
    } else if schema.get("items").is_some() {
        "array"
    } else {
        "string"
    };
    named.unwrap_or(implied)
}

fn first<'a>(schema: &'a Value, list: &str) -> Option<&'a Value> {
    schema.get(list)?.as_array()?.first()
}

fn object(schema: &Value, root: &Value, depth: usize) -> Value {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return json!({});
    };
    let required = schema.get("required").and_then(Value::as_array);
    let is_required = |name: &str| {
        required.is_none_or(|names| names.iter().any(|known| known.as_str() == Some(name)))
    };
    let mut built = Map::new();
    for (name, property) in properties {
        if is_required(name) {
            built.insert(name.clone(), of(property, root, depth + 1));
        }
    }
    Value::Object(built)
}

fn array(schema: &Value, root: &Value, depth: usize) -> Value {
    let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(1);
    let item = schema
        .get("items")
        .map_or(Value::Null, |items| of(items, root, depth + 1));
    // A hostile minItems must not fill the memory.
    (0..least.min(64)).map(|_| item.clone()).collect()
}

fn number(schema: &Value) -> Value {
    for bound in ["minimum", "maximum"] {
        if let Some(value) = schema.get(bound) {
            return value.clone();
        }
    }
    json!(1)
}

fn string(schema: &Value) -> Value {
    let text = match schema.get("format").and_then(Value::as_str) {
        Some("date") => "2025-01-31",
        Some("date-time") => "2025-01-31T12:00:00Z",
        Some("time") => "12:00:00Z",
        Some("email") => "someone@example.com",
        Some("uuid") => "00000000-0000-4000-8000-000000000000",
        Some("uri") => "https://example.com/",
        Some(_) | None => "sample",
    };
    let least = schema.get("minLength").and_then(Value::as_u64).unwrap_or(0);
    let missing = usize::try_from(least.min(1_000))
        .unwrap_or(0)
        .saturating_sub(text.len());
    json!(format!("{text}{}", "x".repeat(missing)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn required_properties_alone_are_filled_by_their_types() {
        let schema = json!({
            "type": "object",
            "required": ["name", "age", "tags", "ok", "colour", "inner", "maybe"],
            "properties": {
                "name": {"type": "string"},
                "age": {"type": "integer", "minimum": 18},
                "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2},
                "ok": {"type": "boolean"},
                "colour": {"enum": ["red", "blue"]},
                "inner": {"type": "object", "properties": {"x": {"type": "number"}}},
                "maybe": {"type": ["string", "null"]},
                "optional": {"type": "string"},
            },
        });

        let expected = json!({
            "name": "sample", "age": 18, "tags": ["sample", "sample"], "ok": true,
            "colour": "red", "inner": {"x": 1}, "maybe": "sample",
        });
        assert_eq!(sample(&schema), expected);
    }

    #[test]
    fn references_are_followed_and_recursion_ends() {
        let schema = json!({
            "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
            "anyOf": [{"$ref": "#/$defs/node"}],
        });

        assert!(sample(&schema)["next"]["next"].is_object());
    }
}
