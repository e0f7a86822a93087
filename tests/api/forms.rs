//! Calls with files: forms reach instances byte for byte, balanced, limited and failed over as JSON is.

use azure_openai_proxy::domain::Tokens;
use azure_openai_proxy::simulator::{Play, SimDeployment};
use bytes::Bytes;
use futures_util::stream;

use crate::helpers::*;

pub const KIND: &str = "multipart/form-data; boundary=\"a-boundary\"";

/// Two instances that edit images and hear, the second in the v1 form.
async fn two() -> TestApp {
    pool_of_two().start().await
}

pub fn pool_of_two() -> Pool {
    let with_media = |name| {
        let deployment =
            |name, model| SimDeployment::new(name, model, Tokens(1_000_000)).rpm(60_000);
        resource(name, 1_000_000)
            .deployment(deployment("my-image", "gpt-image-1"))
            .deployment(deployment("my-ears", "gpt-4o-transcribe"))
            .deployment(deployment("whisper-1", "whisper"))
    };
    pool()
        .with(with_media("a"))
        .with(with_media("b"))
        .var("TOKEN_RATE_LIMIT", 100_000)
        .var("AZURE_INSTANCE_A_API_VERSION", "2025-04-01-preview")
        .var("AZURE_INSTANCE_B_API_VERSION", "v1")
        .var("MODEL_MAP_GPTIMAGE1", "my-image")
        .var("MODEL_MAP_GPT4OTRANSCRIBE", "my-ears")
}

