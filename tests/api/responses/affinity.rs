//! What only the instance that made a response can do goes there, also through a replica that has not seen it made.

use super::*;

fn continuing(id: &str) -> Value {
    let mut body = ask("and then?");
    body["previous_response_id"] = json!(id);
    body
}

#[actix_web::test]
async fn a_response_is_continued_read_cancelled_and_deleted_where_it_was_made() {
    let app = in_turn().start().await;
    for _ in 0..4 {
        let mut body = ask("hello");
        body["background"] = json!(true);
        let (id, maker) = make(&app, &body).await;
        let path = format!("/v1/responses/{id}");
        let before = requests(&app);

        let read = app.get(&path).await;
        assert_came_from(&read, &maker);
        assert_eq!(read.json()["id"], id);
        // It takes none of the pool's tokens.
        assert_eq!(read.header("x-ratelimit-limit-tokens"), None);
        let items = app.get(&format!("{path}/input_items?limit=5")).await;
        assert_eq!(items.json()["data"][0]["content"][0]["text"], "hello");
        let cancelled = app.post(&format!("{path}/cancel"), &json!({})).await;
        assert_eq!(cancelled.json()["status"], "cancelled");
        let next = app.post("/v1/responses", &continuing(&id)).await;
        assert_came_from(&next, &maker);
        let gone = app.delete(&path).await;
        assert_eq!(gone.json()["deleted"], true);

        assert_eq!(
            requests(&app) - before,
            5,
            "each went straight to its maker"
        );
    }
    app.finish().await;
}

#[actix_web::test]
async fn a_replica_that_knows_nothing_finds_the_maker() {
    let app = in_turn().start().await;
    let replica = app.replica().await;
    for _ in 0..3 {
        let (id, maker) = make(&app, &ask("hello")).await;

        let read = replica.get(&format!("/v1/responses/{id}")).await;
        assert_came_from(&read, &maker);
        let (next, _) = make(&app, &continuing(&id)).await;
        let found = replica.post("/v1/responses", &continuing(&next)).await;
        assert_came_from(&found, &maker);
        let before = requests(&app);
        let known = replica.get(&format!("/v1/responses/{next}")).await;
        assert_eq!(known.instance(), maker);
        assert_eq!(requests(&app) - before, 1, "found once, it is remembered");
    }
    assert_without_errors(&replica).await;
    replica.finish().await;
    app.finish().await;
}

#[actix_web::test]
async fn a_response_that_nobody_knows_is_a_clear_error() {
    let app = in_turn().start().await;

    let read = app.get("/v1/responses/resp_unknown").await;
    assert_refused(&read, 404, "response_not_found");
    assert!(
        read.text()
            .contains("None of 3 instances knows the response `resp_unknown`")
    );
    let next = app.post("/v1/responses", &continuing("resp_unknown")).await;
    assert_refused(&next, 400, "previous_response_not_found");
    assert_eq!(next.json()["error"]["param"], "previous_response_id");

    assert_eq!(requests(&app), 6);
    for position in 0..3 {
        let instance = app.settled(position).await;
        assert_eq!(instance["status"], "healthy");
        assert_eq!(instance["current_tpm"], 0);
    }
    app.finish().await;
}

#[actix_web::test]
async fn the_only_instance_says_itself_that_it_knows_no_such_response() {
    let app = pool_of(1, DATED).await;

    let answer = app
        .get("/openai/responses/resp_x?api-version=2025-03-01-preview")
        .await;

    assert_eq!(answer.status, 404);
    assert_eq!(
        answer.json()["error"]["message"],
        "Response with id 'resp_x' not found."
    );
    let seen = app.sims[0].requests().pop().unwrap();
    assert_eq!(
        seen.target,
        "/openai/responses/resp_x?api-version=2025-04-01-preview"
    );
    app.finish().await;
}

