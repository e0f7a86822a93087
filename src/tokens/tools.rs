//! The tools of a request, rendered as TypeScript types the way the service shows them to the model.

use super::json::Json;

/// Renders the block of all functions; `None` when the request has no tools.
pub(super) fn render(body: &Json<'_>) -> Option<String> {
    let mut functions: Vec<&Json<'_>> = body
        .list("tools")
        .iter()
        .map(|tool| tool.get("function").unwrap_or(tool))
        .collect();
    functions.extend(body.list("functions"));
    if functions.is_empty() {
        return None;
    }
    let mut text = "# Tools\n\n## functions\n\nnamespace functions {\n\n".to_owned();
    for function in functions {
        render_function(&mut text, function);
    }
    text.push_str("} // namespace functions");
    Some(text)
}

fn render_function(text: &mut String, function: &Json<'_>) {
    push_comment(text, function.text("description").unwrap_or(""));
    let name = function.text("name").unwrap_or("");
    let parameters = function.get("parameters").unwrap_or(&Json::Null);
    let has_properties = parameters
        .get("properties")
        .is_some_and(|properties| !properties.entries().is_empty());
    if !has_properties {
        text.push_str(&format!("type {name} = () => any;\n\n"));
        return;
    }
    text.push_str(&format!("type {name} = (_: "));
    if let Some(title) = parameters.text("title") {
        text.push_str(&format!("// {title}\n"));
    }
    push_object(text, parameters);
    text.push_str(") => any;\n\n");
}

/// Writes a text as comment lines; the text and each of its lines are trimmed.
fn push_comment(text: &mut String, comment: &str) {
    if comment.trim().is_empty() {
        return;
    }
    for line in comment.trim().lines() {
        match line.trim() {
            "" => text.push_str("//\n"),
            line => text.push_str(&format!("// {line}\n")),
        }
    }
}

/// Writes an object: on one line if no property has a comment or a default.
fn push_object(text: &mut String, schema: &Json<'_>) {
    let properties = schema.get("properties").map_or(&[][..], Json::entries);
    let required: Vec<&str> = schema
        .list("required")
        .iter()
        .filter_map(Json::as_text)
        .collect();
    let is_plain = |property: &Json<'_>| {
        ["title", "description", "default"]
            .iter()
            .all(|key| property.get(key).is_none())
    };
    let on_one_line = properties.iter().all(|(_, property)| is_plain(property));
    if on_one_line {
        text.push('{');
        for (index, (key, property)) in properties.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let optional = if required.contains(&key.as_ref()) {
                ""
            } else {
                "?"
            };
            text.push_str(&format!("{comma}{key}{optional}: "));
            push_type(text, property);
        }
        text.push('}');
        return;
    }
    text.push_str("{\n");
    for (key, property) in properties {
        push_property(text, key, property, required.contains(&key.as_ref()));
    }
    text.push('}');
}

fn push_property(text: &mut String, key: &str, property: &Json<'_>, is_required: bool) {
    let description = property
        .text("description")
        .filter(|description| !description.trim().is_empty());
    if let Some(title) = property.text("title") {
        push_comment(text, title);
        if description.is_some() {
            text.push_str("//\n");
        }
    }
    push_comment(text, description.unwrap_or(""));
    let optional = if is_required { "" } else { "?" };
    text.push_str(&format!("{key}{optional}: "));
    push_type(text, property);
    text.push(',');
    if let Some(default) = property.get("default") {
        text.push_str(&format!(" // default: {default}"));
    }
    text.push('\n');
}

/// Writes the type a schema describes.
fn push_type(text: &mut String, schema: &Json<'_>) {
    for union in ["anyOf", "oneOf"] {
        if schema.get(union).is_some() {
            push_union(text, schema.list(union));
            return;
        }
    }
    let choices = schema.list("enum");
    if !choices.is_empty() {
        let choices: Vec<String> = choices.iter().map(ToString::to_string).collect();
        text.push_str(&choices.join(" | "));
        return;
    }
    match schema.get("type") {
        Some(Json::Text(kind)) => push_kind(text, kind, schema),
        Some(kinds) => {
            for (index, kind) in kinds.items().iter().enumerate() {
                text.push_str(if index == 0 { "" } else { " | " });
                push_kind(text, kind.as_text().unwrap_or(""), schema);
            }
        }
        None => text.push_str("any"),
    }
}

fn push_union(text: &mut String, members: &[Json<'_>]) {
    for (index, member) in members.iter().enumerate() {
        text.push_str(if index == 0 { "" } else { " | " });
        push_type(text, member);
    }
}

fn push_kind(text: &mut String, kind: &str, schema: &Json<'_>) {
    match kind {
        "string" | "boolean" | "null" => text.push_str(kind),
        "number" | "integer" => text.push_str("number"),
        "array" => {
            push_type(text, schema.get("items").unwrap_or(&Json::Null));
            text.push_str("[]");
        }
        "object" if schema.get("properties").is_some() => push_object(text, schema),
        "object" => text.push_str("object"),
        _ => text.push_str("any"),
    }
}