pub fn field(name: &str, value: &str) -> Vec<u8> {
    format!("--a-boundary\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        .into()
}

pub fn file(name: &str, content: &[u8]) -> Vec<u8> {
    let head = format!(
        "--a-boundary\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"f\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    [head.as_bytes(), content, b"\r\n"].concat()
}

pub fn form(parts: &[Vec<u8>]) -> Bytes {
    Bytes::from([&parts.concat()[..], b"--a-boundary--\r\n"].concat())
}

/// Every byte there is, and what looks like the form around it.
fn sound() -> Vec<u8> {
    let bytes: Vec<u8> = (0..=255).cycle().take(5_000).collect();
    [&bytes[..], b"\r\n--a-bound\r\nname=\"model\"\r\n\r\n"].concat()
}

pub async fn post(app: &TestApp, path: &str, kind: &str, body: Bytes) -> Answer {
    let request = client().post(format!("{}{path}", app.url));
    let request = request.insert_header(("content-type", kind));
    read(request.send_body(body).await.unwrap()).await
}

#[actix_web::test]
async fn a_sound_is_failed_over_with_fields_before_and_after_it() {
    let app = two().await;
    let before = |model| {
        form(&[
            field("model", model),
            field("language", "en"),
            file("file", &sound()),
        ])
    };
    let after = |model| form(&[file("file", &sound()), field("model", model)]);
    let throttled =
        r#"{"error":{"code":"429","message":"Rate limit is exceeded. Try again in 1 seconds."}}"#;

    let faults = [Play::server_error(), Play::status(429, throttled)];
    for (body, fault) in [&before as &dyn Fn(_) -> Bytes, &after]
        .into_iter()
        .zip(faults)
    {
        for sim in &app.sims {
            sim.forget_requests();
        }
        app.sims[0].play([fault]);
        let path = "/v1/audio/transcriptions";
        let answer = post(&app, path, KIND, body("gpt-4o-transcribe")).await;

        assert_eq!((answer.status.as_u16(), answer.instance()), (200, "b"));
        let text = answer.json()["text"].to_string();
        let heard = format!("I hear {} bytes", sound().len());
        assert!(text.contains(&heard), "{text}");
        let dated = &app.sims[0].requests()[0];
        let target = "/openai/deployments/my-ears/audio/transcriptions?";
        assert!(dated.target.starts_with(target), "{}", dated.target);
        assert!(dated.body == body("gpt-4o-transcribe"), "other bytes");
        let v1 = &app.sims[1].requests()[0];
        assert_eq!(v1.target, "/openai/v1/audio/transcriptions");
        assert_eq!(v1.header("content-type"), Some(KIND));
        assert!(v1.body == body("my-ears"), "other bytes");
    }
    app.finish().await;
}

#[actix_web::test]
async fn a_large_upload_of_unknown_length_is_failed_over_whole() {
    let app = two().await;
    app.sims[0].play([Play::server_error()]);
    let large = sound().repeat(1_000);
    let body = form(&[file("file", &large), field("model", "gpt-4o-transcribe")]);
    let pieces: Vec<_> = (0..body.len())
        .step_by(60_000)
        .map(|at| Ok::<_, std::io::Error>(body.slice(at..body.len().min(at + 60_000))))
        .collect();

    let request = client().post(format!("{}/v1/audio/translations", app.url));
    let request = request.insert_header(("content-type", KIND));
    let sent = request.send_stream(stream::iter(pieces)).await;
    let answer = read(sent.unwrap()).await;

    assert_eq!((answer.status.as_u16(), answer.instance()), (200, "b"));
    let text = answer.json()["text"].to_string();
    let heard = format!("I hear {} bytes", large.len());
    assert!(text.contains(&heard), "{text}");
    assert!(app.sims[0].requests()[0].body == body, "other bytes");
    app.finish().await;
}

#[actix_web::test]
async fn an_edited_image_reaches_both_forms_and_settles_to_its_usage() {
    let app = two().await;
    app.sims[0].play([Play::Honest, Play::server_error()]);
    let with = |model: &[Vec<u8>]| {
        let images = [file("image[]", &sound()), file("image[]", b"")].concat();
        form(&[images, model.concat(), field("prompt", "a grey dot")])
    };
    let body = with(&[field("model", "gpt-image-1")]);

    for (position, path) in [
        "/v1/images/edits",
        "/openai/deployments/gpt-image-1/images/edits",
    ]
    .into_iter()
    .enumerate()
    {
        let answer = post(&app, path, KIND, body.clone()).await;

        assert_eq!(answer.status, 200, "{}", answer.text());
        let usage = &answer.json()["usage"];
        assert_eq!(usage["input_tokens_details"]["image_tokens"], 646);
        let settled = app.settled(position).await;
        assert_eq!(settled["current_tpm"], usage["total_tokens"]);
    }
    // Azure refuses the deployment's name in the body of the one form, and needs it in the other.
    assert!(app.sims[0].requests()[0].body == with(&[]), "other bytes");
    let v1 = &app.sims[1].requests()[0];
    assert!(
        v1.body == with(&[field("model", "my-image")]),
        "other bytes"
    );
    app.finish().await;
}

#[actix_web::test]
async fn answers_come_down_as_they_are_and_settle_to_what_they_tell() {
    let app = two().await;
    let ask = |extra: &[Vec<u8>]| form(&[file("file", &sound()), extra.concat()]);
    let used = || async { app.settled(0).await["current_tpm"].as_u64().unwrap() };
    let ears = "/openai/deployments/gpt-4o-transcribe/audio/transcriptions";
    let whisper = "/openai/deployments/whisper-1/audio/translations";

    let whole = post(&app, ears, KIND, ask(&[])).await.json();
    let told = whole["usage"]["total_tokens"].as_u64().unwrap();
    assert_eq!(used().await, told);

    let streamed = post(&app, ears, KIND, ask(&[field("stream", "true")])).await;
    let text = streamed.text();
    assert!(
        text.starts_with("event: transcript.text.delta\ndata: {"),
        "{text}"
    );
    assert!(
        text.contains("event: transcript.text.done\ndata: {"),
        "{text}"
    );
    assert_eq!(used().await, 2 * told);

    // Nobody tells the tokens of these: the flat reservation stands, 600 for the sound, 300 for its words, 1 for no prompt.
    let timed = post(&app, whisper, KIND, ask(&[])).await.json();
    assert_eq!(timed["usage"]["type"], "duration");
    assert_eq!(used().await, 2 * told + 901);
    let format = field("response_format", "srt");
    let captions = post(&app, whisper, KIND, ask(&[format])).await;
    let spoken = timed["text"].as_str().unwrap();
    let expected = format!("1\n00:00:00,000 --> 00:00:01,000\n{spoken}\n\n");
    assert_eq!(captions.text(), expected);
    assert_eq!(
        captions.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(used().await, 2 * told + 2 * 901);
    assert_eq!(app.instance(0).await["error_count"], 0);
    app.finish().await;
}

#[actix_web::test]
async fn uploads_keep_to_the_limit() {
    let app = pool_of_two().var("TOKEN_RATE_LIMIT", 1_000).start().await;
    let body = form(&[file("file", b"RIFF"), field("model", "whisper-1")]);

    let mut answers = Vec::new();
    for path in [
        "/audio/transcriptions",
        "/openai/v1/audio/transcriptions/",
        "/v1/audio/transcriptions",
    ] {
        let answer = post(&app, path, KIND, body.clone()).await;
        answers.push((answer.status.as_u16(), answer.instance().to_owned()));
    }

    let expected = [(200, "a"), (200, "b"), (429, "-")];
    assert_eq!(
        answers,
        expected.map(|(status, name)| (status, name.to_owned()))
    );
    app.finish().await;
}

#[actix_web::test]
async fn bad_forms_are_refused_by_name_and_reach_nobody() {
    let app = pool_of_two().var("MAX_BODY_BYTES", 100_000).start().await;
    let sound_alone = form(&[file("file", b"RIFF")]);
    let whole = form(&[file("file", b"RIFF"), field("model", "whisper-1")]);
    let torn = whole.slice(..whole.len() - 6);
    let large = form(&[file("file", &[0; 100_000]), field("model", "whisper-1")]);

    for (kind, body, status, code, param) in [
        (
            KIND,
            sound_alone,
            400,
            "missing_required_parameter",
            "model",
        ),
        (
            "multipart/form-data",
            whole.clone(),
            400,
            "invalid_form",
            "",
        ),
        ("application/json", whole.clone(), 400, "invalid_form", ""),
        (
            "multipart/form-data; boundary=other",
            whole,
            400,
            "invalid_form",
            "",
        ),
        (KIND, torn, 400, "invalid_form", ""),
        (KIND, large, 413, "request_too_large", ""),
    ] {
        let answer = post(&app, "/v1/audio/transcriptions", kind, body).await;

        assert_refused(&answer, status, code);
        let error = &answer.json()["error"];
        assert_eq!(error["param"].as_str().unwrap_or(""), param, "{error}");
    }
    for sim in &app.sims {
        assert_eq!(sim.counters().requests, 0);
    }
    app.finish().await;
}
