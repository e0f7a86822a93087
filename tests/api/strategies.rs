//! Who serves a request under each strategy. What an instance is asked for is in `addressing`.

mod addressing;

use std::time::Duration;

use azure_openai_proxy::simulator::{Answer, Hint, Mark, Play, Throttle};

use crate::helpers::*;

/// A pool under a strategy, its instances `a`, `b`, `c` of a million tokens per minute each.
fn under(strategy: &str) -> Pool {
    let names = ["a", "b", "c"].into_iter();
    names.fold(
        pool().var("AZURE_ROUTING_STRATEGY", strategy),
        |pool, name| pool.instance(name, 1_000_000),
    )
}

/// Sends requests one after the other and spells who answered.
async fn spelling(app: &TestApp, requests: usize) -> String {
    let mut answered = String::new();
    for _ in 0..requests {
        let answer = app.chat(&chat("hello", 50)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answered.push_str(answer.instance());
    }
    answered
}

/// A 429 that closes an instance for this long.
fn closed_for(millis: u64) -> Play {
    let wait = Duration::from_millis(millis);
    Play::throttle(Throttle::Current, wait, &[Hint::RetryAfterMs])
}

async fn healthy(app: &TestApp, position: usize) {
    app.wait_for(position, "the end of the cooldown", |i| {
        i["status"] == "healthy"
    })
    .await;
}

fn count(spelling: &str, name: char) -> usize {
    spelling.chars().filter(|c| *c == name).count()
}

#[actix_web::test]
async fn failover_starts_every_request_at_the_first_of_equals() {
    let app = under("failover").start().await;

    assert_eq!(spelling(&app, 6).await, "aaaaaa");

    app.finish().await;
}

#[actix_web::test]
async fn failover_goes_down_the_priorities_and_back_up() {
    let app = under("failover").var("AZURE_INSTANCE_B_PRIORITY", 1);
    let app = app.var("AZURE_INSTANCE_C_PRIORITY", 50).start().await;
    assert_eq!(spelling(&app, 3).await, "bbb");

    app.sims[1].play([closed_for(1_500)]);
    app.sims[2].play([closed_for(60_000)]);
    let answer = app.chat(&chat("hello", 50)).await;

    assert_eq!(
        (answer.instance(), answer.header("x-proxy-attempts")),
        ("a", Some("3"))
    );
    healthy(&app, 1).await;
    assert_eq!(spelling(&app, 3).await, "bbb");
    app.finish().await;
}

#[actix_web::test]
async fn round_robin_takes_turns_and_skips_who_rests() {
    let app = under("round_robin").start().await;
    assert_eq!(spelling(&app, 9).await, "abcabcabc");

    app.sims[1].play([closed_for(60_000)]);

    // The second request is the one that finds out.
    assert_eq!(spelling(&app, 7).await, "acacaca");
    app.finish().await;
}

#[actix_web::test]
async fn weighted_keeps_exact_proportions_without_bursts() {
    let app = under("weighted").var("AZURE_INSTANCE_A_WEIGHT", 5);
    let app = app.var("AZURE_INSTANCE_B_WEIGHT", 1);
    let app = app.var("AZURE_INSTANCE_C_WEIGHT", 1).start().await;

    assert_eq!(spelling(&app, 21).await, "aabacaa".repeat(3));

    app.finish().await;
}

#[actix_web::test]
async fn weighted_keeps_the_proportions_of_those_that_are_left() {
    let app = under("weighted").var("AZURE_INSTANCE_A_WEIGHT", 5);
    let app = app.var("AZURE_INSTANCE_B_WEIGHT", 1);
    let app = app.var("AZURE_INSTANCE_C_WEIGHT", 1).start().await;
    app.sims[1].play([closed_for(60_000)]);
    // Within a cycle `b` has its turn and is closed.
    spelling(&app, 7).await;

    let answered = spelling(&app, 12).await;

    assert_eq!((count(&answered, 'a'), count(&answered, 'c')), (10, 2));
    app.finish().await;
}

#[actix_web::test]
async fn priority_gives_all_to_the_best_tier_by_weight() {
    let app = under("priority").var("AZURE_INSTANCE_A_PRIORITY", 1);
    let app = app.var("AZURE_INSTANCE_B_PRIORITY", 1);
    let app = app.var("AZURE_INSTANCE_A_WEIGHT", 3);
    let app = app.var("AZURE_INSTANCE_B_WEIGHT", 1).start().await;

    assert_eq!(spelling(&app, 8).await, "aabaaaba");

    app.finish().await;
}

#[actix_web::test]
async fn priority_falls_to_the_next_tier_while_the_best_cools_and_returns() {
    let app = under("priority").var("AZURE_INSTANCE_A_PRIORITY", 1);
    let app = app.var("AZURE_INSTANCE_B_PRIORITY", 1).start().await;
    app.sims[0].play([closed_for(60_000)]);
    let alone = spelling(&app, 3).await;
    assert_eq!(
        alone, "bbb",
        "a tier with one member left keeps the traffic"
    );

    app.sims[1].play([closed_for(1_500)]);

    assert_eq!(spelling(&app, 3).await, "ccc");
    healthy(&app, 1).await;
    assert_eq!(spelling(&app, 3).await, "bbb");
    app.finish().await;
}

#[actix_web::test]
async fn least_loaded_fills_unequal_quotas_to_the_same_share() {
    let strategy = pool().var("AZURE_ROUTING_STRATEGY", "least_loaded");
    let app = strategy.instance("a", 1_000).instance("b", 9_000);
    let app = app.start().await;
    let body = r#"{"usage": {"prompt_tokens": 50, "completion_tokens": 50, "total_tokens": 100}}"#;
    for sim in &app.sims {
        sim.always(Some(Play::Answer(Answer::new(200, body))));
    }

    let mut answered = String::new();
    for _ in 0..20 {
        answered.push_str(&spelling(&app, 1).await);
        for position in [0, 1] {
            app.settled(position).await;
        }
    }

    assert_eq!((count(&answered, 'a'), count(&answered, 'b')), (2, 18));
    for position in [0, 1] {
        assert_eq!(app.instance(position).await["tpm_usage_percent"], 20.0);
    }
    app.finish().await;
}

#[actix_web::test]
async fn least_loaded_counts_what_is_reserved() {
    let strategy = pool().var("AZURE_ROUTING_STRATEGY", "least_loaded");
    let app = strategy.instance("a", 10_000).instance("b", 10_000);
    let app = app.start().await;
    for sim in &app.sims {
        sim.always(Some(Play::StallAfter(Mark::Events(4))));
    }
    let path = "/v1/chat/completions";
    let stream = app.open(path, &chat_stream("a long story", 5_000)).await;
    let busy = stream.headers().get("x-proxy-instance").unwrap();
    let free = if busy == "a" { "b" } else { "a" };
    for sim in &app.sims {
        sim.always(None);
    }

    assert_eq!(spelling(&app, 5).await, free.repeat(5));

    drop(stream);
    app.finish().await;
}
