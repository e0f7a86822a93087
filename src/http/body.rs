//! Taking in what a client sends: within `MAX_BODY_BYTES`, and as long as it keeps coming.
//!
//! What is announced is believed only to refuse it: room is taken as bytes come. What they say is left to the callers.

use std::time::Duration;

use actix_http::header::HeaderMap;
use actix_web::http::header;
use actix_web::web;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::time::timeout;

use super::Site;
use crate::error::{ApiError, Code};

/// Room taken for a body before any of it has come, whatever length is announced.
const LARGEST_HEAD_START: usize = 1 << 20;

/// A request body on its way in.
pub(super) struct Incoming {
    payload: web::Payload,
    announced: usize,
    came: usize,
    most: usize,
    /// `CLIENT_BODY_TIMEOUT_SECS`
    idle: Duration,
}

impl Incoming {
    /// Looks at what is announced, before any of it has come.
    pub(super) fn open(
        headers: &HeaderMap,
        payload: web::Payload,
        site: &Site,
    ) -> Result<Self, ApiError> {
        let encoding = headers.get(header::CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            return Err(invalid(
                "Compressed request bodies are not supported; send the body as it is.",
            ));
        }
        let incoming = Self {
            payload,
            announced: announced_length(headers),
            came: 0,
            most: site.max_body_bytes,
            idle: site.body_timeout,
        };
        match incoming.announced > incoming.most {
            true => Err(incoming.too_large()),
            false => Ok(incoming),
        }
    }

    /// Returns the announced length; 0 if there is none, as with a chunked body.
    pub(super) fn announced(&self) -> usize {
        self.announced
    }

    /// Waits for more; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        let next = timeout(self.idle, self.payload.next()).await;
        let Some(chunk) = next.map_err(|_| self.too_slow())? else {
            return Ok(None);
        };
        let chunk =
            chunk.map_err(|error| invalid(format!("The request body broke off: {error}.")))?;
        self.came += chunk.len();
        match self.came > self.most {
            true => Err(self.too_large()),
            false => Ok(Some(chunk)),
        }
    }

    /// Waits for all of it.
    pub(super) async fn whole(mut self) -> Result<Bytes, ApiError> {
        let mut body = BytesMut::new();
        while let Some(chunk) = self.next().await? {
            if body.is_empty() && chunk.len() == self.announced {
                return Ok(chunk);
            }
            if body.is_empty() {
                body.reserve(self.announced.min(LARGEST_HEAD_START));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    fn too_slow(&self) -> ApiError {
        let seconds = self.idle.as_secs_f64();
        let message = format!(
            "No more of the request body came for {seconds} s, the limit that CLIENT_BODY_TIMEOUT_SECS sets."
        );
        ApiError::new(Code::RequestTimeout, message)
    }

    fn too_large(&self) -> ApiError {
        let message = format!(
            "The request body is larger than {} bytes, the limit that MAX_BODY_BYTES sets.",
            self.most
        );
        ApiError::new(Code::RequestTooLarge, message)
    }
}

fn announced_length(headers: &HeaderMap) -> usize {
    let value = headers.get(header::CONTENT_LENGTH);
    let text = value.and_then(|value| value.to_str().ok());
    text.map_or(0, |text| text.parse().unwrap_or(usize::MAX))
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(Code::InvalidRequest("invalid_request_body"), message)
}
