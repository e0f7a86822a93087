//! What is kept at an instance, and asked for where the model, the deployment or the api-version is missing.

use super::*;

fn continuing(member: &str, id: &str) -> Value {
    let mut body = ask("and then?");
    body[member] = json!(id);
    body
}

#[actix_web::test]
async fn an_instance_without_the_deployment_does_not_hide_that_nothing_is_known() {
    let reference = json!([{"type": "item_reference", "id": "msg_gone"}]);
    let mut referring = ask("");
    referring["input"] = reference;
    for (body, words) in [
        (
            continuing("previous_response_id", "resp_gone"),
            "previous_response_not_found",
        ),
        (
            continuing("conversation", "conv_gone"),
            "Conversation with id 'conv_gone' not found",
        ),
        (referring, "Item with id 'msg_gone' not found"),
    ] {
        for lacking in [0, 1] {
            let app = pool_of(2, V1).await;
            app.sims[lacking].play([Play::deployment_not_found()]);

            // The first time it says so itself, the second time it is known.
            for _ in 0..2 {
                let answer = app.post("/v1/responses", &body).await;
                assert!(answer.text().contains(words), "{}", answer.text());
            }

            assert_eq!(app.sims[lacking].counters().requests, 1);
            assert_eq!(app.sims[1 - lacking].counters().requests, 2);
            app.finish().await;
        }
    }
}

#[actix_web::test]
async fn a_fault_tells_more_than_a_missing_deployment_while_a_response_is_looked_for() {
    let app = pool_of(3, V1).await;
    app.sims[1].play([Play::server_error()]);
    app.sims[2].play([Play::deployment_not_found()]);

    let body = continuing("previous_response_id", "resp_gone");
    let answer = app.post("/v1/responses", &body).await;

    assert_eq!((answer.status.as_u16(), answer.instance()), (500, "b"));
    app.finish().await;
}

#[actix_web::test]
async fn the_missing_deployment_of_a_maker_is_not_said_of_all() {
    let app = in_turn().start().await;
    let (id, maker) = make(&app, &ask("hello")).await;
    sim(&app, &maker).play([Play::deployment_not_found()]);
    let body = continuing("previous_response_id", &id);
    assert_eq!(app.post("/v1/responses", &body).await.instance(), maker);

    let again = app.post("/v1/responses", &body).await;

    assert_eq!(again.status, 404);
    let message = format!(
        "None of the instances that this request can go to has a deployment for `gpt-4o` ({maker}: "
    );
    assert!(again.text().contains(&message), "{}", again.text());
    app.finish().await;
}

/// Two instances of which the first serves fewer models.
async fn narrow_and_broad() -> TestApp {
    pool()
        .var("AZURE_ROUTING_STRATEGY", "failover")
        .var("MODEL_MAP_GPT5", "gpt-4o")
        .instance("a", 1_000_000)
        .var("AZURE_INSTANCE_A_API_VERSION", V1)
        .var("AZURE_INSTANCE_A_MODELS", "gpt-5")
        .instance("b", 1_000_000)
        .var("AZURE_INSTANCE_B_API_VERSION", V1)
        .var("AZURE_INSTANCE_B_MODELS", "gpt-5,gpt-4o")
        .start()
        .await
}

#[actix_web::test]
async fn a_conversation_begins_where_most_models_are_served() {
    let app = narrow_and_broad().await;

    let begun = app.post("/v1/conversations", &json!({})).await;
    assert_came_from(&begun, "b");

    // Sooner than nowhere it begins elsewhere.
    app.sims[1].play([Play::server_error()]);
    let begun = app.post("/v1/conversations", &json!({})).await;
    assert_came_from(&begun, "a");
    app.finish().await;
}

#[actix_web::test]
async fn what_is_kept_where_the_model_is_not_served_says_so() {
    let app = narrow_and_broad().await;
    let mut small = ask("hello");
    small["model"] = json!("gpt-5");
    let (response, maker) = make(&app, &small).await;
    assert_eq!(maker, "a");
    app.sims[1].play([Play::server_error()]);
    let begun = app.post("/v1/conversations", &json!({})).await;
    let conversation = begun.json()["id"].as_str().unwrap().to_owned();
    let before = requests(&app);

    for (member, id, what) in [
        ("previous_response_id", &response, "response"),
        ("conversation", &conversation, "conversation"),
    ] {
        let answer = app.post("/v1/responses", &continuing(member, id)).await;

        assert_refused(&answer, 404, "model_not_found");
        let message = format!("The {what} `{id}` is kept by a, which does not serve `gpt-4o`.");
        assert!(answer.text().contains(&message), "{}", answer.text());
    }
    assert_eq!(requests(&app), before, "nobody was asked in vain");
    app.finish().await;
}

#[actix_web::test]
async fn a_conversation_is_continued_by_v1_alone() {
    let app = pool()
        .instance("a", 1_000_000)
        .var("AZURE_INSTANCE_A_API_VERSION", DATED)
        .instance("b", 1_000_000)
        .var("AZURE_INSTANCE_B_API_VERSION", V1)
        .start()
        .await;
    let begun = app.post("/v1/conversations", &json!({})).await;
    let id = begun.json()["id"].as_str().unwrap().to_owned();
    // One that does not know where it is.
    let replica = app.replica().await;

    let body = continuing("conversation", &id);
    assert_came_from(&replica.post("/v1/responses", &body).await, "b");

    assert_eq!(app.sims[0].counters().requests, 0);
    replica.finish().await;
    app.finish().await;
    let old = pool_of(1, DATED).await;
    let refused = old.post("/v1/responses", &body).await;
    assert_eq!(refused.code(), "api_version_too_old");
    assert!(refused.text().contains("`conversation`"));
    assert_eq!(requests(&old), 0);
    old.finish().await;
}
