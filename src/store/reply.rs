//! What the scripts answer, as typed values.
//!
//! A reply of another form is an error like any other of Redis: nothing is assumed about a server that answers so.

use std::collections::HashMap;
use std::time::Duration;

use redis::{ErrorKind, PushInfo, PushKind, RedisError, RedisResult, Value};

use super::link::Place;
use crate::domain::Tokens;
use crate::ledger::{Acts, Tick};

/// Answer to a reservation.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Charged at this tick; what each window holds now.
    Charged {
        news: i64,
        acts: Acts,
        at: Tick,
        used: Vec<Tokens>,
    },
    /// Not charged; when it fits (`None` if never), and what each window holds.
    Full {
        news: i64,
        acts: Acts,
        wait: Option<Duration>,
        used: Vec<Tokens>,
    },
    /// Redis has lost what it was told.
    Lost,
    /// Its clock is not what it was.
    Jumped,
}

/// Answer to a heartbeat.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heartbeat {
    /// Redis has all that it was told.
    Here(Pulse),
    /// It has lost it.
    Lost,
    /// Its clock is not what it was.
    Jumped,
}

/// Answer to a replica that joins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Joined {
    pub(super) epoch: String,
    pub(super) now: Duration,
    pub(super) opens_in: Duration,
    pub(super) acts: Acts,
}

/// What a window holds of all replicas.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Holding {
    /// Charges by tick.
    Log(Vec<(Tick, Tokens)>),
    /// Only their sum.
    Sum(Tokens),
}

/// What a heartbeat brings back of one instance.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pulse {
    pub(super) now: Duration,
    pub(super) replicas: u64,
    pub(super) news: i64,
    pub(super) acts: Acts,
    pub(super) cooldowns: HashMap<String, String>,
    pub(super) windows: Vec<Holding>,
}

pub(super) fn verdict(value: Value) -> RedisResult<Verdict> {
    let mut parts = array(value)?.into_iter();
    let word = text(next(&mut parts)?)?;
    let number =
        |parts: &mut std::vec::IntoIter<Value>| -> RedisResult<i64> { whole(&next(parts)?) };
    let verdict = match word.as_str() {
        "lost" => Verdict::Lost,
        "jumped" => Verdict::Jumped,
        "charged" => Verdict::Charged {
            news: number(&mut parts)?,
            acts: acts(number(&mut parts)?),
            at: Tick(unsigned(number(&mut parts)?)),
            used: parts
                .map(|part| whole(&part).map(tokens))
                .collect::<RedisResult<_>>()?,
        },
        "full" => {
            let news = number(&mut parts)?;
            let acts = acts(number(&mut parts)?);
            let wait = number(&mut parts)?;
            Verdict::Full {
                news,
                acts,
                wait: (wait >= 0).then(|| millis(wait)),
                used: parts
                    .map(|part| whole(&part).map(tokens))
                    .collect::<RedisResult<_>>()?,
            }
        }
        _ => return Err(strange()),
    };
    Ok(verdict)
}

/// Returns the acts, `None` if Redis has lost what it was told.
pub(super) fn adjusted(value: Value) -> RedisResult<Option<Acts>> {
    let mut parts = array(value)?.into_iter();
    match text(next(&mut parts)?)?.as_str() {
        "done" => whole(&next(&mut parts)?).map(acts).map(Some),
        "lost" => Ok(None),
        _ => Err(strange()),
    }
}

pub(super) fn announced(value: Value) -> RedisResult<bool> {
    let mut parts = array(value)?.into_iter();
    match text(next(&mut parts)?)?.as_str() {
        "done" => Ok(true),
        "lost" => Ok(false),
        _ => Err(strange()),
    }
}

pub(super) fn joined(value: Value) -> RedisResult<Joined> {
    let mut parts = array(value)?.into_iter();
    Ok(Joined {
        epoch: text(next(&mut parts)?)?,
        now: millis(whole(&next(&mut parts)?)?),
        opens_in: millis(whole(&next(&mut parts)?)?),
        acts: acts(whole(&next(&mut parts)?)?),
    })
}

pub(super) fn pulse(value: Value, windows: &[Place]) -> RedisResult<Heartbeat> {
    let mut parts = array(value)?.into_iter();
    match text(next(&mut parts)?)?.as_str() {
        "here" => {}
        "lost" => return Ok(Heartbeat::Lost),
        "jumped" => return Ok(Heartbeat::Jumped),
        _ => return Err(strange()),
    }
    let now = millis(whole(&next(&mut parts)?)?);
    let replicas = unsigned(whole(&next(&mut parts)?)?);
    let news = whole(&next(&mut parts)?)?;
    let acts = acts(whole(&next(&mut parts)?)?);
    let cooldowns = pairs(next(&mut parts)?)?;
    let mut logs = Vec::with_capacity(windows.len());
    for place in windows {
        logs.push(match next(&mut parts)? {
            Value::Int(sum) => Holding::Sum(tokens(sum)),
            hash => Holding::Log(charges(hash, place.buckets)?),
        });
    }
    Ok(Heartbeat::Here(Pulse {
        now,
        replicas,
        news,
        acts,
        cooldowns,
        windows: logs,
    }))
}

/// What a script has published when another replica called it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Published {
    pub(super) channel: String,
    /// Key of the window.
    pub(super) key: String,
    pub(super) used: Tokens,
    pub(super) acts: Acts,
    pub(super) epoch: String,
}

