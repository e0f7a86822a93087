//! Both ends of HTTP by hand, for what libraries hide: how a connection ends, and what had come until then.
//!
//! [`RawClient`] calls the proxy; [`ByHand`] is an upstream that sends what and when the test says. Together they prove
//! order without looking at a clock: what the client has must have come before the upstream went on.

use std::io;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::helpers::{Pool, SOON, TestApp, pool};

/// The head of an event stream in chunks.
pub const STREAM_HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// A client connection.
pub struct RawClient {
    stream: TcpStream,
    received: Vec<u8>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Closed,
    Reset,
}

impl RawClient {
    pub async fn connect(app: &TestApp) -> Self {
        let address = app.url.strip_prefix("http://").unwrap();
        Self {
            stream: TcpStream::connect(address).await.unwrap(),
            received: Vec::new(),
        }
    }

    /// Connects and posts a chat request.
    pub async fn chat(app: &TestApp, body: &Value) -> Self {
        let mut client = Self::connect(app).await;
        client.post_chat(body).await;
        client
    }

    /// Like [`RawClient::chat`], with hardly any room for what it has not read.
    pub async fn narrow_chat(app: &TestApp, body: &Value) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        let address = app.url.strip_prefix("http://").unwrap().parse().unwrap();
        let mut client = Self {
            stream: socket.connect(address).await.unwrap(),
            received: Vec::new(),
        };
        client.post_chat(body).await;
        client
    }

    async fn post_chat(&mut self, body: &Value) {
        let body = body.to_string();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: proxy\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        self.send((head + &body).as_bytes()).await;
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Reads until `part` has come.
    pub async fn read_until(&mut self, part: &str) {
        while memchr::memmem::find(&self.received, part.as_bytes()).is_none() {
            let read = self.read().await;
            assert!(
                matches!(read, Ok(1..)),
                "{read:?} before {part} came: {}",
                self.text()
            );
        }
    }

    /// Reads until this many bytes have come, head included.
    pub async fn read_bytes(&mut self, count: usize) {
        while self.received.len() < count {
            assert!(matches!(self.read().await, Ok(1..)), "{}", self.text());
        }
    }

    /// Reads until the connection ends.
    pub async fn read_to_end(&mut self) -> End {
        loop {
            match self.read().await {
                Ok(0) => return End::Closed,
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
                    return End::Reset;
                }
            }
        }
    }

    async fn read(&mut self) -> io::Result<usize> {
        let read = self.stream.read_buf(&mut self.received);
        timeout(SOON, read).await.expect("something comes soon")
    }

    /// Closes the sending side only.
    pub async fn half_close(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Leaves without a word.
    pub fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }

    /// All that has come.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.received).into_owned()
    }

    /// What has come after the head, as framed.
    pub fn body(&self) -> &[u8] {
        let end = memchr::memmem::find(&self.received, b"\r\n\r\n").unwrap();
        &self.received[end + 4..]
    }

    /// The payload of a chunked body so far, and whether its end was announced.
    pub fn dechunked(&self) -> (Vec<u8>, bool) {
        let mut rest = self.body();
        let mut payload = Vec::new();
        while let Ok(httparse::Status::Complete((line, size))) = httparse::parse_chunk_size(rest) {
            if size == 0 {
                return (payload, true);
            }
            let end = line + usize::try_from(size).unwrap();
            payload.extend_from_slice(&rest[line..end.min(rest.len())]);
            rest = rest.get(end + 2..).unwrap_or_default();
        }
        (payload, false)
    }
}

/// An upstream whose every byte the test sends.
pub struct ByHand {
    listener: TcpListener,
}

impl ByHand {
    pub async fn bind() -> Self {
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        }
    }

    pub fn authority(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    /// A pool in which this is the first instance, `a`, and simulated ones follow.
    pub fn pool(&self, followers: &[&str]) -> Pool {
        let base = format!("http://{}", self.authority());
        let first = pool()
            .instance("a", 100_000_000)
            .var("AZURE_INSTANCE_A_API_BASE", base);
        followers
            .iter()
            .fold(first, |pool, name| pool.instance(name, 100_000_000))
    }

    /// Waits for a connection as long as it takes.
    pub async fn accept(&self) -> TcpStream {
        let (stream, _) = self.listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Takes a connection and reads the request that comes over it.
    pub async fn request(&self) -> Line {
        let accepted = timeout(SOON, self.accept()).await;
        let mut stream = accepted.expect("the proxy connects soon");
        read_request(&mut stream).await.unwrap();
        Line { stream }
    }
}

/// Reads one request with a content-length; `None` if the connection ends before it.
pub async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut request = Vec::new();
    loop {
        if let Some(end) = memchr::memmem::find(&request, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            if request.len() >= end + 4 + length.unwrap().parse::<usize>().unwrap() {
                return Some(request);
            }
        }
        match stream.read_buf(&mut request).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return None,
        }
    }
}

/// A connection from the proxy, over which a request has come.
pub struct Line {
    stream: TcpStream,
}

impl Line {
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads the next request that comes over the same connection.
    pub async fn next_request(&mut self) {
        let read = timeout(SOON, read_request(&mut self.stream)).await;
        read.expect("a request comes soon").unwrap();
    }

    /// Writes a whole JSON answer.
    pub async fn answer(&mut self, json: &str) {
        let length = json.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        self.write(head + json).await;
    }

    /// Writes a chunk.
    pub async fn chunk(&mut self, bytes: &str) {
        self.write(chunk(bytes)).await;
    }

    /// Writes as often as the proxy takes it within `patience`, and returns how many bytes that were.
    pub async fn flood(&mut self, bytes: &[u8], patience: Duration, most: usize) -> usize {
        let mut sent = 0;
        while sent < most {
            let from = sent % bytes.len();
            match timeout(patience, self.stream.write(&bytes[from..])).await {
                Ok(written) => sent += written.unwrap(),
                Err(_) => return sent,
            }
        }
        sent
    }

    /// Writes the same over and over, until the proxy closes the connection.
    pub async fn write_until_closed(mut self, bytes: &[u8]) {
        let writing = async { while self.stream.write_all(bytes).await.is_ok() {} };
        let ended = timeout(SOON, writing).await;
        ended.expect("the proxy closes the connection soon");
    }

    /// Waits until the proxy closes the connection.
    pub async fn closed_by_proxy(mut self) {
        let mut nothing = [0; 1];
        let read = timeout(Duration::from_secs(1), self.stream.read(&mut nothing)).await;
        let read = read.expect("the proxy closes within a second");
        assert!(matches!(read, Ok(0) | Err(_)), "the proxy sent {nothing:?}");
    }

    pub fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }
}

/// Frames a chunk.
pub fn chunk(bytes: &str) -> String {
    format!("{:x}\r\n{bytes}\r\n", bytes.len())
}

/// A content event of a chat stream.
pub fn delta(text: &str) -> String {
    let choice = serde_json::json!({"index": 0, "delta": {"content": text}, "finish_reason": null});
    let event = serde_json::json!({"object": "chat.completion.chunk", "choices": [choice]});
    format!("data: {event}\n\n")
}
