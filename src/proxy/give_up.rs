//! What a client is told when no instance is left: why, and when to come again.
//!
//! Of all that the attempts came to, an answer of Azure's is worth more than a silence, and the last more than the
//! first. A time to come again is told wherever one is known; which it is, the instances and `queue` say.

use std::time::Duration;

use actix_http::StatusCode;
use actix_http::header::HeaderMap;
use bytes::Bytes;
use tokio::time::Instant;

use super::foreign::Search;
use super::upstream::NoAnswer;
use crate::actors::{Refusal, Unavailable};
use crate::domain::{InstanceId, InstanceName, ModelName};
use crate::error::{ApiError, Code, Reason};
use crate::health::{self, Cause};

/// What the instances that were tried came to.
pub(super) enum Last {
    /// An error answer that can be relayed.
    Answer {
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
        instance: InstanceId,
        /// When the first of those that were throttled may be asked again.
        free_at: Option<Instant>,
    },
    /// Nothing that can be relayed.
    Nothing(NoAnswer),
}

impl Last {
    /// Says whether the instance lacks what was asked for; of what moves on to another, only a deployment can be.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Answer { status, .. } if *status == StatusCode::NOT_FOUND)
    }

    /// Adds what the next instance came to. A silence does not displace an answer, which tells the client more.
    pub(super) fn followed_by(self, next: Self) -> Self {
        match (self, next) {
            (
                Self::Answer {
                    free_at: earlier, ..
                },
                Self::Answer {
                    status,
                    headers,
                    body,
                    instance,
                    free_at,
                },
            ) => Self::Answer {
                status,
                headers,
                body,
                instance,
                free_at: earlier.into_iter().chain(free_at).min(),
            },
            (answer @ Self::Answer { .. }, Self::Nothing(_)) => answer,
            (Self::Nothing(_), next) => next,
        }
    }
}

/// Returns when the first instance may take the request.
pub(super) fn soonest(unavailable: &Unavailable) -> Option<Duration> {
    match unavailable {
        Unavailable::Busy { again_in, .. } => *again_in,
        Unavailable::NotServed
        | Unavailable::TooLarge { .. }
        | Unavailable::Uncertain
        | Unavailable::Exhausted => None,
    }
}

/// Builds the error for a request that no instance could be asked for.
pub(super) fn unavailable(
    unavailable: &Unavailable,
    model: &ModelName,
    search: &Search,
    name_of: impl Fn(InstanceId) -> Option<InstanceName>,
) -> ApiError {
    match unavailable {
        Unavailable::NotServed => ApiError::new(
            Code::ModelNotFound,
            format!("The model `{model}` is not served by any instance of this proxy."),
        )
        .with_param(Some("model")),
        Unavailable::TooLarge {
            tokens,
            largest,
            variable,
        } => {
            let message = format!(
                "This request needs {tokens} tokens (prompt and output limit), but the largest limit of an instance \
                 that serves `{model}` is {largest} tokens per minute. Shorten it, lower its output limit, or raise \
                 {variable}."
            );
            ApiError::new(Code::RequestExceedsTpm, message)
        }
        Unavailable::Busy { refusals, again_in } => {
            busy(refusals, *again_in, model, search, name_of)
        }
        Unavailable::Uncertain => {
            ApiError::new(Code::Internal, "The request could not be counted.")
        }
        Unavailable::Exhausted => ApiError::new(
            Code::UpstreamUnreachable,
            "Every instance was tried and none gave an answer.",
        ),
    }
}

/// OpenAI's SDKs wait no longer than this when they are told to, and come back after their own second or two instead.
const LONGEST_HEEDED: Duration = Duration::from_secs(60);

/// Says whether none of them has the deployment.
pub(super) fn are_missing(refusals: &[(InstanceId, Refusal)]) -> bool {
    let is_missing = |refusal: &Refusal| matches!(refusal, Refusal::Closed(closed) if closed.reason == health::Reason::Missing);
    !refusals.is_empty() && refusals.iter().all(|(_, refusal)| is_missing(refusal))
}

