//! Requests that end in every way at every moment, with real actors on a paused clock, against plain lists of what is out.
//!
//! Clients hang up while they wait, on the way and in the middle of an answer; instances throttle, fail and vanish. Whatever
//! happens, no window may hold less than what was used, nothing may stay behind, and everybody gets an answer in time.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use proptest::prelude::*;

use super::overload::Azure;
use super::queue::settle_down;
use super::*;
use crate::quota::Said;

const MINUTE: Duration = Duration::from_secs(60);
const QUOTAS: [u64; 2] = [3_000, 5_000];
/// Of `b`, which alone has such a limit.
const CALLS: u32 = 120;
/// Of gpt-4o at `a`.
const OWN: u64 = 2_000;

/// What becomes of an attempt.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// Azure decides, and says what remains or not.
    Asked {
        tells: bool,
    },
    /// The same, and the news of its head go ahead of its end.
    Streamed,
    Unreachable,
    Faulted,
    NoCapacity,
    /// The lease is dropped before anything is sent.
    Unsent,
    /// The client hangs up in the middle of the answer.
    HungUp,
}

#[derive(Clone, Copy, Debug)]
struct Client {
    /// Milliseconds since the one before.
    pause: u64,
    model: &'static str,
    prompt: u64,
    cap: u64,
    /// How much of the cap is used.
    percent: u64,
    patience: u64,
    /// Milliseconds after which it hangs up while it waits.
    leaves_after: Option<u64>,
    way: u64,
    takes: u64,
    fate: Fate,
}

fn client() -> impl Strategy<Value = Client> {
    let fate = prop_oneof![
        6 => any::<bool>().prop_map(|tells| Fate::Asked { tells }),
        2 => Just(Fate::Streamed),
        1 => Just(Fate::Unreachable),
        1 => Just(Fate::Faulted),
        1 => Just(Fate::NoCapacity),
        1 => Just(Fate::Unsent),
        2 => Just(Fate::HungUp),
    ];
    let model = prop_oneof![3 => Just("gpt-4o"), 1 => Just("GPT4o"), 1 => Just("o3")];
    let size = (1u64..300, 1u64..700, 0u64..=100);
    let leaves = prop::option::weighted(0.3, 0u64..10_000);
    let times = (0u64..1_500, 0u64..20, 0u64..200, 0u64..9_000);
    (model, size, times, leaves, fate).prop_map(|(model, size, times, leaves_after, fate)| Client {
        pause: times.0,
        model,
        prompt: size.0,
        cap: size.1,
        percent: size.2,
        patience: times.1,
        leaves_after,
        way: times.2,
        takes: times.3,
        fate,
    })
}

/// A lease as the client sees it.
#[derive(Clone, Copy, Debug)]
struct Granted {
    at: tokio::time::Instant,
    is_limited: bool,
    tokens: u64,
    is_sent: bool,
}

struct World {
    outbox: Rc<Outbox>,
    azure: [RefCell<Azure>; 2],
    granted: [RefCell<Vec<Granted>>; 2],
}

impl World {
    /// Returns what was granted within a span, by what is known of its end.
    fn within(&self, instance: usize, span: Duration) -> Vec<Granted> {
        let now = tokio::time::Instant::now();
        let all = self.granted[instance].borrow();
        all.iter()
            .filter(|one| now < one.at + span)
            .copied()
            .collect()
    }

    /// Fails if more was granted than any limit allows.
    fn check(&self, instance: usize) {
        let minute = self.within(instance, MINUTE);
        let used: u64 = minute.iter().map(|one| one.tokens).sum();
        assert!(used <= QUOTAS[instance], "{used} at {instance}");
        if instance == 0 {
            let limited = minute.iter().filter(|one| one.is_limited);
            let used: u64 = limited.map(|one| one.tokens).sum();
            assert!(used <= OWN, "{used} of the deployment");
        } else {
            let short = self.within(instance, Duration::from_secs(10));
            let calls = short.iter().filter(|one| one.is_sent).count();
            assert!(calls <= CALLS as usize / 6, "{calls} calls");
        }
    }

