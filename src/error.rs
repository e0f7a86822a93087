//! Our own errors, in OpenAI's shape: the one place that writes error JSON.
//!
//! `{"error":{"message","type","param","code"}}`, which every SDK parses. Status, type and code stand in one table,
//! [`Code`]; codes are stable. An upstream's error is not one of these: it is relayed as it came.

mod foreign;

use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use serde_json::json;

use crate::domain::InstanceName;

pub use self::foreign::in_openai_shape;

/// The errors that the proxy itself can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The request body cannot be used; `param` names the field.
    InvalidRequest(&'static str),
    /// No or a wrong client key.
    InvalidApiKey,
    /// A page of another site asks, and needs no key.
    OriginNotAllowed,
    /// No instance serves the model.
    ModelNotFound,
    /// No instance that serves the model has the deployment; in Azure's word, as if it had been asked again.
    DeploymentNotFound,
    /// No instance that serves the model has an api-version that knows the endpoint.
    ApiVersionTooOld,
    /// No instance knows the stored response.
    ResponseNotFound,
    /// No instance knows the conversation.
    ConversationNotFound,
    /// OpenAI has the endpoint and Azure OpenAI does not.
    NotOfAzure,
    /// No such address.
    NotFound,
    /// The address knows other methods.
    MethodNotAllowed,
    /// The request body exceeds `MAX_BODY_BYTES`.
    RequestTooLarge,
    /// The request body stopped coming.
    RequestTimeout,
    /// The temporary folder takes no upload.
    InsufficientStorage,
    /// No instance can take the request now.
    NoCapacityAvailable,
    /// The request exceeds every instance's limit.
    RequestExceedsTpm,
    /// No instance gave an answer that could be relayed.
    UpstreamUnreachable,
    /// No instance answered in time.
    UpstreamTimeout,
    /// The proxy itself failed.
    Internal,
}

/// The types of OpenAI's errors: the client's own, those of a limit, and ours or the upstream's.
const CLIENT: &str = "invalid_request_error";
const LIMIT: &str = "rate_limit_error";
const SERVER: &str = "server_error";

impl Code {
    fn row(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as Status;
        match self {
            Self::InvalidRequest(code) => (Status::BAD_REQUEST, CLIENT, code),
            Self::InvalidApiKey => (
                Status::UNAUTHORIZED,
                "authentication_error",
                "invalid_api_key",
            ),
            Self::OriginNotAllowed => (Status::FORBIDDEN, CLIENT, "origin_not_allowed"),
            Self::ModelNotFound => (Status::NOT_FOUND, CLIENT, "model_not_found"),
            Self::DeploymentNotFound => (Status::NOT_FOUND, CLIENT, "DeploymentNotFound"),
            Self::ApiVersionTooOld => (Status::NOT_FOUND, CLIENT, "api_version_too_old"),
            Self::ResponseNotFound => (Status::NOT_FOUND, CLIENT, "response_not_found"),
            Self::ConversationNotFound => (Status::NOT_FOUND, CLIENT, "conversation_not_found"),
            Self::NotOfAzure => (Status::NOT_FOUND, CLIENT, "unsupported_endpoint"),
            Self::NotFound => (Status::NOT_FOUND, CLIENT, "not_found"),
            Self::MethodNotAllowed => (Status::METHOD_NOT_ALLOWED, CLIENT, "method_not_allowed"),
            Self::RequestTooLarge => (Status::PAYLOAD_TOO_LARGE, CLIENT, "request_too_large"),
            Self::RequestTimeout => (Status::REQUEST_TIMEOUT, CLIENT, "request_timeout"),
            Self::InsufficientStorage => {
                (Status::INSUFFICIENT_STORAGE, SERVER, "insufficient_storage")
            }
            Self::NoCapacityAvailable => {
                (Status::TOO_MANY_REQUESTS, LIMIT, "no_capacity_available")
            }
            Self::RequestExceedsTpm => (Status::TOO_MANY_REQUESTS, LIMIT, "request_exceeds_tpm"),
            Self::UpstreamUnreachable => (Status::BAD_GATEWAY, SERVER, "upstream_unreachable"),
            Self::UpstreamTimeout => (Status::GATEWAY_TIMEOUT, SERVER, "upstream_timeout"),
            Self::Internal => (Status::INTERNAL_SERVER_ERROR, SERVER, "internal_error"),
        }
    }

    /// Returns the stable `code` of the error body.
    pub fn as_str(self) -> &'static str {
        self.row().2
    }
}

/// Why one instance did not take a request.
#[derive(Clone, Debug)]
pub struct Reason {
    /// Name of the instance.
    pub name: InstanceName,
    /// In a few words.
    pub reason: &'static str,
    /// When it can take the request, after those to whom that was promised before; `None` if waiting does not help.
    pub available_in: Option<Duration>,
}

/// An error that is answered to a client.
#[derive(Clone, Debug)]
pub struct ApiError {
    code: Code,
    param: Option<&'static str>,
    message: Box<str>,
    retry_after: Option<Duration>,
    is_final: bool,
    instances: Box<[Reason]>,
    quota: Option<Box<[(HeaderName, HeaderValue); 3]>>,
    request_id: Box<str>,
    attempts: u32,
}

