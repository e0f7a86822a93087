//! A proxy with its simulated resources, built as a user would configure it: by variables.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use awc::http::StatusCode;
use awc::http::header::HeaderMap;
use azure_openai_proxy::app::App;
use azure_openai_proxy::config;
use azure_openai_proxy::domain::Tokens;
use azure_openai_proxy::proxy;
use azure_openai_proxy::simulator::{Resource, SimDeployment, Simulator};
use bytes::Bytes;
use futures_util::StreamExt;
use rustls::RootCertStore;
use serde_json::{Value, json};
use tokio::time::Instant;

/// What a test may wait for something that must happen soon.
pub const SOON: Duration = Duration::from_secs(5);

/// Describes a pool before it starts.
pub struct Pool {
    vars: Vec<(String, String)>,
    resources: Vec<Resource>,
    roots: RootCertStore,
}

/// A running proxy and the resources behind it.
pub struct TestApp {
    pub url: String,
    pub sims: Vec<Simulator>,
    vars: Vec<(String, String)>,
    handle: ServerHandle,
    client: awc::Client,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// An answer of which only the head has come.
pub type Opened = awc::ClientResponse<actix_http::BoxedPayloadStream>;

/// Starts a description: failover, dated api-version, short upstream timeouts, no instance yet.
pub fn pool() -> Pool {
    let vars = [
        ("HOST", "127.0.0.1"),
        ("PORT", "0"),
        ("WORKERS", "1"),
        ("UPSTREAM_CONNECT_TIMEOUT_SECS", "1"),
        ("UPSTREAM_FIRST_BYTE_TIMEOUT_SECS", "2"),
        ("UPSTREAM_IDLE_TIMEOUT_SECS", "2"),
    ];
    Pool {
        vars: vars
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        resources: Vec::new(),
        roots: RootCertStore::empty(),
    }
}

/// Starts a pool of `count` instances named `a`, `b`, `c`..., of a million tokens per minute each.
pub async fn spawn_app(count: usize) -> TestApp {
    let mut description = pool();
    for name in ["a", "b", "c", "d", "e"].into_iter().take(count) {
        description = description.instance(name, 1_000_000);
    }
    description.start().await
}

/// A resource with the deployments that tests use, each of `tpm` tokens per minute and never short of calls.
pub fn resource(name: &str, tpm: u64) -> Resource {
    let models = ["gpt-4o", "gpt-35-turbo-instruct", "text-embedding-3-small"];
    models
        .into_iter()
        .fold(Resource::new(name), |resource, model| {
            resource.deployment(SimDeployment::new(model, model, Tokens(tpm)).rpm(600_000))
        })
}

impl Pool {
    /// Sets or replaces a variable.
    pub fn var(mut self, name: &str, value: impl ToString) -> Self {
        self.vars.retain(|(known, _)| known != name);
        self.vars.push((name.to_owned(), value.to_string()));
        self
    }

    /// Adds an instance whose proxy-side limit is `tpm`; the resource itself allows far more, so that ours is tested.
    pub fn instance(self, name: &str, tpm: u64) -> Self {
        let limit = format!("AZURE_INSTANCE_{}_MAX_TPM", name.to_uppercase());
        self.with(resource(name, 100_000_000)).var(&limit, tpm)
    }

    /// Adds an instance in front of this resource.
    pub fn with(mut self, resource: Resource) -> Self {
        self.resources.push(resource);
        self
    }

    /// Trusts upstreams with certificates of these authorities, and no others.
    pub fn trusting(mut self, roots: RootCertStore) -> Self {
        self.roots = roots;
        self
    }

    /// Starts the resources and the proxy.
    pub async fn start(mut self) -> TestApp {
        let names: Vec<String> = self.resources.iter().map(|r| r.name().to_owned()).collect();
        self = self.var("AZURE_INSTANCES", names.join(","));
        let mut sims = Vec::new();
        for resource in std::mem::take(&mut self.resources) {
            let name = resource.name().to_uppercase();
            let key = resource.api_key().expose().to_owned();
            let anywhere = (IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
            let sim = Simulator::start(resource, anywhere).await.unwrap();
            let version = "2024-10-21".to_owned();
            for (setting, value) in [
                ("API_KEY", key),
                ("API_BASE", sim.url()),
                ("API_VERSION", version),
            ] {
                let variable = format!("AZURE_INSTANCE_{name}_{setting}");
                if !self.vars.iter().any(|(known, _)| *known == variable) {
                    self = self.var(&variable, value);
                }
            }
            sims.push(sim);
        }
        start(self.vars, self.roots, sims).await
    }
}

async fn start(vars: Vec<(String, String)>, roots: RootCertStore, sims: Vec<Simulator>) -> TestApp {
    let config = config::from_vars(vars.clone()).expect("the variables are a configuration");
    let tls = proxy::tls_config_with(roots).unwrap();
    let app = App::build_with_tls(config, tls).await.unwrap();
    let url = format!("http://{}", app.addrs()[0]);
    let handle = app.handle();
    actix_rt::spawn(app.run_until_stopped());
    TestApp {
        url,
        sims,
        vars,
        handle,
        client: client(),
    }
}

/// A client that neither times out nor follows nor asks for compression.
pub fn client() -> awc::Client {
    client_with(None)
}

fn client_with(header: Option<(&str, &str)>) -> awc::Client {
    let builder = awc::Client::builder()
        .timeout(Duration::from_secs(60))
        .disable_redirects()
        .connector(awc::Connector::new().limit(0));
    match header {
        Some(header) => builder.add_default_header(header).finish(),
        None => builder.finish(),
    }
}

/// A chat request of a few prompt tokens with an output limit.
pub fn chat(text: &str, max_tokens: u64) -> Value {
    let messages = json!([{"role": "user", "content": text}]);
    json!({"model": "gpt-4o", "max_tokens": max_tokens, "messages": messages})
}

/// The same as a stream.
pub fn chat_stream(text: &str, max_tokens: u64) -> Value {
    let mut body = chat(text, max_tokens);
    body["stream"] = json!(true);
    body
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", self.body))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Name of the instance that answered.
    pub fn instance(&self) -> &str {
        self.header("x-proxy-instance").unwrap_or("-")
    }

    /// The stable code of an error body.
    pub fn code(&self) -> String {
        self.json()["error"]["code"]
            .as_str()
            .unwrap_or("")
            .to_owned()
    }
}

impl TestApp {
    /// Sends this header with every request, such as a client key.
    pub fn with_header(mut self, header: (&str, &str)) -> Self {
        self.client = client_with(Some(header));
        self
    }

