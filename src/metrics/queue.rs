//! What is counted about waiting for capacity: how many wait, for how long, and how it ends.
//!
//! One that waits is counted once, by how it ended; one that was not let wait, by why.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts};

/// How a request's time in the queue ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queued {
    /// It was served.
    Served,
    /// Its time was over.
    TimedOut,
    /// The client left.
    Left,
}

/// What is counted about waiting for capacity.
#[derive(Clone)]
pub struct QueueMetrics {
    waiting: IntGauge,
    ended: [(Queued, IntCounter); 3],
    full: IntCounter,
    too_late: IntCounter,
    waits: Histogram,
    all: IntCounterVec,
}

impl QueueMetrics {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let all = IntCounterVec::new(
            Opts::new(
                "aoai_proxy_queue_requests_total",
                "Requests that found no capacity: served, timed_out or left after waiting, or not let wait.",
            ),
            &["outcome"],
        )?;
        let outcome = |name| all.with_label_values(&[name]);
        let waits = HistogramOpts::new(
            "aoai_proxy_queue_wait_seconds",
            "How long requests waited that were served after waiting.",
        );
        let buckets = vec![0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0];
        Ok(Self {
            waiting: IntGauge::new(
                "aoai_proxy_queue_waiting",
                "Requests that wait for capacity.",
            )?,
            ended: [
                (Queued::Served, outcome("served")),
                (Queued::TimedOut, outcome("timed_out")),
                (Queued::Left, outcome("left")),
            ],
            full: outcome("refused_full"),
            too_late: outcome("refused_too_late"),
            waits: Histogram::with_opts(waits.buckets(buckets))?,
            all,
        })
    }

    pub(super) fn collectors(&self) -> [Box<dyn Collector>; 3] {
        [
            Box::new(self.waiting.clone()),
            Box::new(self.all.clone()),
            Box::new(self.waits.clone()),
        ]
    }

    /// Notes how many requests wait.
    pub fn waiting(&self, count: usize) {
        self.waiting.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Notes the end of a wait.
    pub fn ended(&self, how: Queued, waited: Duration) {
        if let Some((_, counter)) = self.ended.iter().find(|(known, _)| *known == how) {
            counter.inc();
        }
        if how == Queued::Served {
            self.waits.observe(waited.as_secs_f64());
        }
    }

    /// Notes a request that was not let wait: because too many wait, or because it would have taken too long.
    pub fn refused(&self, is_full: bool) {
        let counter = if is_full { &self.full } else { &self.too_late };
        counter.inc();
    }
}
