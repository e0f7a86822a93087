//! Limits of single deployments, and what Azure says and does about its own: nothing is refused that could be foreseen.

mod heads;
mod kinds;

use std::time::Duration;

use azure_openai_proxy::domain::Tokens;
use azure_openai_proxy::simulator::{Answer as Scripted, Mark, Play, SimDeployment};
use serde_json::{Value, json};

use crate::helpers::*;

const EMBEDDINGS: &str = "/v1/embeddings";

fn embedding() -> Value {
    json!({"model": "text-embedding-3-small", "input": "hello there"})
}

/// What the status page says of a deployment of the first instance.
///
/// Answers travel to it with settlements, which a client may outrun by milliseconds.
async fn settled_deployment(app: &TestApp, name: &str) -> Value {
    app.settled(0).await;
    deployment(app, name).await
}

async fn deployment(app: &TestApp, name: &str) -> Value {
    let instance = app.instance(0).await;
    let deployments = instance["deployments"].as_array().unwrap();
    let found = deployments.iter().find(|one| one["name"] == name);
    found.cloned().unwrap_or_default()
}

/// Asserts that the proxy itself refused a request, for now. Returns after how many milliseconds it may come back.
fn refused_for(answer: &Answer, reason: &str) -> u64 {
    assert_refused(answer, 429, "no_capacity_available");
    assert!(answer.text().contains(reason), "{}", answer.text());
    assert_eq!(answer.header("x-proxy-attempts"), Some("0"));
    answer.header("retry-after-ms").unwrap().parse().unwrap()
}

#[actix_web::test]
async fn a_deployments_own_limit_leaves_the_others_of_its_instance_alone() {
    let app = pool()
        .instance("a", 1_000_000)
        .var("AZURE_INSTANCE_A_MAX_TPM_GPT4O", 600);
    let app = app.start().await;
    app.sims[0].play([Play::StallAfter(Mark::Events(4))]);
    let stream = app
        .open("/v1/chat/completions", &chat_stream("hello", 400))
        .await;

    let wait = refused_for(&app.chat(&chat("hello", 400)).await, "out of tokens");
    let too_large = app.chat(&chat("hello", 700)).await;
    let embedded = app.post(EMBEDDINGS, &embedding()).await;

    assert!((59_000..=60_200).contains(&wait), "{wait}");
    assert_eq!(too_large.code(), "request_exceeds_tpm");
    assert!(too_large.text().contains("600"), "{}", too_large.text());
    assert_eq!(embedded.status, 200);
    let four = deployment(&app, "gpt-4o").await;
    assert_eq!(
        (&four["limit"], &four["in_flight"]),
        (&json!(600), &json!(1))
    );
    assert_eq!(four["reserved"], four["used"]);
    assert!(four["reserved"].as_u64().unwrap() > 400, "{four}");
    drop(stream);
    app.finish().await;
}

#[actix_web::test]
async fn calls_are_held_to_the_instances_limit_in_ten_seconds() {
    let app = pool()
        .instance("a", 1_000_000)
        .var("AZURE_INSTANCE_A_MAX_RPM", 12);
    let app = app.start().await;
    app.sims[0].always(Some(Play::status(200, "{}")));
    for request in [EMBEDDINGS, "/v1/chat/completions"] {
        let body = if request == EMBEDDINGS {
            embedding()
        } else {
            chat("hello", 5)
        };
        assert_eq!(app.post(request, &body).await.status, 200);
    }

    let wait = refused_for(&app.chat(&chat("hello", 5)).await, "out of calls");

    assert!((8_000..=10_400).contains(&wait), "{wait}");
    assert_eq!(app.sims[0].requests().len(), 2);
    app.finish().await;
}

#[actix_web::test]
async fn azures_limit_of_calls_is_learned_before_it_refuses_one() {
    let four = SimDeployment::new("gpt-4o", "gpt-4o", Tokens(1_000_000)).rpm(12);
    let resource = azure_openai_proxy::simulator::Resource::new("a").deployment(four);
    let app = pool().with(resource);
    let app = app.var("AZURE_INSTANCE_A_MAX_TPM", 1_000_000).start().await;
    for _ in 0..2 {
        assert_eq!(app.chat(&chat("hello", 5)).await.status, 200);
    }

    refused_for(&app.chat(&chat("hello", 5)).await, "out of calls");

    assert_eq!(app.sims[0].counters().throttled, 0);
    assert_eq!(deployment(&app, "gpt-4o").await["requests_limit"], 12);
    app.finish().await;
}

/// A pool of one instance whose resource has `tpm` for each deployment, and so has the proxy.
async fn exact(tpm: u64) -> TestApp {
    let app = pool().with(resource("a", tpm));
    app.var("AZURE_INSTANCE_A_MAX_TPM", tpm).start().await
}

#[actix_web::test]
async fn what_azure_does_not_give_back_is_not_asked_for_again() {
    let app = exact(10_000).await;
    for _ in 0..2 {
        assert_eq!(app.chat(&chat("hello", 4_000)).await.status, 200);
    }
    let a = app.settled(0).await;
    assert!(a["current_tpm"].as_u64().unwrap() < 1_000, "{a}");

    let wait = refused_for(&app.chat(&chat("hello", 4_000)).await, "out of tokens");
    let smaller = app.chat(&chat("hello", 1_900)).await;

    assert!((58_000..=60_500).contains(&wait), "{wait}");
    assert_eq!(smaller.status, 200);
    assert_eq!(app.sims[0].counters().throttled, 0);
    let four = deployment(&app, "gpt-4o").await;
    assert_eq!(four["azure_limit"], 10_000);
    assert!(four["azure_remaining"].as_u64().unwrap() < 100, "{four}");
    assert!(four["drift"].as_i64().unwrap().abs() < 50, "{four}");
    app.finish().await;
}