    async fn client(self: Rc<Self>, client: Client) {
        let turn = waits(client.patience);
        let called = tokio::time::Instant::now();
        let mut tried = Vec::new();
        loop {
            let mut turn = turn;
            turn.patience = turn.patience.saturating_sub(called.elapsed());
            let want = Want {
                model: ModelKey::of(client.model),
                name: ModelName::new(client.model),
                ..want(client.prompt, client.cap)
            };
            let asked_at = tokio::time::Instant::now();
            let asked = self.outbox.acquire(want, tried.clone(), turn);
            let gone = Duration::from_millis(client.leaves_after.unwrap_or(3_600_000));
            let Ok(answer) = tokio::time::timeout(gone, asked).await else {
                return;
            };
            let late = asked_at.elapsed().saturating_sub(turn.patience);
            assert!(late <= Duration::from_millis(20), "{late:?} late");
            let Ok(lease) = answer.unwrap() else {
                return;
            };
            tried.push(lease.id());
            if self.send(lease, client).await {
                return;
            }
        }
    }

    /// Sends an attempt; whether the client has its answer or is gone.
    async fn send(&self, mut lease: Lease, client: Client) -> bool {
        let at = lease.id().0;
        let number = self.granted[at].borrow().len();
        self.granted[at].borrow_mut().push(Granted {
            at: tokio::time::Instant::now(),
            is_limited: ModelKey::of(client.model) == ModelKey::of("gpt-4o"),
            tokens: lease.reserved().0,
            is_sent: true,
        });
        self.check(at);
        let end = |tokens: u64, is_sent: bool| {
            let mut granted = self.granted[at].borrow_mut();
            (granted[number].tokens, granted[number].is_sent) = (tokens, is_sent);
        };
        tokio::time::sleep(Duration::from_millis(client.way)).await;
        let summary = "it was told to".to_owned();
        match client.fate {
            Fate::Unsent => {
                end(0, false);
                drop(lease);
                return true;
            }
            Fate::Unreachable => {
                end(0, false);
                self.outbox.settle(lease, Outcome::Unreachable { summary });
                return false;
            }
            _ => lease.sending(),
        }
        let charge = client.prompt + client.cap;
        let now = tokio::time::Instant::now().into_std();
        let admitted = self.azure[at].borrow_mut().admit(now, charge, QUOTAS[at]);
        let remaining = match admitted {
            Ok(remaining) => remaining,
            Err(wait) => {
                end(0, true);
                let (limit, wait) = (Limit::Tokens, Some(wait));
                let outcome = Outcome::Throttled {
                    limit,
                    wait,
                    summary,
                };
                self.outbox.settle(lease, outcome);
                return false;
            }
        };
        let said = Said {
            limit_tokens: Some(Tokens(QUOTAS[at])),
            remaining_tokens: Some(Tokens(remaining)),
            ..Said::default()
        };
        if matches!(client.fate, Fate::Streamed) {
            lease.heard(said, now);
            self.outbox.begun(&mut lease);
        }
        tokio::time::sleep(Duration::from_millis(client.takes)).await;
        let used = client.prompt + client.cap * client.percent / 100;
        match client.fate {
            Fate::Asked { tells } => {
                if tells {
                    lease.heard(said, now);
                }
                end(used, true);
                self.outbox.settle(lease, answered(used));
            }
            Fate::Faulted => {
                end(0, true);
                let used = Tokens::ZERO;
                self.outbox
                    .settle(lease, Outcome::Faulted { used, summary });
                return false;
            }
            Fate::NoCapacity => {
                end(0, true);
                let wait = None;
                self.outbox
                    .settle(lease, Outcome::NoCapacity { wait, summary });
                return false;
            }
            Fate::HungUp => drop(lease),
            Fate::Streamed | Fate::Unsent | Fate::Unreachable => {
                end(used, true);
                self.outbox.settle(lease, answered(used));
            }
        }
        true
    }

    /// Fails unless every window shows at least what was used.
    async fn compare(&self, registry: &Addr<Registry>) {
        settle_down(registry).await;
        let least = [0, 1].map(|at| {
            let minute = self.within(at, MINUTE);
            minute.iter().map(|one| one.tokens).sum::<u64>()
        });
        let views = registry.send(Snapshot).await.unwrap();
        for (view, least) in views.iter().zip(least) {
            assert!(view.used >= Tokens(least), "{} of {least}", view.used);
            assert!(view.used <= view.limit, "{view:?}");
        }
    }
}