    /// Posts JSON and reads the whole answer.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_bytes(path, serde_json::to_vec(body).unwrap())
            .await
    }

    pub async fn post_bytes(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        read(self.open_bytes(path, body).await).await
    }

    pub async fn chat(&self, body: &Value) -> Answer {
        self.post("/v1/chat/completions", body).await
    }

    /// Posts JSON and returns once the head of the answer has come; the body is the caller's to read or to drop.
    pub async fn open(&self, path: &str, body: &Value) -> Opened {
        self.open_bytes(path, serde_json::to_vec(body).unwrap())
            .await
    }

    pub async fn open_bytes(&self, path: &str, body: impl Into<Bytes>) -> Opened {
        let request = self.client.post(format!("{}{path}", self.url));
        let request = request.insert_header(("content-type", "application/json"));
        request.send_body(body.into()).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Answer {
        let sent = self.client.get(format!("{}{path}", self.url)).send();
        read(sent.await.unwrap()).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        let sent = self.client.delete(format!("{}{path}", self.url)).send();
        read(sent.await.unwrap()).await
    }

    /// Starts another proxy with the same configuration before the same resources, which remain this one's.
    pub async fn replica(&self) -> Self {
        start(self.vars.clone(), RootCertStore::empty(), Vec::new()).await
    }

    /// Value of a series on the metrics page, zero if it is not there.
    pub async fn metric(&self, series: &str) -> f64 {
        let page = self.get("/metrics").await;
        let value = |line: &str| line.strip_prefix(series)?.trim().parse().ok();
        page.text().lines().find_map(value).unwrap_or(0.0)
    }

    /// Waits until a series has this value.
    pub async fn wait_for_metric(&self, series: &str, value: f64) {
        let start = Instant::now();
        loop {
            let found = self.metric(series).await;
            if found == value {
                return;
            }
            assert!(
                start.elapsed() < SOON,
                "{series} is {found} and not {value}"
            );
            actix_rt::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The status page.
    pub async fn status(&self) -> Value {
        self.get("/v1/instances/status").await.json()
    }

    /// What the status page says of one instance.
    pub async fn instance(&self, position: usize) -> Value {
        self.status().await["instances"][position].clone()
    }

    /// Waits until the status of an instance satisfies the condition.
    pub async fn wait_for(
        &self,
        position: usize,
        what: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> Value {
        let start = Instant::now();
        loop {
            let instance = self.instance(position).await;
            if holds(&instance) {
                return instance;
            }
            assert!(start.elapsed() < SOON, "{what} did not happen: {instance}");
            actix_rt::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until no request is out at an instance, and returns its status.
    pub async fn settled(&self, position: usize) -> Value {
        let is_free = |instance: &Value| instance["in_flight"] == 0;
        self.wait_for(position, "the end of every lease", is_free)
            .await
    }

    /// Stops the proxy as SIGTERM does: open requests may end.
    pub async fn stop_gracefully(&self) {
        self.handle.stop(true).await;
    }

    /// Ends the test: no lease may be left open, no scripted answer unplayed.
    pub async fn finish(self) {
        for position in 0..self.sims.len() {
            self.settled(position).await;
        }
        for sim in &self.sims {
            assert_eq!(
                sim.unplayed(),
                0,
                "scripted answers of {} are left",
                sim.url()
            );
        }
        self.handle.stop(false).await;
    }
}

/// Asserts that an answer is an error with this status and this stable code.
#[track_caller]
pub fn assert_refused(answer: &Answer, status: u16, code: &str) {
    let found = (answer.status.as_u16(), answer.code());
    assert_eq!(found, (status, code.to_owned()), "{}", answer.text());
}

/// Waits for a condition that must hold soon.
pub async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < SOON, "{what} did not happen");
        actix_rt::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Reads an answer to its end, which must be a proper one.
pub async fn read(mut response: Opened) -> Answer {
    let mut body = Vec::new();
    while let Some(chunk) = response.next().await {
        body.extend_from_slice(&chunk.expect("the answer ends properly"));
    }
    Answer {
        status: response.status(),
        headers: response.headers().clone(),
        body: body.into(),
    }
}

/// The data of each event of a stream.
pub fn events(stream: &str) -> Vec<&str> {
    stream
        .split("\n\n")
        .filter_map(|event| event.strip_prefix("data: "))
        .collect()
}
