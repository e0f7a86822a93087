//! `demo` and `simulate`: they say where they listen, and answer there.

use super::process::*;
use crate::helpers::*;

#[actix_web::test]
async fn the_demo_needs_nothing_and_spreads_requests_over_its_resources() {
    let mut demo = Running::start(Folder::new(), &["demo", "--port", "0"], &[]);
    let url = demo.url().await;

    let mut served = Vec::new();
    for _ in 0..3 {
        let answer = chat_at(&url, &chat("Hello", 20)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["object"], "chat.completion");
        served.push(answer.instance().to_owned());
    }

    served.sort();
    assert_eq!(served, ["east", "north", "west"]);
    demo.terminate();
    assert_eq!(demo.ended().await.code(), Some(0));
    let lines = demo.lines();
    assert!(
        !lines.iter().any(|line| line.contains("WARN")),
        "{lines:#?}"
    );
    assert!(is_closed(&url));
}

#[actix_web::test]
async fn the_demo_lists_its_models_as_clients_spell_them() {
    let demo = Running::start(Folder::new(), &["demo", "--port", "0"], &[]);
    let url = demo.url().await;

    let listed = read(
        client()
            .get(format!("{url}/v1/models"))
            .send()
            .await
            .unwrap(),
    )
    .await;

    let listed = listed.json();
    let mut names: Vec<&str> = listed["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    let known = [
        "gpt-3.5-turbo",
        "gpt-3.5-turbo-instruct",
        "gpt-4o",
        "gpt-4o-mini",
        "gpt-4o-transcribe",
        "gpt-image-1",
        "text-embedding-3-small",
        "text-embedding-ada-002",
        "tts-1",
        "whisper-1",
    ];
    assert_eq!(names, known);
}

#[actix_web::test]
async fn a_simulated_resource_answers_with_its_key_and_throttles_at_its_quota() {
    let options = [
        "simulate",
        "--port",
        "0",
        "--key",
        "key-of-mine",
        "--deployment",
        "mine=gpt-4o:1000",
        "--first-byte-ms",
        "0",
    ];
    let mut simulate = Running::start(Folder::new(), &options, &[]);
    let url = simulate.url().await;
    let url = format!("{url}/openai/deployments/mine/chat/completions?api-version=2024-10-21");
    let ask = async |key: &str, max_tokens: u64| {
        let request = client().post(&url).insert_header(("api-key", key));
        read(request.send_json(&chat("Hello", max_tokens)).await.unwrap()).await
    };

    assert_eq!(ask("another-key", 20).await.status, 401);
    let answer = ask("key-of-mine", 900).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.json()["usage"]["total_tokens"].is_u64());
    assert_eq!(ask("key-of-mine", 900).await.status, 429);

    simulate.terminate();
    assert_eq!(simulate.ended().await.code(), Some(0));
}

#[actix_web::test]
async fn who_says_that_it_listens_can_be_stopped_at_once() {
    for arguments in [["demo", "--port", "0"], ["simulate", "--port", "0"]] {
        let mut process = Running::start(Folder::new(), &arguments, &[]);
        process.url().await;

        process.terminate();

        assert_eq!(process.ended().await.code(), Some(0), "{arguments:?}");
    }
}

#[test]
fn a_deployment_that_makes_no_sense_is_refused() {
    let ended = run(
        &["simulate", "--port", "0", "--deployment", "a=b:many"],
        &[],
    );

    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("a=b:many"), "{}", ended.stderr);
}

#[test]
fn who_cannot_listen_says_where() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for command in ["demo", "simulate"] {
        let ended = run(&[command, "--port", &address.port().to_string()], &[]);

        assert_eq!(ended.code, Some(1), "{command}");
        let what = format!("cannot listen on {address}: ");
        assert!(ended.stderr.contains(&what), "{}", ended.stderr);
    }
}

#[actix_web::test]
async fn the_proxy_serves_in_front_of_a_simulated_process() {
    let options = [
        "simulate",
        "--port",
        "0",
        "--key",
        KEY,
        "--first-byte-ms",
        "0",
        "--per-chunk-ms",
        "0",
    ];
    let simulate = Running::start(Folder::new(), &options, &[]);
    let proxy = Running::start(Folder::new(), &["serve"], &sound(&simulate.url().await));

    let answer = chat_at(&proxy.url().await, &chat_stream("Hello", 20)).await;

    assert_eq!(answer.status, 200);
    assert_eq!(events(answer.text()).last(), Some(&"[DONE]"));
}
