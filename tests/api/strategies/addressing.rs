//! Which deployment an instance is asked for, by which path, and with which body.

use std::net::{IpAddr, Ipv4Addr};

use azure_openai_proxy::domain::Tokens;
use azure_openai_proxy::simulator::{Play, Resource, Seen, SimDeployment, Simulator};
use serde_json::{Value, json};

use crate::helpers::*;

/// A body with the spaces of nobody's serialiser, so that a rewrite would show.
const ODD: &str = r#"{ "model" : "gpt-4o",  "max_tokens":50, "x":1.50, "messages":[{"role":"user","content":"h\u00e9"}] }"#;

/// A resource with these deployments of gpt-4o beside the usual ones.
fn with_deployments(name: &str, deployments: &[&str]) -> Resource {
    let mut resource = resource(name, 1_000_000);
    for deployment in deployments {
        resource =
            resource.deployment(SimDeployment::new(*deployment, "gpt-4o", Tokens(1_000_000)));
    }
    resource
}

/// The newest request of a resource.
fn last(app: &TestApp, position: usize) -> Seen {
    app.sims[position].requests().last().unwrap().clone()
}

fn dated(deployment: &str) -> String {
    format!("/openai/deployments/{deployment}/chat/completions?api-version=2024-10-21")
}

#[actix_web::test]
async fn a_model_goes_only_where_it_is_listed() {
    let app = pool().instance("a", 1_000_000).instance("b", 1_000_000);
    let app = app.var("AZURE_INSTANCE_A_MODELS", "text-embedding-3-small");
    let app = app.var("AZURE_INSTANCE_B_MODELS", "gpt-4o").start().await;

    let chat = app.chat(&chat("hello", 50)).await;
    let embedding = json!({"model": "text-embedding-3-small", "input": "hello"});
    let embedding = app.post("/v1/embeddings", &embedding).await;
    let unknown = json!({"model": "gpt-4o-mini", "messages": []});
    let unknown = app.chat(&unknown).await;

    assert_eq!(
        (chat.instance(), chat.header("x-proxy-attempts")),
        ("b", Some("1"))
    );
    assert_eq!(
        (embedding.status.as_u16(), embedding.instance()),
        (200, "a")
    );
    assert_refused(&unknown, 404, "model_not_found");
    app.finish().await;
}

#[actix_web::test]
async fn a_model_becomes_the_deployment_of_the_map_or_of_the_instances_own() {
    let app = pool().var("AZURE_ROUTING_STRATEGY", "round_robin");
    let app = app.with(with_deployments("a", &["chat-prod"]));
    let app = app.with(with_deployments("b", &["chat-b"]));
    let app = app
        .var("TOKEN_RATE_LIMIT", 1_000_000)
        .var("MODEL_MAP_GPT4o", "chat-prod");
    let app = app
        .var("AZURE_INSTANCE_B_MODEL_MAP_GPT4O", "chat-b")
        .start()
        .await;

    for instance in ["a", "b"] {
        let answer = app.post_bytes("/v1/chat/completions", ODD).await;
        assert_eq!((answer.status.as_u16(), answer.instance()), (200, instance));
    }

    assert_eq!(last(&app, 0).target, dated("chat-prod"));
    assert_eq!(last(&app, 1).target, dated("chat-b"));
    assert_eq!(last(&app, 0).body, ODD);
    assert_eq!(last(&app, 1).body, ODD);
    app.finish().await;
}

