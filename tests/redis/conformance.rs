//! What a window promises, asked of the one in memory and of the one in Redis alike.

use std::cell::Cell;
use std::time::Duration;

use azure_openai_proxy::domain::Tokens;
use azure_openai_proxy::store::Charge;
use azure_openai_proxy::window::{Mark, Window};
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::process::SOON;
use crate::replica::{Replica, sharing};
use crate::server::Server;

/// Long enough for a loaded machine to do in it what a test means to do at once.
const SPAN: Duration = Duration::from_secs(4);

/// How late something may be noticed.
const SLACK: Duration = Duration::from_millis(1500);

/// A window of 100 tokens, wherever it is kept.
trait Quota {
    type Mark;

    async fn open() -> Self;

    /// Reserves, or says when it fits.
    async fn reserve(&mut self, tokens: u64) -> Result<Self::Mark, Option<Duration>>;

    async fn settle(&mut self, mark: &Self::Mark, reserved: u64, actual: u64);

    /// Waits until this much is used.
    async fn holds(&mut self, tokens: u64);

    /// How many of `count` reservations made at once are admitted.
    async fn at_once(&mut self, count: usize, tokens: u64) -> usize;
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

impl Quota for Window {
    type Mark = Mark;

    async fn open() -> Self {
        Window::over(SPAN, Tokens(100), now())
    }

    async fn reserve(&mut self, tokens: u64) -> Result<Mark, Option<Duration>> {
        Window::reserve(self, now(), Tokens(tokens)).map_err(|full| full.fits_in)
    }

    async fn settle(&mut self, mark: &Mark, reserved: u64, actual: u64) {
        Window::settle(self, now(), *mark, Tokens(reserved), Tokens(actual));
    }

    async fn holds(&mut self, tokens: u64) {
        assert_eq!(self.used(now()), Tokens(tokens));
    }

    async fn at_once(&mut self, count: usize, tokens: u64) -> usize {
        let admitted = (0..count).filter(|_| Window::reserve(self, now(), Tokens(tokens)).is_ok());
        admitted.count()
    }
}

/// Two replicas that take turns, so that neither decides by what it remembers.
struct Replicas {
    _server: Server,
    replicas: [Replica; 2],
    turn: Cell<usize>,
}

impl Replicas {
    fn next(&self) -> &Replica {
        self.turn.set(self.turn.get() + 1);
        &self.replicas[self.turn.get() % 2]
    }

    async fn until_agreed(&self) {
        let [one, other] = &self.replicas;
        let start = Instant::now();
        while one.used() != other.used() {
            assert!(start.elapsed() < SOON, "they do not hear of each other");
            actix_rt::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Quota for Replicas {
    type Mark = Charge;

    async fn open() -> Self {
        let server = Server::start();
        let start = || Replica::shared(sharing(&server.url(), &[]), 100, SPAN);
        let replicas = [start().await, start().await];
        Self {
            _server: server,
            replicas,
            turn: Cell::new(0),
        }
    }

    async fn reserve(&mut self, tokens: u64) -> Result<Charge, Option<Duration>> {
        let admitted = self.next().admit(tokens).await;
        admitted.map_err(|full| full.fits_in)
    }

    async fn settle(&mut self, mark: &Charge, _: u64, actual: u64) {
        let (other, settler) = (self.next(), self.next());
        // Both have heard of the charge, and then of the settlement.
        self.until_agreed().await;
        settler.settle(mark, actual);
        other.until_used(settler.used()).await;
    }

    async fn holds(&mut self, tokens: u64) {
        for replica in &self.replicas {
            replica.until_used(tokens).await;
        }
    }

    async fn at_once(&mut self, count: usize, tokens: u64) -> usize {
        let asks = (0..count).map(|_| self.next().admit(tokens));
        let answers = join_all(asks).await;
        answers.into_iter().filter(Result::is_ok).count()
    }
}

async fn it_fills_to_the_last_token_but_not_over<Q: Quota>() {
    let mut quota = Q::open().await;

    quota.reserve(40).await.ok().unwrap();
    quota.reserve(60).await.ok().unwrap();
    let refused = quota.reserve(1).await.err().unwrap();

    let wait = refused.unwrap();
    assert!(wait <= SPAN + Duration::from_millis(200), "{wait:?}");
    assert!(wait >= SPAN - SLACK, "{wait:?}");
    assert_eq!(quota.reserve(101).await.err().unwrap(), None);
    quota.holds(100).await;
}

async fn the_promised_wait_is_long_enough_and_no_longer<Q: Quota>() {
    let mut quota = Q::open().await;
    quota.reserve(30).await.ok().unwrap();
    actix_rt::time::sleep(SPAN / 2).await;
    quota.reserve(70).await.ok().unwrap();

    let first = quota.reserve(20).await.err().unwrap().unwrap();
    let second = quota.reserve(50).await.err().unwrap().unwrap();

    // The first is that of the older charge, the second that of the younger.
    assert!(first < SPAN / 2 + Duration::from_millis(200), "{first:?}");
    assert!(second > SPAN / 2, "{second:?}");
    actix_rt::time::sleep(first + Duration::from_millis(20)).await;
    quota.reserve(20).await.ok().unwrap();
}

async fn a_settlement_counts_in_the_bucket_of_its_charge<Q: Quota>() {
    let mut quota = Q::open().await;
    let charged = Instant::now();
    let mark = quota.reserve(90).await.ok().unwrap();
    quota.settle(&mark, 90, 10).await;

    let second = quota.reserve(90).await;
    let third = quota.reserve(1).await;

    assert!(second.is_ok());
    assert!(third.is_err());
    actix_rt::time::sleep_until(charged + SPAN + Duration::from_millis(300)).await;
    quota.reserve(10).await.ok().unwrap();
}

async fn a_settlement_above_the_reservation_counts_in_full<Q: Quota>() {
    let mut quota = Q::open().await;
    let mark = quota.reserve(10).await.ok().unwrap();
    quota.settle(&mark, 10, 150).await;

    assert!(quota.reserve(1).await.is_err());
    quota.holds(150).await;
    actix_rt::time::sleep(SPAN + Duration::from_millis(300)).await;
    quota.holds(0).await;
    quota.reserve(100).await.ok().unwrap();
}

async fn a_settlement_after_the_span_changes_nothing<Q: Quota>() {
    let mut quota = Q::open().await;
    let mark = quota.reserve(90).await.ok().unwrap();
    actix_rt::time::sleep(SPAN + Duration::from_millis(300)).await;
    quota.reserve(5).await.ok().unwrap();

    quota.settle(&mark, 90, 200).await;

    quota.holds(5).await;
}

async fn many_at_once_never_pass_the_limit<Q: Quota>() {
    let mut quota = Q::open().await;

    let admitted = quota.at_once(50, 7).await;

    assert_eq!(admitted, 14);
    quota.holds(98).await;
}

macro_rules! suite {
    ($($promise:ident),* $(,)?) => {
        mod in_memory {
            $(
                #[actix_web::test]
                async fn $promise() {
                    super::$promise::<super::Window>().await;
                }
            )*
        }

        mod in_redis {
            $(
                #[actix_web::test]
                #[ignore = "needs redis-server"]
                async fn $promise() {
                    super::$promise::<super::Replicas>().await;
                }
            )*
        }
    };
}

suite!(
    it_fills_to_the_last_token_but_not_over,
    the_promised_wait_is_long_enough_and_no_longer,
    a_settlement_counts_in_the_bucket_of_its_charge,
    a_settlement_above_the_reservation_counts_in_full,
    a_settlement_after_the_span_changes_nothing,
    many_at_once_never_pass_the_limit,
);
