//! The listening side: routes and thin handlers. What is asked of an instance is left to `proxy`.
//!
//! Handlers check the key, read what was sent into a typed call, and turn what comes back into an answer; every error
//! on the way is an `ApiError`. Paths in other spellings are put right before routes are looked up.

mod auth;
mod body;
mod cors;
mod dashboard;
mod health;
mod inference;
mod metrics;
mod models;
mod paths;
mod socket;
mod status;
mod stored;
mod upload;

use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{ConnectionType, Method, Version};
use actix_web::middleware::Next;
use actix_web::{Error, HttpRequest, HttpResponse, Resource, ResponseError, Route, guard, web};

pub use self::socket::{CLIENT_FAREWELL, ClientSocket};

use self::inference::Form;
use crate::config::{AllowedOrigins, ClientKey};
use crate::domain::{Endpoint, ModelName, StrategyKind};
use crate::error::{ApiError, Code};
use crate::proxy::errand::Action;
use crate::spool::Store;

/// What the handlers know besides the proxy.
pub struct Site {
    /// Largest request body in bytes.
    pub max_body_bytes: usize,
    /// Longest silence in the middle of a request body.
    pub body_timeout: Duration,
    /// Where uploads wait until they are served.
    pub store: Store,
    /// Keys that clients may use; empty means that anyone may call.
    pub client_keys: Vec<ClientKey>,
    /// Sites whose pages may read answers in a browser.
    pub allowed_origins: AllowedOrigins,
    /// Model names to list.
    pub catalog: Vec<ModelName>,
    /// The configured strategy.
    pub strategy: StrategyKind,
    /// When the process started, in seconds since 1970.
    pub started: u64,
}

