//! Names that clients invent: what they lead to, and what they must not take away from others.

use std::time::Duration;

use azure_openai_proxy::simulator::{Answer as Scripted, Chunking, Play};
use serde_json::json;

use crate::helpers::*;

fn asked(app: &TestApp, position: usize) -> Vec<String> {
    let requests = app.sims[position].requests();
    requests.iter().map(|seen| seen.target.clone()).collect()
}

#[actix_web::test]
async fn a_wrong_spelling_does_not_take_the_right_one_away() {
    let app = spawn_app(1).await;
    let mut wrong = chat("hello", 5);
    wrong["model"] = json!("gpt4o");

    assert_eq!(app.chat(&wrong).await.code(), "DeploymentNotFound");
    assert_eq!(app.chat(&chat("hello", 5)).await.status, 200);
    let parked = app.chat(&wrong).await;
    assert_eq!(parked.code(), "DeploymentNotFound");
    assert_eq!(parked.header("x-should-retry"), Some("false"));

    app.finish().await;
}

#[actix_web::test]
async fn a_name_that_no_deployment_can_have_never_goes_up() {
    let app = spawn_app(1).await;
    for name in ["../../other/api", "..", "a?b=c", "a b"] {
        let mut body = chat("hello", 5);
        body["model"] = json!(name);

        let answer = app.chat(&body).await;

        assert_refused(&answer, 404, "model_not_found");
    }
    assert!(asked(&app, 0).is_empty());
    app.finish().await;
}

#[actix_web::test]
async fn a_deployment_in_an_azure_path_is_asked_for_by_its_model_elsewhere() {
    let app = pool()
        .instance("a", 1_000_000)
        .instance("b", 1_000_000)
        .var("AZURE_INSTANCE_A_MODEL_MAP_GPT4O", "prod-4o")
        .start()
        .await;
    app.sims[0].play([Play::server_error()]);
    let path = "/openai/deployments/prod-4o/chat/completions?api-version=2024-10-21";

    let answer = app.post(path, &chat("hello", 5)).await;

    assert_eq!((answer.status.as_u16(), answer.instance()), (200, "b"));
    assert!(asked(&app, 0)[0].contains("/deployments/prod-4o/"));
    assert!(asked(&app, 1)[0].contains("/deployments/gpt-4o/"));
    app.finish().await;
}

#[actix_web::test]
async fn a_deployment_in_a_body_of_azures_v1_form_is_asked_for_by_its_model_elsewhere() {
    let app = pool()
        .instance("a", 1_000_000)
        .instance("b", 1_000_000)
        .var("AZURE_INSTANCE_A_MODEL_MAP_GPT4O", "prod-4o")
        .start()
        .await;
    app.sims[0].play([Play::server_error()]);
    let mut body = chat("hello", 5);
    body["model"] = json!("prod-4o");

    let answer = app.post("/openai/v1/chat/completions", &body).await;

    assert_eq!((answer.status.as_u16(), answer.instance()), (200, "b"));
    assert!(asked(&app, 0)[0].contains("/deployments/prod-4o/"));
    assert!(asked(&app, 1)[0].contains("/deployments/gpt-4o/"));
    app.finish().await;
}

#[actix_web::test]
async fn a_member_repeated_without_end_is_refused() {
    let app = spawn_app(1).await;
    let many = r#""model":"gpt-4o","#.repeat(50);

    let answer = app
        .post_bytes("/v1/chat/completions", format!("{{{many}\"messages\":[]}}"))
        .await;

    assert_eq!(answer.status, 400);
    app.finish().await;
}

#[actix_web::test]
async fn client_errors_neither_break_nor_mend_an_instance() {
    let app = spawn_app(1).await;
    let refused = || Play::status(400, r#"{"error":{"code":"BadRequest","message":"no"}}"#);
    let fault = Play::server_error;
    app.sims[0].play([fault(), fault(), refused(), fault()]);
    for _ in 0..4 {
        app.chat(&chat("hello", 5)).await;
    }

    let instance = app.settled(0).await;

    assert_eq!(
        (&instance["status"], &instance["error_count"]),
        (&json!("error"), &json!(3))
    );
    app.finish().await;
}

#[actix_web::test]
async fn a_filter_that_strikes_inside_streams_is_the_clients_own_error() {
    let app = spawn_app(1).await;
    let content = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    let error = "data: {\"error\":{\"code\":\"content_filter\",\"message\":\"SECRET PROMPT\"}}\n\n";
    for _ in 0..4 {
        let stream = Scripted::new(200, format!("{content}{error}"))
            .header("content-type", "text/event-stream")
            .chunks(Chunking::At(vec![content.len()]))
            .pause(Duration::from_millis(20));
        app.sims[0].play([Play::Answer(stream)]);
        let answer = app.chat(&chat_stream("hello", 5)).await;
        assert_eq!(answer.text(), format!("{content}{error}"));
    }

    let instance = app.settled(0).await;

    assert_eq!(
        (&instance["status"], &instance["error_count"]),
        (&json!("healthy"), &json!(0))
    );
    assert_eq!(instance["last_error"], json!(null));
    app.finish().await;
}

#[actix_web::test]
async fn a_stream_of_nothing_but_its_end_is_complete() {
    let app = spawn_app(1).await;
    let filter = "data: {\"choices\":[],\"prompt_filter_results\":[]}\n\n";
    let stream = Scripted::new(200, format!("{filter}data: [DONE]"));
    app.sims[0].play([Play::Answer(
        stream.header("content-type", "text/event-stream"),
    )]);

    let path = "/openai/v1/chat/completions";
    let answer = app.post(path, &chat_stream("hello", 5)).await;

    assert_eq!(answer.text(), format!("{filter}data: [DONE]"));
    assert_eq!(app.settled(0).await["error_count"], 0);
    app.finish().await;
}
