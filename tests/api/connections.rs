//! Kept connections to an instance: used again, replaced when the instance has closed them meanwhile, and let go when more
//! may come over them.

use azure_openai_proxy::simulator::Play;
use futures_util::future::join_all;

use crate::helpers::*;
use crate::raw::ByHand;

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
async fn many_connections_that_have_gone_stale_together_cost_one_repetition() {
    let app = spawn_app(2).await;
    app.sims[0].play([Play::CloseOnReuse, Play::CloseOnReuse, Play::CloseOnReuse]);
    let body = chat("hello", 50);
    join_all((0..3).map(|_| app.chat(&body))).await;

    let answer = app.chat(&chat("hello", 50)).await;

    assert_eq!((answer.status.as_u16(), answer.instance()), (200, "a"));
    assert_eq!(answer.header("x-proxy-attempts"), Some("1"));
    let requests = app.sims[0].requests();
    let connections: Vec<u64> = requests.iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [1, 2, 3, 1, 4]);
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

#[actix_web::test]
async fn interim_answers_are_passed_over() {
    let upstream = ByHand::bind().await;
    let app = upstream.pool(&["b"]).start().await;
    let body = chat("hello", 50);
    let (first, mut line) = tokio::join!(app.chat(&body), async {
        let mut line = upstream.request().await;
        line.write("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n")
            .await;
        line.write("\r\n").await;
        line.answer("{\"first\":1}").await;
        line
    });
    let (second, ()) = tokio::join!(app.chat(&body), async {
        line.next_request().await;
        line.answer("{\"second\":2}").await;
    });

    assert_eq!((first.instance(), first.text()), ("a", "{\"first\":1}"));
    assert_eq!((second.instance(), second.text()), ("a", "{\"second\":2}"));
    assert_eq!(app.instance(0).await["error_count"], 0);
    app.finish().await;
}

#[actix_web::test]
async fn what_comes_after_an_answer_without_end_answers_nobody_else() {
    let upstream = ByHand::bind().await;
    let app = upstream.pool(&["b"]).start().await;
    let body = chat("hello", 50);
    for head in [
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n",
        "HTTP/1.1 500 Internal Server Error\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
    ] {
        let (answer, _open) = tokio::join!(app.chat(&body), async {
            let mut line = upstream.request().await;
            line.write(head).await;
            line
        });
        assert_eq!((answer.status.as_u16(), answer.instance()), (200, "b"));

        let (answer, ()) = tokio::join!(app.chat(&body), async {
            let mut line = upstream.request().await;
            line.answer("{\"own\":1}").await;
            // So that the next one connects anew too.
            line.reset();
        });

        assert_eq!((answer.instance(), answer.text()), ("a", "{\"own\":1}"));
    }
    app.finish().await;
}
