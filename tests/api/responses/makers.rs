//! Instances of which each could make a response, and who made it.

use azure_openai_proxy::simulator::Simulator;

use super::*;

/// Three instances in turn, so that a request finds its maker by more than luck.
pub(super) fn in_turn() -> Pool {
    ["a", "b", "c"].into_iter().fold(
        pool().var("AZURE_ROUTING_STRATEGY", "round_robin"),
        |pool, name| {
            let variable = format!("AZURE_INSTANCE_{}_API_VERSION", name.to_uppercase());
            pool.instance(name, 1_000_000).var(&variable, V1)
        },
    )
}

/// Makes a response; returns its id and who made it.
pub(super) async fn make(app: &TestApp, body: &Value) -> (String, String) {
    let answer = app.post("/v1/responses", body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    (id, answer.instance().to_owned())
}

/// Says what the window of the only instance counts while this request is out there, unanswered.
pub(super) async fn counted_while_out(app: &TestApp, body: &Value) -> u64 {
    app.sims[0].play([Play::StallBeforeHead]);
    let sending = app.post("/v1/responses", body);
    let watching = app.wait_for(0, "a reservation", |instance| instance["in_flight"] == 1);
    let (_, instance) = futures_util::future::join(sending, watching).await;
    instance["current_tpm"].as_u64().unwrap()
}

/// Says what the window of the only instance counts once nothing is out there.
pub(super) async fn counted_at_rest(app: &TestApp) -> u64 {
    app.settled(0).await["current_tpm"].as_u64().unwrap()
}

/// Returns the response of an answer, whole or a stream.
pub(super) fn response_of(answer: &Answer) -> Value {
    let last = answer.text().trim_end().rsplit("data: ").next().unwrap();
    let mut whole: Value = serde_json::from_str(last).unwrap();
    match whole.get_mut("response") {
        Some(response) => response.take(),
        None => whole,
    }
}

/// Requests of all instances together.
pub(super) fn requests(app: &TestApp) -> u64 {
    app.sims.iter().map(|sim| sim.counters().requests).sum()
}

/// The resource behind an instance.
pub(super) fn sim<'a>(app: &'a TestApp, instance: &str) -> &'a Simulator {
    let position = ["a", "b", "c"].iter().position(|name| *name == instance);
    &app.sims[position.unwrap()]
}

/// Asserts that being asked for what they do not know is no error of the instances.
pub(super) async fn assert_without_errors(app: &TestApp) {
    let status = app.status().await;
    for instance in status["instances"].as_array().unwrap() {
        assert_eq!(instance["error_count"], 0, "{instance}");
    }
}

/// Asserts that an answer is good and comes from this instance.
#[track_caller]
pub(super) fn assert_came_from(answer: &Answer, instance: &str) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.instance(), instance);
}
