//! The tools of a request, rendered the way the service shows them to the model: as a namespace of TypeScript types.
//!
//! The shape follows the renderer of openai/harmony where real counts agree with it.

use super::json::Json;
use super::model::{Generation, Model};
use super::types::{Writer, push_comment};

/// Renders the block of all functions; `None` when the request has no tools.
pub(super) fn render(model: &Model, body: &Json<'_>) -> Option<String> {
    let tools = body
        .list("tools")
        .iter()
        .filter(|tool| is_function(tool))
        .map(function_of);
    let functions: Vec<&Json<'_>> = tools.chain(body.list("functions")).collect();
    if functions.is_empty() {
        return None;
    }
    let mut text = "# Tools\n\n## functions\n\nnamespace functions {\n\n".to_owned();
    if model.generation == Generation::Gpt5 {
        // Here a description right after the brace costs one token more than none, as if there were one more line.
        text.push('\n');
    }
    for function in functions {
        render_function(&mut text, model, function);
    }
    text.push_str("} // namespace functions");
    Some(text)
}

/// Tells whether a tool is the client's own. Those the service hosts are described in ways unknown.
fn is_function(tool: &Json<'_>) -> bool {
    matches!(tool.text("type"), Some("function" | "custom") | None)
}

/// Returns what a tool holds: a function, a custom tool, or itself in the Responses API.
fn function_of<'t, 'j>(tool: &'t Json<'j>) -> &'t Json<'j> {
    tool.get("function")
        .or_else(|| tool.get("custom"))
        .unwrap_or(tool)
}

fn render_function(text: &mut String, model: &Model, function: &Json<'_>) {
    push_comment(text, function.text("description").unwrap_or(""));
    push_comment(text, grammar_of(function).unwrap_or(""));
    let name = function.text("name").unwrap_or("");
    text.push_str("type ");
    text.push_str(name);
    let parameters = function.get("parameters").unwrap_or(&Json::Null);
    let has_properties = parameters
        .get("properties")
        .is_some_and(|properties| !properties.entries().is_empty());
    if has_properties {
        text.push_str(" = (_: ");
        Writer::new(text, model, parameters).push_parameters();
        text.push_str(") => any;\n\n");
    } else {
        text.push_str(" = () => any;\n\n");
    }
}

/// Returns the grammar that the input of a custom tool must follow.
fn grammar_of<'f>(function: &'f Json<'_>) -> Option<&'f str> {
    let format = function.get("format")?;
    format.get("grammar").unwrap_or(format).text("definition")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(functions: &str) -> String {
        let body = format!(r#"{{"tools":[{functions}]}}"#);
        render(&Model::of("gpt-4o"), &serde_json::from_str(&body).unwrap()).unwrap()
    }

    #[test]
    fn functions_stand_in_a_namespace() {
        let text = rendered(
            r#"{"type":"function","function":{"name":"now"}},
               {"type":"function","function":{"name":"weather","description":" Tells the weather.\n\n  Now. ",
                "parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}}"#,
        );

        assert_eq!(
            text,
            "# Tools\n\n## functions\n\nnamespace functions {\n\n\
             type now = () => any;\n\n\
             // Tells the weather.\n//\n// Now.\ntype weather = (_: {city: string}) => any;\n\n\
             } // namespace functions"
        );
    }

    #[test]
    fn no_tools_are_no_block() {
        let body: Json<'_> = serde_json::from_str(r#"{"tools":[]}"#).unwrap();

        assert_eq!(render(&Model::of("gpt-4o"), &body), None);
    }
}
