//! After everything has gone wrong in every way, nothing is left behind.

use std::time::Duration;

use azure_openai_proxy::simulator::{Cut, Hint, Mark, Pace, Play, Throttle};
use futures_util::StreamExt;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::helpers::*;
use crate::raw::RawClient;

const REQUESTS: usize = 300;
const AT_ONCE: usize = 25;
const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// A behaviour. Most are honest: three faults in a row would take an instance out of the test.
fn any_play(random: &mut SmallRng) -> Play {
    let pace = Pace {
        first_byte: Duration::from_millis(5),
        per_chunk: Duration::from_millis(2),
    };
    let cut = |after, how| Play::Cut { after, how };
    match random.random_range(0..30) {
        0 => Play::CloseBeforeHead,
        1 => cut(Mark::Events(1), Cut::Fin),
        2 => cut(Mark::Events(4), Cut::Fin),
        3 => cut(Mark::Events(5), Cut::Reset),
        4 => cut(Mark::Bytes(700), Cut::MidChunk),
        5 => Play::StallAfterHead,
        6 => Play::StallAfter(Mark::Events(4)),
        7 => Play::throttle(
            Throttle::Current,
            Duration::from_millis(5),
            &[Hint::RetryAfterMs],
        ),
        8 => Play::CloseOnReuse,
        9 => Play::Slow(pace),
        _ => Play::Honest,
    }
}

/// One request in one of many ways; whatever comes of it, it ends.
async fn any_request(app: &TestApp, seed: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    let text = "one two three four five six seven eight";
    let body = match random.random_bool(0.6) {
        true => chat_stream(text, 20),
        false => chat(text, 20),
    };
    for (position, sim) in app.sims.iter().enumerate() {
        // The last one stays honest, so that there is always somewhere to go.
        let is_last = position + 1 == app.sims.len();
        sim.always((!is_last).then(|| any_play(&mut random)));
    }
    match random.random_range(0..4) {
        0 => {
            let client = RawClient::chat(app, &body).await;
            let patience = Duration::from_millis(random.random_range(0..40));
            actix_rt::time::sleep(patience).await;
            match random.random_bool(0.5) {
                true => client.reset(),
                false => drop(client),
            }
        }
        1 => drop(app.open("/v1/chat/completions", &body).await),
        _ => {
            let mut response = app.open("/v1/chat/completions", &body).await;
            while let Some(Ok(_)) = response.next().await {}
        }
    }
}

async fn many_requests(app: &TestApp, first_seed: u64) {
    let seeds = first_seed..first_seed + REQUESTS as u64;
    futures_util::stream::iter(seeds)
        .for_each_concurrent(AT_ONCE, |seed| any_request(app, seed))
        .await;
}

/// Counts the connections of this process whose near or far end is `port`, as the kernel lists them.
fn connections(port: u16) -> usize {
    const LISTENING: &str = "0A";
    const TIME_WAIT: &str = "06";
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let wanted = format!(":{port:04X}");
    table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let (near, _far, state) = (fields.next()?, fields.next()?, fields.next()?);
            Some((near, state))
        })
        .filter(|(near, state)| {
            near.ends_with(&wanted) && *state != LISTENING && *state != TIME_WAIT
        })
        .count()
}

#[actix_web::test]
async fn nothing_is_left_behind_by_hundreds_of_mixed_requests() {
    let mut description = pool()
        .var("AZURE_ROUTING_STRATEGY", "round_robin")
        .var("UPSTREAM_FIRST_BYTE_TIMEOUT_SECS", "0.2")
        .var("UPSTREAM_IDLE_TIMEOUT_SECS", "0.2");
    for name in NAMES {
        description = description.instance(name, 10_000_000);
    }
    let app = description.start().await;
    let port: u16 = app.url.rsplit(':').next().unwrap().parse().unwrap();

    // The rarest for certain; concurrent requests overwrite each other's.
    let briefly = Duration::from_millis(5);
    let hints = [Hint::RetryAfterMs];
    app.sims[0].play([Play::throttle(Throttle::Current, briefly, &hints)]);
    app.chat(&chat("rare", 20)).await;

    for round in 0..2 {
        many_requests(&app, round * 1_000).await;

        for (position, sim) in app.sims.iter().enumerate() {
            sim.always(None);
            app.wait_for(position, "the end of every lease", |i| i["in_flight"] == 0)
                .await;
            // Idle ones are kept for later requests, never more than were once needed at the same time.
            eventually("few open connections", || sim.open_connections() <= AT_ONCE).await;
        }
        app.wait_for_metric("aoai_proxy_in_flight", 0.0).await;
        // The harness keeps its own idle connections to the proxy.
        eventually("few client connections", || {
            connections(port) <= 2 * AT_ONCE
        })
        .await;
    }
    let outcomes = [
        "answered",
        "cut",
        "client_left",
        "throttled",
        "fault",
        "timeout",
    ];
    for outcome in outcomes {
        let mut count = 0.0;
        for name in NAMES {
            let series =
                format!("aoai_proxy_attempts_total{{instance=\"{name}\",outcome=\"{outcome}\"}}");
            count += app.metric(&series).await;
        }
        assert!(count > 0.0, "{outcome} was never tried");
    }
    assert_eq!(app.chat(&chat("still there?", 20)).await.status, 200);
    app.finish().await;
}
