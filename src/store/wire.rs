//! Connections to Redis: one server, a cluster, or the master that sentinels name; and what Redis says unasked.
//!
//! Connections speak RESP3, so that what other replicas publish comes on the same one, before any later answer or the
//! end. Servers before Redis 6 speak RESP2 and say nothing unasked. How long opening may take is left to the caller.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, ProtocolVersion,
    PushInfo, RedisError, RedisResult, TlsCertificates, Value,
};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::timeout;

use crate::config::{Sentinels, Servers};

/// Longest time to connect, which happens in the background.
const CONNECT: Duration = Duration::from_secs(1);

/// Longest time that a sentinel is waited for.
const SENTINEL: Duration = Duration::from_millis(500);

/// Calls that may wait to be written. More would only be late.
const WAITING_CALLS: usize = 4096;

/// A connection; clones share it.
#[derive(Clone)]
pub(super) enum Wire {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// What a connection is made of.
pub(super) struct Plan<'a> {
    pub(super) servers: &'a Servers,
    /// Certificates in PEM form, if others than the built-in ones are to be trusted.
    pub(super) roots: Option<&'a [u8]>,
    /// Where to put what Redis says unasked.
    pub(super) ear: UnboundedSender<PushInfo>,
    /// What to listen to.
    pub(super) channels: Vec<String>,
}

impl Plan<'_> {
    /// Connects, and says whether Redis will tell what others publish.
    pub(super) async fn open(&self) -> RedisResult<(Wire, bool)> {
        match self.connect(ProtocolVersion::RESP3).await {
            Ok(mut wire) => {
                let is_listening = wire.listen(&self.channels).await;
                Ok((wire, is_listening))
            }
            Err(error) if speaks_no_resp3(&error) => {
                Ok((self.connect(ProtocolVersion::RESP2).await?, false))
            }
            Err(error) => Err(error),
        }
    }

    async fn connect(&self, protocol: ProtocolVersion) -> RedisResult<Wire> {
        let node = match self.servers {
            Servers::One(node) => node.clone(),
            Servers::Sentinels(sentinels) => self.master(sentinels).await?,
            Servers::Cluster(nodes) => return self.cluster(nodes, protocol).await,
        };
        let settings = node.redis_settings().clone().set_protocol(protocol);
        let mut config = settings_of_calls();
        if protocol != ProtocolVersion::RESP2 {
            config = config.set_push_sender(self.ear.clone());
        }
        let client = self.client(node.set_redis_settings(settings))?;
        let connected = client.get_multiplexed_async_connection_with_config(&config);
        let mut wire = connected.await?;
        match (mode(&mut wire).await.as_deref(), self.servers) {
            // One address is enough, as of the managed ones that stand for all nodes.
            (Some("cluster"), Servers::One(node)) => {
                self.cluster(std::slice::from_ref(node), protocol).await
            }
            (Some("sentinel"), _) => Err((
                ErrorKind::InvalidClientConfig,
                "a sentinel answers: REDIS_URL has to be redis+sentinel://host:port/master",
            )
                .into()),
            _ => Ok(Wire::One(wire)),
        }
    }

    async fn cluster(
        &self,
        nodes: &[ConnectionInfo],
        protocol: ProtocolVersion,
    ) -> RedisResult<Wire> {
        let mut builder = ClusterClient::builder(nodes.to_vec())
            .connection_timeout(CONNECT)
            .use_protocol(protocol)
            .retries(1);
        if protocol != ProtocolVersion::RESP2 {
            builder = builder.push_sender(self.ear.clone());
        }
        if self.servers.is_tls() {
            builder = builder.certs(self.certificates());
        }
        Ok(Wire::Cluster(
            builder.build()?.get_async_connection().await?,
        ))
    }

    fn client(&self, node: ConnectionInfo) -> RedisResult<Client> {
        match self.servers.is_tls() {
            true => Client::build_with_tls(node, self.certificates()),
            false => Client::open(node),
        }
    }

    fn certificates(&self) -> TlsCertificates {
        TlsCertificates {
            client_tls: None,
            root_cert: self.roots.map(<[u8]>::to_vec),
        }
    }

    /// Asks all sentinels at once where the master is. Most decide: one that was cut off may still name the old one.
    async fn master(&self, sentinels: &Sentinels) -> RedisResult<ConnectionInfo> {
        let asked = sentinels.nodes.iter().map(|node| async {
            match timeout(SENTINEL, self.master_by(node, &sentinels.name)).await {
                Ok(answer) => answer,
                Err(_) => Err((ErrorKind::Io, "a sentinel does not answer").into()),
            }
        });
        let mut votes: HashMap<(String, u16), usize> = HashMap::new();
        let mut failure: Option<RedisError> = None;
        for answer in join_all(asked).await {
            match answer {
                Ok(address) => *votes.entry(address).or_default() += 1,
                Err(error) => failure = Some(error),
            }
        }
        let most = votes.into_iter().max_by_key(|(_, count)| *count);
        let Some(((host, port), _)) = most else {
            let unknown = || (ErrorKind::InvalidClientConfig, "no sentinel is named").into();
            return Err(failure.unwrap_or_else(unknown));
        };
        let address = match self.servers.is_tls() {
            true => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            },
            false => ConnectionAddr::Tcp(host, port),
        };
        let like = sentinels.nodes.first().cloned();
        let like = like.ok_or((ErrorKind::InvalidClientConfig, "no sentinel is named"))?;
        Ok(like
            .set_addr(address)
            .set_redis_settings(sentinels.master.clone()))
    }

    async fn master_by(&self, node: &ConnectionInfo, name: &str) -> RedisResult<(String, u16)> {
        let client = self.client(node.clone())?;
        let config = settings_of_calls();
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        let mut command = redis::cmd("SENTINEL");
        command.arg("get-master-addr-by-name").arg(name);
        let address: Option<(String, u16)> = command.query_async(&mut connection).await?;
        address.ok_or_else(|| (ErrorKind::Client, "the sentinels know no such master").into())
    }
}

impl Wire {
    /// Subscribes. That a user may not is no reason to do without Redis.
    async fn listen(&mut self, channels: &[String]) -> bool {
        let heard = match self {
            Self::One(wire) => wire.subscribe(channels).await,
            Self::Cluster(wire) => wire.subscribe(channels).await,
        };
        if let Err(error) = &heard {
            let cause = super::link::describe(error);
            log::debug!(cause; "redis does not let this replica listen");
        }
        heard.is_ok()
    }

    pub(super) async fn send(&self, command: &Cmd) -> RedisResult<Value> {
        match self.clone() {
            Self::One(mut wire) => command.query_async(&mut wire).await,
            Self::Cluster(mut wire) => command.query_async(&mut wire).await,
        }
    }
}

/// Asks a server what it is; one before Redis 6 does not say.
async fn mode(wire: &mut MultiplexedConnection) -> Option<String> {
    let said = redis::cmd("HELLO").query_async(wire).await;
    let mut said: HashMap<String, Value> = said.ok()?;
    redis::from_redis_value(said.remove("mode")?).ok()
}

/// Callers have their own bound for answers.
fn settings_of_calls() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(None)
        .set_pipeline_buffer_size(WAITING_CALLS)
}

fn speaks_no_resp3(error: &RedisError) -> bool {
    let text = error.to_string();
    error.kind() == ErrorKind::RESP3NotSupported
        || text.contains("unknown command")
        || text.contains("NOPROTO")
}
