//! Which tool the simulated model calls.
//!
//! A real model decides by what it reads; this one by rules that can be foreseen, good enough for agents: a tool that is
//! forced is called; of several the first that was not called since the user spoke; without force, one that the user's
//! last message names, once. After that it answers in words. Chats spell `{"function": {"name": ..}}`, the Responses API
//! leaves the inner object out, in tools, choices and calls alike.

use serde_json::Value;

use crate::simulator::ask::Ask;

/// Returns the function that is called.
pub(super) fn called_tool(ask: &Ask) -> Option<&Value> {
    let functions = functions(ask)?;
    match ask.get("tool_choice") {
        Some(Value::String(choice)) if choice == "none" => None,
        Some(Value::String(choice)) if choice == "required" => {
            let new = functions.iter().find(|function| !was_called(ask, function));
            new.or(functions.last()).copied()
        }
        Some(Value::Object(choice)) => {
            let wanted = choice
                .get("function")
                .map_or(choice.get("name"), |inner| inner.get("name"))?;
            let mut functions = functions.into_iter();
            functions.find(|function| function.get("name") == Some(wanted))
        }
        Some(_) | None => {
            let said = ask.last_words();
            let is_named = |function: &&Value| said.contains(name(function));
            let mut functions = functions.into_iter();
            functions
                .find(is_named)
                .filter(|function| !was_called(ask, function))
        }
    }
}

/// Returns the name of a function.
pub(super) fn name(function: &Value) -> &str {
    let name = function.get("name").and_then(Value::as_str);
    name.unwrap_or("unnamed")
}

fn functions(ask: &Ask) -> Option<Vec<&Value>> {
    let tools = ask.get("tools")?.as_array()?;
    let functions = tools.iter().filter_map(|tool| {
        let is_flat = tool.get("type").is_some_and(|kind| kind == "function");
        tool.get("function").or(is_flat.then_some(tool))
    });
    Some(functions.collect())
}

/// Says whether the conversation has a call of the function since the user's last message.
fn was_called(ask: &Ask, function: &Value) -> bool {
    let name = function.get("name");
    let items = ask.get("messages").or(ask.get("input"));
    let since_user = items
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .rev()
        .take_while(|item| item.get("role").and_then(Value::as_str) != Some("user"));
    for item in since_user {
        let calls = item.get("tool_calls").and_then(Value::as_array);
        let mut calls = calls.into_iter().flatten();
        let is_call = match item.get("type").and_then(Value::as_str) {
            Some("function_call") => item.get("name") == name,
            Some(_) | None => false,
        };
        if is_call || calls.any(|call| call.pointer("/function/name") == name) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn called(messages: Value, choice: Value) -> Option<String> {
        let tools = ["weather", "final"].map(|name| json!({"function": {"name": name}}));
        let body = json!({"messages": messages, "tools": tools, "tool_choice": choice});
        let ask = Ask::parse(body.to_string().as_bytes()).unwrap();
        called_tool(&ask).map(|function| name(function).to_owned())
    }

    fn user(text: &str) -> Value {
        json!({"role": "user", "content": text})
    }

    fn call_of(name: &str) -> Value {
        json!({"role": "assistant", "tool_calls": [{"function": {"name": name}}]})
    }

    #[test]
    fn a_named_tool_is_called_once() {
        let asked = user("What does weather say?");

        assert_eq!(called(json!([asked]), Value::Null).unwrap(), "weather");
        assert_eq!(called(json!([asked]), json!("auto")).unwrap(), "weather");
        assert_eq!(called(json!([asked]), json!("none")), None);
        assert_eq!(called(json!([user("Hello")]), Value::Null), None);
        let answered = json!([asked, call_of("weather"), {"role": "tool", "content": "sun"}]);
        assert_eq!(called(answered, Value::Null), None);
        let again = json!([asked, call_of("weather"), asked]);
        assert_eq!(called(again, Value::Null).unwrap(), "weather");
    }

    #[test]
    fn forced_tools_are_called_in_turn() {
        let any = json!("required");
        let asked = user("Hello");

        assert_eq!(called(json!([asked]), any.clone()).unwrap(), "weather");
        let once = json!([asked, call_of("weather")]);
        assert_eq!(called(once, any.clone()).unwrap(), "final");
        let twice = json!([asked, call_of("weather"), call_of("final")]);
        assert_eq!(called(twice, any).unwrap(), "final");
        let forced = json!({"type": "function", "function": {"name": "final"}});
        assert_eq!(called(json!([asked]), forced).unwrap(), "final");
    }

    #[test]
    fn the_responses_api_calls_by_the_same_rules() {
        let tools = ["weather", "final"].map(|name| json!({"type": "function", "name": name}));
        let called = |input: Value, choice: Value| {
            let body = json!({"input": input, "tools": tools, "tool_choice": choice});
            let ask = Ask::parse(body.to_string().as_bytes()).unwrap();
            called_tool(&ask).map(|function| name(function).to_owned())
        };
        let asked = user("What does weather say?");
        let call = json!({"type": "function_call", "name": "weather"});
        let result = json!({"type": "function_call_output", "output": "sun"});
        let forced = json!({"type": "function", "name": "final"});

        for (input, choice, expected) in [
            (
                json!("What does weather say?"),
                Value::Null,
                Some("weather"),
            ),
            (json!([asked]), json!("auto"), Some("weather")),
            (json!([asked]), json!("none"), None),
            (json!([asked, call, result]), Value::Null, None),
            // What came before is kept by the resource.
            (json!([result]), Value::Null, None),
            (
                json!([asked, call, result]),
                json!("required"),
                Some("final"),
            ),
            (json!("Hello"), json!("required"), Some("weather")),
            (json!("Hello"), forced, Some("final")),
        ] {
            assert_eq!(
                called(input.clone(), choice).as_deref(),
                expected,
                "{input}"
            );
        }
    }
}
