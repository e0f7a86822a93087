//! Items that a request names and does not bring go to the instance that keeps them, as agents send them from the second
//! step on.

use super::*;

fn reference(id: &Value) -> Value {
    json!({"type": "item_reference", "id": id})
}

/// The request of an agent's next step.
fn next(items: impl IntoIterator<Item = Value>) -> Value {
    let mut input = vec![json!({"role": "user", "content": "Call get_weather."})];
    input.extend(items);
    input.push(json!({"type": "function_call_output", "call_id": "call_1", "output": "Rain."}));
    json!({"model": "gpt-4o", "input": input, "tools": [weather()]})
}

fn weather() -> Value {
    json!({"type": "function", "name": "get_weather", "parameters": {"type": "object"}})
}

/// Lets an instance reason and call a tool; returns both items and who made them.
async fn call_of(app: &TestApp, is_stream: bool) -> (Vec<Value>, String) {
    let mut body = next([]);
    body["input"] = json!("Call get_weather.");
    body["include"] = json!(["reasoning.encrypted_content"]);
    body["stream"] = json!(is_stream);
    let answer = app.post("/v1/responses", &body).await;
    let items = response_of(&answer)["output"].as_array().unwrap().clone();
    assert_eq!(items[0]["type"], "reasoning");
    assert_eq!(items[1]["type"], "function_call");
    (items, answer.instance().to_owned())
}

#[actix_web::test]
async fn an_item_that_is_only_named_is_looked_up_where_it_was_made() {
    let app = in_turn().start().await;
    for is_stream in [false, true] {
        let (items, maker) = call_of(&app, is_stream).await;
        let mut thought = items[0].clone();
        thought["encrypted_content"] = Value::Null;
        for named in [
            vec![reference(&items[1]["id"])],
            vec![reference(&items[0]["id"]), reference(&items[1]["id"])],
            vec![thought, items[1].clone()],
        ] {
            let before = requests(&app);

            let answer = app.post("/v1/responses", &next(named)).await;

            assert_came_from(&answer, &maker);
            assert_eq!(requests(&app) - before, 1, "it went straight to its maker");
            assert_eq!(answer.json()["output"][0]["type"], "message");
        }
    }
    app.finish().await;
}

#[actix_web::test]
async fn a_replica_that_knows_nothing_finds_who_keeps_an_item() {
    let app = in_turn().start().await;
    let replica = app.replica().await;
    for _ in 0..3 {
        let (items, maker) = call_of(&app, false).await;
        let body = next([reference(&items[1]["id"])]);

        let found = replica.post("/v1/responses", &body).await;
        assert_came_from(&found, &maker);

        let before = requests(&app);
        assert_came_from(&replica.post("/v1/responses", &body).await, &maker);
        assert_eq!(requests(&app) - before, 1, "found once, it is remembered");
    }
    assert_without_errors(&replica).await;
    replica.finish().await;
    app.finish().await;
}

#[actix_web::test]
async fn one_known_item_tells_where_those_of_other_replicas_are() {
    let app = in_turn().start().await;
    let replica = app.replica().await;
    let (items, maker) = call_of(&app, false).await;
    let known = reference(&items[1]["id"]);
    let answer = replica.post("/v1/responses", &next([known.clone()])).await;
    let unknown = reference(&answer.json()["output"][0]["id"]);
    let before = requests(&app);

    let answer = app.post("/v1/responses", &next([known, unknown])).await;

    assert_came_from(&answer, &maker);
    assert_eq!(requests(&app) - before, 1);
    replica.finish().await;
    app.finish().await;
}

#[actix_web::test]
async fn an_item_that_brings_its_content_goes_anywhere() {
    let app = in_turn().start().await;
    let (items, _) = call_of(&app, false).await;

    let mut instances = Vec::new();
    for _ in 0..3 {
        let answer = app.post("/v1/responses", &next([items[1].clone()])).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        instances.push(answer.instance().to_owned());
    }

    instances.sort();
    assert_eq!(instances, ["a", "b", "c"]);
    app.finish().await;
}

#[actix_web::test]
async fn an_item_that_nobody_keeps_is_a_clear_error_in_the_words_of_the_service() {
    let app = in_turn().start().await;
    let body = next([reference(&json!("fc_gone"))]);

    let answer = app.post("/v1/responses", &body).await;

    let error = &answer.json()["error"];
    assert_eq!(answer.status, 400);
    assert_eq!(
        (&error["code"], &error["param"]),
        (&json!("item_not_found"), &json!("input"))
    );
    let message = error["message"].as_str().unwrap();
    assert!(
        message.starts_with("Item with id 'fc_gone' not found. None of 3 instances"),
        "{message}"
    );
    assert_eq!(requests(&app), 3);
    for position in 0..3 {
        assert_eq!(app.settled(position).await["current_tpm"], 0);
    }
    app.finish().await;

    let alone = pool_of(1, V1).await;
    let answer = alone.post("/v1/responses", &body).await;
    assert_eq!(
        answer.json()["error"]["message"],
        "Item with id 'fc_gone' not found."
    );
    alone.finish().await;
}

