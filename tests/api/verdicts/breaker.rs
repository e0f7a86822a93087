//! Faults in a row take an instance out; one request at a time finds out whether it is back.

use std::time::Duration;

use azure_openai_proxy::simulator::{Pace, Play};
use futures_util::future::join;
use serde_json::{Value, json};

use super::{b_serves, is_within};
use crate::helpers::*;

/// Lets `a` fail three times in a row, which takes it out. Returns it as the status page shows it.
async fn a_is_out(app: &TestApp) -> Value {
    app.sims[0].play([(); 3].map(|()| Play::server_error()));
    for status in ["healthy", "healthy", "error"] {
        let a = b_serves(app, &chat("hello", 50)).await;
        assert_eq!(a["status"], status);
    }
    app.instance(0).await
}

/// Waits for the end of a cooldown, which is real time.
async fn cooled(app: &TestApp) {
    let a = app.instance(0).await;
    let rest = a["available_in"].as_f64().unwrap();
    actix_rt::time::sleep(Duration::from_secs_f64(rest)).await;
    app.wait_for(0, "the end of the cooldown", |i| i["available_in"] == 0.0)
        .await;
}

#[actix_web::test]
async fn only_faults_in_a_row_take_an_instance_out() {
    let app = spawn_app(2).await;
    for _ in 0..2 {
        app.sims[0].play([Play::server_error(), Play::unavailable_page()]);
        for _ in 0..2 {
            b_serves(&app, &chat("hello", 50)).await;
        }
        assert_eq!(app.chat(&chat("hello", 50)).await.instance(), "a");
    }
    assert_eq!(app.settled(0).await["status"], "healthy");

    let a = a_is_out(&app).await;

    assert!(is_within(&a["available_in"], 3.0, 5.0), "{a}");
    assert_eq!(
        (&a["error_count"], &a["rate_limited_until"]),
        (&json!(7), &Value::Null)
    );
    assert_eq!(app.status().await["healthy_instances"], 1);
    app.sims[0].forget_requests();
    let next = app.chat(&chat("hello", 50)).await;
    assert_eq!(
        (next.instance(), next.header("x-proxy-attempts")),
        ("b", Some("1"))
    );
    assert!(app.sims[0].requests().is_empty());
    app.finish().await;
}

#[actix_web::test]
async fn after_the_cooldown_one_probe_goes_and_its_success_opens_the_instance() {
    let app = spawn_app(2).await;
    a_is_out(&app).await;
    cooled(&app).await;
    assert_eq!(app.instance(0).await["status"], "error");
    app.sims[0].forget_requests();
    let pace = Pace {
        first_byte: Duration::from_secs(1),
        per_chunk: Duration::ZERO,
    };
    app.sims[0].play([Play::Slow(pace)]);

    let request = chat("hello", 50);
    let others = async {
        eventually("the probe", || app.sims[0].requests().len() == 1).await;
        for _ in 0..4 {
            let other = app.chat(&request).await;
            assert_eq!(
                (other.instance(), other.header("x-proxy-attempts")),
                ("b", Some("1"))
            );
        }
    };
    let (probe, ()) = join(app.chat(&request), others).await;

    assert_eq!((probe.status.as_u16(), probe.instance()), (200, "a"));
    assert_eq!(app.sims[0].requests().len(), 1);
    assert_eq!(app.settled(0).await["status"], "healthy");
    assert_eq!(app.chat(&request).await.instance(), "a");
    app.finish().await;
}

#[actix_web::test]
async fn a_failed_probe_doubles_the_cooldown() {
    let app = spawn_app(2).await;
    a_is_out(&app).await;
    cooled(&app).await;
    app.sims[0].play([Play::server_error()]);

    let a = b_serves(&app, &chat("hello", 50)).await;

    assert_eq!(a["status"], "error");
    assert!(is_within(&a["available_in"], 8.0, 10.0), "{a}");
    let next = app.chat(&chat("hello", 50)).await;
    assert_eq!(
        (next.instance(), next.header("x-proxy-attempts")),
        ("b", Some("1"))
    );
    app.finish().await;
}
