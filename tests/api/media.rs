//! Images and speech: balanced and failed over as chat is; and what Azure does not have.

use std::num::NonZeroUsize;
use std::time::Duration;

use azure_openai_proxy::domain::Tokens;
use azure_openai_proxy::simulator::{Answer as Script, Chunking, Play, SimDeployment};
use serde_json::{Value, json};

use crate::helpers::*;

/// Two instances with deployments for images and speech, the second in the v1 form.
async fn two() -> TestApp {
    let with_media = |name| {
        let deployment =
            |name, model| SimDeployment::new(name, model, Tokens(1_000_000)).rpm(60_000);
        resource(name, 1_000_000)
            .deployment(deployment("my-image", "gpt-image-1"))
            .deployment(deployment("dall-e-3", "dall-e-3"))
            .deployment(deployment("my-voice", "tts-1"))
    };
    pool()
        .with(with_media("a"))
        .with(with_media("b"))
        .var("TOKEN_RATE_LIMIT", 100_000)
        .var("AZURE_INSTANCE_B_API_VERSION", "v1")
        .var("MODEL_MAP_GPTIMAGE1", "my-image")
        .var("MODEL_MAP_TTS1", "my-voice")
        .start()
        .await
}

#[actix_web::test]
async fn an_image_reaches_both_forms_and_settles_to_its_usage() {
    let app = two().await;
    app.sims[0].play([Play::Honest, Play::server_error()]);
    let body = r#"{"model": "gpt-image-1", "prompt": "a grey dot", "n": 2, "size": "1024x1024"}"#;

    for (position, path) in [
        "/v1/images/generations",
        "/openai/deployments/gpt-image-1/images/generations",
    ]
    .into_iter()
    .enumerate()
    {
        let answer = app.post_bytes(path, body).await;

        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["data"].as_array().unwrap().len(), 2);
        let total = &answer.json()["usage"]["total_tokens"];
        assert_eq!(&app.settled(position).await["current_tpm"], total);
    }
    // Azure refuses the deployment's name in the body of the one form, and needs it in the other.
    let dated = &app.sims[0].requests()[0];
    assert!(
        dated
            .target
            .starts_with("/openai/deployments/my-image/images/generations?")
    );
    assert_eq!(
        dated.body,
        r#"{ "prompt": "a grey dot", "n": 2, "size": "1024x1024"}"#
    );
    let v1 = &app.sims[1].requests()[0];
    assert_eq!(v1.target, "/openai/v1/images/generations");
    assert_eq!(v1.body, body.replace("gpt-image-1", "my-image"));
    app.finish().await;
}

#[actix_web::test]
async fn an_image_without_usage_keeps_its_flat_reservation() {
    let app = two().await;

    let answer = app
        .post(
            "/v1/images/generations",
            &json!({"prompt": "a dot", "n": 3, "model": "dall-e-3"}),
        )
        .await;

    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.json().get("usage").is_none());
    let used = app.settled(0).await["current_tpm"].as_u64().unwrap();
    assert!((3 * 1_056..3 * 1_056 + 20).contains(&used), "{used}");
    app.finish().await;
}

#[actix_web::test]
async fn a_stream_of_an_image_ends_with_its_usage() {
    let app = two().await;
    let large = "A".repeat(3 << 20);
    let usage = json!({"input_tokens": 5, "output_tokens": 272, "total_tokens": 277});
    let mut stream = String::new();
    for (kind, fields) in [
        (
            "image_generation.partial_image",
            json!({"b64_json": large, "partial_image_index": 0}),
        ),
        (
            "image_generation.completed",
            json!({"b64_json": large, "usage": usage}),
        ),
    ] {
        let mut data: Value = fields;
        data["type"] = json!(kind);
        stream += &format!("event: {kind}\ndata: {data}\n\n");
    }
    let answer = Script::new(200, stream.clone()).header("content-type", "text/event-stream");
    app.sims[0].play([Play::Answer(answer)]);

    let body = json!({"model": "gpt-image-1", "prompt": "a dot", "stream": true});
    let answer = app.post("/v1/images/generations", &body).await;

    assert!(answer.text() == stream, "other bytes");
    let settled = app.settled(0).await;
    assert_eq!(settled["current_tpm"], 277);
    assert_eq!(settled["error_count"], 0);
    app.finish().await;
}

