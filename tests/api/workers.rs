//! Several worker threads: what one of them gives away, the others do not have.

use std::time::Duration;

use azure_openai_proxy::simulator::{Pace, Play};
use futures_util::future::join_all;
use serde_json::json;

use crate::helpers::{chat, client, pool, read};

#[actix_web::test]
async fn several_workers_share_one_quota_and_one_turn() {
    let app = pool()
        .var("WORKERS", 3)
        .var("AZURE_ROUTING_STRATEGY", "round_robin")
        .instance("a", 1_000)
        .instance("b", 1_000)
        .start()
        .await;
    // As long as none has ended, what each reserves is taken.
    let pace = Pace {
        first_byte: Duration::from_millis(500),
        per_chunk: Duration::ZERO,
    };
    for sim in &app.sims {
        sim.play(vec![Play::Slow(pace); 5]);
    }
    let body =
        json!({"model": "gpt-4o", "max_tokens": 190, "messages": chat("hello", 1)["messages"]});
    let url = format!("{}/v1/chat/completions", app.url);

    // A client each, so that they come over connections of their own, which the workers take in turn.
    let asked = (0..30).map(|_| async {
        let sent = client().post(&url).send_json(&body).await;
        read(sent.unwrap()).await
    });
    let answers = join_all(asked).await;

    let by = |name: &str| answers.iter().filter(|a| a.instance() == name).count();
    let (served, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|a| a.status == 200);
    assert!(refused.iter().all(|a| a.status == 429));
    assert_eq!((by("a"), by("b")), (5, 5), "{} served", served.len());
    app.finish().await;
}