/// Reads what was published. Another form than our own says nothing.
pub(super) fn published(push: PushInfo) -> Option<Published> {
    if push.kind != PushKind::Message {
        return None;
    }
    let mut data = push.data.into_iter();
    let channel = text(data.next()?).ok()?;
    let said = text(data.next()?).ok()?;
    // Names of instances are ours, and have no spaces; a prefix may.
    let mut words = said.rsplitn(4, ' ');
    let (epoch, acts, used) = (words.next()?, words.next()?, words.next()?);
    Some(Published {
        channel,
        key: words.next()?.to_owned(),
        used: Tokens(used.parse().ok()?),
        acts: Acts(acts.parse().ok()?),
        epoch: epoch.to_owned(),
    })
}

/// Reads a window's hash: `newest`, `used`, and the buckets of its ring by tick modulo their number.
///
/// There may be hundreds of them in each heartbeat, so nothing is copied.
fn charges(hash: Value, buckets: u64) -> RedisResult<Vec<(Tick, Tokens)>> {
    let parts = array(hash)?;
    let mut newest = None;
    let mut held = Vec::with_capacity(parts.len() / 2);
    for pair in parts.chunks_exact(2) {
        let [Value::BulkString(field), Value::BulkString(value)] = pair else {
            return Err(strange());
        };
        match (decimal(field), decimal(value)) {
            (Some(slot), Some(tokens @ 1..)) => held.push((slot, tokens)),
            (None, tick) if field == b"newest" => newest = tick,
            _ => {}
        }
    }
    let Some(newest) = newest else {
        return Ok(Vec::new());
    };
    let tick = |slot: u64| {
        let back = (newest % buckets + buckets - slot % buckets) % buckets;
        Tick(newest.saturating_sub(back))
    };
    let charges = held.into_iter();
    let mut charges: Vec<_> = charges
        .map(|(slot, tokens)| (tick(slot), Tokens(tokens)))
        .collect();
    charges.sort_unstable();
    Ok(charges)
}

fn decimal(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn strange() -> RedisError {
    RedisError::from((
        ErrorKind::UnexpectedReturnType,
        "a script answered something unknown",
    ))
}

fn array(value: Value) -> RedisResult<Vec<Value>> {
    match value {
        Value::Array(parts) => Ok(parts),
        Value::ServerError(error) => Err(error.into()),
        _ => Err(strange()),
    }
}

fn next(parts: &mut std::vec::IntoIter<Value>) -> RedisResult<Value> {
    parts.next().ok_or_else(strange)
}

fn text(value: Value) -> RedisResult<String> {
    redis::from_redis_value(value).map_err(|_| strange())
}

fn whole(value: &Value) -> RedisResult<i64> {
    match value {
        Value::Int(number) => Ok(*number),
        _ => Err(strange()),
    }
}

fn pairs(value: Value) -> RedisResult<HashMap<String, String>> {
    redis::from_redis_value(value).map_err(|_| strange())
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn tokens(number: i64) -> Tokens {
    Tokens(unsigned(number))
}

fn acts(number: i64) -> Acts {
    Acts(unsigned(number))
}

fn millis(number: i64) -> Duration {
    Duration::from_millis(unsigned(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn the_ring_of_a_window_is_unrolled_from_its_newest_tick() {
        let hash = [
            ("newest", "1203"),
            ("used", "12"),
            ("1", "5"),
            ("0", "7"),
            ("2", "0"),
            ("600", "3"),
        ];
        let hash = hash
            .iter()
            .flat_map(|(name, value)| [bulk(name), bulk(value)]);

        let charges = charges(Value::Array(hash.collect()), 601).unwrap();

        // 1203 is slot 1, so slot 0 is a tick ago, slot 600 two, and slot 2 the oldest.
        assert_eq!(
            charges,
            [
                (Tick(1201), Tokens(3)),
                (Tick(1202), Tokens(7)),
                (Tick(1203), Tokens(5))
            ]
        );
    }

    #[test]
    fn a_reply_of_another_form_is_an_error() {
        let odd = [
            Value::Nil,
            Value::Array(vec![]),
            Value::Array(vec![bulk("granted")]),
            Value::Array(vec![bulk("charged")]),
            Value::Array(vec![bulk("charged"), bulk("x")]),
        ];

        for value in odd {
            assert!(verdict(value.clone()).is_err(), "{value:?}");
            assert!(pulse(value, &[]).is_err());
        }
    }

    #[test]
    fn of_what_is_published_only_our_own_form_is_understood() {
        let push = |text: &str| PushInfo {
            kind: PushKind::Message,
            data: vec![bulk("{a b:i}:state"), bulk(text)],
        };

        let heard = published(push("{a b:i}:tokens 70 12 5f-9"));

        let expected = Published {
            channel: "{a b:i}:state".to_owned(),
            key: "{a b:i}:tokens".to_owned(),
            used: Tokens(70),
            acts: Acts(12),
            epoch: "5f-9".to_owned(),
        };
        assert_eq!(heard, Some(expected));
        for odd in [
            "",
            "{i}:tokens 70",
            "70 12 5f-9",
            "{i}:tokens -1 12 5f-9",
            "{i}:tokens 1 x 5f-9",
        ] {
            assert_eq!(published(push(odd)), None, "{odd}");
        }
    }

    #[test]
    fn a_wait_below_zero_means_never() {
        let reply = Value::Array(vec![
            bulk("full"),
            Value::Int(7),
            Value::Int(3),
            Value::Int(-1),
            Value::Int(90),
        ]);

        let expected = Verdict::Full {
            news: 7,
            acts: Acts(3),
            wait: None,
            used: vec![Tokens(90)],
        };
        assert_eq!(verdict(reply).unwrap(), expected);
    }
}
