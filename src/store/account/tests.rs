//! Tests of which heartbeats bring whole windows.

use std::collections::HashMap;
use std::time::Duration;

use super::*;
use crate::config;

/// Returns settings of a Redis that nobody is to ask.
pub(in crate::store) fn sharing() -> Sharing {
    let vars = [
        ("AZURE_OPENAI_API_KEY", "0123456789abcdef"),
        ("AZURE_OPENAI_API_BASE", "https://res.test"),
        ("USE_REDIS_RATE_LIMITER", "true"),
        ("REDIS_URL", "redis://127.0.0.1:1"),
    ];
    let vars = vars.map(|(name, value)| (name.to_owned(), value.to_owned()));
    config::from_vars(vars).unwrap().sharing.unwrap()
}

/// Returns accounts of one window of 100 tokens.
pub(in crate::store) fn accounts(count: usize) -> Vec<Account> {
    let window = Shared {
        name: "tokens".to_owned(),
        limit: Tokens(100),
        span: Duration::from_secs(60),
    };
    let (sharing, windows) = (sharing(), [window]);
    let open = |id| Account::new(&sharing, "me", InstanceId(id), "a", &windows);
    (0..count).map(open).collect()
}

fn pulse(acts: u64, held: Holding) -> Pulse {
    Pulse {
        now: Duration::from_secs(1_000),
        replicas: 2,
        news: 0,
        acts: Acts(acts),
        cooldowns: HashMap::new(),
        windows: vec![held],
    }
}

#[test]
fn each_heartbeat_brings_the_whole_windows_of_a_fifth_of_all_instances() {
    let accounts = accounts(30);

    for beats in 7..12 {
        let whole = accounts.iter().filter(|it| it.wants_whole(beats));
        assert_eq!(whole.count(), 6);
    }
    for account in &accounts {
        let whole = (7..12).filter(|&beats| account.wants_whole(beats));
        assert_eq!(whole.count(), 1, "{:?}", account.id);
    }
}

#[test]
fn refunds_of_others_have_the_next_heartbeat_bring_the_whole_window() {
    let mut account = accounts(1).remove(0);
    let now = Tick::of(Duration::from_secs(1_000));
    let log = |tokens| Holding::Log(vec![(now, Tokens(tokens))]);
    account.learn(now, &pulse(1, log(90)));
    assert!(!account.wants_whole(1));

    account.learn(now, &pulse(2, Holding::Sum(Tokens(40))));
    assert!(account.wants_whole(1));

    account.learn(now, &pulse(3, log(40)));
    assert!(!account.wants_whole(1));
}
