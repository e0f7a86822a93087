//! Overload in virtual time: the real actors in front of a model of Azure's log, minutes in a moment.
//!
//! The same experiment as `benches/overload`, without sockets: three resources of 30k, 60k and 90k tokens per minute that
//! charge at admission and refund nothing, requests at random moments, answers of a second that use a part of what was
//! charged. It holds the engine to what the bench has shown to be in reach.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::quota::Said;

const QUOTAS: [u64; 3] = [30_000, 60_000, 90_000];
const MINUTE: Duration = Duration::from_secs(60);
/// One way between the proxy and Azure.
const WAY: Duration = Duration::from_millis(30);
const ANSWER_TAKES: Duration = Duration::from_secs(1);
/// For the ways there and back, three times.
const MARGIN: Duration = Duration::from_millis(500);

/// Azure's log of one deployment.
#[derive(Default)]
pub(super) struct Azure {
    log: VecDeque<(Instant, u64)>,
    charged: u64,
    asked: u64,
    refused: u64,
}

impl Azure {
    /// Charges a request; what remains, or how long to wait.
    pub(super) fn admit(&mut self, now: Instant, charge: u64, limit: u64) -> Result<u64, Duration> {
        self.asked += 1;
        self.log.retain(|(at, _)| now < *at + MINUTE);
        let used: u64 = self.log.iter().map(|(_, charge)| charge).sum();
        if used + charge <= limit {
            self.log.push_back((now, charge));
            self.charged += charge;
            return Ok(limit - used - charge);
        }
        self.refused += 1;
        let mut left = used;
        for (at, gone) in &self.log {
            left -= gone;
            if left + charge <= limit {
                return Err((*at + MINUTE).saturating_duration_since(now));
            }
        }
        Err(MINUTE)
    }
}

/// One run: what is offered, and how.
#[derive(Clone, Copy)]
struct Run {
    load: f64,
    patience: u64,
    retries: u32,
    tells: bool,
    minutes: u64,
}

/// What came of it.
#[derive(Debug)]
struct Came {
    used: f64,
    /// Requests of which the last answer was a 429.
    refused: usize,
    of: usize,
    upstream_per_thousand: f64,
    /// How long each served request waited in its last call.
    waits: Vec<Duration>,
    /// When each request that got a lease had come, and when it got the first one.
    leased: Vec<(Instant, Instant)>,
}

impl Came {
    /// Requests that got their first lease after one that had come later.
    fn overtaken(&self) -> usize {
        let mut in_order = self.leased.clone();
        in_order.sort();
        let mut soonest_of_later = None;
        let mut overtaken = 0;
        for (_, leased) in in_order.into_iter().rev() {
            overtaken += usize::from(soonest_of_later.is_some_and(|soonest| leased > soonest));
            soonest_of_later = soonest_of_later.into_iter().chain([leased]).min();
        }
        overtaken
    }

    fn wait(&self, percent: usize) -> Duration {
        part(&self.waits, percent)
    }

    /// The 99th percentile of those that waited at all, over their median.
    fn unfairness(&self) -> f64 {
        let no_wait = Duration::from_millis(100);
        let long: Vec<Duration> = self
            .waits
            .iter()
            .copied()
            .filter(|w| *w > no_wait)
            .collect();
        part(&long, 99).as_secs_f64() / part(&long, 50).as_secs_f64()
    }
}

fn part(sorted: &[Duration], percent: usize) -> Duration {
    sorted
        .get(sorted.len() * percent / 100)
        .copied()
        .unwrap_or_default()
}

/// What one request needs: prompt tokens, the cap of its output, what it will use of that, the charge.
#[derive(Clone, Copy)]
struct Size {
    prompt: u64,
    cap: u64,
    output: u64,
    charge: u64,
}

fn size(random: &mut SmallRng) -> Size {
    let prompt = (50f64.ln() + random.random::<f64>() * 40f64.ln()).exp() as u64;
    let cap = random.random_range(50..=800u64);
    Size {
        prompt,
        cap,
        output: cap * random.random_range(10..=100u64) / 100,
        // A quarter of the characters is now more, now less than the tokens.
        charge: prompt * random.random_range(90..=125u64) / 100 + cap,
    }
}

