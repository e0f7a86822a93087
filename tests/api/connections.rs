//! Kept connections to an instance: used again, and replaced when the instance has closed them meanwhile.

use azure_openai_proxy::simulator::Play;

use crate::helpers::*;

#[actix_web::test]
async fn a_kept_connection_that_has_gone_stale_is_replaced_at_the_same_instance() {
    let app = spawn_app(2).await;
    app.sims[0].play([Play::CloseOnReuse]);
    app.chat(&chat("hello", 50)).await;

    let answer = app.chat(&chat("hello", 50)).await;

    assert_eq!((answer.status.as_u16(), answer.instance()), (200, "a"));
    assert_eq!(answer.header("x-proxy-attempts"), Some("1"));
    let connections: Vec<u64> = app.sims[0]
        .requests()
        .iter()
        .map(|seen| seen.connection)
        .collect();
    assert_eq!(connections, [1, 1, 2]);
    assert_eq!(app.instance(0).await["error_count"], 0);
    app.finish().await;
}

#[actix_web::test]
async fn a_second_stale_connection_in_a_row_is_a_fault() {
    let app = spawn_app(2).await;
    app.chat(&chat("hello", 50)).await;
    app.sims[0].play([Play::CloseBeforeHead, Play::CloseBeforeHead]);

    let answer = app.chat(&chat("hello", 50)).await;

    assert_eq!((answer.status.as_u16(), answer.instance()), (200, "b"));
    app.wait_for(0, "the error", |i| i["error_count"] == 1)
        .await;
    app.finish().await;
}
