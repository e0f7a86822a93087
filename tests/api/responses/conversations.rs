//! Conversations: what is kept of them goes to the instance that began them, and so do the responses that continue one.

use super::*;

async fn begin(app: &TestApp, body: &Value) -> (String, String) {
    let answer = app.post("/v1/conversations", body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    (id, answer.instance().to_owned())
}

fn said(text: &str) -> Value {
    json!({"type": "message", "role": "user", "content": text})
}

fn texts(list: &Value) -> Vec<String> {
    let items = list["data"].as_array().unwrap().iter();
    let text = |item: &Value| match &item["content"] {
        Value::String(text) => text.clone(),
        parts => parts[0]["text"].as_str().unwrap().to_owned(),
    };
    items.map(text).collect()
}

#[actix_web::test]
async fn a_conversation_is_read_changed_and_deleted_where_it_was_begun() {
    let app = in_turn().start().await;
    for _ in 0..3 {
        let first = json!({"metadata": {"topic": "x"}, "items": [said("one")]});
        let (id, maker) = begin(&app, &first).await;
        let path = format!("/v1/conversations/{id}");
        let before = requests(&app);

        let read = app.get(&path).await;
        assert_came_from(&read, &maker);
        assert_eq!(read.json()["metadata"]["topic"], "x");
        let changed = app.post(&path, &json!({"metadata": {"topic": "y"}})).await;
        assert_eq!(changed.json()["metadata"]["topic"], "y");
        let added = app
            .post(&format!("{path}/items"), &json!({"items": [said("two")]}))
            .await;
        let item = added.json()["data"][0]["id"].as_str().unwrap().to_owned();
        let all = app.get(&format!("{path}/items?order=asc&limit=5")).await;
        assert_eq!(texts(&all.json()), ["one", "two"]);
        let one = app.get(&format!("{path}/items/{item}")).await;
        assert_eq!(one.json()["content"], "two");
        let less = app.delete(&format!("{path}/items/{item}")).await;
        assert_eq!(less.json()["id"], id);
        // That the item is gone is said by who has the conversation.
        let gone = app.get(&format!("{path}/items/{item}")).await;
        assert_eq!(
            (gone.status.as_u16(), gone.instance()),
            (404, maker.as_str())
        );
        assert!(gone.text().contains("not found in conversation"));
        let deleted = app.delete(&path).await;
        assert_eq!(deleted.json()["deleted"], true);

        assert_eq!(
            requests(&app) - before,
            8,
            "each went straight to its maker"
        );
    }
    app.finish().await;
}

#[actix_web::test]
async fn a_response_continues_a_conversation_where_it_was_begun() {
    let app = in_turn().start().await;
    let replica = app.replica().await;
    for is_object in [false, true] {
        let (id, maker) = begin(&app, &json!({})).await;
        for (through, text) in [(&app, "one"), (&replica, "two"), (&app, "three")] {
            let mut body = ask(text);
            body["conversation"] = match is_object {
                true => json!({"id": id}),
                false => json!(id),
            };

            let answer = through.post("/v1/responses", &body).await;

            assert_came_from(&answer, &maker);
            assert_eq!(answer.json()["conversation"]["id"], id);
        }
        let items = replica
            .get(&format!("/v1/conversations/{id}/items?order=asc"))
            .await;
        assert_came_from(&items, &maker);
        let texts = texts(&items.json());
        assert_eq!(texts.len(), 6, "{texts:?}");
        assert_eq!(
            (&*texts[0], &*texts[2], &*texts[4]),
            ("one", "two", "three")
        );
    }
    replica.finish().await;
    app.finish().await;
}

#[actix_web::test]
async fn a_conversation_reserves_what_was_said_before() {
    let app = pool_of(1, V1).await;
    let (id, _) = begin(&app, &json!({})).await;
    let mut body = ask(&"word ".repeat(2_000));
    body["conversation"] = json!(id);
    make(&app, &body).await;
    let used = counted_at_rest(&app).await;
    assert!(used > 2_000);
    body["input"] = json!("and then?");

    let both = counted_while_out(&app, &body).await;

    assert!(
        both > 2 * used && both < 2 * used + 100,
        "{both} after {used}"
    );
    app.finish().await;
}

#[actix_web::test]
async fn a_conversation_that_nobody_knows_is_a_clear_error() {
    let app = in_turn().start().await;
    let mut body = ask("hello");
    body["conversation"] = json!("conv_gone");

    for (answer, param) in [
        (app.get("/v1/conversations/conv_gone").await, Value::Null),
        (
            app.post("/v1/responses", &body).await,
            json!("conversation"),
        ),
    ] {
        assert_refused(&answer, 404, "conversation_not_found");
        assert_eq!(answer.json()["error"]["param"], param);
        let message = "None of 3 instances knows the conversation `conv_gone`";
        assert!(answer.text().contains(message), "{}", answer.text());
    }
    assert_eq!(requests(&app), 6);
    app.finish().await;
}

#[actix_web::test]
async fn a_resource_without_conversations_is_passed_over() {
    let app = pool_of(2, V1).await;
    let missing = || {
        let body = r#"{"error":{"code":"404","message": "Resource not found"}}"#;
        Play::Answer(Script::new(404, body))
    };
    app.sims[0].play([missing(), missing()]);

    assert_eq!(begin(&app, &json!({})).await.1, "b");

    app.sims[1].play([missing()]);
    let nowhere = app.post("/v1/conversations", &json!({})).await;
    assert_refused(&nowhere, 404, "unsupported_endpoint");
    assert!(
        nowhere
            .text()
            .contains("None of 2 instances has the Conversations API")
    );
    assert_eq!(app.settled(0).await["error_count"], 0);
    app.finish().await;
}

#[actix_web::test]
async fn dated_versions_have_no_conversations_and_methods_are_told() {
    let app = pool_of(1, DATED).await;

    let old = app.post("/v1/conversations", &json!({})).await;
    assert_refused(&old, 404, "api_version_too_old");
    assert!(
        old.text().contains("knows /v1/conversations"),
        "{}",
        old.text()
    );
    assert!(old.text().contains("to v1"));
    let listing = app.get("/v1/conversations").await;
    assert_eq!(
        (listing.status.as_u16(), listing.header("allow")),
        (405, Some("POST"))
    );
    let odd = app.get("/v1/conversations/conv_1/items/a%2Fb").await;
    assert_eq!(
        (odd.status.as_u16(), &odd.json()["error"]["param"]),
        (400, &json!("item_id"))
    );
    assert_eq!(requests(&app), 0);
    app.finish().await;
}
