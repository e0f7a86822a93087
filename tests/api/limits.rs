//! What a request reserves, and that reservations never pass a limit, whoever asks at once.

use azure_openai_proxy::domain::{Endpoint, StrategyKind};
use azure_openai_proxy::simulator::{Answer as Scripted, Mark, Play};
use azure_openai_proxy::tokens;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::helpers::*;

/// An answer that reports this many tokens.
fn using(tokens: u64) -> Play {
    let usage =
        json!({"prompt_tokens": 1, "completion_tokens": tokens - 1, "total_tokens": tokens});
    Play::Answer(Scripted::new(200, json!({ "usage": usage }).to_string()))
}

/// What the prompt of a chat request counts.
fn prompt_tokens(request: &Value) -> u64 {
    let body = serde_json::to_vec(request).unwrap();
    tokens::prompt_tokens(Endpoint::ChatCompletions, "gpt-4o", &body).0
}

/// A proxy whose limit of one token refuses everything, and says what it would have needed.
async fn strict() -> TestApp {
    pool().instance("a", 1).start().await
}

/// What a request would reserve, from the words of its refusal.
async fn needs(app: &TestApp, path: &str, request: &Value) -> u64 {
    let answer = app.post(path, request).await;
    assert_eq!(answer.code(), "request_exceeds_tpm", "{}", answer.text());
    let message = answer.json()["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    let words: Vec<&str> = message.split(' ').collect();
    let at = words.iter().position(|word| *word == "needs").unwrap();
    words[at + 1].parse().unwrap()
}

#[actix_web::test]
async fn two_hundred_at_once_never_pass_the_limits_under_any_strategy() {
    let request = chat("hello", 50);
    let each = prompt_tokens(&request) + 50;
    let limits = [1_000, 700, 60];
    let fitting: u64 = limits.iter().map(|limit| limit / each).sum();
    for strategy in StrategyKind::ALL {
        let mut app = pool()
            .var("WORKERS", 2)
            .var("AZURE_ROUTING_STRATEGY", strategy);
        for (name, limit) in ["a", "b", "c"].into_iter().zip(limits) {
            app = app.instance(name, limit);
        }
        let app = app.start().await;
        // What was reserved is used up, so that nothing comes back however fast the answers are.
        for sim in &app.sims {
            sim.always(Some(using(each)));
        }

        let answers = join_all((0..200).map(|_| app.chat(&request))).await;

        let served = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(served as u64, fitting, "{strategy}");
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            assert_eq!(answer.code(), "no_capacity_available", "{strategy}");
            assert!(
                answer.text().contains("3 out of tokens"),
                "{}",
                answer.text()
            );
        }
        for (position, limit) in limits.into_iter().enumerate() {
            let asked = app.sims[position].requests().len() as u64;
            assert_eq!(asked, limit / each, "{strategy}, instance {position}");
            assert_eq!(app.settled(position).await["current_tpm"], asked * each);
        }
        app.finish().await;
    }
}

#[actix_web::test]
async fn what_a_request_did_not_use_is_free_again() {
    let app = pool().instance("a", 1_000).start().await;
    app.sims[0].always(Some(using(10)));
    for round in 1..=20 {
        let answer = app.chat(&chat("hello", 800)).await;

        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(app.settled(0).await["current_tpm"], round * 10);
    }
    app.finish().await;
}

#[actix_web::test]
async fn an_answer_above_its_reservation_counts_in_full() {
    let app = pool().instance("a", 1_000).start().await;
    app.sims[0].play([using(990)]);

    assert_eq!(app.chat(&chat("hello", 50)).await.status, 200);

    assert_eq!(app.settled(0).await["current_tpm"], 990);
    let next = app.chat(&chat("hello", 50)).await;
    assert_eq!(next.code(), "no_capacity_available");
    app.finish().await;
}

#[actix_web::test]
async fn a_full_instance_passes_the_request_on_without_being_asked() {
    let app = pool()
        .instance("a", 100)
        .instance("b", 10_000)
        .start()
        .await;
    app.sims[0].play([using(95)]);
    assert_eq!(app.chat(&chat("hello", 50)).await.instance(), "a");
    app.settled(0).await;

    let answer = app.chat(&chat("hello", 50)).await;

    assert_eq!(
        (answer.instance(), answer.header("x-proxy-attempts")),
        ("b", Some("1"))
    );
    assert_eq!(app.sims[0].requests().len(), 1);
    assert_eq!(app.instance(0).await["status"], "healthy");
    app.finish().await;
}

