//! One cell of the experiment: a load, a way of waiting, a kind of client, a kind of Azure.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use azure_openai_proxy::app::App;
use azure_openai_proxy::config;
use azure_openai_proxy::domain::Tokens;
use azure_openai_proxy::simulator::{Counters, Pace, Resource, SimDeployment, Simulator};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::client::{self, Fate};
use crate::requests::{Request, mean_charge, requests};

/// Tokens per minute of the resources.
const QUOTAS: [u64; 3] = [30_000, 60_000, 90_000];
/// How long an answer takes, once admitted.
const PACE: Pace = Pace {
    first_byte: Duration::from_millis(1_000),
    per_chunk: Duration::ZERO,
};
/// The first minute fills the quota's log and does not count.
const WARM_UP: Duration = Duration::from_secs(60);
/// `QUEUE_TIMEOUT_SECS` where there is a queue.
const QUEUE_SECS: u64 = 15;
const SEED: u64 = 7;

/// One combination.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    /// Offered load as a share of the quota.
    pub(crate) load: f64,
    pub(crate) queues: bool,
    pub(crate) retries: bool,
    /// Whether Azure's answers tell what remains of the quota.
    pub(crate) headers: bool,
}

/// What a cell came to.
pub(crate) struct Outcome {
    pub(crate) cell: Cell,
    /// Share of the quota that was charged after the warm-up.
    pub(crate) used: f64,
    pub(crate) fates: Vec<Fate>,
    /// Requests that reached the resources, and 429s among them.
    pub(crate) upstream: (u64, u64),
}

impl Cell {
    /// Returns every combination; without Azure's headers those that tell most.
    pub(crate) fn all() -> Vec<Self> {
        let mut cells = Vec::new();
        for load in [0.9, 1.0, 1.5] {
            for (queues, retries) in [(true, false), (true, true), (false, false), (false, true)] {
                for headers in [true, false] {
                    if headers || (queues && load != 1.0) {
                        cells.push(Self {
                            load,
                            queues,
                            retries,
                            headers,
                        });
                    }
                }
            }
        }
        cells
    }

    pub(crate) fn name(&self) -> String {
        let yes = |is: bool| if is { "yes" } else { "no" };
        format!(
            "{:.1}x queue={} retries={} headers={}",
            self.load,
            self.queue_secs(),
            yes(self.retries),
            yes(self.headers)
        )
    }

    pub(crate) fn queue_secs(&self) -> u64 {
        if self.queues { QUEUE_SECS } else { 0 }
    }

    /// Runs it on this thread, in a system of its own.
    pub(crate) fn run(self, runs: Duration) -> Outcome {
        actix_rt::System::new().block_on(self.play(runs))
    }

    async fn play(self, runs: Duration) -> Outcome {
        let mut sims = Vec::new();
        for (position, tpm) in QUOTAS.into_iter().enumerate() {
            let resource = self.resource(position, tpm);
            let anywhere = (IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
            let sim = Simulator::start(resource, anywhere).await;
            sims.push(sim.expect("a free port"));
        }
        let config = config::from_vars(self.vars(&sims)).expect("a valid configuration");
        let app = App::build(config).await.expect("the proxy starts");
        let address = app.addrs().first().copied().expect("an address");
        let handle = app.handle();
        actix_rt::spawn(app.run_until_stopped());

        let url = format!("http://{address}/v1/chat/completions");
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let began = Instant::now();
        let offered = actix_rt::spawn(self.offer(url, runs, sender));
        actix_rt::time::sleep(WARM_UP.min(runs)).await;
        let (warm, since) = (totals(&sims), Instant::now());
        actix_rt::time::sleep(runs.saturating_sub(began.elapsed())).await;
        let (end, counted) = (totals(&sims), since.elapsed());
        offered.await.expect("all requests were sent");
        let mut fates = Vec::new();
        while let Some(fate) = receiver.recv().await {
            fates.push(fate);
        }
        handle.stop(false).await;
        let quota = QUOTAS.iter().sum::<u64>() as f64 * counted.as_secs_f64() / 60.0;
        let last = totals(&sims);
        Outcome {
            cell: self,
            used: end.charged.less(warm.charged).0 as f64 / quota,
            fates,
            upstream: (last.requests, last.throttled),
        }
    }

    fn resource(&self, position: usize, tpm: u64) -> Resource {
        let deployment = SimDeployment::new("gpt-4o", "gpt-4o", Tokens(tpm));
        let resource = Resource::new(format!("r{position}"))
            .deployment(deployment.rpm(60_000))
            .pace(PACE)
            .remembering(0)
            .talkative();
        match self.headers {
            true => resource,
            false => resource.without_quota_headers(),
        }
    }

    fn vars(&self, sims: &[Simulator]) -> Vec<(String, String)> {
        let mut vars = vec![
            ("AZURE_INSTANCES".to_owned(), "r0,r1,r2".to_owned()),
            (
                "AZURE_ROUTING_STRATEGY".to_owned(),
                "least_loaded".to_owned(),
            ),
            ("HOST".to_owned(), "127.0.0.1".to_owned()),
            ("PORT".to_owned(), "0".to_owned()),
            ("WORKERS".to_owned(), "1".to_owned()),
            (
                "QUEUE_TIMEOUT_SECS".to_owned(),
                self.queue_secs().to_string(),
            ),
        ];
        for ((position, sim), tpm) in sims.iter().enumerate().zip(QUOTAS) {
            let mut set = |field: &str, value: String| {
                vars.push((format!("AZURE_INSTANCE_R{position}_{field}"), value));
            };
            set("API_KEY", sim.resource().api_key().expose().to_owned());
            set("API_BASE", sim.url());
            set("API_VERSION", "2024-10-21".to_owned());
            set("MAX_TPM", tpm.to_string());
        }
        vars
    }

    /// Sends requests at random moments of the wanted rate, and waits for the last.
    async fn offer(self, url: String, runs: Duration, fates: mpsc::UnboundedSender<Fate>) {
        let bodies = requests(SEED);
        let quota = QUOTAS.iter().sum::<u64>() as f64 / 60.0;
        let rate = self.load * quota / mean_charge(&bodies);
        let mut random = SmallRng::seed_from_u64(SEED);
        let connector = awc::Connector::new().limit(0);
        let timeout = Duration::from_secs(300);
        let builder = awc::Client::builder().connector(connector);
        let client = builder.timeout(timeout).finish();
        let start = Instant::now();
        let mut next = Duration::ZERO;
        let mut open = Vec::new();
        for Request { body, .. } in bodies.into_iter().cycle() {
            next += Duration::from_secs_f64(-(1.0 - random.random::<f64>()).ln() / rate);
            if next > runs {
                break;
            }
            actix_rt::time::sleep(next.saturating_sub(start.elapsed())).await;
            let luck = SmallRng::seed_from_u64(random.random());
            let sent = client::send(client.clone(), url.clone(), body, self.retries, PACE, luck);
            let fates = fates.clone();
            open.push(actix_rt::spawn(async move {
                // The receiver outlives the senders.
                let _ = fates.send(sent.await);
            }));
        }
        for request in open {
            request.await.expect("a client does not panic");
        }
    }
}

fn totals(sims: &[Simulator]) -> Counters {
    let mut sum = Counters::default();
    for one in sims.iter().map(Simulator::counters) {
        sum.requests += one.requests;
        sum.throttled += one.throttled;
        sum.charged = sum.charged + one.charged;
    }
    sum
}