fn instances() -> [Arc<InstanceConfig>; 2] {
    let mut a = (*instance("a", 1, QUOTAS[0])).clone();
    let own = (ModelKey::of("gpt-4o"), Tokens(OWN));
    a.max_tpm_of = Limits::new(BTreeMap::from([own]), &a.model_map);
    let mut b = (*instance("b", 1, QUOTAS[1])).clone();
    b.max_rpm = Some(CALLS);
    [Arc::new(a), Arc::new(b)]
}

async fn play(clients: Vec<Client>) {
    let registry = super::queue::queue_of(100, &instances());
    let world = Rc::new(World {
        outbox: Outbox::new(registry.clone()),
        azure: Default::default(),
        granted: Default::default(),
    });
    let mut all = Vec::new();
    for (number, client) in clients.into_iter().enumerate() {
        tokio::time::sleep(Duration::from_millis(client.pause)).await;
        all.push(tokio::task::spawn_local(world.clone().client(client)));
        if number % 5 == 0 {
            world.compare(&registry).await;
        }
    }
    for client in join_all(all).await {
        client.unwrap();
    }
    world.compare(&registry).await;
    let waiting = registry.send(Waiting).await.unwrap();
    assert!(waiting.models.is_empty(), "{waiting:?}");
    // All windows, and the longest cooldowns, have passed then.
    tokio::time::sleep(10 * MINUTE).await;
    for view in registry.send(Snapshot).await.unwrap() {
        assert_eq!((view.used, view.in_flight), (Tokens::ZERO, 0));
        let lanes = view.deployments.iter().map(|deployment| &deployment.lane);
        for lane in lanes {
            assert_eq!((lane.reserved, lane.in_flight), (Tokens::ZERO, 0));
        }
    }
    for (tried, most) in [([1], OWN), ([0], QUOTAS[1])] {
        let lease = acquire(&registry, want(most, 0), &tried).await;
        assert!(lease.is_ok(), "{lease:?}");
    }
}

/// Runs a future with actors of its own.
fn run(future: impl Future<Output = ()>) {
    System::new().block_on(future);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_ends_in_whatever_way_limits_hold_and_nothing_stays_behind(
        clients in prop::collection::vec(client(), 1..150)
    ) {
        run(play(clients));
    }

    /// Those who hang up before others do not take their turn along, and what is given back wakes whoever waits.
    #[test]
    fn whoever_waits_is_served_once_there_is_room_whoever_else_leaves(
        waiters in prop::collection::vec((1u64..80, any::<bool>(), any::<bool>()), 1..20),
        held in 2usize..8
    ) {
        run(async move {
            let registry = super::queue::queue_of(100, &[instance("a", 1, 2_000)]);
            let share = 2_000 / held as u64;
            let mut leases = Vec::new();
            for _ in 0..held {
                leases.push(acquire(&registry, want(share, 0), &[]).await.unwrap());
            }
            tokio::time::sleep(Duration::from_secs(10)).await;
            let outbox = Outbox::new(registry.clone());
            let mut stay = Vec::new();
            let mut leave = Vec::new();
            for (tokens, leaves, is_other) in waiters {
                let model = if is_other { "o3" } else { "gpt-4o" };
                let want = Want {
                    model: ModelKey::of(model),
                    name: ModelName::new(model),
                    ..want(tokens + 20, 0)
                };
                let outbox = outbox.clone();
                let asked = async move { outbox.acquire(want, Vec::new(), waits(59)).await };
                let waiter = tokio::task::spawn_local(asked);
                match leaves {
                    true => leave.push(waiter),
                    false => stay.push(waiter),
                }
                settle_down(&registry).await;
            }
            for waiter in leave {
                waiter.abort();
            }
            for lease in leases {
                outbox.settle(lease, answered(0));
            }
            let begin = tokio::time::Instant::now();

            for waiter in stay {
                let lease = waiter.await.unwrap().unwrap();
                assert!(lease.is_ok(), "{lease:?}");
                assert!(begin.elapsed() <= Duration::from_millis(20), "{:?}", begin.elapsed());
                outbox.settle(lease.unwrap(), answered(0));
            }
        });
    }
}