#[actix_web::test]
async fn what_azure_will_charge_is_known_beforehand() {
    let long = "What a long request costs is known before it is sent. ".repeat(40);
    let talk = json!({"model": "gpt-4o", "max_tokens": 70, "messages": [
        {"role": "system", "content": "Answer in one word."},
        {"role": "user", "content": long},
        {"role": "assistant", "content": "Wörter über Wörter, und Bücher."},
        {"role": "user", "content": "hello"},
    ]});
    let mut open = chat("hello", 0);
    open.as_object_mut().unwrap().remove("max_tokens");
    let texts = json!({"model": "text-embedding-3-small", "input": long});
    for (path, request, name) in [
        ("/v1/chat/completions", &talk, "gpt-4o"),
        ("/v1/chat/completions", &open, "gpt-4o"),
        (EMBEDDINGS, &texts, "text-embedding-3-small"),
    ] {
        let app = exact(10_000).await;

        assert_eq!(app.post(path, request).await.status, 200);

        // Nothing else is in the log, so the drift is what the expectation was off by.
        let drift = settled_deployment(&app, name).await["drift"]
            .as_i64()
            .unwrap();
        assert!(drift.abs() <= 5, "{drift}");
        app.finish().await;
    }
}

#[actix_web::test]
async fn a_limit_that_azure_lowers_for_a_time_is_kept_to() {
    let app = exact(10_000).await;
    app.sims[0].set_tpm("gpt-4o", Tokens(2_000));
    assert_eq!(app.chat(&chat("hello", 1_500)).await.status, 200);

    refused_for(&app.chat(&chat("hello", 1_500)).await, "out of tokens");

    assert_eq!(app.sims[0].counters().throttled, 0);
    assert_eq!(deployment(&app, "gpt-4o").await["azure_limit"], 2_000);
    let remaining = app
        .metric("aoai_proxy_azure_limit_tokens{instance=\"a\"}")
        .await;
    assert_eq!(remaining, 2_000.0);
    app.finish().await;
}

#[actix_web::test]
async fn what_others_use_shows_as_drift_and_is_left_to_them() {
    let app = exact(10_000).await;
    app.sims[0].spend("gpt-4o", Tokens(6_000));
    assert_eq!(app.chat(&chat("hello", 50)).await.status, 200);

    refused_for(&app.chat(&chat("hello", 5_000)).await, "out of tokens");

    assert_eq!(app.sims[0].counters().throttled, 0);
    let drift = deployment(&app, "gpt-4o").await["drift"].as_i64().unwrap();
    assert!((5_800..=6_020).contains(&drift), "{drift}");
    let drift = app.metric("aoai_proxy_drift_tokens{instance=\"a\"}").await;
    assert!((5_800.0..=6_020.0).contains(&drift), "{drift}");
    app.finish().await;
}

#[actix_web::test]
async fn a_stream_tells_of_quota_at_its_head() {
    let app = exact(10_000).await;
    app.sims[0].play([Play::StallAfter(Mark::Events(4))]);

    let stream = app
        .open("/v1/chat/completions", &chat_stream("hello", 4_000))
        .await;

    let hears = |a: &Value| a["deployments"][0]["azure_remaining"].is_u64();
    let a = app.wait_for(0, "the news of the head", hears).await;
    assert_eq!(a["in_flight"], 1);
    let remaining = a["deployments"][0]["azure_remaining"].as_u64().unwrap();
    assert!((5_900..=6_000).contains(&remaining), "{remaining}");
    drop(stream);
    app.finish().await;
}

#[actix_web::test]
async fn numbers_that_mean_unknown_change_nothing() {
    let app = exact(10_000).await;
    for (limit, remaining) in [
        ("-1", "-1"),
        ("-1", "0"),
        ("many", "0"),
        ("0", "0"),
        ("10000", "-1"),
    ] {
        let answer = Scripted::new(200, "{}")
            .header("x-ratelimit-limit-tokens", limit)
            .header("x-ratelimit-remaining-tokens", remaining)
            .header("x-ratelimit-reset-tokens", "0");
        app.sims[0].play([Play::Answer(answer)]);

        assert_eq!(app.chat(&chat("hello", 5)).await.status, 200);

        let four = settled_deployment(&app, "gpt-4o").await;
        let unknown = ["azure_limit", "azure_remaining", "azure_age", "drift"];
        for field in unknown {
            assert_eq!(four[field], Value::Null, "{limit}: {four}");
        }
    }
    assert_eq!(app.chat(&chat("hello", 5_000)).await.status, 200);
    app.finish().await;
}

#[actix_web::test]
async fn without_any_headers_a_429_tells_what_is_missing() {
    let app = pool().with(resource("a", 10_000).without_quota_headers());
    let app = app.var("AZURE_INSTANCE_A_MAX_TPM", 10_000).start().await;
    for _ in 0..2 {
        assert_eq!(app.chat(&chat("hello", 4_000)).await.status, 200);
    }

    let answer = app.chat(&chat("hello", 4_000)).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("x-proxy-attempts")),
        (429, Some("1"))
    );
    app.sims[0].forget_requests();

    // Its own log shows that the 4,000 leave in a minute, as the 429 says: there is room for what is left of them.
    let wait = refused_for(&app.chat(&chat("hello", 4_000)).await, "cooling");
    assert!(wait > Duration::from_secs(57).as_millis() as u64, "{wait}");
    let smaller = app.chat(&chat("hello", 1_000)).await;
    assert_eq!(smaller.status, 200, "{}", smaller.text());
    assert_eq!(app.sims[0].requests().len(), 1);
    app.finish().await;
}