impl ApiError {
    /// Builds an error; the message is for the person who reads the client's log.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            param: None,
            message: message.into().into(),
            retry_after: None,
            // The same request will not fit later either.
            is_final: code == Code::RequestExceedsTpm,
            instances: Box::default(),
            quota: None,
            request_id: new_request_id().into(),
            attempts: 0,
        }
    }

    /// Says which request it answers and how many instances were tried for it.
    pub fn with_request(mut self, request_id: &str, attempts: u32) -> Self {
        self.request_id = request_id.into();
        self.attempts = attempts;
        self
    }

    /// Names the request field that is wrong.
    pub fn with_param(mut self, param: Option<&'static str>) -> Self {
        self.param = param;
        self
    }

    /// Says when to come again, in `Retry-After` (whole seconds, rounded up) and `retry-after-ms`.
    pub fn with_retry_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self
    }

    /// Says that the same request is not worth repeating soon, in the header by which OpenAI's SDKs are told not to.
    pub fn with_no_retry(mut self) -> Self {
        self.is_final = true;
        self
    }

    /// Says of each instance why it did not take the request, in `error.instances`.
    pub fn with_instances(mut self, instances: Vec<Reason>) -> Self {
        self.instances = instances.into();
        self
    }

    /// Adds the headers by which answers tell of the pool's quota.
    pub fn with_quota(mut self, headers: Option<[(HeaderName, HeaderValue); 3]>) -> Self {
        self.quota = headers.map(Box::new);
        self
    }

    /// Returns the id of the request that it answers.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Returns the table entry.
    pub fn code(&self) -> Code {
        self.code
    }
}

impl Reason {
    fn to_json(&self) -> serde_json::Value {
        json!({
            "name": self.name.as_str(),
            "reason": self.reason,
            "available_in_ms": self.available_in.map(whole_millis),
        })
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.code.row().0
    }

    fn error_response(&self) -> HttpResponse {
        let (status, kind, code) = self.code.row();
        let mut response = HttpResponse::build(status);
        response.insert_header(("x-request-id", &*self.request_id));
        response.insert_header(("x-proxy-attempts", self.attempts));
        for (name, value) in self.retry_after.map(retry_headers).into_iter().flatten() {
            response.insert_header((name, value));
        }
        if self.is_final {
            response.insert_header(("x-should-retry", "false"));
        }
        for header in self.quota.iter().flat_map(|headers| headers.iter()) {
            response.insert_header(header.clone());
        }
        let mut error =
            json!({"message": self.message, "type": kind, "param": self.param, "code": code});
        if let Some(error) = error.as_object_mut()
            && !self.instances.is_empty()
        {
            let instances = self.instances.iter().map(Reason::to_json);
            error.insert("instances".to_owned(), instances.collect());
        }
        response.json(json!({ "error": error }))
    }
}

/// Makes an id for a request, in the form that OpenAI's have.
pub fn new_request_id() -> String {
    format!("req_{:032x}", rand::random::<u128>())
}

/// Returns the two headers that OpenAI's SDKs read, milliseconds first.
pub fn retry_headers(wait: Duration) -> [(HeaderName, HeaderValue); 2] {
    let millis = whole_millis(wait).max(1);
    [
        (
            HeaderName::from_static("retry-after-ms"),
            HeaderValue::from(millis),
        ),
        (
            header::RETRY_AFTER,
            HeaderValue::from(millis.div_ceil(1_000)),
        ),
    ]
}

/// Returns the body of an answer that says what an upstream's stream said in a form of its own.
pub fn restated(message: &str, kind: &str, code: &str) -> String {
    let error = json!({"message": message, "type": kind, "param": null, "code": code});
    json!({ "error": error }).to_string()
}

/// Returns the event that ends a stream of the Responses API which the upstream broke off.
///
/// Its own fields are those of the API's `error` event; the SDKs raise an error on the nested one alone.
pub fn response_error_event(message: &str, sequence_number: u64) -> String {
    let code = "upstream_stream_ended";
    let error = json!({"message": message, "type": "server_error", "param": null, "code": code});
    let event = json!({
        "type": "error", "code": code, "message": message, "param": null,
        "sequence_number": sequence_number, "error": error
    });
    format!("event: error\ndata: {event}\n\n")
}

/// Rounds up, so that nobody comes too early.
fn whole_millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)
}

/// Returns the event that ends a stream which the upstream broke off. Both OpenAI SDKs raise an error on it.
pub fn stream_error_event(message: &str) -> String {
    let error = json!({
        "message": message, "type": "server_error", "param": null, "code": "upstream_stream_ended"
    });
    format!("data: {}\n\n", json!({ "error": error }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn an_error_has_the_shape_and_headers_that_sdks_read() {
        let error = ApiError::new(Code::NoCapacityAvailable, "later")
            .with_retry_after(Some(Duration::from_millis(1_200)));

        let response = error.error_response();

        assert_eq!(response.status(), 429);
        assert_eq!(response.headers().get("retry-after-ms").unwrap(), "1200");
        assert_eq!(response.headers().get("retry-after").unwrap(), "2");
        let body = actix_web::body::to_bytes(response.into_body())
            .await
            .unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            body,
            json!({"error": {
                "message": "later", "type": "rate_limit_error", "param": null, "code": "no_capacity_available"
            }})
        );
    }

    #[test]
    fn a_broken_stream_ends_with_an_error_event() {
        let event = stream_error_event("the \"answer\" was cut");

        let data = event
            .strip_prefix("data: ")
            .unwrap()
            .strip_suffix("\n\n")
            .unwrap();
        let body: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(body["error"]["code"], "upstream_stream_ended");
        assert_eq!(body["error"]["message"], "the \"answer\" was cut");
    }
}
