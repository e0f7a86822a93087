//! The configuration as the rest of the program sees it: typed, complete, checked once at start.
//!
//! `raw` reads the environment and `.env` into text, `validate` turns text into [`Config`] or into a list of every
//! [`Problem`]. Nothing else in the crate reads the environment. What a setting does is left to its user.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use redis::{ConnectionAddr, ConnectionInfo, RedisConnectionInfo};
use url::Url;

use crate::domain::{
    Deployment, Endpoint, Feature, InstanceName, ModelKey, ModelName, Secret, StrategyKind, Tokens,
};

mod limits;
mod raw;
pub mod table;
mod validate;

pub use self::limits::Limits;

/// Reads the environment and `.env` in the working directory, and validates everything at once.
///
/// The real environment wins over the file. Problems come in the order of the documentation's table of variables.
pub fn from_environment() -> Result<Config, Vec<Problem>> {
    let (vars, problems) = raw::load();
    parse(vars, problems)
}

/// Reads `HOST` and `PORT` alone, from the same places; what else is wrong there is left to [`from_environment`].
pub fn address_from_environment() -> Result<SocketAddr, Vec<Problem>> {
    let (vars, problems) = raw::load();
    let raw = raw::Raw::collect(vars).map_err(|problem| vec![problem])?;
    validate::address(&raw, problems)
}

/// Validates the given variables alone, without looking at the environment. An empty value counts as unset.
pub fn from_vars(vars: impl IntoIterator<Item = (String, String)>) -> Result<Config, Vec<Problem>> {
    parse(vars, Vec::new())
}

fn parse(
    vars: impl IntoIterator<Item = (String, String)>,
    problems: Vec<Problem>,
) -> Result<Config, Vec<Problem>> {
    let raw = raw::Raw::collect(vars).map_err(|problem| vec![problem])?;
    validate::config(&raw, problems)
}

/// Everything that can be set, after validation.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the proxy listens and what it accepts.
    pub server: Server,
    /// How long an upstream may take.
    pub timeouts: Timeouts,
    /// `LOG_LEVEL`, `LOG_FORMAT`.
    pub log: Log,
    /// `AZURE_ROUTING_STRATEGY`.
    pub strategy: StrategyKind,
    /// `AZURE_FILTER_CHUNKS=keep`: clients of OpenAI's paths get the chunks that Azure's content filter adds to streams.
    pub keeps_filter_chunks: bool,
    /// Waiting for capacity.
    pub queue: QueueConfig,
    /// `USE_REDIS_RATE_LIMITER`: how replicas share the quota; `None` if each stands alone.
    pub sharing: Option<Sharing>,
    /// At least one instance, in the order of `AZURE_INSTANCES`.
    pub instances: Vec<InstanceConfig>,
    /// Model names to list at `/v1/models`, as clients spell them, sorted, without repeats.
    pub catalog: Vec<ModelName>,
    /// Remarks for the operator that do not stop the start, such as an old `API_VERSION`.
    pub warnings: Vec<String>,
}

/// Settings of the listening side.
#[derive(Clone, Debug)]
pub struct Server {
    /// `HOST`, default `0.0.0.0`.
    pub host: IpAddr,
    /// `PORT`, default 3010; 0 takes a free one.
    pub port: u16,
    /// `WORKERS`, default the number of processors: threads that serve clients.
    pub workers: usize,
    /// `MAX_BODY_BYTES`, default 64 MiB: the largest request body.
    pub max_body_bytes: usize,
    /// `MAX_UPLOAD_STORAGE_BYTES`, default 4 GiB: room for all uploads together that are too large to be held in memory.
    pub max_upload_storage_bytes: u64,
    /// `CLIENT_BODY_TIMEOUT_SECS`, default 30: longest silence in the middle of a request body.
    pub body_timeout: Duration,
    /// `CLIENT_STALL_TIMEOUT_SECS`, default 300: how long a client may take nothing of an answer that waits for it.
    pub stall_timeout: Duration,
    /// `TMPDIR`, default `/tmp`: where uploads wait that are too large to be held in memory.
    pub temporary_folder: PathBuf,
    /// `SHUTDOWN_TIMEOUT_SECS`, default 30: how long open answers may go on after SIGTERM.
    pub shutdown: Duration,
    /// `PROXY_API_KEYS`; empty means that anyone may call.
    pub client_keys: Vec<ClientKey>,
    /// `CORS_ALLOW_ORIGINS`
    pub allowed_origins: AllowedOrigins,
}

/// The sites whose pages may read answers in a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// No site; other clients than browsers do not care.
    None,
    /// Every site.
    Any,
    /// These, each as browsers write it: `https://app.example.com`.
    Listed(Vec<String>),
}

