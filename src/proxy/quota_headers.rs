//! What the head of an answer says about Azure's quota.
//!
//! Missing, negative and unreadable numbers mean that it is not known: the Responses API has answered `-1 / -1`. A limit
//! of zero would be a deployment without quota, which does not answer; then what remains says nothing either.

use actix_http::header::{HeaderMap, HeaderName};

use crate::domain::Tokens;
use crate::quota::Said;

// Parsed once: to look a header up by its text parses the text each time.
const LIMIT_TOKENS: HeaderName = HeaderName::from_static("x-ratelimit-limit-tokens");
const LIMIT_REQUESTS: HeaderName = HeaderName::from_static("x-ratelimit-limit-requests");
const REMAINING_TOKENS: HeaderName = HeaderName::from_static("x-ratelimit-remaining-tokens");
const REMAINING_REQUESTS: HeaderName = HeaderName::from_static("x-ratelimit-remaining-requests");

/// Reads the `x-ratelimit-*` headers of a good answer.
pub(super) fn said(headers: &HeaderMap) -> Said {
    let limit_tokens = limit(headers, &LIMIT_TOKENS);
    let limit_requests = limit(headers, &LIMIT_REQUESTS);
    Said {
        remaining_tokens: limit_tokens
            .and_then(|_| number(headers, &REMAINING_TOKENS))
            .map(Tokens),
        limit_tokens: limit_tokens.map(Tokens),
        remaining_requests: limit_requests.and_then(|_| number(headers, &REMAINING_REQUESTS)),
        limit_requests,
    }
}

fn limit(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    number(headers, name).filter(|limit| *limit > 0)
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_http::header::HeaderValue;

    fn read(limit: &str, remaining: &str) -> (Option<u64>, Option<u64>) {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-ratelimit-limit-tokens", limit),
            ("x-ratelimit-remaining-tokens", remaining),
            ("x-ratelimit-limit-requests", limit),
            ("x-ratelimit-remaining-requests", remaining),
        ] {
            if !value.is_empty() {
                headers.insert(
                    HeaderName::from_static(name),
                    HeaderValue::from_str(value).unwrap(),
                );
            }
        }
        let said = said(&headers);
        let tokens = |tokens: Option<Tokens>| tokens.map(|tokens| tokens.0);
        let of_tokens = (tokens(said.limit_tokens), tokens(said.remaining_tokens));
        assert_eq!(of_tokens, (said.limit_requests, said.remaining_requests));
        of_tokens
    }

    #[test]
    fn only_numbers_that_can_be_true_are_believed() {
        assert_eq!(read("1000", "990"), (Some(1_000), Some(990)));
        assert_eq!(read("1000", "0"), (Some(1_000), Some(0)));
        assert_eq!(read("1000", ""), (Some(1_000), None));
        assert_eq!(read("1000", "-1"), (Some(1_000), None));
        assert_eq!(read("1000", "6m0s"), (Some(1_000), None));
        for limit in ["", "-1", "0", "many", "1e9"] {
            assert_eq!(read(limit, "0"), (None, None), "{limit}");
        }
    }
}