#[actix_web::test]
async fn a_stream_of_an_image_that_is_torn_in_its_last_event_is_told_as_broken() {
    let app = two().await;
    let end =
        "event: image_generation.completed\ndata: {\"type\": \"image_generation.completed\", ";
    let partial = "event: image_generation.partial_image\ndata: {\"b64_json\": \"A\"}\n\n";
    let torn = format!("{partial}{end}\"b64_json\": \"AAAA");
    let answer = Script::new(200, torn).header("content-type", "text/event-stream");
    app.sims[0].play([Play::Answer(answer)]);

    let body = json!({"model": "gpt-image-1", "prompt": "a dot", "stream": true});
    let answer = app.post("/v1/images/generations", &body).await;

    let text = answer.text();
    assert!(text.starts_with(partial), "{text}");
    assert!(text.contains("The upstream broke off its answer"), "{text}");
    assert!(!text.contains("AAAA"), "{text}");
    assert_eq!(app.settled(0).await["error_count"], 1);
    app.finish().await;
}

#[actix_web::test]
async fn a_stream_of_several_images_ends_with_the_last_of_them() {
    let app = two().await;
    let done = |tokens: u64| {
        let usage = json!({"input_tokens": 5, "output_tokens": tokens, "total_tokens": 5 + tokens});
        let data = json!({"type": "image_generation.completed", "b64_json": "A", "usage": usage});
        format!("event: image_generation.completed\ndata: {data}\n\n")
    };
    let mut body = json!({"model": "gpt-image-1", "prompt": "a dot", "stream": true, "n": 2});
    // One end after the other, with more time between them than there may be after the last; then fewer than announced.
    for (stream, pause, total) in [
        ([done(200), done(72)].concat(), 1_200, 282),
        (done(90), 0, 95),
    ] {
        let cuts = Chunking::At(vec![done(200).len()]);
        let answer = Script::new(200, stream.clone()).header("content-type", "text/event-stream");
        let answer = answer.chunks(cuts).pause(Duration::from_millis(pause));
        app.sims[0].play([Play::Answer(answer)]);
        let before = app.settled(0).await["current_tpm"].as_u64().unwrap();

        let answer = app.post("/v1/images/generations", &body).await;

        assert_eq!(answer.text(), stream);
        let settled = app.settled(0).await;
        assert_eq!(settled["current_tpm"], before + total);
        assert_eq!(settled["error_count"], 0);
        body["n"] = json!(3);
    }
    app.finish().await;
}

#[actix_web::test]
async fn speech_comes_back_as_the_bytes_it_is() {
    let app = two().await;
    app.sims[0].play([Play::status(
        429,
        r#"{"error":{"code":"429","message":"Rate limit is exceeded. Try again in 4 seconds."}}"#,
    )]);
    let body = json!({"model": "tts-1", "input": "How far is the moon?", "voice": "alloy"});

    let answer = app.post("/v1/audio/speech", &body).await;

    assert_eq!((answer.status.as_u16(), answer.instance()), (200, "b"));
    assert_eq!(answer.header("content-type"), Some("audio/mpeg"));
    assert_eq!(answer.body.len(), 20 * 1_200);
    assert!(
        answer
            .body
            .iter()
            .enumerate()
            .all(|(at, byte)| usize::from(*byte) == at % 251)
    );
    let seen: Value = serde_json::from_slice(&app.sims[1].requests()[0].body).unwrap();
    assert_eq!(seen["model"], "my-voice");
    // Nobody told a usage, so the reservation stands: the text.
    let used = app.settled(1).await["current_tpm"].as_u64().unwrap();
    assert!((1..40).contains(&used), "{used}");
    app.finish().await;
}

#[actix_web::test]
async fn images_of_many_megabytes_come_down_whole_and_settle_to_their_usage() {
    let app = two().await;
    let image = json!({"b64_json": "iVBORw0KGgo".repeat(1 << 20)});
    let usage = json!({"input_tokens": 5, "output_tokens": 272, "total_tokens": 277});
    let body = json!({"created": 1, "data": [image], "usage": usage}).to_string();
    let size = NonZeroUsize::new(100_000).unwrap();
    let ask = json!({"model": "gpt-image-1", "prompt": "a dot", "size": "4096x4096"});

    for (position, chunks) in [Chunking::LengthEvery(size), Chunking::Every(size)]
        .into_iter()
        .enumerate()
    {
        let answer = Script::new(200, body.clone()).chunks(chunks);
        app.sims[0].play([Play::Answer(answer)]);

        let answer = app.post("/v1/images/generations", &ask).await;

        assert!(answer.body == body, "{} bytes came", answer.body.len());
        let settled = app.settled(0).await;
        assert_eq!(settled["current_tpm"], 277 * (position + 1));
        assert_eq!(settled["error_count"], 0);
    }
    app.finish().await;
}

#[actix_web::test]
async fn moderations_are_refused_in_words() {
    let app = spawn_app(1).await;

    for path in ["/v1/moderations", "/moderations"] {
        let answer = app.post(path, &json!({"input": "hello"})).await;

        assert_refused(&answer, 404, "unsupported_endpoint");
        assert!(answer.text().contains("Azure OpenAI has no moderations"));
    }
    assert_eq!(app.sims[0].counters().requests, 0);
    app.finish().await;
}
