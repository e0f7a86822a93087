//! Wrong addresses, methods and keys.

use serde_json::json;

use crate::helpers::*;

const CLIENT_KEY: &str = "a-key-of-team-a";

/// Holds an answer to the error shape that OpenAI's SDKs read.
pub fn assert_error(answer: &Answer, kind: &str, code: &str) {
    let body = answer.json();
    let mut fields: Vec<&String> = body["error"].as_object().unwrap().keys().collect();
    fields.sort();
    assert_eq!(fields, ["code", "message", "param", "type"]);
    assert_eq!(body["error"]["type"], kind);
    assert_eq!(answer.code(), code);
    assert!(!body["error"]["message"].as_str().unwrap().is_empty());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert!(answer.header("x-request-id").unwrap().starts_with("req_"));
}

#[actix_web::test]
async fn wrong_addresses_and_methods_are_errors_that_sdks_can_read() {
    let app = spawn_app(1).await;

    for path in [
        "/v1",
        "/v2/models",
        "/v1/chat",
        "/openai/deployments/x/images",
        "/v1/models/a/b",
        "/favicon.ico",
    ] {
        let answer = app.get(path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert_error(&answer, "invalid_request_error", "not_found");
    }
    for path in [
        "/v1/chat/completions",
        "/v1/embeddings",
        "/openai/deployments/x/completions",
    ] {
        let answer = app.get(path).await;
        assert_eq!(answer.status, 405, "{path}");
        assert_eq!(answer.header("allow"), Some("POST"), "{path}");
        assert_error(&answer, "invalid_request_error", "method_not_allowed");
    }
    for path in [
        "/v1/models",
        "/v1/instances/status",
        "/health",
        "/metrics",
        "/",
    ] {
        let answer = app.post(path, &json!({})).await;
        assert_eq!(answer.status, 405, "{path}");
        assert_eq!(answer.header("allow"), Some("GET, HEAD"), "{path}");
        assert_error(&answer, "invalid_request_error", "method_not_allowed");
    }
    assert_eq!(app.sims[0].counters().requests, 0);
    app.finish().await;
}

#[actix_web::test]
async fn a_path_that_is_no_text_is_answered_in_the_same_shape() {
    let app = spawn_app(1).await;

    let model = app.get("/v1/models/%FF").await;
    let deployment = app
        .post("/openai/deployments/%FF/embeddings", &json!({"input": "x"}))
        .await;

    assert_refused(&model, 404, "model_not_found");
    assert_refused(&deployment, 404, "model_not_found");
    app.finish().await;
}

#[actix_web::test]
async fn pages_answer_head_without_a_body() {
    let app = spawn_app(1).await;

    for path in [
        "/",
        "/health",
        "/health/ready",
        "/metrics",
        "/v1/models",
        "/v1/instances/status",
    ] {
        let sent = client().head(format!("{}{path}", app.url)).send().await;
        let answer = read(sent.unwrap()).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.body.is_empty(), "{path}");
    }
    app.finish().await;
}

/// Sends a request with one header, a chat where the path takes one.
async fn call(app: &TestApp, path: &str, header: (&str, &str)) -> Answer {
    let url = format!("{}{path}", app.url);
    let sent = match path.ends_with("completions") {
        true => {
            client()
                .post(url)
                .insert_header(header)
                .send_json(&chat("hello", 50))
                .await
        }
        false => client().get(url).insert_header(header).send().await,
    };
    read(sent.unwrap()).await
}

#[actix_web::test]
async fn client_keys_guard_all_but_health() {
    let keys = format!("team-a:{CLIENT_KEY},another-key-without-name");
    let app = pool()
        .var("PROXY_API_KEYS", keys)
        .instance("a", 30_000)
        .start()
        .await;
    let app = app.with_header(("api-key", CLIENT_KEY));
    let guarded = [
        "/v1/chat/completions",
        "/openai/deployments/gpt-4o/chat/completions",
        "/v1/models",
        "/v1/models/gpt-4o",
        "/v1/instances/status",
    ];

    for path in guarded {
        for wrong in [
            ("x-other", "1"),
            ("authorization", "Bearer wrong-key-of-team"),
            ("authorization", CLIENT_KEY),
            ("api-key", "wrong-key-of-team"),
        ] {
            let answer = call(&app, path, wrong).await;
            assert_eq!(answer.status, 401, "{path} with {wrong:?}");
            assert_error(&answer, "authentication_error", "invalid_api_key");
            assert!(!answer.text().contains(CLIENT_KEY) && !answer.text().contains("wrong-key"));
        }
    }
    assert_eq!(app.sims[0].counters().requests, 0);

    let bearer = format!("Bearer {CLIENT_KEY}");
    for header in [
        ("authorization", bearer.as_str()),
        ("api-key", CLIENT_KEY),
        ("api-key", "another-key-without-name"),
    ] {
        for path in [
            "/v1/chat/completions",
            "/openai/deployments/gpt-4o/chat/completions",
            "/v1/instances/status",
        ] {
            assert_eq!(
                call(&app, path, header).await.status,
                200,
                "{path} with {header:?}"
            );
        }
    }
    for seen in app.sims[0].requests() {
        assert_eq!(seen.header("authorization"), None);
        assert_eq!(seen.header("api-key"), Some("simulated-key"));
    }
    for path in ["/health", "/health/ready"] {
        assert_eq!(
            call(&app, path, ("x-other", "1")).await.status,
            200,
            "{path}"
        );
    }
    app.finish().await;
}