/// One entry of `PROXY_API_KEYS`.
#[derive(Clone, Debug)]
pub struct ClientKey {
    /// The part before the colon, for logs; `None` if the entry was a bare key.
    pub name: Option<String>,
    /// The key that a client sends.
    pub key: Secret,
}

/// Bounds on an upstream's silence.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// `UPSTREAM_CONNECT_TIMEOUT_SECS`, default 5: DNS, TCP and TLS.
    pub connect: Duration,
    /// `UPSTREAM_FIRST_BYTE_TIMEOUT_SECS`, default 300: from sending the request to the first content.
    pub first_byte: Duration,
    /// `UPSTREAM_IDLE_TIMEOUT_SECS`, default 120: between two chunks of an answer.
    pub idle: Duration,
}

/// How requests may wait for capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// `QUEUE_TIMEOUT_SECS`, default 0: how long a request may wait; zero means that none does.
    pub timeout: Duration,
    /// `QUEUE_MAX_WAITING`, default 1000: how many may wait at a time.
    pub most_waiting: usize,
}

/// How replicas share the quota through Redis.
#[derive(Clone, Debug)]
pub struct Sharing {
    /// `REDIS_URL`: where Redis is.
    pub servers: Servers,
    /// `REDIS_KEY_PREFIX`, default `azure-openai-proxy`: replicas with the same one share.
    pub prefix: String,
    /// `REDIS_TIMEOUT_MS`, default 50: how long a request may wait for Redis.
    pub timeout: Duration,
    /// Content of `REDIS_CA_FILE`: certificates in PEM form to trust instead of the system's.
    pub ca: Option<Vec<u8>>,
    /// `REDIS_REPLICAS`: replicas to reckon with at least while Redis cannot tell.
    pub replicas: Option<u64>,
}

/// Where Redis is.
#[derive(Clone, Debug)]
pub enum Servers {
    /// One server.
    One(ConnectionInfo),
    /// Nodes of one cluster, at least two.
    Cluster(Vec<ConnectionInfo>),
    /// Sentinels, who know which server is the master now.
    Sentinels(Sentinels),
}

/// Sentinels that watch over a master and its replicas.
#[derive(Clone, Debug)]
pub struct Sentinels {
    /// Where they are, and how they are talked to; at least one.
    pub nodes: Vec<ConnectionInfo>,
    /// What they call the master.
    pub name: String,
    /// User, password and database for the master.
    pub master: RedisConnectionInfo,
}

impl Servers {
    /// Returns the addresses that are named in the configuration.
    pub fn nodes(&self) -> &[ConnectionInfo] {
        match self {
            Self::One(node) => std::slice::from_ref(node),
            Self::Cluster(nodes) => nodes,
            Self::Sentinels(sentinels) => &sentinels.nodes,
        }
    }

    /// Says whether it is `rediss://`.
    pub fn is_tls(&self) -> bool {
        let is_tls = |node: &ConnectionInfo| matches!(node.addr(), ConnectionAddr::TcpTls { .. });
        self.nodes().iter().any(is_tls)
    }
}

/// How the program logs.
#[derive(Clone, Debug)]
pub struct Log {
    /// `LOG_LEVEL`, default `INFO`.
    pub level: log::LevelFilter,
    /// `LOG_FORMAT`, `text` (default) or `json`.
    pub json: bool,
}

/// The variables that set the limits of an instance, to be named to whom they stop.
#[derive(Clone, Debug, Default)]
pub struct LimitNames {
    /// That of the instance: `_MAX_TPM`, or `TOKEN_RATE_LIMIT` where that stands in for it.
    pub max_tpm: String,
    /// Those of single deployments.
    pub max_tpm_of: HashMap<ModelKey, String>,
}

/// One Azure OpenAI resource.
#[derive(Clone, Debug)]
pub struct InstanceConfig {
    /// Its entry in `AZURE_INSTANCES`, or `default` for the legacy single instance.
    pub name: InstanceName,
    /// `_API_KEY`, sent as `api-key`.
    pub api_key: Secret,
    /// `_API_BASE`: http or https, any path prefix kept, no trailing slash, no query.
    pub api_base: Url,
    /// `_API_VERSION`.
    pub api_version: ApiVersion,
    /// `_PRIORITY`: lower is preferred.
    pub priority: u32,
    /// `_WEIGHT`: at least 1.
    pub weight: u32,
    /// `_MAX_TPM`: at least 1.
    pub max_tpm: Tokens,
    /// `_MAX_RPM`: requests per minute of the whole instance; `None` sets no limit.
    pub max_rpm: Option<u32>,
    /// `_MAX_TPM_<MODEL>`: limits of single deployments, by a model that they serve.
    pub max_tpm_of: Limits,
    /// Which variables set these limits.
    pub limit_names: LimitNames,
    /// `_MODELS`: `None` serves every model.
    pub models: Option<Vec<ModelKey>>,
    /// `MODEL_MAP_*` with this instance's own `_MODEL_MAP_*` laid over it.
    pub model_map: HashMap<ModelKey, Deployment>,
}