#[actix_web::test]
async fn a_chat_reserves_its_prompt_and_its_largest_cap_for_every_answer() {
    let app = strict().await;
    let path = "/v1/chat/completions";
    let mut request = chat("hello", 100);
    let prompt = prompt_tokens(&request);
    assert_eq!(needs(&app, path, &request).await, prompt + 100);

    request["n"] = json!(3);
    assert_eq!(needs(&app, path, &request).await, prompt + 300);

    request["max_completion_tokens"] = json!(200);
    assert_eq!(needs(&app, path, &request).await, prompt + 600);

    request["stream"] = json!(true);
    assert_eq!(needs(&app, path, &request).await, prompt + 600);
    app.finish().await;
}

#[actix_web::test]
async fn a_completion_reserves_its_prompts_and_all_their_outputs() {
    let app = strict().await;
    let path = "/v1/completions";
    let model = "gpt-35-turbo-instruct";
    let hello = tokens::count_text(model, "hello").0;

    let plain = json!({"model": model, "prompt": "hello"});
    assert_eq!(
        needs(&app, path, &plain).await,
        hello + 16,
        "the documented default"
    );
    let capped = json!({"model": model, "prompt": "hello", "max_tokens": 30, "best_of": 4, "n": 2});
    assert_eq!(needs(&app, path, &capped).await, hello + 120);
    let several = json!({"model": model, "prompt": ["hello", "hello"], "max_tokens": 30, "n": 2});
    assert_eq!(needs(&app, path, &several).await, 2 * hello + 120);
    app.finish().await;
}

#[actix_web::test]
async fn embeddings_reserve_their_input_alone() {
    let app = strict().await;
    let path = "/v1/embeddings";
    let model = "text-embedding-3-small";
    let text = "How many tokens are these?";
    let count = tokens::count_text(model, text).0;

    let one = json!({"model": model, "input": text});
    assert_eq!(needs(&app, path, &one).await, count);
    let several = json!({"model": model, "input": [text, text, text]});
    assert_eq!(needs(&app, path, &several).await, 3 * count);
    let ids = json!({"model": model, "input": [[1, 2, 3], [4, 5]]});
    assert_eq!(needs(&app, path, &ids).await, 5);
    app.finish().await;
}

#[actix_web::test]
async fn completions_and_embeddings_settle_to_the_real_usage() {
    let app = spawn_app(1).await;
    let mut expected = 0;
    for (path, request) in [
        (
            "/v1/completions",
            json!({"model": "gpt-35-turbo-instruct", "prompt": "hello", "max_tokens": 20}),
        ),
        (
            "/v1/embeddings",
            json!({"model": "text-embedding-3-small", "input": "hello there"}),
        ),
        ("/v1/chat/completions", chat("hello", 900)),
    ] {
        let answer = app.post(path, &request).await;

        assert_eq!(answer.status, 200, "{}", answer.text());
        expected += answer.json()["usage"]["total_tokens"].as_u64().unwrap();
        assert_eq!(app.settled(0).await["current_tpm"], expected, "{path}");
    }
    app.finish().await;
}

#[actix_web::test]
async fn a_request_larger_than_every_limit_is_refused_at_once() {
    let app = pool().instance("a", 500).instance("b", 900).start().await;
    let request = chat("hello", 1_000);

    let answer = app.chat(&request).await;

    assert_refused(&answer, 429, "request_exceeds_tpm");
    let needed = (prompt_tokens(&request) + 1_000).to_string();
    for part in [needed.as_str(), "900", "AZURE_INSTANCE_B_MAX_TPM"] {
        assert!(
            answer.text().contains(part),
            "{part} is not in {}",
            answer.text()
        );
    }
    assert_eq!(answer.header("retry-after"), None);
    assert_eq!(answer.header("retry-after-ms"), None);
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    assert_eq!(answer.header("x-proxy-attempts"), Some("0"));
    assert!(app.sims.iter().all(|sim| sim.requests().is_empty()));
    app.finish().await;
}

#[actix_web::test]
async fn a_request_that_only_the_larger_limit_can_hold_goes_there() {
    let app = pool().instance("a", 500).instance("b", 5_000).start().await;

    let answer = app.chat(&chat("hello", 1_000)).await;

    assert_eq!((answer.status.as_u16(), answer.instance()), (200, "b"));
    assert!(app.sims[0].requests().is_empty());
    app.finish().await;
}

#[actix_web::test]
async fn a_chat_without_a_cap_reserves_a_guess_that_never_makes_it_too_large() {
    let mut request = chat_stream("hello", 0);
    request.as_object_mut().unwrap().remove("max_tokens");
    let guessed = prompt_tokens(&request) + 256;
    for (limit, reserved) in [(1_000, guessed), (100, 100)] {
        let app = pool().instance("a", limit).start().await;
        app.sims[0].play([Play::StallAfter(Mark::Events(4))]);

        let stream = app.open("/v1/chat/completions", &request).await;

        assert_eq!(stream.status(), 200);
        let a = app.instance(0).await;
        assert_eq!(
            (&a["in_flight"], &a["current_tpm"]),
            (&json!(1), &json!(reserved))
        );
        drop(stream);
        app.finish().await;
    }
}
