//! The wiring: from a configuration to a server that listens. The only place that knows all layers.
//!
//! What the configuration or the machine does not allow shows in `build`, before a client is let in. The actors live on
//! the thread that builds the app, or with the only worker; each worker makes a proxy of its own, with connections of its
//! own, over what all of them share. What the settings mean is left to `config`, what is served to `http`.

mod serving;

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{SystemTime, UNIX_EPOCH};

use actix::Addr;
use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::from_fn;
use actix_web::{App as WebApp, web};
use rustls::ClientConfig;
use tokio::sync::Semaphore;

use self::serving::serve;
use crate::actors::{Farewell, Launch, Registry, Setup};
use crate::config::{Config, InstanceConfig};
use crate::domain::InstanceName;
use crate::http::{self, Site};
use crate::metrics::Metrics;
use crate::proxy::{self, Makers, Proxy, Shared};
use crate::spool::{BLOCK, Store};

/// A server that is bound and ready to run.
pub struct App {
    server: Server,
    /// Takes leave of other replicas, if there are any.
    registry: Option<Addr<Registry>>,
    addrs: Vec<SocketAddr>,
}

/// Why the proxy cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {cause}")]
    Bind {
        /// `HOST` and `PORT`.
        address: SocketAddr,
        /// What the system says.
        cause: io::Error,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The metrics cannot be registered.
    #[error("cannot set up metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// An instance cannot be addressed.
    #[error("{0}")]
    Instance(String),
}

impl App {
    /// Starts the actors on the current arbiter and binds the port.
    ///
    /// # Errors
    /// If the port is taken or not allowed, or TLS cannot be set up.
    pub async fn build(config: Config) -> Result<Self, StartError> {
        let tls = proxy::tls_config()?;
        Self::build_with_tls(config, tls).await
    }

    /// Like [`App::build`], with other roots of trust towards upstreams.
    ///
    /// # Errors
    /// As [`App::build`].
    pub async fn build_with_tls(
        config: Config,
        tls: Arc<ClientConfig>,
    ) -> Result<Self, StartError> {
        for warning in &config.warnings {
            log::warn!("{warning}");
        }
        let (shared, launch) = share(&config, tls)?;
        let home = Home::choose(launch, &config).await;
        let store = store(&config, &shared)?;
        // Every worker builds its own; a failure must show here and not there.
        Proxy::new(shared.clone()).map_err(StartError::Instance)?;
        let is_shared = config.sharing.is_some();
        let registry = is_shared.then(|| shared.registry.clone());
        let site = web::Data::new(site(&config, store));
        let address = SocketAddr::new(config.server.host, config.server.port);
        let server = serve(address, &config.server, move || {
            home.enter();
            let proxy = Proxy::new(shared.clone()).map(web::Data::new);
            let app = WebApp::new().app_data(site.clone());
            let app = match proxy {
                Ok(proxy) => app.app_data(proxy),
                Err(_) => app,
            };
            app.configure(http::routes).wrap(from_fn(http::enter))
        });
        let (server, bound) = server.map_err(|cause| StartError::Bind { address, cause })?;
        Ok(Self {
            server,
            registry,
            addrs: vec![bound],
        })
    }

    /// Returns the addresses that are listened on.
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// Returns what stops the server from elsewhere.
    pub fn handle(&self) -> ServerHandle {
        self.server.handle()
    }

    /// Lets clients in and takes over the signals that stop the server.
    ///
    /// Until then the port only queues clients, and a SIGTERM kills the process.
    ///
    /// # Errors
    /// If the server cannot start its threads.
    pub async fn start(&mut self) -> io::Result<()> {
        // The server does both when it is first polled, at once.
        poll_fn(|cx| match Pin::new(&mut self.server).poll(cx) {
            Poll::Pending => Poll::Ready(Ok(())),
            Poll::Ready(Ok(())) => Poll::Ready(Err(io::Error::other("the server has stopped"))),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        })
        .await
    }