struct World {
    outbox: Rc<Outbox>,
    azure: [RefCell<Azure>; 3],
    waits: RefCell<Vec<Duration>>,
    leased: RefCell<Vec<(Instant, Instant)>>,
    refused: RefCell<usize>,
    run: Run,
}

impl World {
    /// One client: calls until it is served or has no retries left.
    async fn client(&self, size: Size) {
        for attempt in 0..=self.run.retries {
            let called = tokio::time::Instant::now();
            let answer = self.call(size).await;
            let most = Duration::from_secs(self.run.patience) + ANSWER_TAKES + MARGIN;
            assert!(called.elapsed() < most, "it waited for too long");
            match answer {
                Ok(waited) => {
                    self.waits.borrow_mut().push(waited);
                    return;
                }
                Err(again_in) if attempt < self.run.retries => {
                    let backoff = Duration::from_millis(500 << attempt);
                    let told = again_in.filter(|wait| *wait <= MINUTE);
                    tokio::time::sleep(told.unwrap_or(backoff)).await;
                }
                Err(_) => *self.refused.borrow_mut() += 1,
            }
        }
    }

    /// What the proxy does with one call; how long it waited, or when to come again.
    async fn call(&self, size: Size) -> Result<Duration, Option<Duration>> {
        let mut turn = waits(self.run.patience);
        let mut tried = Vec::new();
        let mut waited = Duration::ZERO;
        let mut last = None;
        loop {
            let asked_at = tokio::time::Instant::now();
            let want = Want {
                charge: Tokens(size.charge),
                ..want(size.prompt, size.cap)
            };
            let asked = self.outbox.acquire(want, tried.clone(), turn).await;
            waited += asked_at.elapsed();
            turn.patience = turn.patience.saturating_sub(asked_at.elapsed());
            let lease = match asked.unwrap() {
                Ok(lease) => lease,
                Err(Unavailable::Busy { again_in, .. }) => return Err(again_in),
                Err(_) => return Err(last),
            };
            if tried.is_empty() {
                let now = tokio::time::Instant::now().into_std();
                self.leased.borrow_mut().push((turn.since, now));
            }
            tried.push(lease.id());
            match self.send(lease, size).await {
                Ok(()) => return Ok(waited),
                Err(wait) => last = Some(wait),
            }
        }
    }

    async fn send(&self, mut lease: Lease, size: Size) -> Result<(), Duration> {
        let position = lease.id().0;
        let limit = QUOTAS[position];
        tokio::time::sleep(WAY).await;
        let now = tokio::time::Instant::now().into_std();
        let admitted = self.azure[position]
            .borrow_mut()
            .admit(now, size.charge, limit);
        match admitted {
            Ok(remaining) => {
                tokio::time::sleep(ANSWER_TAKES).await;
                if self.run.tells {
                    let said = Said {
                        limit_tokens: Some(Tokens(limit)),
                        remaining_tokens: Some(Tokens(remaining)),
                        ..Said::default()
                    };
                    lease.heard(said, tokio::time::Instant::now().into_std());
                }
                let outcome = Outcome::Answered {
                    used: Some(Tokens(size.prompt + size.output)),
                    prompt: Some(Tokens(size.prompt)),
                    output: None,
                };
                self.outbox.settle(lease, outcome);
                Ok(())
            }
            Err(wait) => {
                tokio::time::sleep(WAY).await;
                let outcome = Outcome::Throttled {
                    limit: Limit::Tokens,
                    wait: Some(wait),
                    summary: "429".to_owned(),
                };
                self.outbox.settle(lease, outcome);
                Err(wait)
            }
        }
    }
}

