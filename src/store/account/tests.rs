//! Tests of which heartbeats bring whole windows.

use std::time::Duration;

use super::*;
use crate::config;

fn accounts(count: usize) -> Vec<Account> {
    let vars = [
        ("AZURE_OPENAI_API_KEY", "0123456789abcdef"),
        ("AZURE_OPENAI_API_BASE", "https://res.test"),
        ("USE_REDIS_RATE_LIMITER", "true"),
        ("REDIS_URL", "redis://127.0.0.1:1"),
    ];
    let vars = vars.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let sharing = config::from_vars(vars).unwrap().sharing.unwrap();
    let window = Shared {
        name: "tokens".to_owned(),
        limit: Tokens(100),
        span: Duration::from_secs(60),
    };
    let windows = [window];
    let open = |id| Account::new(&sharing, "me", InstanceId(id), "a", &windows);
    (0..count).map(open).collect()
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