#[actix_web::test]
async fn a_maker_that_cools_is_waited_for_and_nobody_else_is_asked() {
    let app = in_turn().start().await;
    let (id, maker) = make(&app, &ask("hello")).await;
    sim(&app, &maker).always(Some(Play::access_denied()));
    let before = requests(&app);

    // Its own answer comes first.
    let refused = app.post("/v1/responses", &continuing(&id)).await;
    assert_eq!(
        (refused.status.as_u16(), refused.instance()),
        (401, maker.as_str())
    );
    let waiting = app.post("/v1/responses", &continuing(&id)).await;

    assert_eq!(waiting.status, 429);
    assert!(waiting.header("retry-after").is_some());
    assert!(waiting.text().contains("refusing its key"));
    assert_eq!(waiting.json()["error"]["instances"][0]["name"], maker);
    assert_eq!(
        waiting.json()["error"]["instances"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(requests(&app) - before, 1);
    app.finish().await;
}

#[actix_web::test]
async fn while_an_instance_cannot_be_asked_nobody_says_that_a_response_is_gone() {
    let app = in_turn().start().await;
    let (id, maker) = make(&app, &ask("hello")).await;
    let replica = app.replica().await;
    sim(&app, &maker).always(Some(Play::access_denied()));
    let path = format!("/v1/responses/{id}");

    // The first finds out that it cannot be asked, and relays that; the second knows.
    assert_eq!(replica.get(&path).await.status, 401);
    let waiting = replica.get(&path).await;

    assert_refused(&waiting, 429, "no_capacity_available");
    sim(&app, &maker).always(None);
    replica.finish().await;
    app.finish().await;
}

#[actix_web::test]
async fn a_delete_that_fails_at_its_maker_goes_nowhere_else() {
    let app = in_turn().start().await;
    let (id, maker) = make(&app, &ask("hello")).await;
    sim(&app, &maker).play([Play::server_error()]);
    let before = requests(&app);

    let answer = app.delete(&format!("/v1/responses/{id}")).await;

    assert_refused(&answer, 500, "");
    assert_eq!(requests(&app) - before, 1);
    let again = app.delete(&format!("/v1/responses/{id}")).await;
    assert_eq!(again.json()["deleted"], true);
    app.finish().await;
}

#[actix_web::test]
async fn encrypted_reasoning_goes_back_to_who_can_read_it() {
    let app = in_turn().start().await;
    let replica = app.replica().await;
    let mut body = ask("think");
    body["include"] = json!(["reasoning.encrypted_content"]);
    body["store"] = json!(false);
    for is_stream in [false, true] {
        body["stream"] = json!(is_stream);
        let answer = app.post("/v1/responses", &body).await;
        let maker = answer.instance().to_owned();
        let mut input = response_of(&answer)["output"].as_array().unwrap().clone();
        input.push(json!({"role": "user", "content": "go on"}));
        // Clients that let nothing be kept leave out the id.
        let mut bare = input.clone();
        bare[0].as_object_mut().unwrap().remove("id");
        let request = |input: &[Value]| json!({"model": "gpt-4o", "input": input, "store": false});

        let before = requests(&app);
        for items in [&input, &bare] {
            let known = app.post("/v1/responses", &request(items)).await;
            assert_came_from(&known, &maker);
        }
        assert_eq!(requests(&app) - before, 2);
        let next = request(&input);
        let found = replica.post("/v1/responses", &next).await;
        assert_came_from(&found, &maker);
    }
    let foreign = json!({"model": "gpt-4o", "input": [
        {"id": "rs_x", "type": "reasoning", "summary": [], "encrypted_content": "elsewhere"}]});
    let answer = app.post("/v1/responses", &foreign).await;
    assert_refused(&answer, 400, "invalid_encrypted_content");
    assert!(answer.text().contains("None of 3 instances"));
    replica.finish().await;
    app.finish().await;
}

#[actix_web::test]
async fn a_continued_response_reserves_what_it_brings_along() {
    let app = pool_of(1, V1).await;
    let (id, _) = make(&app, &ask(&"word ".repeat(2_000))).await;
    let used = counted_at_rest(&app).await;
    assert!(used > 2_000);

    let both = counted_while_out(&app, &continuing(&id)).await;

    assert!(
        both > 2 * used && both < 2 * used + 100,
        "{both} after {used}"
    );
    app.finish().await;
}

#[actix_web::test]
async fn a_history_larger_than_its_makers_limit_waits_and_is_not_refused_for_ever() {
    for limit in ["MAX_TPM", "MAX_TPM_GPT4O"] {
        let app = pool()
            .instance("a", 500_000)
            .var(&format!("AZURE_INSTANCE_A_{limit}"), 3_000)
            .var("AZURE_INSTANCE_A_API_VERSION", V1)
            .instance("b", 1_000_000)
            .var("AZURE_INSTANCE_B_API_VERSION", V1)
            .start()
            .await;
        let usage = json!({"input_tokens": 6_000, "output_tokens": 10, "total_tokens": 6_010});
        let large = json!({"id": "resp_large", "object": "response", "output": [], "usage": usage});
        app.sims[0].play([Play::Answer(Script::new(200, large.to_string()))]);
        assert_eq!(make(&app, &ask("hello")).await.1, "a");

        let next = app.post("/v1/responses", &continuing("resp_large")).await;

        assert_eq!(next.status, 429, "{limit}");
        assert!(
            next.header("retry-after").is_some(),
            "{limit}: {}",
            next.text()
        );
        app.finish().await;
    }
}

#[actix_web::test]
async fn a_response_in_the_background_is_charged_what_was_reserved() {
    let app = pool_of(1, V1).await;
    let mut body = ask("hello");
    body["background"] = json!(true);

    let begun = app.post("/v1/responses", &body).await;

    assert_eq!(begun.json()["status"], "queued");
    assert_eq!(begun.json()["usage"], Value::Null);
    let reserved = counted_at_rest(&app).await;
    assert!((50..70).contains(&reserved), "{reserved}");
    let id = begun.json()["id"].as_str().unwrap().to_owned();
    let done = app.get(&format!("/v1/responses/{id}")).await;
    assert_eq!(done.json()["status"], "completed");
    assert!(done.json()["usage"]["total_tokens"].as_u64().unwrap() < reserved);
    assert_eq!(app.settled(0).await["current_tpm"], reserved);
    app.finish().await;
}

#[actix_web::test]
async fn a_kept_stream_is_resumed_where_it_was_left() {
    let app = in_turn().start().await;
    let first = app.post("/v1/responses", &ask_stream("hello")).await;
    let text = first.text();
    let id = text.split("\"id\":\"resp_").nth(1).unwrap();
    let id = format!("resp_{}", id.split('"').next().unwrap());
    let used = app.settled(0).await["current_tpm"].clone();

    let path = format!("/v1/responses/{id}?stream=true&starting_after=2");
    let rest = app.get(&path).await;

    let skipped: usize = text.split_inclusive("\n\n").take(3).map(str::len).sum();
    assert_eq!(rest.text(), &text[skipped..]);
    assert_eq!(app.settled(0).await["current_tpm"], used, "reading is free");
    app.finish().await;
}

#[actix_web::test]
async fn odd_ids_and_methods_are_refused_here() {
    let app = pool_of(1, V1).await;

    let odd = app.get("/v1/responses/a%2Fb").await;
    assert_refused(&odd, 400, "invalid_value");
    let put = app.post("/v1/responses/resp_1", &json!({})).await;
    assert_eq!(
        (put.status.as_u16(), put.header("allow")),
        (405, Some("GET, DELETE"))
    );
    assert_eq!(requests(&app), 0);
    let metric = r#"aoai_proxy_requests_total{endpoint="responses/retrieve",status="400"}"#;
    assert_eq!(app.metric(metric).await, 1.0);
    app.finish().await;

    let old = spawn_app(1).await;
    let answer = old.get("/v1/responses/resp_1").await;
    assert_refused(&answer, 404, "api_version_too_old");
    old.finish().await;
}
