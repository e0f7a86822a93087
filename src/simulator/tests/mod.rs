//! The simulator over real sockets, with a client that sees the bytes.

mod faults;
mod honest;
mod server;

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::domain::Tokens;

const LOCAL: (IpAddr, u16) = (IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const CHAT: &str = "/openai/deployments/chat/chat/completions?api-version=2024-10-21";
const HELLO: &str = r#"{"messages":[{"role":"user","content":"hello"}]}"#;
const HELLO_STREAM: &str = r#"{"messages":[{"role":"user","content":"hello"}],"stream":true}"#;

fn resource() -> Resource {
    let deployment = |name, model| SimDeployment::new(name, model, Tokens(10_000)).rpm(6_000);
    Resource::new("test")
        .key("k")
        .deployment(deployment("chat", "gpt-4o"))
        .deployment(deployment("text", "gpt-35-turbo-instruct"))
        .deployment(deployment("embed", "text-embedding-3-small"))
}

async fn start() -> Simulator {
    Simulator::start(resource(), LOCAL).await.unwrap()
}

/// Starts a simulator with one scripted play.
async fn playing(play: Play) -> Simulator {
    let simulator = start().await;
    simulator.play([play]);
    simulator
}

fn request(target: &str, body: &str) -> String {
    format!(
        "POST {target} HTTP/1.1\r\nhost: h\r\napi-key: k\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

struct Client {
    stream: TcpStream,
    inbox: Vec<u8>,
}

/// A response as far as it came.
struct Response {
    status: u16,
    head: String,
    /// Without framing.
    body: Vec<u8>,
    /// The length or the last chunk said that this is all.
    is_whole: bool,
}

impl Response {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (known, value) = line.split_once(": ")?;
            (known == name).then_some(value)
        })
    }

    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The `data:` of every event.
    fn events(&self) -> Vec<String> {
        let text = self.text();
        let events = text.split_terminator("\n\n");
        events
            .map(|event| event.strip_prefix("data: ").unwrap().to_owned())
            .collect()
    }
}

impl Client {
    async fn connect(simulator: &Simulator) -> Self {
        let stream = TcpStream::connect(simulator.addr()).await.unwrap();
        Self {
            stream,
            inbox: Vec::new(),
        }
    }

    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads more; 0 at the end.
    async fn read(&mut self) -> io::Result<usize> {
        let read = self.stream.read_buf(&mut self.inbox);
        tokio::time::timeout(Duration::from_secs(5), read)
            .await
            .expect("the simulator says something or closes")
    }

    /// Reads one response, leaving what follows in the inbox.
    async fn response(&mut self) -> io::Result<Response> {
        let mut is_closed = false;
        loop {
            if let Some(response) = self.take(is_closed) {
                return Ok(response);
            }
            if is_closed {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            is_closed = self.read().await? == 0;
        }
    }

    fn take(&mut self, is_closed: bool) -> Option<Response> {
        let at = memchr::memmem::find(&self.inbox, b"\r\n\r\n")?;
        let head = String::from_utf8(self.inbox[..at].to_vec()).unwrap();
        let rest = &self.inbox[at + 4..];
        let mut response = Response {
            status: head[9..12].parse().unwrap(),
            head,
            body: Vec::new(),
            is_whole: false,
        };
        let used = if let Some(length) = response.header("content-length") {
            let length: usize = length.parse().unwrap();
            response.body = rest[..length.min(rest.len())].to_vec();
            response.is_whole = rest.len() >= length;
            response.body.len()
        } else if response.header("transfer-encoding").is_some() {
            dechunk(rest, &mut response)
        } else {
            response.body = rest.to_vec();
            rest.len()
        };
        if !response.is_whole && !is_closed {
            return None;
        }
        self.inbox.drain(..at + 4 + used);
        Some(response)
    }
}

fn dechunk(rest: &[u8], response: &mut Response) -> usize {
    let mut at = 0;
    while let Ok(httparse::Status::Complete((line, size))) = httparse::parse_chunk_size(&rest[at..])
    {
        let size = usize::try_from(size).unwrap();
        let end = at + line + size;
        if rest.len() < end + 2 {
            break;
        }
        response.body.extend_from_slice(&rest[at + line..end]);
        at = end + 2;
        if size == 0 {
            response.is_whole = true;
            break;
        }
    }
    at
}

/// Sends one request over a new connection.
async fn post(simulator: &Simulator, target: &str, body: &str) -> io::Result<Response> {
    let mut client = Client::connect(simulator).await;
    client.send(&request(target, body)).await;
    client.response().await
}

async fn chat(simulator: &Simulator, body: &str) -> io::Result<Response> {
    post(simulator, CHAT, body).await
}

/// Waits until something is so, for at most five seconds.
async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{what} did not come about");
}
