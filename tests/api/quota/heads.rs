//! What errors say of quota in their heads, calls that others make, and the quota headers of the pool.

use azure_openai_proxy::domain::Tokens;
use azure_openai_proxy::simulator::{Answer as Scripted, Play, Resource, SimDeployment};
use serde_json::{Value, json};

use super::{EMBEDDINGS, embedding, exact, refused_for, settled_deployment};
use crate::helpers::*;

const FILTERED: &str =
    r#"{"error":{"code":"content_filter","message":"filtered","param":"prompt","status":400}}"#;
const THROTTLED: &str =
    r#"{"error":{"code":"429","message":"Rate limit is exceeded. Try again in 30 seconds."}}"#;

fn telling(status: u16, body: &'static str, remaining: u64) -> Play {
    let remaining = remaining.to_string();
    let answer = Scripted::new(status, body)
        .header("x-ratelimit-limit-tokens", "10000")
        .header("x-ratelimit-remaining-tokens", &remaining);
    Play::Answer(answer)
}

fn number(answer: &Answer, name: &str) -> u64 {
    let value = answer.header(name);
    value.and_then(|value| value.parse().ok()).unwrap()
}

#[actix_web::test]
async fn an_error_from_behind_azures_limiter_tells_what_remains() {
    for (status, body) in [(400, FILTERED), (429, THROTTLED)] {
        let app = exact(10_000).await;
        app.sims[0].play([telling(status, body, 700)]);
        assert_eq!(app.chat(&chat("hello", 4_000)).await.status, status);

        let four = settled_deployment(&app, "gpt-4o").await;

        // What others use fades.
        let remaining = four["azure_remaining"].as_u64().unwrap();
        assert!((700..800).contains(&remaining), "{status}: {four}");
        refused_for(&app.chat(&chat("hello", 900)).await, "out of tokens");
        assert_eq!(app.chat(&chat("hello", 600)).await.status, 200, "{status}");
        app.finish().await;
    }
}

#[actix_web::test]
async fn an_error_that_may_not_be_from_behind_azures_limiter_tells_nothing() {
    let missing = r#"{"error":{"code":"404","message":"Resource not found"}}"#;
    for (status, body) in [(401, "{}"), (403, "{}"), (404, missing), (500, "{}")] {
        let app = exact(10_000).await;
        app.sims[0].play([telling(status, body, 700)]);
        assert_eq!(app.chat(&chat("hello", 4_000)).await.status, status);

        let four = settled_deployment(&app, "gpt-4o").await;

        assert_eq!(four["azure_remaining"], Value::Null, "{status}: {four}");
        app.finish().await;
    }
}

/// Calls the deployment as another program does that uses the same resource.
async fn call_beside(app: &TestApp) {
    let sim = &app.sims[0];
    let url = format!(
        "{}/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
        sim.url()
    );
    let key = sim.resource().api_key().expose().to_owned();
    let call = client().post(url).insert_header(("api-key", key));
    let answer = read(call.send_json(&chat("hello", 5)).await.unwrap()).await;
    assert_eq!(answer.status, 200);
}

#[actix_web::test]
async fn calls_that_others_make_are_learned_before_azure_refuses_one() {
    let four = SimDeployment::new("gpt-4o", "gpt-4o", Tokens(1_000_000)).rpm(60);
    let app = pool().with(Resource::new("a").deployment(four));
    let app = app.var("AZURE_INSTANCE_A_MAX_TPM", 1_000_000).start().await;
    assert_eq!(app.chat(&chat("hello", 5)).await.status, 200);
    for _ in 0..6 {
        call_beside(&app).await;
    }

    for _ in 0..3 {
        assert_eq!(app.chat(&chat("hello", 5)).await.status, 200);
        app.settled(0).await;
    }

    refused_for(&app.chat(&chat("hello", 5)).await, "out of calls");
    assert_eq!(app.sims[0].counters().throttled, 0);
    app.finish().await;
}

