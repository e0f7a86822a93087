//! How clients speak to the proxy: every spelling of an address, the two homes of a key, and what browsers ask first.

use awc::http::Method;
use serde_json::json;

use crate::helpers::*;

const PAGE: (&str, &str) = ("origin", "https://app.example.com");
const KEY: (&str, &str) = ("api-key", "a-key-of-team-a");

async fn send(app: &TestApp, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = client().request(method, format!("{}{path}", app.url));
    for header in headers {
        request = request.insert_header(*header);
    }
    read(request.send().await.unwrap()).await
}

/// Asks as a browser does before it posts JSON with a key.
async fn preflight(app: &TestApp, path: &str, origin: &str) -> Answer {
    let headers = [
        ("origin", origin),
        ("access-control-request-method", "POST"),
        (
            "access-control-request-headers",
            "authorization,content-type,x-stainless-lang",
        ),
    ];
    send(app, Method::OPTIONS, path, &headers).await
}

#[actix_web::test]
async fn every_spelling_of_an_address_is_served() {
    let app = spawn_app(1).await;
    for path in [
        "/v1/chat/completions",
        "/chat/completions",
        "/openai/v1/chat/completions",
        "/openai/v1/chat/completions?api-version=preview",
        "/openai/chat/completions",
        "/v1/chat/completions/",
        "//v1/chat/completions",
        "/v1//chat/completions",
        "/v1/v1/chat/completions",
        "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
        "/openai/deployments/gpt-4o/chat/completions/?api-version=2024-10-21",
        "//openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
        "/v1/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
        "/openai/openai/deployments/gpt-4o/chat/completions",
    ] {
        let answer = app.post(path, &chat("hello", 5)).await;
        assert_eq!(answer.status, 200, "{path}: {:?}", answer.body);
    }
    let completion = json!({"model": "gpt-35-turbo-instruct", "prompt": "a", "max_tokens": 5});
    let embedding = json!({"model": "text-embedding-3-small", "input": "a"});
    for prefix in ["/v1/", "/", "/openai/v1/", "/openai/", "/v1/v1/", "/v1//"] {
        for (path, body) in [("completions", &completion), ("embeddings", &embedding)] {
            let answer = app.post(&format!("{prefix}{path}"), body).await;
            assert_eq!(answer.status, 200, "{prefix}{path}: {:?}", answer.body);
        }
    }
    app.finish().await;
}

#[actix_web::test]
async fn models_are_listed_wherever_clients_look_for_them() {
    let app = pool()
        .instance("a", 1_000_000)
        .var("MODEL_MAP_GPT4o", "gpt-4o")
        .start()
        .await;
    for prefix in ["/v1", "", "/openai/v1", "/openai", "/v1/", "/v1/v1"] {
        let list = app
            .get(&format!("{prefix}/models?api-version=2024-10-21"))
            .await;
        assert_eq!(list.json()["data"][0]["id"], "gpt-4o", "{prefix}");
        let one = app.get(&format!("{prefix}/models/gpt-4o/")).await;
        assert_eq!(one.json()["id"], "gpt-4o", "{prefix}");
    }
    app.finish().await;
}

#[actix_web::test]
async fn options_says_what_an_address_takes_and_allows_no_page_by_itself() {
    let app = spawn_app(1).await;

    for (path, allowed) in [
        ("/v1/chat/completions", "POST"),
        ("/openai/deployments/x/embeddings", "POST"),
        ("/v1/models", "GET, HEAD"),
        ("/", "GET, HEAD"),
    ] {
        let answer = preflight(&app, path, PAGE.1).await;
        assert_eq!(answer.status, 204, "{path}");
        assert_eq!(answer.header("allow"), Some(allowed), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    let answer = send(&app, Method::GET, "/v1/models", &[PAGE]).await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
    // The simulated resource allows every page, as Azure does; that is not the proxy's word.
    let answer = app.chat(&chat("hello", 5)).await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
    app.finish().await;
}

#[actix_web::test]
async fn a_preflight_of_an_allowed_page_needs_no_key_and_no_route() {
    let app = pool()
        .var(
            "CORS_ALLOW_ORIGINS",
            "http://localhost:5173, https://app.example.com",
        )
        .var("PROXY_API_KEYS", KEY.1)
        .instance("a", 30_000)
        .start()
        .await
        .with_header(KEY);

    for path in ["/v1/chat/completions", "/v1/models", "/no/such/path"] {
        let answer = preflight(&app, path, PAGE.1).await;

        assert_eq!(answer.status, 204, "{path}");
        assert_eq!(
            answer.header("access-control-allow-origin"),
            Some("https://app.example.com")
        );
        assert_eq!(
            answer.header("access-control-allow-headers"),
            Some("authorization,content-type,x-stainless-lang")
        );
        let methods = answer.header("access-control-allow-methods").unwrap();
        assert!(methods.contains("POST") && methods.contains("GET"));
        assert!(answer.header("vary").unwrap().contains("Origin"));
    }
    let other = preflight(&app, "/v1/chat/completions", "https://evil.example.com").await;
    assert_eq!(other.header("access-control-allow-origin"), None);
    assert_eq!(other.header("access-control-allow-headers"), None);
    assert_eq!(app.sims[0].counters().requests, 0);
    app.finish().await;
}

#[actix_web::test]
async fn an_allowed_page_may_read_answers_errors_and_streams() {
    let app = pool()
        .var("CORS_ALLOW_ORIGINS", "https://app.example.com")
        .var("PROXY_API_KEYS", KEY.1)
        .instance("a", 30_000)
        .start()
        .await
        .with_header(KEY);
    let url = format!("{}/v1/chat/completions", app.url);
    let too_large = chat("hello", 1_000_000);

    for (body, headers, status) in [
        (&chat("hello", 5), vec![PAGE, KEY], 200),
        (&chat_stream("hello", 5), vec![PAGE, KEY], 200),
        (&too_large, vec![PAGE, KEY], 429),
        (&chat("hello", 5), vec![PAGE], 401),
    ] {
        let mut request = client().post(&url);
        for header in headers {
            request = request.insert_header(header);
        }
        let answer = read(request.send_json(body).await.unwrap()).await;

        assert_eq!(answer.status, status);
        assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE.1));
        assert_eq!(answer.header("vary"), Some("Origin"));
        let exposed = answer.header("access-control-expose-headers").unwrap();
        for name in answer.headers.keys().map(|name| name.as_str()) {
            let is_ours = [
                "x-request-id",
                "x-proxy-",
                "x-ratelimit-",
                "retry-after",
                "x-should",
            ]
            .iter()
            .any(|prefix| name.starts_with(prefix));
            assert_eq!(
                exposed.split(", ").any(|known| known == name),
                is_ours,
                "{name}"
            );
        }
        assert!(exposed.contains("x-request-id"), "{exposed}");
    }
    for path in ["/no/such/path", "/health", "/"] {
        let answer = send(&app, Method::GET, path, &[PAGE]).await;
        assert_eq!(
            answer.header("access-control-allow-origin"),
            Some(PAGE.1),
            "{path}"
        );
    }
    let stranger = send(
        &app,
        Method::GET,
        "/health",
        &[("origin", "https://evil.example.com")],
    );
    let stranger = stranger.await;
    assert_eq!(stranger.header("access-control-allow-origin"), None);
    assert_eq!(stranger.header("access-control-expose-headers"), None);
    app.finish().await;
}

