//! Those ahead when calls are short and tokens are not: who may wait, and when the others are told to come.

use super::*;

/// An instance that takes ten calls in ten seconds.
fn few_calls() -> Addr<Registry> {
    let mut config = (*instance("a", 1, 1_000_000)).clone();
    config.max_rpm = Some(60);
    launch(&[Arc::new(config)])
}

/// Lets forty come at once, and returns when each got an answer, and when it is to come again if it got no lease.
async fn forty(registry: &Addr<Registry>, patience: u64) -> Vec<(Duration, Option<Duration>)> {
    let start = tokio::time::Instant::now();
    let asks = (0..40).map(|_| async {
        let asked = registry.send(ask(want(20, 0), &[], waits(patience)));
        let again = match asked.await.unwrap() {
            Ok(lease) => {
                lease.settle(answered(20));
                None
            }
            Err(Unavailable::Busy { again_in, .. }) => Some(again_in.unwrap()),
            Err(other) => panic!("{other:?}"),
        };
        (start.elapsed(), again)
    });
    join_all(asks).await
}

#[actix::test]
async fn only_as_many_wait_for_calls_as_are_served_in_time() {
    let registry = few_calls();

    let came = forty(&registry, 15).await;

    let (served, refused): (Vec<_>, Vec<_>) = came.iter().partition(|(_, again)| again.is_none());
    assert_eq!((served.len(), refused.len()), (20, 20), "{came:?}");
    assert!(refused.iter().all(|(after, _)| after.is_zero()), "{came:?}");
}

#[actix::test]
async fn a_herd_is_told_to_come_when_calls_are_left_for_each() {
    let registry = few_calls();

    let came = forty(&registry, 0).await;

    let told: Vec<u64> = came
        .iter()
        .filter_map(|(_, again)| again.map(|wait| wait.as_secs()))
        .collect();
    let at = |seconds: u64| told.iter().filter(|told| **told == seconds).count();
    assert_eq!(
        (told.len(), at(10), at(20), at(30)),
        (30, 10, 10, 10),
        "{told:?}"
    );
}

#[actix::test]
async fn those_who_waited_for_a_cooldown_come_at_the_pace_of_calls() {
    let registry = few_calls();
    let lease = acquire(&registry, want(20, 0), &[]).await.unwrap();
    lease.settle(Outcome::Throttled {
        limit: Limit::Throughput,
        wait: Some(Duration::from_secs(5)),
        summary: "429".to_owned(),
    });

    let came = forty(&registry, 0).await;

    let told: Vec<Duration> = came.iter().filter_map(|(_, again)| *again).collect();
    for pair in told.windows(2) {
        assert!(pair[1] >= pair[0] + Duration::from_millis(900), "{told:?}");
    }
}