#[actix_web::test]
async fn the_deployment_goes_into_the_body_for_v1_and_into_the_path_for_a_date() {
    let app = pool().with(with_deployments("a", &["chat-a"]));
    let app = app.with(with_deployments("b", &["chat-b"]));
    let app = app.with(with_deployments("c", &["chat-c"]));
    let app = app.var("TOKEN_RATE_LIMIT", 1_000_000);
    let app = app.var("AZURE_INSTANCE_A_API_VERSION", "v1");
    let app = app.var("AZURE_INSTANCE_C_API_VERSION", "v1");
    let app = ["a", "b", "c"].into_iter().fold(app, |app, name| {
        let variable = format!("AZURE_INSTANCE_{}_MODEL_MAP_GPT4O", name.to_uppercase());
        app.var(&variable, format!("chat-{name}"))
    });
    let app = app.start().await;
    app.sims[0].play([Play::server_error()]);
    app.sims[1].play([Play::server_error()]);

    let answer = app.post_bytes("/v1/chat/completions", ODD).await;

    assert_eq!((answer.status.as_u16(), answer.instance()), (200, "c"));
    for (position, name) in [(0, "chat-a"), (2, "chat-c")] {
        let seen = last(&app, position);
        assert_eq!(seen.target, "/openai/v1/chat/completions");
        assert_eq!(seen.body, ODD.replace("\"gpt-4o\"", &format!("\"{name}\"")));
    }
    assert_eq!(last(&app, 1).target, dated("chat-b"));
    assert_eq!(last(&app, 1).body, ODD);
    app.finish().await;
}

#[actix_web::test]
async fn every_spelling_of_the_path_is_served() {
    let app = spawn_app(1).await;
    for path in [
        "/v1/chat/completions",
        "/v1/chat/completions/",
        "/chat/completions",
        "/chat/completions/",
        "/openai/v1/chat/completions",
        "/openai/v1/chat/completions?api-version=preview",
        "/openai/deployments/gpt-4o/chat/completions?api-version=2023-05-15",
        "/openai/deployments/gpt-4o/chat/completions",
    ] {
        let answer = app.post_bytes(path, ODD).await;

        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        // The client's api-version is not the instance's.
        assert_eq!(last(&app, 0).target, dated("gpt-4o"), "{path}");
    }
    app.finish().await;
}

#[actix_web::test]
async fn azures_path_names_a_model_or_else_a_deployment() {
    let app = pool().with(with_deployments("a", &["chat-prod"]));
    let app = app.var("TOKEN_RATE_LIMIT", 1_000_000);
    let app = app.var("MODEL_MAP_GPT4O", "chat-prod").start().await;
    let body = json!({"messages": [{"role": "user", "content": "hello"}], "max_tokens": 9});

    for name in ["gpt-4o", "chat-prod"] {
        let path = format!("/openai/deployments/{name}/chat/completions?api-version=2024-02-01");
        let answer = app.post(&path, &body).await;

        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        assert_eq!(last(&app, 0).target, dated("chat-prod"));
        assert_eq!(last(&app, 0).body, serde_json::to_vec(&body).unwrap());
    }
    app.finish().await;
}

#[actix_web::test]
async fn azures_path_reaches_a_v1_instance_by_its_body() {
    let app = pool().instance("a", 1_000_000);
    let app = app.var("AZURE_INSTANCE_A_API_VERSION", "v1").start().await;
    let body = json!({"messages": [{"role": "user", "content": "hello"}], "max_tokens": 9});

    let path = "/openai/deployments/gpt-4o/chat/completions?api-version=2024-02-01";
    let answer = app.post(path, &body).await;

    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = last(&app, 0);
    assert_eq!(seen.target, "/openai/v1/chat/completions");
    let sent: Value = serde_json::from_slice(&seen.body).unwrap();
    assert_eq!(sent["model"], "gpt-4o");
    app.finish().await;
}

#[actix_web::test]
async fn a_path_prefix_of_the_base_is_kept() {
    let anywhere = (IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let gateway = Simulator::start(resource("gateway", 1_000_000), anywhere)
        .await
        .unwrap();
    let base = format!("{}/team/a/", gateway.url());
    let app = pool().instance("a", 1_000_000);
    let app = app.var("AZURE_INSTANCE_A_API_BASE", base).start().await;

    let answer = app.post_bytes("/v1/chat/completions", ODD).await;

    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = gateway.requests();
    assert_eq!(seen[0].target, format!("/team/a{}", dated("gpt-4o")));
    app.finish().await;
}
