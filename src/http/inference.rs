//! `POST` of the inference endpoints: reads the body, JSON or a form, hands the call to the proxy.
//!
//! What is refused here was never admitted: it holds no tokens, is counted and logged like the rest, and is told by the
//! field that is wrong. What the fields mean is left to `openai::request`.

use actix_http::header::HeaderMap;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;

use super::body::Incoming;
use super::{Site, auth, cors, upload};
use crate::domain::{Endpoint, ModelKey, ModelName};
use crate::error::{ApiError, Code};
use crate::openai::request::{Ask, Rejection};
use crate::proxy::{Call, Proxy, Upload, headers};

/// Where a request names what it is for.
pub(super) enum Form {
    /// In the body's `model`, a model.
    OpenAi,
    /// In the path: a model or a deployment, in Azure's dated form.
    Deployment(String),
    /// In the body's `model`: a model or a deployment, as below Azure's own paths.
    Azure,
}

/// Serves one request.
pub(super) async fn serve(
    endpoint: Endpoint,
    form: Form,
    proxy: web::Data<Proxy>,
    site: web::Data<Site>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    match read(endpoint, form, &proxy, &site, &request, payload).await {
        Ok(call) => proxy.serve(call).await,
        Err(error) => {
            proxy.note_refused(endpoint.path(), &error);
            Err(error)
        }
    }
}

async fn read(
    endpoint: Endpoint,
    form: Form,
    proxy: &Proxy,
    site: &Site,
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<Call, ApiError> {
    let client = auth::check(&site.client_keys, request.headers())?;
    guard(endpoint, site, request.headers())?;
    let incoming = Incoming::open(request.headers(), payload, site)?;
    let in_body_of_azure = matches!(form, Form::Azure);
    let model = match form {
        Form::Deployment(name) => Some(model_for(proxy, site, name)),
        Form::OpenAi | Form::Azure => None,
    };
    let model = model.as_deref();
    let (mut ask, body, upload) = match endpoint.takes_form() {
        true => {
            let (ask, upload) = read_form(endpoint, model, site, request, incoming).await?;
            (ask, Bytes::new(), Some(upload))
        }
        false => {
            let body = incoming.whole().await?;
            let ask = Ask::read(endpoint, &body, model).map_err(rejected)?;
            (ask, body, None)
        }
    };
    if in_body_of_azure {
        ask.model = ModelName::new(model_for(proxy, site, ask.model.to_string()));
    }
    let mut headers = forwarded(request.headers());
    if upload.is_none() {
        // Read as JSON, whatever it was said to be (`curl -d` says a form), it goes up as that.
        headers.remove(header::CONTENT_TYPE);
    }
    Ok(Call {
        key: ModelKey::of(ask.model.as_str()),
        ask,
        body,
        upload,
        headers,
        client,
        is_azure: request.path().starts_with("/openai/"),
    })
}

async fn read_form(
    endpoint: Endpoint,
    model: Option<&str>,
    site: &Site,
    request: &HttpRequest,
    incoming: Incoming,
) -> Result<(Ask, Upload), ApiError> {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.map_or(&b""[..], |kind| kind.as_bytes());
    let (form, content) = upload::read(incoming, kind, &site.store).await?;
    let (ask, fields) = Ask::read_form(endpoint, form, model).map_err(rejected)?;
    Ok((ask, Upload { fields, content }))
}

/// Refuses pages of other sites where no key does.
fn guard(endpoint: Endpoint, site: &Site, headers: &HeaderMap) -> Result<(), ApiError> {
    match site.client_keys.is_empty() {
        true => cors::refuse_unasked(&site.allowed_origins, headers, endpoint.takes_form()),
        false => Ok(()),
    }
}

/// Says why a body cannot be used.
pub(super) fn rejected(why: impl Into<Rejection>) -> ApiError {
    let rejection = why.into();
    ApiError::new(Code::InvalidRequest(rejection.code), rejection.message)
        .with_param(rejection.param)
}

/// Takes the name in an Azure call as a model first, else as a deployment, and returns the model to route by.
fn model_for(proxy: &Proxy, site: &Site, name: String) -> String {
    let key = ModelKey::of(&name);
    let instances = &proxy.shared().instances;
    let is_mapped = |key: &ModelKey, to: Option<&str>| {
        instances.iter().any(|config| {
            let mapped = config.model_map.get(key).filter(|_| config.serves(key));
            mapped.is_some_and(|mapped| to.is_none_or(|to| mapped.as_str() == to))
        })
    };
    if is_mapped(&key, None) {
        return name;
    }
    // In the catalogue's order and spelling, so that other instances are asked for a name that they may know.
    let mut models = site.catalog.iter();
    let model = models.find(|model| is_mapped(&ModelKey::of(model.as_str()), Some(&name)));
    model.map_or(name, ToString::to_string)
}

/// Returns the headers that go up, each once: of two content-types the first is what the body was read by.
pub(super) fn forwarded(from: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (name, value) in from {
        if headers::is_forwarded_up(name) && !kept.contains_key(name) {
            kept.insert(name.clone(), value.clone());
        }
    }
    kept
}