#[actix_web::test]
async fn a_star_allows_every_page() {
    let app = pool()
        .var("CORS_ALLOW_ORIGINS", "*")
        .instance("a", 30_000)
        .start()
        .await;

    let asked = preflight(&app, "/v1/chat/completions", "https://anything.test").await;
    let answer = send(&app, Method::GET, "/v1/models", &[PAGE]).await;
    let no_page = send(&app, Method::GET, "/v1/models", &[]).await;

    assert_eq!(asked.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("vary"), None);
    assert_eq!(no_page.header("access-control-allow-origin"), None);
    app.finish().await;
}

#[actix_web::test]
async fn a_body_that_was_read_as_json_goes_up_as_json() {
    let app = spawn_app(1).await;
    let request = client().post(format!("{}/v1/chat/completions", app.url));
    let request = request.content_type("application/x-www-form-urlencoded");

    let sent = request.send_body(chat("hello", 5).to_string()).await;

    assert_eq!(read(sent.unwrap()).await.status, 200);
    let seen = &app.sims[0].requests()[0];
    assert_eq!(seen.header("content-type"), Some("application/json"));
    app.finish().await;
}

#[actix_web::test]
async fn a_foreign_page_spends_nothing_by_what_needs_no_preflight() {
    let app = spawn_app(1).await;
    let body = chat("hello", 5).to_string();
    let post = |content_type: &'static str| {
        client()
            .post(format!("{}/v1/chat/completions", app.url))
            .insert_header(PAGE)
            .content_type(content_type)
            .send_body(body.clone())
    };

    let unasked = read(post("text/plain").await.unwrap()).await;
    let form = read(post("multipart/form-data; boundary=x").await.unwrap()).await;
    // A browser would have asked before it sent this, so it is none.
    let asked = read(post("application/json").await.unwrap()).await;

    assert_eq!(unasked.status, 403);
    assert_eq!(form.status, 403);
    assert_eq!(unasked.code(), "origin_not_allowed");
    assert!(unasked.text().contains("CORS_ALLOW_ORIGINS"));
    assert_eq!(asked.status, 200);
    assert_eq!(app.sims[0].counters().requests, 1);
    app.finish().await;
}

#[actix_web::test]
async fn a_foreign_page_keeps_and_changes_nothing_by_what_needs_no_preflight() {
    let app = pool()
        .instance("a", 30_000)
        .var("AZURE_INSTANCE_A_API_VERSION", "v1")
        .start()
        .await;
    for path in [
        "/v1/conversations",
        "/v1/conversations/conv_1",
        "/v1/conversations/conv_1/items",
        "/v1/responses/resp_1/cancel",
    ] {
        let post = client().post(format!("{}{path}", app.url));
        let post = post.insert_header(PAGE).content_type("text/plain");

        let unasked = read(post.send_body("{}").await.unwrap()).await;

        assert_eq!(unasked.status, 403, "{path}");
        assert_eq!(unasked.code(), "origin_not_allowed");
    }
    assert_eq!(app.sims[0].counters().requests, 0);
    let asked = client().post(format!("{}/v1/conversations", app.url));
    let asked = asked.insert_header(PAGE).content_type("application/json");
    assert_eq!(asked.send_body("{}").await.unwrap().status(), 200);
    app.finish().await;
}

#[actix_web::test]
async fn a_key_is_enough_for_a_page_that_has_it() {
    let app = pool()
        .var("PROXY_API_KEYS", KEY.1)
        .instance("a", 30_000)
        .start()
        .await;
    let request = client().post(format!("{}/v1/chat/completions", app.url));
    let request = request.insert_header(PAGE).insert_header(KEY);

    let answer = request
        .content_type("text/plain")
        .send_body(chat("hello", 5).to_string());

    assert_eq!(read(answer.await.unwrap()).await.status, 200);
    app.with_header(KEY).finish().await;
}
