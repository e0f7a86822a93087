//! What is counted for Prometheus, and nothing that a client could multiply: labels are instance names from the
//! configuration, endpoints, outcomes and status codes, never a model name or a key.
//!
//! Counters are atomics that every thread shares. Gauges of the instances are filled in when `/metrics` is read.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};

use crate::domain::{InstanceId, InstanceName, Tokens};

mod attempt;
mod queue;
pub mod uploads;

pub use attempt::Attempt;
pub use queue::{QueueMetrics, Queued};

/// What Azure says of the deployments of an instance, and how it differs from what was expected.
#[derive(Clone, Copy, Debug, Default)]
pub struct Azure {
    /// Its limits per minute.
    pub limit: Tokens,
    /// What is believed to remain.
    pub remaining: Tokens,
    /// What it has counted beyond what was expected.
    pub drift: i64,
}

/// State of an instance for the gauges.
pub struct InstanceGauges<'a> {
    /// Its name.
    pub name: &'a str,
    /// Tokens in the window.
    pub used: Tokens,
    /// Its limit.
    pub limit: Tokens,
    /// What Azure says of all its deployments together, while it is known of any.
    pub azure: Option<Azure>,
    /// Requests that are out.
    pub in_flight: u32,
    /// Whether it is healthy.
    pub healthy: bool,
}

/// How the quota is shared with other replicas.
pub struct SharingGauges {
    /// Whether Redis decides.
    pub is_shared: bool,
    /// Live replicas, this one included.
    pub replicas: u64,
    /// Times that Redis was lost.
    pub losses: u64,
}

struct PerInstance {
    attempts: Vec<(Attempt, IntCounter)>,
    reserved: IntCounter,
    used: IntCounter,
}

impl PerInstance {
    fn new(name: &InstanceName, attempts: &IntCounterVec, tokens: &IntCounterVec) -> Self {
        let counter = |of: &IntCounterVec, label| of.with_label_values(&[name.as_str(), label]);
        let attempts = Attempt::ALL.map(|kind| (kind, counter(attempts, kind.label())));
        Self {
            attempts: attempts.to_vec(),
            reserved: counter(tokens, "reserved"),
            used: counter(tokens, "used"),
        }
    }
}

/// From a refusal at once to an answer that takes as long as `UPSTREAM_FIRST_BYTE_TIMEOUT_SECS` allows by default.
const FIRST_BYTE_SECONDS: [f64; 12] = [
    0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];

/// From what the proxy usually takes to the count of megabytes and a moment in the queue.
const OVERHEAD_SECONDS: [f64; 10] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0,
];

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    instances: Vec<PerInstance>,
    in_flight: IntGauge,
    first_byte: Histogram,
    overhead: Histogram,
    queue: QueueMetrics,
}

impl Metrics {
    /// Registers the metrics; instances in the order of the configuration.
    ///
    /// # Errors
    /// Only if two metrics were given one name, which is a fault of this file.
    pub fn new(instances: &[InstanceName]) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let requests = counters(
            "aoai_proxy_requests_total",
            "Client requests by endpoint and answered status.",
            ["endpoint", "status"],
        )?;
        let attempts = counters(
            "aoai_proxy_attempts_total",
            "Attempts at instances by outcome.",
            ["instance", "outcome"],
        )?;
        let tokens = counters(
            "aoai_proxy_tokens_total",
            "Tokens reserved at admission and used in the end.",
            ["instance", "kind"],
        )?;
        let in_flight = IntGauge::new("aoai_proxy_in_flight", "Client requests being served.")?;
        let first_byte = histogram(
            "aoai_proxy_first_byte_seconds",
            "From the request's arrival to the first byte of its answer.",
            &FIRST_BYTE_SECONDS,
        )?;
        let overhead = histogram(
            "aoai_proxy_overhead_seconds",
            "From the request's arrival until it was first sent to an instance.",
            &OVERHEAD_SECONDS,
        )?;
        let queue = QueueMetrics::new()?;
        let collectors: [Box<dyn Collector>; 6] = [
            Box::new(requests.clone()),
            Box::new(attempts.clone()),
            Box::new(tokens.clone()),
            Box::new(in_flight.clone()),
            Box::new(first_byte.clone()),
            Box::new(overhead.clone()),
        ];
        for collector in collectors.into_iter().chain(queue.collectors()) {
            registry.register(collector)?;
        }
        Ok(Self {
            instances: instances
                .iter()
                .map(|name| PerInstance::new(name, &attempts, &tokens))
                .collect(),
            registry,
            requests,
            in_flight,
            first_byte,
            overhead,
            queue,
        })
    }

    /// Returns what counts requests that wait.
    pub fn queue(&self) -> QueueMetrics {
        self.queue.clone()
    }

    /// Notes that a client request began.
    pub fn began(&self) {
        self.in_flight.inc();
    }

    /// Notes that a client request ended; 499 stands for a client that left.
    pub fn ended(&self, endpoint: &'static str, status: u16) {
        self.in_flight.dec();
        self.refused(endpoint, status);
    }

    /// Notes a request that was refused before it began, for instance for its key.
    pub fn refused(&self, endpoint: &'static str, status: u16) {
        let status = status.to_string();
        self.requests.with_label_values(&[endpoint, &status]).inc();
    }

    /// Notes the end of an attempt.
    pub fn attempt(&self, instance: InstanceId, kind: Attempt, reserved: Tokens, used: Tokens) {
        let Some(counters) = self.instances.get(instance.0) else {
            return;
        };
        counters.reserved.inc_by(reserved.0);
        counters.used.inc_by(used.0);
        if let Some((_, counter)) = counters.attempts.iter().find(|(known, _)| *known == kind) {
            counter.inc();
        }
    }

    /// Notes how long the client waited for the first byte.
    pub fn first_byte(&self, took: Duration) {
        self.first_byte.observe(took.as_secs_f64());
    }

    /// Notes how long the proxy took before the request went out.
    pub fn overhead(&self, took: Duration) {
        self.overhead.observe(took.as_secs_f64());
    }

    /// Writes everything in Prometheus' text format, with the instances as they are now.
    ///
    /// # Errors
    /// If the text cannot be encoded, which no input of ours causes.
    pub fn render(
        &self,
        instances: &[InstanceGauges<'_>],
        sharing: Option<&SharingGauges>,
    ) -> Result<Vec<u8>, prometheus::Error> {
        let mut families = self.registry.gather();
        for (name, help, value) in gauges() {
            let gauge = prometheus::IntGaugeVec::new(Opts::new(name, help), &["instance"])?;
            for instance in instances {
                if let Some(value) = value(instance) {
                    gauge.with_label_values(&[instance.name]).set(value);
                }
            }
            // A family in which no instance has a value cannot be written.
            let known = gauge.collect().into_iter();
            families.extend(known.filter(|family| !family.get_metric().is_empty()));
        }
        for (name, help, value) in sharing.into_iter().flat_map(sharing_gauges) {
            let gauge = IntGauge::new(name, help)?;
            gauge.set(value);
            families.extend(gauge.collect());
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text)?;
        Ok(text)
    }
}

