//! How `serve` ends: what SIGTERM lets go on, and what does not wait for it.

use std::time::Duration;

use azure_openai_proxy::simulator::{Mark, Pace, Play};
use tokio::time::Instant;

use super::process::*;
use crate::helpers::*;

#[actix_web::test]
async fn sigterm_lets_an_open_stream_finish_and_takes_no_new_request() {
    let sim = upstream().await;
    sim.play([Play::Slow(Pace {
        first_byte: Duration::ZERO,
        per_chunk: Duration::from_millis(80),
    })]);
    let mut proxy = Running::start(Folder::new(), &["serve"], &sound(&sim.url()));
    let url = proxy.url().await;
    let request = client().post(format!("{url}/v1/chat/completions"));
    let opened = request.send_json(&chat_stream("Hello", 20)).await.unwrap();

    // Wrappers may deliver one wish twice.
    proxy.terminate();
    proxy.terminate();
    eventually("the end of listening", || is_closed(&url)).await;
    let is_open = sim.counters().answered == 0;
    let answer = read(opened).await;

    assert!(
        is_open,
        "the stream was over before the signal had an effect"
    );
    assert_eq!(events(answer.text()).last(), Some(&"[DONE]"));
    assert_eq!(proxy.ended().await.code(), Some(0));
    assert!(
        proxy.lines().iter().any(|line| line.contains("stopped")),
        "{:#?}",
        proxy.lines()
    );
}

#[actix_web::test]
async fn a_second_sigterm_does_not_wait_for_open_streams() {
    let sim = upstream().await;
    sim.play([Play::StallAfter(Mark::Events(3))]);
    let mut proxy = Running::start(Folder::new(), &["serve"], &sound(&sim.url()));
    let url = proxy.url().await;
    let request = client().post(format!("{url}/v1/chat/completions"));
    let opened = request.send_json(&chat_stream("Hello", 20)).await.unwrap();
    proxy.terminate();
    eventually("the end of listening", || is_closed(&url)).await;
    let first = Instant::now();

    while proxy.child.try_wait().unwrap().is_none() {
        assert!(first.elapsed() < SOON, "no signal ends it");
        actix_rt::time::sleep(Duration::from_millis(100)).await;
        proxy.terminate();
    }

    assert_eq!(proxy.ended().await.code(), Some(0));
    let took = first.elapsed();
    assert!(took > Duration::from_millis(800), "ended after {took:?}");
    drop(opened);
}

#[actix_web::test]
async fn without_open_requests_sigterm_stops_at_once() {
    let mut proxy = Running::start(Folder::new(), &[], &sound("http://127.0.0.1:9"));
    proxy.url().await;

    proxy.terminate();

    assert_eq!(proxy.ended().await.code(), Some(0));
}
