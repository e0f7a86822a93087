//! An answer that is no success, whether its status says so or the first event of its stream: what it means for the
//! instance that gave it. What is then done with the request is left to `proxy`.

use std::time::{Duration, SystemTime};

use actix_http::StatusCode;
use actix_http::header::{self, HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use tokio::time::Instant;

use super::give_up::Last;
use super::quota_headers;
use super::relay;
use super::upstream::{Answer, NoAnswer};
use super::verdict::{self, Throttle, Verdict};
use crate::actors::Outcome;
use crate::domain::{InstanceId, Tokens};
use crate::error::in_openai_shape;
use crate::health;
use crate::metrics::Attempt;
use crate::openai::sse::StreamError;
use crate::quota::{self, Said};

/// A whole error answer.
pub(super) struct Declined {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// It came as an event, under a status of success.
    is_event: bool,
}

/// What an error answer is charged to the instance.
pub(super) struct Charge {
    pub(super) attempt: Attempt,
    pub(super) outcome: Outcome,
    /// How long the instance rests, if it was throttled.
    pub(super) rest: Option<Duration>,
}

impl Declined {
    /// Reads the rest of an error answer.
    pub(super) async fn read(
        headers: HeaderMap,
        answer: Answer,
        idle: Duration,
    ) -> Result<Self, NoAnswer> {
        let status = answer.status();
        let body = relay::error_body(&headers, answer, idle).await?;
        Ok(Self {
            status,
            headers,
            body,
            is_event: false,
        })
    }

    /// Turns the error that a stream began with into the answer that it would have been.
    pub(super) fn in_stream(error: StreamError) -> Self {
        let status = StatusCode::from_u16(error.status());
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        let is_hint =
            |name: &str| name.starts_with("retry-after") || name.starts_with("x-ratelimit-");
        for (name, value) in error.headers.iter().filter(|(name, _)| is_hint(name)) {
            if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse()) {
                headers.insert(name, value);
            }
        }
        let body = match error.data.is_empty() {
            true => crate::error::restated(&error.message, &error.kind, &error.code),
            false => error.data,
        };
        Self {
            status: status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            headers,
            body: body.into(),
            is_event: true,
        }
    }

    /// Reads what it says about quota, if it comes from a deployment's limiter or from behind it.
    ///
    /// Some 400s have these headers, most 429s have not. A refused key or a missing deployment never got that far, so
    /// that such numbers would be a gateway's, as are those of a gateway's own faults; and the head of a stream has
    /// been read before its first event.
    pub(super) fn said(&self) -> Said {
        match self.status {
            _ if self.is_event => Said::default(),
            StatusCode::BAD_REQUEST
            | StatusCode::UNPROCESSABLE_ENTITY
            | StatusCode::TOO_MANY_REQUESTS => quota_headers::said(&self.headers),
            _ => Said::default(),
        }
    }

    /// Puts the body into OpenAI's shape, unless it has it or cannot be read.
    pub(super) fn in_openai_shape(mut self) -> Self {
        let encoding = self.headers.get(header::CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| encoding != "identity") {
            return self;
        }
        if let Some(shaped) = in_openai_shape(self.status, &self.body, verdict::presentable) {
            let kind = HeaderValue::from_static("application/json");
            self.headers.insert(header::CONTENT_TYPE, kind);
            self.body = shaped.into();
        }
        self
    }

    /// Keeps it to be relayed, should no other instance do better.
    pub(super) fn into_last(self, instance: InstanceId, free_at: Option<Instant>) -> Last {
        Last::Answer {
            status: self.status,
            headers: self.headers,
            body: self.body,
            instance,
            free_at,
        }
    }

    /// Says what the instance is charged with; `None` if the error is the client's own and must be relayed.
    pub(super) fn judge(&self, now: SystemTime) -> Option<Charge> {
        let mut summary = verdict::summary(self.status, &self.body);
        if self.is_event {
            summary = format!("error in the stream: {summary}");
        }
        let mut rest = None;
        let (attempt, outcome) = match verdict::judge(self.status, &self.headers, &self.body, now) {
            Verdict::Success | Verdict::Relay => return None,
            Verdict::Throttled {
                kind: Throttle::Capacity,
                wait,
            } => {
                rest = Some(health::capacity_rest(wait));
                (Attempt::NoCapacity, Outcome::NoCapacity { wait, summary })
            }
            Verdict::Throttled {
                kind: Throttle::Limit(limit),
                wait,
            } => {
                rest = Some(quota::throttle_rest(wait));
                let outcome = Outcome::Throttled {
                    limit,
                    wait,
                    summary,
                };
                (Attempt::Throttled, outcome)
            }
            Verdict::Fault => {
                let used = Tokens::ZERO;
                (Attempt::Fault, Outcome::Faulted { used, summary })
            }
            Verdict::Unauthorized => (Attempt::Unauthorized, Outcome::Unauthorized { summary }),
            Verdict::NoDeployment => (Attempt::NoDeployment, Outcome::NoDeployment { summary }),
        };
        Some(Charge {
            attempt,
            outcome,
            rest,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_deployments_limiter_has_seen_is_believed_of_quota() {
        for (status, is_believed) in [
            (302, false),
            (400, true),
            (401, false),
            (404, false),
            (408, false),
            (413, false),
            (422, true),
            (429, true),
            (500, false),
            (503, false),
        ] {
            let mut headers = HeaderMap::new();
            let name = HeaderName::from_static("x-ratelimit-limit-requests");
            headers.insert(name, HeaderValue::from_static("10"));
            let declined = Declined {
                status: StatusCode::from_u16(status).unwrap(),
                headers,
                body: Bytes::new(),
                is_event: false,
            };

            let limit = declined.said().limit_requests;

            assert_eq!(limit.is_some(), is_believed, "{status}");
        }
    }
}