#[actix_web::test]
async fn an_item_that_is_not_kept_yet_is_asked_for_once_more() {
    let app = in_turn().start().await;
    let (items, maker) = call_of(&app, false).await;
    let mut body = next([reference(&items[1]["id"])]);
    let not_found = |hint: &str| {
        let message = format!("Item with id {} not found.{hint}", items[1]["id"]).replace('"', "'");
        let error = json!({"message": message, "type": "invalid_request_error", "param": "input"});
        Play::Answer(Script::new(400, json!({"error": error}).to_string()))
    };
    let before = requests(&app);

    sim(&app, &maker).play([not_found("")]);
    let answer = app.post("/v1/responses", &body).await;
    assert_came_from(&answer, &maker);
    assert_eq!(requests(&app) - before, 2);

    // Once is enough, and nobody waits for what is not to be kept.
    sim(&app, &maker).play([not_found(""), not_found("")]);
    let gone = app.post("/v1/responses", &body).await;
    assert_eq!(gone.code(), "item_not_found");
    assert_eq!(requests(&app) - before, 6);
    body["store"] = json!(false);
    sim(&app, &maker).play([not_found(
        " Items are not persisted when `store` is set to false.",
    )]);
    let unstored = app.post("/v1/responses", &body).await;
    assert_eq!(unstored.code(), "item_not_found");
    assert_eq!(requests(&app) - before, 9);
    app.finish().await;
}

#[actix_web::test]
async fn while_the_keeper_of_an_item_cools_nobody_else_is_asked() {
    let app = in_turn().start().await;
    let (items, maker) = call_of(&app, false).await;
    sim(&app, &maker).play([Play::access_denied()]);
    let body = next([reference(&items[1]["id"])]);
    assert_eq!(app.post("/v1/responses", &body).await.status, 401);
    let before = requests(&app);

    let waiting = app.post("/v1/responses", &body).await;

    assert_refused(&waiting, 429, "no_capacity_available");
    assert_eq!(waiting.json()["error"]["instances"][0]["name"], maker);
    assert_eq!(requests(&app), before);
    app.finish().await;
}

#[actix_web::test]
async fn an_item_of_a_stream_that_goes_on_is_known_already() {
    let app = in_turn().start().await;
    let item = json!({"type": "function_call", "id": "fc_early", "name": "get_weather", "call_id": "call_1"});
    let done = event(
        "response.output_item.done",
        json!({"output_index": 0, "item": item}),
    );
    let delta = json!({"delta": "Hel", "sequence_number": 2});
    let begun = created() + &done + &event("response.output_text.delta", delta);
    let cuts = Chunking::At(vec![begun.len()]);
    let end = event("response.completed", json!({"response": {"usage": null}}));
    let answer = Script::new(200, begun + &end).header("content-type", "text/event-stream");
    let answer = answer.chunks(cuts).pause(Duration::from_millis(1_500));
    app.sims[0].play([Play::Answer(answer)]);
    let mut stream = app.open("/v1/responses", &ask_stream("hello")).await;
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("fc_early") {
        seen.extend_from_slice(&stream.next().await.unwrap().unwrap());
    }
    // It is kept by no simulated resource, but asked for first where it was made.
    let before = app.sims[0].counters().requests;
    app.sims[0].play([Play::server_error()]);

    let answer = app
        .post("/v1/responses", &next([reference(&json!("fc_early"))]))
        .await;

    assert_eq!(answer.status, 500);
    assert_eq!(app.sims[0].counters().requests - before, 1);
    assert_eq!(requests(&app), before + 1);
    drop(stream);
    app.finish().await;
}

#[actix_web::test]
async fn a_request_reserves_what_the_items_that_it_names_bring_along() {
    let app = pool_of(1, V1).await;
    let usage = json!({"input_tokens": 10, "output_tokens": 9_000, "total_tokens": 9_010});
    let output = json!([{"type": "reasoning", "id": "rs_1"}, {"type": "message", "id": "msg_1"}]);
    let large = json!({"id": "resp_1", "object": "response", "output": output, "usage": usage});
    app.sims[0].play([Play::Answer(Script::new(200, large.to_string()))]);
    let (_, _) = make(&app, &ask("hello")).await;
    let used = counted_at_rest(&app).await;

    let body = next([reference(&json!("msg_1"))]);
    let reserved = counted_while_out(&app, &body).await - used;

    assert!((4_500..5_500).contains(&reserved), "{reserved}");
    app.finish().await;
}