fn busy(
    refusals: &[(InstanceId, Refusal)],
    again_in: Option<Duration>,
    model: &ModelName,
    search: &Search,
    name_of: impl Fn(InstanceId) -> Option<InstanceName>,
) -> ApiError {
    let mut reasons = Vec::new();
    for (id, refusal) in refusals {
        if let Some(name) = name_of(*id) {
            reasons.push(Reason {
                name,
                reason: describe(*refusal),
                available_in: refusal.wait(),
            });
        }
    }
    let each: Vec<String> = reasons.iter().map(in_words).collect();
    let each = each.join(", ");
    if are_missing(refusals) {
        return missing(&each, model, search.is_everyone).with_instances(reasons);
    }
    let when = again_in.map_or(String::new(), |wait| {
        format!(" Try again in {} s.", in_seconds(wait))
    });
    let why = match refusals.is_empty() {
        // They were busy a moment ago.
        true => String::new(),
        false => format!(": {} ({each})", counted(refusals)),
    };
    let what = search.none_can_be_asked();
    let what = what.unwrap_or_else(|| format!("No instance can serve `{model}` now"));
    let message = format!("{what}{why}.{when}");
    let error = ApiError::new(Code::NoCapacityAvailable, message)
        .with_retry_after(again_in)
        .with_instances(reasons);
    let is_late = again_in.is_none_or(|wait| wait > LONGEST_HEEDED);
    match is_late {
        true => error.with_no_retry(),
        false => error,
    }
}

/// The deployment is at none of them.
fn missing(each: &str, model: &ModelName, is_everyone: bool) -> ApiError {
    let whom = match is_everyone {
        true => "No instance has",
        false => "None of the instances that this request can go to has",
    };
    let message = format!(
        "{whom} a deployment for `{model}` ({each}). If it has just been created, ask again after that time."
    );
    let error = ApiError::new(Code::DeploymentNotFound, message).with_param(Some("model"));
    // Waiting does not help, and who asks again is told the same as the first time.
    error.with_no_retry()
}

/// Counts the refusals by their reason, such as `2 cooling, 1 out of tokens`.
fn counted(refusals: &[(InstanceId, Refusal)]) -> String {
    let mut counts: Vec<(&'static str, usize)> = Vec::new();
    for (_, refusal) in refusals {
        let reason = describe(*refusal);
        match counts.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += 1,
            None => counts.push((reason, 1)),
        }
    }
    let words = counts
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"));
    words.collect::<Vec<_>>().join(", ")
}

fn in_words(reason: &Reason) -> String {
    let Reason {
        name,
        reason,
        available_in,
    } = reason;
    match available_in {
        Some(wait) => format!("{name}: {reason} for {} s", in_seconds(*wait)),
        None => format!("{name}: {reason}"),
    }
}

/// Whole seconds, rounded up, so that nobody comes too early.
fn in_seconds(wait: Duration) -> u128 {
    wait.as_millis().div_ceil(1_000)
}

fn describe(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Closed(closed) => match closed.reason {
            health::Reason::Cooling(Cause::Throttled) => "cooling",
            health::Reason::Cooling(Cause::Faulty) => "failing",
            health::Reason::Cooling(Cause::Unauthorized) => "refusing its key",
            health::Reason::Probing => "being probed",
            health::Reason::Missing => "without the deployment",
            health::Reason::TooLargeNow => "without capacity for this size",
            health::Reason::OutOfCalls => "out of calls",
        },
        Refusal::Full(_) => "out of tokens",
        Refusal::Uncertain => "in doubt about its size",
        Refusal::NotServed => "not serving it",
    }
}