    /// Serves until SIGTERM (open answers may finish) or SIGINT, and takes leave of the other replicas.
    ///
    /// # Errors
    /// If the server itself breaks.
    pub async fn run_until_stopped(self) -> io::Result<()> {
        self.run_until(std::future::pending()).await
    }

    /// Like [`App::run_until_stopped`], but open answers may finish only until `cut_off` is ready.
    ///
    /// # Errors
    /// If the server itself breaks.
    pub async fn run_until(self, cut_off: impl Future<Output = ()>) -> io::Result<()> {
        let outcome = tokio::select! {
            outcome = self.server => outcome,
            () = cut_off => Ok(()),
        };
        if let Some(registry) = self.registry
            && registry.send(Farewell).await.is_err()
        {
            log::error!("the registry has gone before the end");
        }
        outcome
    }
}

/// Where the actors live: with the only worker, or on the thread that started them.
///
/// To wake another thread costs a request more than all that the actors do for it, twice. With one worker nobody needs
/// to: nothing would run meanwhile. But a worker's thread ends at a stop as soon as its own requests have, and then those
/// of other workers still need the actors, and other replicas are still to be told what was used.
#[derive(Clone)]
struct Home(Arc<Mutex<Option<Launch>>>);

impl Home {
    async fn choose(launch: Launch, config: &Config) -> Self {
        if config.server.workers == 1 && config.sharing.is_none() {
            return Self(Arc::new(Mutex::new(Some(launch))));
        }
        launch.start();
        // Lets the actors begin. One that has not would do so when it is dropped, with the runtime gone, and panic.
        tokio::task::yield_now().await;
        Self(Arc::default())
    }

    /// Starts the actors on the thread of the worker that is being built, if it is to have them.
    fn enter(&self) {
        // Nothing can be half done in it.
        let mut launch = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(launch) = launch.take() {
            launch.start();
        }
    }
}

fn share(config: &Config, tls: Arc<ClientConfig>) -> Result<(Arc<Shared>, Launch), StartError> {
    let instances: Vec<Arc<InstanceConfig>> =
        config.instances.iter().cloned().map(Arc::new).collect();
    let names: Vec<InstanceName> = config.instances.iter().map(|i| i.name.clone()).collect();
    let metrics = Arc::new(Metrics::new(&names)?);
    let setup = Setup {
        strategy: config.strategy,
        seed: rand::random(),
        queue: config.queue,
        metrics: metrics.queue(),
        sharing: config.sharing.clone(),
    };
    let launch = Launch::new(setup, &instances);
    let shared = Shared {
        registry: launch.address().clone(),
        gauges: launch.gauges().to_vec(),
        instances,
        metrics,
        timeouts: config.timeouts,
        keeps_filter_chunks: config.keeps_filter_chunks,
        queue_timeout: config.queue.timeout,
        tls,
        makers: Makers::default(),
        counting: Semaphore::new(config.server.workers),
        unknown_fields: Mutex::default(),
    };
    Ok((Arc::new(shared), launch))
}

/// Says where large uploads wait. Everything else works without that place, so that its lack is no reason not to start.
fn store(config: &Config, shared: &Shared) -> Result<Store, StartError> {
    let folder = &config.server.temporary_folder;
    let most = config.server.max_upload_storage_bytes;
    let store = Store::new(folder.clone(), most, shared.metrics.uploads()?);
    if let Err(error) = store.check() {
        log::warn!(
            "uploads of more than {BLOCK} bytes will be refused: no file can be written in {}, the temporary folder \
             (TMPDIR): {error}",
            folder.display()
        );
    }
    Ok(store)
}

fn site(config: &Config, store: Store) -> Site {
    let started = SystemTime::now().duration_since(UNIX_EPOCH);
    Site {
        max_body_bytes: config.server.max_body_bytes,
        body_timeout: config.server.body_timeout,
        store,
        client_keys: config.server.client_keys.clone(),
        allowed_origins: config.server.allowed_origins.clone(),
        catalog: config.catalog.clone(),
        strategy: config.strategy,
        started: started.unwrap_or_default().as_secs(),
    }
}
