//! Several processes of the proxy in front of one simulated resource, and clients that take all they get.

use std::time::Duration;

use azure_openai_proxy::domain::Tokens;
use azure_openai_proxy::simulator::{Resource, SimDeployment, Simulator};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::process::{Folder, Running, SOON};
use crate::server::signal;

/// Tokens of every request: an embedding of so many token numbers, which reserves just what it uses.
pub const PIECE: u64 = 100;

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// A process of the proxy, killed in the end.
pub struct Proxy {
    pub url: String,
    process: Running,
    client: awc::Client,
}

/// What clients got.
#[derive(Debug, Default)]
pub struct Got {
    pub tokens: u64,
    pub refused: usize,
    pub slowest: Duration,
}

/// A resource that is never short of anything, so that only the proxies' limit counts.
pub async fn resource() -> Simulator {
    let rich = |model| SimDeployment::new(model, model, Tokens(100_000_000)).rpm(600_000);
    let resource = Resource::new("a")
        .key(KEY)
        .deployment(rich("text-embedding-3-small"))
        .deployment(rich("gpt-4o"));
    Simulator::start(resource, ([127, 0, 0, 1].into(), 0))
        .await
        .unwrap()
}

impl Proxy {
    /// Starts one with this limit and more settings, and waits until it listens.
    pub async fn start(sim: &Simulator, limit: u64, more: &[(&str, &str)]) -> Self {
        let limit = limit.to_string();
        let base = sim.url();
        let vars = [
            ("AZURE_INSTANCES", "a"),
            ("AZURE_INSTANCE_A_API_KEY", KEY),
            ("AZURE_INSTANCE_A_API_BASE", base.as_str()),
            ("AZURE_INSTANCE_A_API_VERSION", "2024-10-21"),
            ("AZURE_INSTANCE_A_MAX_TPM", limit.as_str()),
            ("HOST", "127.0.0.1"),
            ("PORT", "0"),
            ("WORKERS", "1"),
            ("USE_REDIS_RATE_LIMITER", "true"),
        ];
        let vars: Vec<(&str, String)> = vars
            .iter()
            .chain(more)
            .map(|&(name, value)| (name, value.to_owned()))
            .collect();
        let process = Running::start(Folder::new(), &["serve"], &vars);
        Self {
            url: process.url().await,
            process,
            client: awc::Client::builder()
                .timeout(SOON)
                .connector(awc::Connector::new().limit(0))
                .finish(),
        }
    }

    /// Everything it has said.
    pub fn lines(&self) -> Vec<String> {
        self.process.lines()
    }

    /// How often a line with these words was said.
    pub fn said(&self, words: &str) -> usize {
        self.lines()
            .iter()
            .filter(|line| line.contains(words))
            .count()
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        signal(self.process.child.id(), "TERM");
    }

    /// Waits until it has ended, and returns how long that took.
    pub async fn ended(&mut self) -> Duration {
        let start = Instant::now();
        while self.process.child.try_wait().unwrap().is_none() {
            assert!(
                start.elapsed() < SOON,
                "it does not stop: {:#?}",
                self.lines()
            );
            actix_rt::time::sleep(Duration::from_millis(5)).await;
        }
        start.elapsed()
    }

    /// Has this many clients chat, each reserving far more than it uses, until the proxy has gone; returns the tokens used.
    pub async fn chat_until_gone(&self, clients: usize) -> u64 {
        let body = json!({
            "model": "gpt-4o",
            "max_tokens": 5_000,
            "messages": [{"role": "user", "content": "Hello"}],
        });
        let client = async || {
            let mut used = 0;
            loop {
                let request = self
                    .client
                    .post(format!("{}/v1/chat/completions", self.url));
                let Ok(mut response) = request.send_json(&body).await else {
                    return used;
                };
                let answer: Value = response.json().await.unwrap();
                used += answer["usage"]["total_tokens"].as_u64().unwrap();
            }
        };
        let clients = (0..clients).map(|_| client());
        join_all(clients).await.iter().sum()
    }

    /// Begins to chat, and returns once the head of the answer has come.
    pub async fn begin_stream(&self) -> impl Sized + use<> {
        let body = json!({
            "model": "gpt-4o",
            "max_tokens": 100,
            "messages": [{"role": "user", "content": "Hello"}],
            "stream": true,
        });
        let request = self
            .client
            .post(format!("{}/v1/chat/completions", self.url));
        request.send_json(&body).await.unwrap()
    }