async fn play(run: Run) -> Came {
    let names = ["a", "b", "c"];
    let instances: Vec<_> = names
        .into_iter()
        .zip(QUOTAS)
        .map(|(name, quota)| instance(name, 1, quota))
        .collect();
    let (registry, _) = Registry::launch(setup(StrategyKind::LeastLoaded), &instances);
    let world = Rc::new(World {
        outbox: Outbox::new(registry),
        azure: Default::default(),
        waits: RefCell::default(),
        leased: RefCell::default(),
        refused: RefCell::default(),
        run,
    });
    let mut random = SmallRng::seed_from_u64(7);
    let mean: f64 = (0..4_000)
        .map(|_| size(&mut random).charge as f64)
        .sum::<f64>()
        / 4_000.0;
    let rate = run.load * QUOTAS.iter().sum::<u64>() as f64 / 60.0 / mean;
    let start = tokio::time::Instant::now();
    let mut next = start;
    let mut clients = Vec::new();
    let mut warm = None;
    let charged = |world: &World| world.azure.iter().map(|a| a.borrow().charged).sum::<u64>();
    loop {
        next += Duration::from_secs_f64(-(1.0 - random.random::<f64>()).ln() / rate);
        if warm.is_none() && next > start + MINUTE {
            tokio::time::sleep_until(start + MINUTE).await;
            warm = Some(charged(&world));
        }
        if next > start + MINUTE * run.minutes as u32 {
            break;
        }
        tokio::time::sleep_until(next).await;
        let (world, size) = (world.clone(), size(&mut random));
        clients.push(tokio::task::spawn_local(
            async move { world.client(size).await },
        ));
    }
    tokio::time::sleep_until(start + MINUTE * run.minutes as u32).await;
    let used = charged(&world) - warm.unwrap();
    let of = clients.len();
    for client in join_all(clients).await {
        client.unwrap();
    }
    let sum = |of: fn(&Azure) -> u64| world.azure.iter().map(|a| of(&a.borrow())).sum::<u64>();
    let mut waits = world.waits.take();
    waits.sort();
    Came {
        used: used as f64 / (180_000 * (run.minutes - 1)) as f64,
        refused: world.refused.take(),
        of,
        upstream_per_thousand: 1e3 * sum(|a| a.refused) as f64 / sum(|a| a.asked) as f64,
        waits,
        leased: world.leased.take(),
    }
}

const OVERLOAD: Run = Run {
    load: 1.5,
    patience: 15,
    retries: 0,
    tells: true,
    minutes: 10,
};

#[actix::test]
async fn at_nine_tenths_of_the_quota_no_client_is_refused() {
    tokio::time::pause();

    let came = play(Run {
        load: 0.9,
        ..OVERLOAD
    })
    .await;

    assert_eq!(came.refused, 0, "of {}", came.of);
    assert_eq!(came.overtaken(), 0);
    assert!(came.upstream_per_thousand < 2.0, "{came:?}");
}

#[actix::test]
async fn under_overload_nearly_all_quota_is_used_and_waiting_is_fair() {
    tokio::time::pause();
    for retries in [0, 2] {
        let came = play(Run {
            retries,
            ..OVERLOAD
        })
        .await;

        assert!(came.used > 0.985, "{} of the quota", came.used);
        assert!(came.upstream_per_thousand < 5.0, "{came:?}");
        assert!(came.wait(95) < Duration::from_secs(17), "{came:?}");
        assert!(came.unfairness() < 2.0, "{}", came.unfairness());
        assert_eq!(came.overtaken(), 0);
    }
}

#[actix::test]
async fn without_azures_headers_some_quota_is_lost_and_some_429s_are_seen() {
    tokio::time::pause();

    let came = play(Run {
        tells: false,
        ..OVERLOAD
    })
    .await;

    assert!(came.used > 0.95, "{} of the quota", came.used);
    let upstream = came.upstream_per_thousand;
    assert!(upstream < 40.0, "{upstream} of 1,000 were refused upstream");
}

#[actix::test]
async fn without_a_queue_clients_that_retry_when_told_use_nearly_all_quota() {
    tokio::time::pause();

    let came = play(Run {
        patience: 0,
        retries: 2,
        ..OVERLOAD
    })
    .await;

    assert!(came.used > 0.97, "{} of the quota", came.used);
    assert!(came.upstream_per_thousand < 5.0, "{came:?}");
}