/// Builds the error for a request that was tried and brought no answer.
pub(super) fn no_answer(
    last: &NoAnswer,
    attempts: u32,
    soonest: Option<Duration>,
    search: &Search,
) -> ApiError {
    let code = match last.kind.is_timeout() {
        true => Code::UpstreamTimeout,
        false => Code::UpstreamUnreachable,
    };
    let summary = &last.summary;
    let message = match (search.none_answered(), attempts) {
        (Some(what), _) => format!("{what}: {summary}."),
        (None, 1) => format!("The only instance available gave no answer: {summary}."),
        (None, many) => format!(
            "{many} instances were tried, and none gave an answer; the last one: {summary}."
        ),
    };
    ApiError::new(code, message).with_retry_after(soonest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Tokens;
    use crate::health::Closed;
    use crate::proxy::upstream::Failed;
    use actix_web::ResponseError;

    fn cooling(seconds: u64) -> Refusal {
        Refusal::Closed(Closed {
            reason: health::Reason::Cooling(Cause::Throttled),
            wait: Duration::from_secs(seconds),
        })
    }

    /// A request that is tied to nobody.
    fn anyone() -> Search {
        Search {
            thing: None,
            strangers: 0,
            is_home_known: false,
            is_everyone: true,
        }
    }

    fn told(reason: &Unavailable) -> ApiError {
        let name_of = |id: InstanceId| Some(InstanceName::new(format!("i{}", id.0)));
        unavailable(reason, &ModelName::new("gpt-4o"), &anyone(), name_of)
    }

    #[test]
    fn a_full_pool_counts_its_reasons_and_names_the_soonest_time() {
        let soonest = Duration::from_millis(3_500);
        let reason = Unavailable::Busy {
            refusals: vec![
                (InstanceId(0), cooling(20)),
                (InstanceId(1), Refusal::Full(Some(soonest))),
                (InstanceId(2), Refusal::Full(None)),
                (InstanceId(3), cooling(9)),
            ],
            again_in: Some(soonest),
        };

        let error = told(&reason);

        assert_eq!(
            error.to_string(),
            "no_capacity_available: No instance can serve `gpt-4o` now: 2 cooling, 2 out of tokens (i0: cooling for 20 s, \
             i1: out of tokens for 4 s, i2: out of tokens, i3: cooling for 9 s). Try again in 4 s."
        );
        let response = error.error_response();
        assert_eq!(response.headers().get("retry-after-ms").unwrap(), "3500");
    }

    #[test]
    fn a_pool_that_has_just_got_room_names_no_reason() {
        let error = told(&Unavailable::Busy {
            refusals: Vec::new(),
            again_in: Some(Duration::from_millis(100)),
        });

        assert_eq!(
            error.to_string(),
            "no_capacity_available: No instance can serve `gpt-4o` now. Try again in 1 s."
        );
        let response = error.error_response();
        assert!(!response.headers().contains_key("x-should-retry"));
    }

    #[test]
    fn a_request_that_is_too_large_learns_both_numbers_and_the_variable() {
        let error = told(&Unavailable::TooLarge {
            tokens: Tokens(90_000),
            largest: Tokens(30_000),
            variable: "AZURE_INSTANCE_EAST_1_MAX_TPM".to_owned(),
        });

        let text = error.to_string();
        for part in [
            "90000",
            "30000",
            "AZURE_INSTANCE_EAST_1_MAX_TPM",
            "request_exceeds_tpm",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        let response = error.error_response();
        assert_eq!(response.status(), 429);
        assert!(!response.headers().contains_key("retry-after"));
    }

    #[test]
    fn silence_is_a_504_and_a_broken_way_a_502() {
        let silent = NoAnswer {
            kind: Failed::AfterSending,
            summary: "no answer within 1 s".to_owned(),
        };
        assert_eq!(
            no_answer(&silent, 2, None, &anyone())
                .error_response()
                .status(),
            504
        );

        let broken = NoAnswer::broken("cannot connect");
        assert_eq!(
            no_answer(&broken, 1, None, &anyone())
                .error_response()
                .status(),
            502
        );
    }
}