impl InstanceConfig {
    /// Says whether `_MODELS` allows the model.
    pub fn serves(&self, model: &ModelKey) -> bool {
        self.models
            .as_ref()
            .is_none_or(|served| served.contains(model))
    }

    /// Returns the deployment that serves a model here: the mapped one, else the model's own name.
    ///
    /// `None` if the instance does not serve it, or if the name is not mapped and could not be one of a deployment
    /// (letters, digits, `-`, `_`, `.`): it is a client's text, and must not reach a path or a gateway behind it.
    pub fn deployment(&self, key: &ModelKey, model: &ModelName) -> Option<Deployment> {
        let mapped = || self.model_map.get(key).cloned();
        let can_serve = self.can_serve(key, model);
        can_serve.then(|| mapped().unwrap_or_else(|| Deployment::new(model.as_str())))
    }

    /// Says whether there is such a deployment.
    pub fn can_serve(&self, key: &ModelKey, model: &ModelName) -> bool {
        self.serves(key) && (self.model_map.contains_key(key) || is_deployment(model.as_str()))
    }

    /// Says whether a deployment is the one that serves a model here. Azure does not tell the case of names apart.
    pub fn is_served_by(&self, model: &ModelKey, deployment: &Deployment) -> bool {
        match self.model_map.get(model) {
            Some(mapped) => mapped.as_str().eq_ignore_ascii_case(deployment.as_str()),
            None => *model == ModelKey::of(deployment.as_str()),
        }
    }

    /// Returns the limit of a deployment of its own, if it has one.
    pub fn tpm_of(&self, deployment: &Deployment) -> Option<Tokens> {
        self.limit_of(deployment).map(|(_, limit)| limit)
    }

    /// Returns the same with the model for which it was configured.
    pub fn limit_of(&self, deployment: &Deployment) -> Option<(&ModelKey, Tokens)> {
        self.max_tpm_of.of(deployment)
    }

    /// Returns the variable that decides [`InstanceConfig::tpm_for`].
    pub fn tpm_variable(&self, key: &ModelKey, model: &ModelName) -> &str {
        let deployment = self.deployment(key, model);
        let is_own = |of: &ModelKey| {
            let mut deployment = deployment.iter();
            deployment.any(|deployment| self.is_served_by(of, deployment))
        };
        let limits = self.max_tpm_of.by_model();
        let own = limits.filter(|(of, limit)| *limit < self.max_tpm && is_own(of));
        let least = own.min_by_key(|(_, limit)| *limit);
        let named = least.and_then(|(of, _)| self.limit_names.max_tpm_of.get(of));
        named.unwrap_or(&self.limit_names.max_tpm)
    }

    /// Returns the most tokens per minute that a model can have here.
    pub fn tpm_for(&self, key: &ModelKey, model: &ModelName) -> Tokens {
        if self.max_tpm_of.is_empty() {
            return self.max_tpm;
        }
        let deployment = self.deployment(key, model);
        let own = deployment.and_then(|deployment| self.tpm_of(&deployment));
        own.map_or(self.max_tpm, |own| own.min(self.max_tpm))
    }
}

fn is_deployment(name: &str) -> bool {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_path = matches!(name, "" | "." | "..");
    name.bytes().all(is_legal) && !is_path
}

/// The API version of an instance, which decides the form of its URLs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiVersion {
    /// `v1`: `/openai/v1/...`, the deployment in the body.
    V1,
    /// A dated version such as `2024-10-21`: `/openai/deployments/{deployment}/...?api-version=`.
    Dated(String),
}

impl ApiVersion {
    /// Says whether `stream_options.include_usage` is known.
    pub fn knows_stream_usage(&self) -> bool {
        self.knows_field(Feature::StreamOptions)
    }

    /// Says whether Azure knows the field in this version.
    pub fn knows_field(&self, feature: Feature) -> bool {
        match self {
            Self::V1 => true,
            Self::Dated(version) => version.as_str() >= feature.known_since(),
        }
    }

    /// Says whether Azure has the endpoint in this version.
    pub fn knows(&self, endpoint: Endpoint) -> bool {
        match self {
            Self::V1 => true,
            Self::Dated(version) => endpoint
                .known_since()
                .is_some_and(|since| version.as_str() >= since),
        }
    }

    /// Returns the spelling of the configuration.
    pub fn as_str(&self) -> &str {
        match self {
            Self::V1 => "v1",
            Self::Dated(version) => version,
        }
    }
}

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {found}; expected {expected}")]
pub struct Problem {
    /// Name of the environment variable.
    pub variable: String,
    /// What was found, never a key: `not set`, `"abc"`, `set, but not supported yet`.
    pub found: String,
    /// What would be right.
    pub expected: String,
}
