//! Reservations follow what the service reports, when that drifts from our count.

use azure_openai_proxy::domain::Tokens;
use azure_openai_proxy::simulator::{Answer as Scripted, Overhead, Play};
use serde_json::{Value, json};

use crate::helpers::*;

const DEPLOYMENT: &str = "gpt-4o";

/// So large a cap that the prompt is counted: eight such requests do not fit into the million of an instance.
const COUNTED: u64 = 200_000;

/// So small a cap that the prompt is estimated.
const ESTIMATED: u64 = 20;

const DEARER: Overhead = Overhead {
    percent: 30,
    tokens: Tokens(50),
};

/// The prompt tokens of one request: what was reserved for it, and what the answer reported.
#[derive(Debug)]
struct Prompt {
    reserved: f64,
    reported: f64,
}

impl Prompt {
    fn error(&self) -> f64 {
        (self.reserved / self.reported - 1.0).abs()
    }
}

fn request(words: usize, cap: u64) -> Value {
    let text = [
        "the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog",
    ];
    let text: Vec<&str> = text.into_iter().cycle().take(words).collect();
    chat(&text.join(" "), cap)
}

async fn reserved(app: &TestApp) -> f64 {
    app.metric(r#"aoai_proxy_tokens_total{instance="a",kind="reserved"}"#)
        .await
}

/// Sends one request and compares.
async fn ask(app: &TestApp, words: usize, cap: u64) -> Prompt {
    let before = reserved(app).await;
    let answer = app.chat(&request(words, cap)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    app.settled(0).await;
    Prompt {
        reserved: reserved(app).await - before - cap as f64,
        reported: answer.json()["usage"]["prompt_tokens"].as_f64().unwrap(),
    }
}

/// Sends requests of mixed size.
async fn traffic(app: &TestApp, count: usize, cap: u64) {
    for words in [150, 20, 900, 60, 400].into_iter().cycle().take(count) {
        ask(app, words, cap).await;
    }
}

/// Largest error over requests of sizes that were not there before.
async fn worst(app: &TestApp, cap: u64) -> f64 {
    let mut worst: f64 = 0.0;
    for words in [80, 250, 700] {
        worst = worst.max(ask(app, words, cap).await.error());
    }
    worst
}

#[actix_web::test]
async fn reservations_heal_within_twenty_answers_when_the_service_counts_otherwise() {
    for cap in [COUNTED, ESTIMATED] {
        let app = spawn_app(1).await;
        traffic(&app, 20, cap).await;
        let calm = worst(&app, cap).await;
        assert!(calm < 0.04, "{calm} before the change");

        app.sims[0].set_overhead(DEPLOYMENT, DEARER);
        let changed = worst(&app, cap).await;
        assert!(changed > 0.2, "{changed}: the change does not show");
        traffic(&app, 17, cap).await;
        let healed = worst(&app, cap).await;
        assert!(healed < 0.04, "{healed} after the change");

        app.sims[0].set_overhead(DEPLOYMENT, Overhead::default());
        traffic(&app, 20, cap).await;
        let back = worst(&app, cap).await;
        assert!(back < 0.04, "{back} after it changed back");
        app.finish().await;
    }
}

#[actix_web::test]
async fn one_absurd_answer_moves_reservations_by_almost_nothing() {
    let app = spawn_app(1).await;
    traffic(&app, 20, COUNTED).await;
    let before = ask(&app, 250, COUNTED).await.reserved;
    let usage = json!({"prompt_tokens": 500_000, "completion_tokens": 1, "total_tokens": 500_001});
    app.sims[0].play([Play::Answer(Scripted::new(
        200,
        json!({ "usage": usage }).to_string(),
    ))]);

    ask(&app, 250, COUNTED).await;

    let after = ask(&app, 250, COUNTED).await.reserved;
    assert!(
        (after / before - 1.0).abs() < 0.03,
        "{before}, then {after}"
    );
    app.finish().await;
}

#[actix_web::test]
async fn the_status_shows_what_was_learned() {
    let app = spawn_app(1).await;
    let fresh = app.instance(0).await;
    assert_eq!(fresh["corrections"], json!([]));
    assert_eq!(fresh["expected_output"], json!([]));
    app.sims[0].set_overhead(DEPLOYMENT, DEARER);
    traffic(&app, 20, COUNTED).await;
    let mut open = request(9, 0);
    open.as_object_mut().unwrap().remove("max_tokens");

    assert_eq!(app.chat(&open).await.status, 200);

    let learned = app.settled(0).await;
    let counted = &learned["corrections"][0];
    assert_eq!(counted["model"], "gpt4o");
    assert_eq!(counted["kind"], "counted");
    assert_eq!(counted["answers"], 20);
    assert!(counted["factor"].as_f64().unwrap() > 1.1, "{counted}");
    assert!(counted["offset"].as_f64().unwrap() > 10.0, "{counted}");
    let estimated = json!({
        "model": "gpt4o", "kind": "estimated", "factor": 1.0, "offset": 0.0, "answers": 1
    });
    assert_eq!(learned["corrections"][1], estimated);
    assert_eq!(learned["expected_output"][0]["model"], "gpt4o");
    assert_eq!(learned["expected_output"][0]["answers"], 1);
    app.finish().await;
}
