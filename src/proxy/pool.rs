//! The quota of the whole pool, in the headers that clients know from OpenAI.
//!
//! Sums of what the instances publish, which costs a request no message: close enough for a client that paces itself,
//! and never what decides about admission.

use std::time::{Duration, Instant};

use actix_http::header::{HeaderName, HeaderValue};

use super::Shared;
use crate::domain::{ModelKey, ModelName, Tokens};

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit-tokens");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining-tokens");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset-tokens");

/// What all instances that serve a model have together for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pool {
    limit: Tokens,
    free: Tokens,
    /// When all of it will be free, if nothing more is sent: OpenAI's meaning of the reset.
    resets_in: Duration,
}

impl Pool {
    /// Adds up what the instances publish of the deployments that serve a model.
    pub(super) fn of(shared: &Shared, key: &ModelKey, model: &ModelName, now: Instant) -> Self {
        let mut pool = Self::default();
        for (config, gauge) in shared.instances.iter().zip(&shared.gauges) {
            let Some(deployment) = config.deployment(key, model) else {
                continue;
            };
            let own = config.tpm_of(&deployment);
            let limit = own.map_or(config.max_tpm, |own| own.min(config.max_tpm));
            pool.limit = pool.limit + limit;
            pool.free = pool.free + gauge.free_for(&deployment).min(limit);
            pool.resets_in = pool.resets_in.max(gauge.resets_in(now));
        }
        pool
    }

    /// Returns the headers.
    pub(super) fn headers(&self) -> [(HeaderName, HeaderValue); 3] {
        let reset = HeaderValue::try_from(in_units(self.resets_in));
        [
            (LIMIT, HeaderValue::from(self.limit.0)),
            (REMAINING, HeaderValue::from(self.free.0)),
            (
                RESET,
                // Digits and letters are always a value.
                reset.unwrap_or(HeaderValue::from_static("0s")),
            ),
        ]
    }
}

/// Writes a duration as OpenAI does: `17ms`, `1.5s`, `6m0s`.
fn in_units(duration: Duration) -> String {
    let (whole, millis) = (duration.as_secs(), duration.subsec_millis());
    let (minutes, seconds) = (whole / 60, whole % 60);
    let minutes = match minutes {
        0 => String::new(),
        _ => format!("{minutes}m"),
    };
    match (whole, millis) {
        (0, 1..) => format!("{millis}ms"),
        (_, 0) => format!("{minutes}{seconds}s"),
        (_, millis) if millis % 100 == 0 => format!("{minutes}{seconds}.{}s", millis / 100),
        (_, millis) if millis % 10 == 0 => format!("{minutes}{seconds}.{:02}s", millis / 10),
        (_, millis) => format!("{minutes}{seconds}.{millis:03}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_openai_does() {
        for (millis, text) in [
            (0, "0s"),
            (17, "17ms"),
            (1_500, "1.5s"),
            (7_660, "7.66s"),
            (59_999, "59.999s"),
            (60_000, "1m0s"),
            (360_000, "6m0s"),
            (61_250, "1m1.25s"),
            (1_005, "1.005s"),
            (62_040, "1m2.04s"),
        ] {
            assert_eq!(in_units(Duration::from_millis(millis)), text);
        }
    }
}
