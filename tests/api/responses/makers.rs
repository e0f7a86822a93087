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

/// Requests of all instances together.
pub(super) fn requests(app: &TestApp) -> u64 {
    app.sims.iter().map(|sim| sim.counters().requests).sum()
}

/// The resource behind an instance.
pub(super) fn sim<'a>(app: &'a TestApp, instance: &str) -> &'a Simulator {
    let position = ["a", "b", "c"].iter().position(|name| *name == instance);
    &app.sims[position.unwrap()]
}

/// Asserts that an answer is good and comes from this instance.
#[track_caller]
pub(super) fn assert_came_from(answer: &Answer, instance: &str) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.instance(), instance);
}
