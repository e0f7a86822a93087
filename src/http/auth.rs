//! Client keys: `Authorization: Bearer KEY` as OpenAI's SDKs send it, or `api-key: KEY` as Azure's do.
//!
//! Keys are compared in constant time, and none of them is ever named in an answer. The name that a key has in the
//! configuration goes into the log.

use actix_web::http::header::{self, HeaderMap};
use subtle::ConstantTimeEq;

use crate::config::ClientKey;
use crate::error::{ApiError, Code};

/// Checks a request's key and returns the name that it has in the configuration. Without keys anyone may call.
pub(super) fn check(keys: &[ClientKey], headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    if keys.is_empty() {
        return Ok(None);
    }
    let given: Vec<&[u8]> = given_keys(headers).collect();
    if given.is_empty() {
        let message =
            "No API key was given. Send it as `Authorization: Bearer KEY` or as `api-key: KEY`.";
        return Err(ApiError::new(Code::InvalidApiKey, message));
    }
    // All keys are compared, each in constant time, so that the time tells nothing about them.
    let mut found = None;
    for key in keys {
        for candidate in &given {
            if bool::from(key.key.expose().as_bytes().ct_eq(candidate)) {
                found = Some(key);
            }
        }
    }
    match found {
        Some(key) => Ok(key.name.clone()),
        None => Err(ApiError::new(
            Code::InvalidApiKey,
            "The API key is not one of this proxy's PROXY_API_KEYS.",
        )),
    }
}

/// Returns what was sent in either header; some tools send both, one of them a placeholder.
fn given_keys(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let azure = headers.get("api-key").map(|value| value.as_bytes());
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.as_bytes().split_at_checked(7)?;
        scheme
            .eq_ignore_ascii_case(b"bearer ")
            .then(|| key.trim_ascii())
    });
    azure.into_iter().chain(bearer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Secret;
    use actix_web::http::header::HeaderValue;

    fn keys() -> Vec<ClientKey> {
        let key = |name: Option<&str>, key: &str| ClientKey {
            name: name.map(str::to_owned),
            key: Secret::new(key),
        };
        vec![key(Some("app"), "app-key-1"), key(None, "bare-key-2")]
    }

    fn with(name: header::HeaderName, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        headers
    }

    #[test]
    fn both_header_forms_are_known() {
        let azure = header::HeaderName::from_static("api-key");

        let by_openai = check(&keys(), &with(header::AUTHORIZATION, "bearer app-key-1"));
        let by_azure = check(&keys(), &with(azure, "bare-key-2"));

        assert_eq!(by_openai.unwrap().as_deref(), Some("app"));
        assert_eq!(by_azure.unwrap(), None);
    }

    #[test]
    fn a_right_key_counts_beside_a_placeholder() {
        let mut headers = with(header::AUTHORIZATION, "Bearer app-key-1");
        headers.insert(
            header::HeaderName::from_static("api-key"),
            HeaderValue::from_static("unused"),
        );

        assert_eq!(check(&keys(), &headers).unwrap().as_deref(), Some("app"));
    }

    #[test]
    fn a_missing_or_wrong_key_is_refused_and_not_echoed() {
        for headers in [
            HeaderMap::new(),
            with(header::AUTHORIZATION, "Bearer wrong-key"),
            with(header::AUTHORIZATION, "Basic app-key-1"),
            with(header::AUTHORIZATION, "Bearer"),
            with(header::AUTHORIZATION, "Bearer app-key-1x"),
        ] {
            let error = check(&keys(), &headers).unwrap_err();

            assert_eq!(error.code(), Code::InvalidApiKey);
            assert!(!error.to_string().contains("app-key"));
        }
    }

    #[test]
    fn without_keys_anyone_may_call() {
        assert_eq!(check(&[], &HeaderMap::new()).unwrap(), None);
    }
}
