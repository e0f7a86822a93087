//! Without a script: answers, streams, quota, refusals.

use base64::Engine;
use serde_json::json;

use super::*;

#[actix_web::test]
async fn a_chat_answer_echoes_and_has_azures_fields_in_azures_order() {
    let simulator = start().await;

    let response = chat(&simulator, HELLO).await.unwrap();

    let body = response.json();
    assert_eq!(response.status, 200);
    assert!(response.text().starts_with(
        r#"{"choices":[{"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}"#
    ));
    let content = body["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(content.contains("hello"));
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    assert_eq!(body["model"], "gpt-4o-2024-11-20");
    assert_eq!(body["prompt_filter_results"][0]["prompt_index"], 0);
    let usage = &body["usage"];
    let sum =
        usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap();
    assert_eq!(usage["total_tokens"], sum);
    assert_eq!(response.header("x-ms-deployment-name"), Some("chat"));
    assert_eq!(response.header("x-ms-region"), Some("East US"));
    assert_eq!(response.header("x-ratelimit-limit-tokens"), Some("10000"));
    // One message of 5 characters is charged 5/4 + 1 + 640.
    assert_eq!(
        response.header("x-ratelimit-remaining-tokens"),
        Some("9358")
    );
    assert_eq!(simulator.used_tokens("chat"), Tokens(642));
}

#[actix_web::test]
async fn caps_choices_tools_and_schemas_are_honoured() {
    let simulator = start().await;
    let tool = json!({"type": "function", "function": {"name": "weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}});
    let messages = json!([{"role": "user", "content": "hello"}]);
    let ask = |extra: Value| {
        let mut body = json!({"messages": messages, "max_tokens": 100});
        body.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        body.to_string()
    };

    let capped = chat(&simulator, &ask(json!({"max_tokens": 2, "n": 3})))
        .await
        .unwrap()
        .json();
    let called = ask(json!({"tools": [tool], "tool_choice": "required"}));
    let called = chat(&simulator, &called).await.unwrap().json();
    let schema = json!({"type": "object", "properties": {"age": {"type": "integer"}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "a", "schema": schema}});
    let shaped = chat(&simulator, &ask(json!({"response_format": format})))
        .await
        .unwrap()
        .json();

    assert_eq!(capped["choices"].as_array().unwrap().len(), 3);
    assert_eq!(capped["choices"][2]["finish_reason"], "length");
    assert_eq!(capped["usage"]["completion_tokens"], 6);
    let call = &called["choices"][0]["message"]["tool_calls"][0];
    assert_eq!(called["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(call["function"]["name"], "weather");
    assert_eq!(call["function"]["arguments"], r#"{"city":"sample"}"#);
    assert_eq!(shaped["choices"][0]["message"]["content"], r#"{"age":1}"#);
}

#[actix_web::test]
async fn a_stream_has_preamble_role_content_finish_usage_and_done() {
    let simulator = start().await;
    let body = HELLO_STREAM
        .replace('}', "")
        .replace("true", "true,\"max_tokens\":3}");
    let body = body.replace("\"hello\"]", "\"hello\"}]");
    let with_usage = body.replace("true,", "true,\"stream_options\":{\"include_usage\":true},");

    let plain = chat(&simulator, &body).await.unwrap();
    let counted = chat(&simulator, &with_usage).await.unwrap();

    let events = plain.events();
    let parsed: Vec<Value> = counted.events()[..7]
        .iter()
        .map(|event| serde_json::from_str(event).unwrap())
        .collect();
    assert!(plain.is_whole && counted.is_whole);
    assert_eq!(
        plain.header("content-type"),
        Some("text/event-stream; charset=utf-8")
    );
    assert_eq!(plain.header("x-accel-buffering"), Some("no"));
    assert!(events[0].starts_with(r#"{"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0,"#));
    assert_eq!(events.len(), 7);
    assert_eq!(events[6], "[DONE]");
    assert!(!plain.text().contains("usage"));
    assert_eq!(counted.events()[7], "[DONE]");
    assert_eq!(parsed[1]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(parsed[2]["choices"][0]["delta"]["content"], "You ");
    assert!(parsed[2].get("usage").unwrap().is_null());
    assert_eq!(parsed[5]["choices"][0]["finish_reason"], "length");
    assert_eq!(parsed[6]["choices"], json!([]));
    assert_eq!(parsed[6]["usage"]["completion_tokens"], 3);
}

#[actix_web::test]
async fn a_streamed_tool_call_adds_up_to_its_arguments() {
    let simulator = start().await;
    let tool = json!({"type": "function", "function": {"name": "weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}}}});
    let body = json!({"messages": [{"role": "user", "content": "x"}], "stream": true,
        "tools": [tool], "tool_choice": {"type": "function", "function": {"name": "weather"}}});

    let response = chat(&simulator, &body.to_string()).await.unwrap();

    let mut arguments = String::new();
    for event in response.events() {
        let Ok(event) = serde_json::from_str::<Value>(&event) else {
            continue;
        };
        let piece = event.pointer("/choices/0/delta/tool_calls/0/function/arguments");
        arguments.push_str(piece.and_then(Value::as_str).unwrap_or_default());
    }
    assert_eq!(arguments, r#"{"city":"sample"}"#);
}

#[actix_web::test]
async fn both_url_forms_answer_all_endpoints() {
    let simulator = start().await;
    let legacy = "/openai/deployments/text/completions?api-version=2024-10-21";
    let text = json!({"prompt": ["one", "two"], "n": 2, "max_tokens": 4}).to_string();
    let stream = json!({"prompt": "one", "stream": true}).to_string();
    let v1_chat = HELLO.replace("{\"mess", "{\"model\":\"chat\",\"mess");
    let v1_embed = json!({"model": "embed", "input": ["a", "b"], "dimensions": 4, "encoding_format": "base64"});

    let text = post(&simulator, legacy, &text).await.unwrap().json();
    let stream = post(&simulator, legacy, &stream).await.unwrap();
    let chat = post(&simulator, "/prefix/openai/v1/chat/completions", &v1_chat)
        .await
        .unwrap();
    let embed = post(&simulator, "/openai/v1/embeddings", &v1_embed.to_string())
        .await
        .unwrap();
    let nothing = post(&simulator, "/openai/v1/completions", "{}")
        .await
        .unwrap();

    assert_eq!(text["choices"].as_array().unwrap().len(), 4);
    assert_eq!(text["choices"][3]["index"], 3);
    assert_eq!(stream.events().last().unwrap(), "[DONE]");
    assert_eq!(chat.status, 200);
    assert_eq!(simulator.requests()[2].deployment.as_deref(), Some("chat"));
    let embedding = embed.json()["data"][1]["embedding"]
        .as_str()
        .unwrap()
        .to_owned();
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(embedding)
        .unwrap();
    assert_eq!(bytes.len(), 16);
    assert_eq!(nothing.status, 404);
    assert_eq!(
        nothing.text(),
        r#"{"error":{"code":"404","message": "Resource not found"}}"#
    );
}

#[actix_web::test]
async fn a_request_beyond_the_quota_gets_the_429_of_today() {
    let resource = Resource::new("small")
        .key("k")
        .region("Sweden Central")
        .deployment(SimDeployment::new("chat", "gpt-4o", Tokens(1_000)).rpm(600));
    let simulator = Simulator::start(resource, LOCAL).await.unwrap();
    chat(&simulator, HELLO).await.unwrap();

    let refused = chat(&simulator, HELLO).await.unwrap();

    let message = refused.json()["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    let wait_ms: u64 = refused.header("retry-after-ms").unwrap().parse().unwrap();
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("retry-after"), Some("60"));
    assert!(wait_ms > 50_000 && wait_ms <= 60_000);
    assert_eq!(refused.header("x-ratelimit-reset-tokens"), Some("60"));
    assert_eq!(refused.header("x-ratelimit-remaining-tokens"), None);
    assert_eq!(refused.json()["error"]["code"], "RateLimitReached");
    assert!(message.starts_with(
        "Your requests to chat for gpt-4o in Sweden Central have exceeded the token rate limit"
    ));
    assert!(message.contains("Please retry after 60 seconds."));
    let counters = simulator.counters();
    assert_eq!(
        (counters.requests, counters.admitted, counters.throttled),
        (2, 1, 1)
    );
    assert_eq!(counters.charged, Tokens(642));
}

#[actix_web::test]
async fn a_slow_resource_takes_its_time_between_events() {
    let pace = Pace {
        first_byte: Duration::from_millis(30),
        per_chunk: Duration::from_millis(10),
    };
    let simulator = Simulator::start(resource().pace(pace), LOCAL)
        .await
        .unwrap();
    let before = tokio::time::Instant::now();

    let response = chat(&simulator, HELLO_STREAM).await.unwrap();

    let pauses = u32::try_from(response.events().len() - 1).unwrap();
    assert!(before.elapsed() >= pace.first_byte + pace.per_chunk * pauses);
}