fn counters(name: &str, help: &str, labels: [&str; 2]) -> Result<IntCounterVec, prometheus::Error> {
    IntCounterVec::new(Opts::new(name, help), &labels)
}

fn histogram(name: &str, help: &str, buckets: &[f64]) -> Result<Histogram, prometheus::Error> {
    Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))
}

type GaugeRow = (
    &'static str,
    &'static str,
    fn(&InstanceGauges<'_>) -> Option<i64>,
);

fn gauges() -> [GaugeRow; 7] {
    [
        (
            "aoai_proxy_window_tokens",
            "Tokens in the instance's 60 s window, reservations included.",
            |instance| Some(to_i64(instance.used)),
        ),
        (
            "aoai_proxy_window_limit_tokens",
            "Tokens per minute of the instance.",
            |instance| Some(to_i64(instance.limit)),
        ),
        (
            "aoai_proxy_azure_limit_tokens",
            "Tokens per minute of the instance's deployments, as Azure said within the last minute.",
            |instance| Some(to_i64(instance.azure?.limit)),
        ),
        (
            "aoai_proxy_azure_remaining_tokens",
            "What of that is believed to remain.",
            |instance| Some(to_i64(instance.azure?.remaining)),
        ),
        (
            "aoai_proxy_drift_tokens",
            "What Azure has counted beyond the charges that were expected.",
            |instance| Some(instance.azure?.drift),
        ),
        (
            "aoai_proxy_instance_in_flight",
            "Requests that are out at the instance.",
            |instance| Some(i64::from(instance.in_flight)),
        ),
        (
            "aoai_proxy_instance_healthy",
            "1 while the instance is healthy, else 0.",
            |instance| Some(i64::from(instance.healthy)),
        ),
    ]
}

fn sharing_gauges(sharing: &SharingGauges) -> [(&'static str, &'static str, i64); 3] {
    let whole = |number| i64::try_from(number).unwrap_or(i64::MAX);
    [
        (
            "aoai_proxy_redis_shared",
            "1 while Redis decides for all replicas, 0 while each keeps to its share.",
            i64::from(sharing.is_shared),
        ),
        (
            "aoai_proxy_redis_replicas",
            "Live replicas, this one included; the last known number while degraded.",
            whole(sharing.replicas),
        ),
        (
            "aoai_proxy_redis_losses",
            "Times that Redis was lost since the start.",
            whole(sharing.losses),
        ),
    ]
}

fn to_i64(tokens: Tokens) -> i64 {
    i64::try_from(tokens.0).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_rendered() {
        let metrics = Metrics::new(&[InstanceName::new("east")]).unwrap();
        metrics.began();
        metrics.attempt(InstanceId(0), Attempt::Throttled, Tokens(50), Tokens::ZERO);
        metrics.attempt(InstanceId(9), Attempt::Throttled, Tokens(50), Tokens::ZERO);
        metrics.ended("embeddings", 429);
        metrics.first_byte(Duration::from_millis(20));

        let east = InstanceGauges {
            name: "east",
            used: Tokens(7),
            limit: Tokens(1_000),
            azure: Some(Azure {
                limit: Tokens(900),
                remaining: Tokens(40),
                drift: -3,
            }),
            in_flight: 2,
            healthy: true,
        };
        let text = String::from_utf8(metrics.render(&[east], None).unwrap()).unwrap();

        for line in [
            r#"aoai_proxy_attempts_total{instance="east",outcome="throttled"} 1"#,
            r#"aoai_proxy_tokens_total{instance="east",kind="reserved"} 50"#,
            r#"aoai_proxy_requests_total{endpoint="embeddings",status="429"} 1"#,
            r#"aoai_proxy_window_tokens{instance="east"} 7"#,
            r#"aoai_proxy_instance_healthy{instance="east"} 1"#,
            r#"aoai_proxy_azure_limit_tokens{instance="east"} 900"#,
            r#"aoai_proxy_azure_remaining_tokens{instance="east"} 40"#,
            r#"aoai_proxy_drift_tokens{instance="east"} -3"#,
            "aoai_proxy_in_flight 0",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