#[actix_web::test]
async fn calls_that_found_no_connection_are_given_back() {
    let app = pool()
        .instance("a", 1_000_000)
        .var("AZURE_INSTANCE_A_API_BASE", "http://127.0.0.1:9")
        .var("AZURE_INSTANCE_A_MAX_RPM", 6);
    let app = app.start().await;

    for _ in 0..2 {
        let answer = app.chat(&chat("hello", 5)).await;
        assert_eq!(answer.code(), "upstream_unreachable", "{}", answer.text());
        app.settled(0).await;
    }
    app.finish().await;
}

#[actix_web::test]
async fn the_pools_headers_speak_of_the_model_asked_for() {
    let app = pool()
        .instance("a", 600_000)
        .instance("b", 500_000)
        .var("AZURE_INSTANCE_A_MAX_TPM_GPT4O", 5_000)
        .var("AZURE_INSTANCE_B_MODELS", "gpt-4o");
    let app = app.start().await;

    let answer = app.chat(&chat("hello", 3_000)).await;
    let limit = "x-ratelimit-limit-tokens";
    let remaining = "x-ratelimit-remaining-tokens";
    assert_eq!(number(&answer, limit), 505_000);
    let rest = number(&answer, remaining);
    assert!((501_500..=502_000).contains(&rest), "{rest}");
    let answer = app.post(EMBEDDINGS, &embedding()).await;
    assert_eq!(number(&answer, limit), 600_000);
    assert!(number(&answer, remaining) > 590_000);
    app.finish().await;
}

#[actix_web::test]
async fn our_own_429_carries_the_pools_headers_too() {
    let app = pool()
        .instance("a", 1_000_000)
        .var("AZURE_INSTANCE_A_MAX_TPM_GPT4o", 600);
    let app = app.start().await;
    app.sims[0].always(Some(Play::status(200, "{}")));
    assert_eq!(app.chat(&chat("hello", 500)).await.status, 200);

    let full = app.chat(&chat("hello", 500)).await;
    let too_large = app.chat(&chat("hello", 900)).await;

    refused_for(&full, "out of tokens");
    for answer in [&full, &too_large] {
        assert_eq!(number(answer, "x-ratelimit-limit-tokens"), 600);
        assert!(number(answer, "x-ratelimit-remaining-tokens") < 100);
        let reset = answer.header("x-ratelimit-reset-tokens").unwrap();
        assert!(reset.ends_with('s'), "{reset}");
    }
    let text = too_large.text();
    assert!(
        text.contains("raise AZURE_INSTANCE_A_MAX_TPM_GPT4o."),
        "{text}"
    );
    app.finish().await;
}

#[actix_web::test]
async fn a_request_that_is_too_large_names_the_variable_that_decided() {
    for (variable, value, named) in [
        ("AZURE_INSTANCE_A_MAX_TPM", 600, "AZURE_INSTANCE_A_MAX_TPM"),
        ("TOKEN_RATE_LIMIT", 600, "TOKEN_RATE_LIMIT"),
        ("AZURE_INSTANCE_A_MAX_TPM_O3", 600, "TOKEN_RATE_LIMIT"),
    ] {
        let app = pool().with(resource("a", 1_000_000));
        let app = app.var(variable, value).start().await;

        let answer = app.chat(&chat("hello", 40_000)).await;

        assert_eq!(answer.code(), "request_exceeds_tpm");
        let text = answer.text();
        assert!(text.contains(&format!("raise {named}.")), "{text}");
        app.finish().await;
    }
}

#[actix_web::test]
async fn a_deployment_shows_who_waits_for_it() {
    let app = pool()
        .instance("a", 1_000)
        .var("QUEUE_TIMEOUT_SECS", 100)
        .start()
        .await;
    app.sims[0].always(Some(Play::status(200, "{}")));
    assert_eq!(app.chat(&chat("hello", 900)).await.status, 200);

    let large = chat("hello", 900);
    let waits = app.chat(&large);
    let looks = app.wait_for(0, "a request to wait", |a| {
        a["deployments"][0]["waiting"] == 1
    });

    tokio::select! {
        answer = waits => panic!("{answer:?}"),
        a = looks => assert_eq!(a["deployments"][0]["name"], json!("gpt-4o")),
    }
    app.finish().await;
}
