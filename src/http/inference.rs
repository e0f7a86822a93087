//! `POST` of chat completions, completions and embeddings: reads the body, hands the call to the proxy.

use actix_http::header::HeaderMap;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use super::{Site, auth};
use crate::domain::{Endpoint, ModelKey};
use crate::error::{ApiError, Code};
use crate::openai::request::Ask;
use crate::proxy::{Call, Proxy, headers};

/// Room taken for a body before any of it has come, whatever length is announced.
const LARGEST_HEAD_START: usize = 1 << 20;

/// Serves one request; `deployment` is the path's in Azure's form.
pub(super) async fn serve(
    endpoint: Endpoint,
    deployment: Option<String>,
    proxy: web::Data<Proxy>,
    site: web::Data<Site>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    let client = auth::check(&site.client_keys, request.headers())?;
    let body = read_body(request.headers(), payload, site.max_body_bytes).await?;
    let model = deployment.map(|name| model_for(&proxy, name));
    let ask = Ask::read(endpoint, &body, model.as_deref()).map_err(|rejection| {
        ApiError::new(Code::InvalidRequest(rejection.code), rejection.message)
            .with_param(rejection.param)
    })?;
    let call = Call {
        key: ModelKey::of(ask.model.as_str()),
        ask,
        body,
        headers: forwarded(request.headers()),
        client,
    };
    proxy.serve(call).await
}

/// Takes the name in an Azure path as a model first, else as a deployment, and returns the model to route by.
fn model_for(proxy: &Proxy, name: String) -> String {
    let key = ModelKey::of(&name);
    let instances = &proxy.shared().instances;
    let is_model = instances
        .iter()
        .any(|config| config.model_map.contains_key(&key) && config.serves(&key));
    let mapped = instances.iter().find_map(|config| {
        let mut entries = config.model_map.iter();
        let (model, _) = entries.find(|(model, to)| to.as_str() == name && config.serves(model))?;
        Some(model.as_str().to_owned())
    });
    match mapped {
        Some(model) if !is_model => model,
        Some(_) | None => name,
    }
}

fn forwarded(from: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (name, value) in from {
        if headers::is_forwarded_up(name) {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

async fn read_body(
    headers: &HeaderMap,
    mut payload: web::Payload,
    most: usize,
) -> Result<Bytes, ApiError> {
    let encoding = headers.get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| encoding.as_bytes() != b"identity") {
        return Err(invalid(
            "Compressed request bodies are not supported; send the JSON as it is.",
        ));
    }
    let announced = announced_length(headers);
    if announced > most {
        return Err(too_large(most));
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk =
            chunk.map_err(|error| invalid(format!("The request body broke off: {error}.")))?;
        if body.is_empty() && chunk.len() == announced {
            return Ok(chunk);
        }
        if body.len() + chunk.len() > most {
            return Err(too_large(most));
        }
        if body.is_empty() {
            body.reserve(announced.min(LARGEST_HEAD_START));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Returns the announced length; 0 if there is none, as with a chunked body.
fn announced_length(headers: &HeaderMap) -> usize {
    let value = headers.get(header::CONTENT_LENGTH);
    let text = value.and_then(|value| value.to_str().ok());
    text.map_or(0, |text| text.parse().unwrap_or(usize::MAX))
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(Code::InvalidRequest("invalid_request_body"), message)
}

fn too_large(most: usize) -> ApiError {
    let message = format!(
        "The request body is larger than {most} bytes, the limit that MAX_BODY_BYTES sets."
    );
    ApiError::new(Code::RequestTooLarge, message)
}
