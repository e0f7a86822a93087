//! Tests of what answers of Redis change, without a Redis.

use super::*;
use crate::store::account::tests::{accounts, sharing};

/// One instance with a window of 100 tokens, under an epoch of which 3 acts are known.
fn inner() -> Inner {
    let mut account = accounts(1).remove(0);
    account.enter("new".to_owned(), Acts(3));
    Inner::new(
        &Rc::new(sharing()),
        &None,
        &Rc::from("me"),
        "all",
        vec![account],
    )
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
