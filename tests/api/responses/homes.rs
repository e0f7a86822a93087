//! What a client is told while somebody cannot say whether the response that it comes back to is kept there.
//!
//! The first proxy knows who made it; a replica does not, like a proxy that was started anew.

use super::*;

/// What a client asks for.
#[derive(Clone, Copy, Debug)]
enum Wish {
    Read,
    Continue,
}

const WISHES: [Wish; 2] = [Wish::Read, Wish::Continue];

async fn wish(app: &TestApp, wish: Wish, id: &str) -> Answer {
    match wish {
        Wish::Read => app.get(&format!("/v1/responses/{id}")).await,
        Wish::Continue => {
            let mut body = ask("and then?");
            body["previous_response_id"] = json!(id);
            app.post("/v1/responses", &body).await
        }
    }
}

fn message(answer: &Answer) -> String {
    answer.json()["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[actix_web::test]
async fn a_maker_whose_key_is_refused_is_said_to_be_the_only_one() {
    for one in WISHES {
        let app = in_turn().start().await;
        let (id, maker) = make(&app, &ask("hello")).await;
        sim(&app, &maker).always(Some(Play::access_denied()));

        // Its own words come first.
        let first = wish(&app, one, &id).await;
        let second = wish(&app, one, &id).await;

        assert_eq!((first.status.as_u16(), first.instance()), (401, &*maker));
        assert_refused(&second, 429, "no_capacity_available");
        let only = format!(
            "Only the instance that made it has the response `{id}`, and it cannot be asked now: \
             1 refusing its key ({maker}: refusing its key for "
        );
        assert!(message(&second).starts_with(&only), "{}", second.text());
        app.finish().await;
    }
}

#[actix_web::test]
async fn a_maker_without_an_answer_is_said_to_be_the_only_one() {
    for one in WISHES {
        let app = in_turn().start().await;
        let (id, maker) = make(&app, &ask("hello")).await;
        sim(&app, &maker).always(Some(Play::CloseBeforeHead));

        let answer = wish(&app, one, &id).await;

        assert_refused(&answer, 502, "upstream_unreachable");
        let told = format!("The instance that has the response `{id}` gave no answer: ");
        assert!(message(&answer).starts_with(&told), "{}", answer.text());
        app.finish().await;
    }
}

#[actix_web::test]
async fn while_a_maker_unknown_gives_no_answer_the_others_are_said_to_lack_it() {
    for one in WISHES {
        let app = in_turn().start().await;
        let (id, maker) = make(&app, &ask("hello")).await;
        let replica = app.replica().await;
        sim(&app, &maker).always(Some(Play::CloseBeforeHead));

        let answer = wish(&replica, one, &id).await;

        assert_refused(&answer, 502, "upstream_unreachable");
        let told = format!(
            "2 instances were asked and do not have the response `{id}`, and no other gave an answer; the last one: "
        );
        assert!(message(&answer).starts_with(&told), "{}", answer.text());
        // It is found as soon as it answers again.
        sim(&app, &maker).always(None);
        assert_came_from(&wish(&replica, one, &id).await, &maker);
        replica.finish().await;
        app.finish().await;
    }
}

#[actix_web::test]
async fn while_a_maker_unknown_refuses_its_key_the_others_are_said_to_lack_it() {
    for one in WISHES {
        let app = in_turn().start().await;
        let (id, maker) = make(&app, &ask("hello")).await;
        let replica = app.replica().await;
        sim(&app, &maker).always(Some(Play::access_denied()));

        let first = wish(&replica, one, &id).await;
        let second = wish(&replica, one, &id).await;

        assert_eq!((first.status.as_u16(), first.instance()), (401, &*maker));
        assert_refused(&second, 429, "no_capacity_available");
        let told = format!(
            "2 instances were asked and do not have the response `{id}`, and no other instance can be asked now: \
             1 refusing its key ({maker}: "
        );
        assert!(message(&second).starts_with(&told), "{}", second.text());
        replica.finish().await;
        app.finish().await;
    }
}

#[actix_web::test]
async fn a_maker_unknown_that_is_throttled_tells_when_to_come_again() {
    for one in WISHES {
        let app = in_turn().start().await;
        let (id, maker) = make(&app, &ask("hello")).await;
        let replica = app.replica().await;
        let wait = Duration::from_secs(7);
        let throttled = Play::throttle(Throttle::Current, wait, &[Hint::RetryAfterMs]);
        sim(&app, &maker).play([throttled]);

        let answer = wish(&replica, one, &id).await;

        assert_eq!((answer.status.as_u16(), answer.instance()), (429, &*maker));
        let told: u64 = answer.header("retry-after-ms").unwrap().parse().unwrap();
        assert!((5_000..=7_000).contains(&told), "{told}");
        replica.finish().await;
        app.finish().await;
    }
}

#[actix_web::test]
async fn of_what_a_request_names_that_is_told_which_is_lacking() {
    let app = pool_of(2, V1).await;
    let lacking = r#"{"error":{"code":null,"message":"Item with id 'msg_gone' not found."}}"#;
    app.sims[0].play([Play::status(400, lacking)]);
    app.sims[1].always(Some(Play::CloseBeforeHead));
    let mut body = ask("");
    body["previous_response_id"] = json!("resp_1");
    body["input"] = json!([{"type": "item_reference", "id": "msg_gone"}]);

    let answer = app.post("/v1/responses", &body).await;

    assert_refused(&answer, 502, "upstream_unreachable");
    let told = "The instance that was asked does not have the item `msg_gone`, and no other gave an answer; the last one: ";
    assert!(message(&answer).starts_with(told), "{}", answer.text());
    app.finish().await;
}
