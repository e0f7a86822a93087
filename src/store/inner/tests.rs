//! Tests of what answers of Redis change, without a Redis.

use super::*;
use crate::config;
use crate::domain::InstanceId;
use crate::store::Shared;

/// One instance with a window of 100 tokens, under an epoch of which 3 acts are known.
fn inner() -> Inner {
    let vars = [
        ("AZURE_OPENAI_API_KEY", "0123456789abcdef"),
        ("AZURE_OPENAI_API_BASE", "https://res.test"),
        ("USE_REDIS_RATE_LIMITER", "true"),
        ("REDIS_URL", "redis://127.0.0.1:1"),
    ];
    let vars = vars.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let sharing = Rc::new(config::from_vars(vars).unwrap().sharing.unwrap());
    let window = Shared {
        name: "tokens".to_owned(),
        limit: Tokens(100),
        span: Duration::from_secs(60),
    };
    let mut account = Account::new(&sharing, "me", InstanceId(0), "a", &[window]);
    account.enter("new".to_owned(), Acts(3));
    Inner::new(&sharing, &None, &Rc::from("me"), "all", vec![account])
}

#[test]
fn an_answer_to_what_was_asked_under_an_older_epoch_is_taken_for_none() {
    let inner = inner();
    let part = Part {
        window: 0,
        amount: Tokens(10),
    };
    let charged = || Verdict::Charged {
        news: 7,
        acts: Acts(5_000),
        at: inner.tick(),
        used: vec![Tokens(90)],
    };
    let full = || Verdict::Full {
        news: 7,
        acts: Acts(5_000),
        wait: Some(Duration::from_secs(9)),
        used: vec![Tokens(95)],
    };

    for verdict in [charged(), full()] {
        let mut account = inner.accounts[0].borrow_mut();
        let learned = inner.learn(&mut account, "old", &[part], verdict);
        let used = account.used(inner.tick(), 0);

        assert_eq!(learned, Err(LOST));
        assert_eq!((account.acts, used), (Acts(3), Tokens::ZERO));
        assert!(!inner.is_news.get());
    }
    let mut account = inner.accounts[0].borrow_mut();
    let learned = inner.learn(&mut account, "new", &[part], charged());
    assert!(matches!(learned, Ok(Ok(_))));
    assert_eq!(account.acts, Acts(5_000));
}