    /// Sends SIGTERM until it has ended.
    pub async fn insist(&mut self) {
        let start = Instant::now();
        while self.process.child.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < SOON, "it goes on: {:#?}", self.lines());
            self.terminate();
            actix_rt::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Lets it stand still, as its machine may.
    pub fn freeze(&self) {
        signal(self.process.child.id(), "STOP");
    }

    pub fn thaw(&self) {
        signal(self.process.child.id(), "CONT");
    }

    pub async fn get(&self, path: &str) -> Value {
        let mut response = self
            .client
            .get(format!("{}{path}", self.url))
            .send()
            .await
            .unwrap();
        let body = response.body().await.unwrap();
        serde_json::from_slice(&body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&body)))
    }

    /// Waits until readiness says this of Redis.
    pub async fn until(&self, word: &str) {
        let start = Instant::now();
        loop {
            let ready = self.get("/health/ready").await;
            if ready["redis"] == word {
                return;
            }
            assert!(start.elapsed() < SOON, "redis is not {word}: {ready}");
            actix_rt::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until its instance has this status.
    pub async fn until_status(&self, word: &str) {
        let start = Instant::now();
        loop {
            let status = self.get("/v1/instances/status").await;
            if status["instances"][0]["status"] == word {
                return;
            }
            assert!(start.elapsed() < SOON, "not {word}: {status}");
            actix_rt::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until it counts this many replicas.
    pub async fn until_replicas(&self, count: u64) {
        let start = Instant::now();
        loop {
            let status = self.get("/v1/instances/status").await;
            if status["redis"]["replicas"] == count {
                return;
            }
            assert!(
                start.elapsed() < SOON,
                "not {count} replicas: {}",
                status["redis"]
            );
            actix_rt::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until at least so much is used by all.
    pub async fn until_used(&self, tokens: u64) {
        let start = Instant::now();
        loop {
            let status = self.get("/v1/instances/status").await;
            if status["instances"][0]["current_tpm"].as_u64() >= Some(tokens) {
                return;
            }
            assert!(start.elapsed() < SOON, "not {tokens}: {status}");
            actix_rt::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Asks for one piece, and returns the tokens used; `None` if it is refused for want of quota.
    pub async fn ask(&self) -> Option<u64> {
        let input: Vec<u64> = (0..PIECE).collect();
        let body = json!({"model": "text-embedding-3-small", "input": input});
        let request = self.client.post(format!("{}/v1/embeddings", self.url));
        let mut response = request.send_json(&body).await.unwrap();
        let status = response.status();
        let body = response.body().limit(1 << 20).await.unwrap();
        match status.as_u16() {
            200 => {
                let answer: Value = serde_json::from_slice(&body).unwrap();
                Some(answer["usage"]["prompt_tokens"].as_u64().unwrap())
            }
            429 => None,
            _ => panic!("{status}: {body:?}"),
        }
    }

    /// Asks with so many clients at once, until each has been refused or there were `most` answers.
    pub async fn load(&self, clients: usize, most: usize) -> Got {
        let left = std::cell::Cell::new(most);
        let clients = (0..clients).map(async |_| {
            let mut got = Got::default();
            while left.get() > 0 {
                left.set(left.get() - 1);
                let start = Instant::now();
                let answer = self.ask().await;
                got.slowest = got.slowest.max(start.elapsed());
                let Some(tokens) = answer else {
                    got.refused += 1;
                    break;
                };
                got.tokens += tokens;
            }
            got
        });
        let mut sum = Got::default();
        for got in join_all(clients).await {
            sum.tokens += got.tokens;
            sum.refused += got.refused;
            sum.slowest = sum.slowest.max(got.slowest);
        }
        sum
    }
}

/// Loads all proxies at once, each until it refuses, and returns the tokens that they gave.
pub async fn load_all(fleet: &[Proxy]) -> u64 {
    let loads = fleet.iter().map(|proxy| proxy.load(4, usize::MAX));
    join_all(loads).await.iter().map(|got| got.tokens).sum()
}

/// Starts so many proxies and waits until they share and know of each other.
pub async fn shared_fleet(
    sim: &Simulator,
    count: u64,
    limit: u64,
    more: &[(&str, &str)],
) -> Vec<Proxy> {
    let mut fleet = Vec::new();
    for _ in 0..count {
        fleet.push(Proxy::start(sim, limit, more).await);
    }
    until_all(&fleet, "shared").await;
    for proxy in &fleet {
        proxy.until_replicas(count).await;
    }
    fleet
}

pub async fn until_all(fleet: &[Proxy], word: &str) {
    for proxy in fleet {
        proxy.until(word).await;
    }
}