/// Takes every request in: spells its path as the routes do, answers browsers by `CORS_ALLOW_ORIGINS`, and old clients
/// without chunks.
///
/// # Errors
/// None of its own; errors of handlers have become answers before they come back here.
pub async fn enter(
    mut request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse, Error> {
    paths::correct(&mut request);
    let is_old = request.version() < Version::HTTP_11;
    let mut answer = answer(request, next).await?;
    if is_old && answer.response().body().size() == BodySize::Stream {
        // HTTP/1.0 knows no chunks: the end of the connection is that of the answer (RFC 9112, 6.1).
        let head = answer.response_mut().head_mut();
        head.no_chunking(true);
        head.set_connection_type(ConnectionType::Close);
    }
    Ok(answer)
}

async fn answer(request: ServiceRequest, next: Next<BoxBody>) -> Result<ServiceResponse, Error> {
    let site = request.app_data::<web::Data<Site>>().cloned();
    let Some(site) = site.filter(|site| site.allowed_origins != AllowedOrigins::None) else {
        return next.call(request).await;
    };
    if let Some(answer) = cors::preflight(&site.allowed_origins, request.request()) {
        return Ok(request.into_response(answer));
    }
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut answer = next.call(request).await?;
    cors::mark(&site.allowed_origins, origin.as_ref(), answer.headers_mut());
    Ok(answer)
}

/// Adds every route. `Proxy` and `Site` must be in the app's data.
pub fn routes(app: &mut web::ServiceConfig) {
    for endpoint in Endpoint::ALL {
        inference_routes(app, endpoint);
    }
    stored_routes(app);
    for prefix in ["/v1", "", "/openai/v1"] {
        let path = format!("{prefix}/moderations");
        app.service(post_only(&path).route(web::post().to(no_moderations)));
    }
    for prefix in ["/v1", "", "/openai/v1", "/openai"] {
        let (list, one) = (
            format!("{prefix}/models"),
            format!("{prefix}/models/{{id}}"),
        );
        app.service(get_only(&list).route(get_or_head().to(models::list)));
        app.service(get_only(&one).route(get_or_head().to(models::retrieve)));
    }
    for path in ["/v1/instances/status", "/instances/status"] {
        app.service(get_only(path).route(get_or_head().to(status::status)));
    }
    app.service(get_only("/health").route(get_or_head().to(health::alive)))
        .service(get_only("/health/ready").route(get_or_head().to(health::ready)))
        .service(get_only("/metrics").route(get_or_head().to(metrics::metrics)))
        .service(get_only("/").route(get_or_head().to(dashboard::page)))
        .default_service(web::to(not_found));
}

/// Adds the paths of one inference endpoint. Each stands alone, since a plain path is found by comparing and a list of
/// paths by a regular expression.
fn inference_routes(app: &mut web::ServiceConfig, endpoint: Endpoint) {
    let path = endpoint.path();
    for prefix in ["/v1", "", "/openai/v1"] {
        let route = web::post().to(move |proxy, site, request, payload| {
            // In Azure's v1 form the body names a deployment.
            let form = match prefix {
                "/openai/v1" => Form::Azure,
                _ => Form::OpenAi,
            };
            inference::serve(endpoint, form, proxy, site, request, payload)
        });
        app.service(post_only(&format!("{prefix}/{path}")).route(route));
    }
    // Azure has only some of them here; clients that take `/openai` for the base of everything mean the same.
    let route = web::post().to(move |proxy, site, request, payload| {
        inference::serve(endpoint, Form::Azure, proxy, site, request, payload)
    });
    app.service(post_only(&format!("/openai/{path}")).route(route));
    if !endpoint.is_under_deployment() {
        return;
    }
    let route = web::post().to(
        move |proxy, site, request, deployment: web::Path<String>, payload| {
            let form = Form::Deployment(deployment.into_inner());
            inference::serve(endpoint, form, proxy, site, request, payload)
        },
    );
    let azure = format!("/openai/deployments/{{deployment}}/{path}");
    app.service(post_only(&azure).route(route));
}

/// Adds the paths of what instances keep.
fn stored_routes(app: &mut web::ServiceConfig) {
    for prefix in ["/v1", "", "/openai/v1", "/openai"] {
        for actions in Action::ALL.chunk_by(|one, next| one.path() == next.path()) {
            let Some(path) = actions.first().map(|action| action.path()) else {
                continue;
            };
            let methods = actions.iter().map(|action| action.method().to_string());
            let allowed = methods.collect::<Vec<_>>().join(", ");
            let resource = web::resource(format!("{prefix}/{path}"));
            let resource = resource.default_service(web::to(move |request: HttpRequest| {
                let response = wrong_method(&request, &allowed);
                async { response }
            }));
            let routed = actions.iter().fold(resource, |resource, &action| {
                let route = web::method(action.method());
                resource.route(route.to(move |proxy, site, request, payload| {
                    stored::serve(action, proxy, site, request, payload)
                }))
            });
            app.service(routed);
        }
    }
}

fn post_only(path: &str) -> Resource {
    web::resource(path).default_service(web::to(|request: HttpRequest| async move {
        wrong_method(&request, "POST")
    }))
}

fn get_only(path: &str) -> Resource {
    web::resource(path).default_service(web::to(|request: HttpRequest| async move {
        wrong_method(&request, "GET, HEAD")
    }))
}

/// Load balancers ask with HEAD and mean the status of GET; the body is left out by the server.
fn get_or_head() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// Answers OPTIONS, and 405 to methods that the address does not know, with the `Allow` header of RFC 9110 (9.3.7, 15.5.6).
fn wrong_method(request: &HttpRequest, allowed: &str) -> HttpResponse {
    let (path, method) = (request.path(), request.method());
    let mut response = match *method {
        Method::OPTIONS => HttpResponse::NoContent().finish(),
        _ => {
            let message = format!("{path} does not accept {method}; use {allowed}.");
            ApiError::new(Code::MethodNotAllowed, message).error_response()
        }
    };
    if let Ok(allowed) = HeaderValue::from_str(allowed) {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

/// Azure OpenAI has no moderations; what its filters find stands in the answers themselves.
async fn no_moderations() -> Result<HttpResponse, ApiError> {
    let message = "Azure OpenAI has no moderations endpoint, so this proxy has none. Azure filters prompts and answers by \
                   itself and says what it found in `content_filter_results`; Azure AI Content Safety is a service apart.";
    Err(ApiError::new(Code::NotOfAzure, message))
}

async fn not_found(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let (method, path) = (request.method(), request.path());
    let message = format!(
        "There is nothing at {method} {path}. Inference is at /v1/chat/completions, /v1/responses, \
         /v1/completions and /v1/embeddings."
    );
    Err(ApiError::new(Code::NotFound, message))
}
