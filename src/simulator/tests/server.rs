//! The server itself: connections, uploads, stopping.

use super::*;

#[actix_web::test]
async fn a_connection_serves_many_requests_and_uploads_in_chunks() {
    let simulator = start().await;
    let mut client = Client::connect(&simulator).await;

    client.send(&request(CHAT, HELLO)).await;
    let first = client.response().await.unwrap();
    let head = format!("POST {CHAT} HTTP/1.1\r\napi-key: k\r\ntransfer-encoding: chunked\r\n\r\n");
    client.send(&head).await;
    for part in [&HELLO[..7], &HELLO[7..]] {
        client
            .send(&format!("{:x}\r\n{part}\r\n", part.len()))
            .await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    client.send("0\r\n\r\n").await;
    let second = client.response().await.unwrap();

    assert_eq!((first.status, second.status), (200, 200));
    let seen = simulator.requests();
    assert_eq!(seen[0].body, seen[1].body);
    assert_eq!((seen[0].connection, seen[1].connection), (1, 1));
    assert_eq!(seen[0].header("api-key"), Some("k"));
    assert_eq!(simulator.open_connections(), 1);
    drop(client);
    until("the connection closes", || {
        simulator.open_connections() == 0
    })
    .await;
}

#[actix_web::test]
async fn a_client_that_expects_100_is_told_to_continue() {
    let simulator = start().await;
    let mut client = Client::connect(&simulator).await;
    let (head, body) = request(CHAT, HELLO)
        .split_once("\r\n\r\n")
        .map(|(head, body)| {
            (
                format!("{head}\r\nexpect: 100-continue\r\n\r\n"),
                body.to_owned(),
            )
        })
        .unwrap();

    client.send(&head).await;
    while !client.inbox.ends_with(b"\r\n\r\n") {
        client.read().await.unwrap();
    }
    assert_eq!(client.inbox, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.inbox.clear();
    client.send(&body).await;

    assert_eq!(client.response().await.unwrap().status, 200);
}

#[actix_web::test]
async fn pipelined_requests_are_answered_in_turn() {
    let simulator = start().await;
    let mut client = Client::connect(&simulator).await;

    client.send(&request(CHAT, HELLO).repeat(3)).await;

    for _ in 0..3 {
        assert_eq!(client.response().await.unwrap().status, 200);
    }
    assert_eq!(simulator.abandoned(), 0);
}

#[actix_web::test]
async fn a_refusing_simulator_closes_everything_until_it_resumes() {
    let simulator = start().await;
    let mut client = Client::connect(&simulator).await;
    client.send(&request(CHAT, HELLO)).await;
    client.response().await.unwrap();

    simulator.refuse().await;

    assert_eq!(client.read().await.unwrap_or(0), 0);
    assert_eq!(simulator.open_connections(), 0);
    let refused = TcpStream::connect(simulator.addr()).await;
    assert_eq!(
        refused.unwrap_err().kind(),
        io::ErrorKind::ConnectionRefused
    );
    simulator.resume().await.unwrap();
    assert_eq!(chat(&simulator, HELLO).await.unwrap().status, 200);
    assert_eq!(simulator.used_tokens("chat"), Tokens(2 * 642));
}

#[actix_web::test]
async fn a_dropped_simulator_frees_its_port() {
    let simulator = start().await;
    let addr = simulator.addr();

    drop(simulator);

    let mut is_refused = false;
    for _ in 0..1_000 {
        is_refused = TcpStream::connect(addr).await.is_err();
        if is_refused {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(is_refused);
}

#[actix_web::test]
async fn only_so_many_requests_are_remembered() {
    let resource = resource().remembering(2);
    let simulator = Simulator::start(resource, LOCAL).await.unwrap();

    for number in 0..3 {
        let target = format!("/{number}");
        assert_eq!(post(&simulator, &target, "").await.unwrap().status, 404);
    }

    let targets: Vec<String> = simulator
        .requests()
        .into_iter()
        .map(|seen| seen.target)
        .collect();
    assert_eq!(targets, ["/1", "/2"]);
    assert_eq!(simulator.counters().requests, 3);
}
