//! The listening side: routes and thin handlers. What is asked of an instance is left to `proxy`.

mod auth;
mod dashboard;
mod health;
mod inference;
mod metrics;
mod models;
mod status;

use actix_web::{HttpRequest, HttpResponse, Resource, web};

use crate::config::ClientKey;
use crate::domain::{Endpoint, ModelName, StrategyKind};
use crate::error::{ApiError, Code};

/// What the handlers know besides the proxy.
pub struct Site {
    /// Largest request body in bytes.
    pub max_body_bytes: usize,
    /// Keys that clients may use; empty means that anyone may call.
    pub client_keys: Vec<ClientKey>,
    /// Model names to list.
    pub catalog: Vec<ModelName>,
    /// The configured strategy.
    pub strategy: StrategyKind,
    /// When the process started, in seconds since 1970.
    pub started: u64,
}

/// Adds every route. `Proxy` and `Site` must be in the app's data.
pub fn routes(app: &mut web::ServiceConfig) {
    for endpoint in Endpoint::ALL {
        let path = endpoint.path();
        let openai = post_only(vec![
            format!("/v1/{path}"),
            format!("/v1/{path}/"),
            format!("/{path}"),
            format!("/{path}/"),
            format!("/openai/v1/{path}"),
        ]);
        let azure = post_only(vec![format!("/openai/deployments/{{deployment}}/{path}")]);
        app.service(
            openai.route(web::post().to(move |proxy, site, request, payload| {
                inference::serve(endpoint, None, proxy, site, request, payload)
            })),
        );
        app.service(azure.route(web::post().to(
            move |proxy, site, request, deployment: web::Path<String>, payload| {
                let deployment = Some(deployment.into_inner());
                inference::serve(endpoint, deployment, proxy, site, request, payload)
            },
        )));
    }
    let get = web::get;
    app.service(get_only(&["/v1/models", "/v1/models/", "/models"]).route(get().to(models::list)))
        .service(get_only(&["/v1/models/{id}", "/models/{id}"]).route(get().to(models::retrieve)))
        .service(
            get_only(&["/v1/instances/status", "/instances/status"])
                .route(get().to(status::status)),
        )
        .service(get_only(&["/health"]).route(get().to(health::alive)))
        .service(get_only(&["/health/ready"]).route(get().to(health::ready)))
        .service(get_only(&["/metrics"]).route(get().to(metrics::metrics)))
        .service(get_only(&["/"]).route(get().to(dashboard::page)))
        .default_service(web::to(not_found));
}

fn post_only(paths: Vec<String>) -> Resource {
    web::resource(paths).default_service(web::to(|request: HttpRequest| async move {
        wrong_method(&request, "POST")
    }))
}

fn get_only(paths: &[&str]) -> Resource {
    web::resource(paths.to_vec())
        // Load balancers and browsers ask with HEAD.
        .route(web::head().to(|| async { HttpResponse::Ok().finish() }))
        .default_service(web::to(|request: HttpRequest| async move {
            wrong_method(&request, "GET")
        }))
}

fn wrong_method(request: &HttpRequest, allowed: &str) -> Result<HttpResponse, ApiError> {
    let (path, method) = (request.path(), request.method());
    let message = format!("{path} does not accept {method}; use {allowed}.");
    Err(ApiError::new(Code::MethodNotAllowed, message))
}

async fn not_found(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let (method, path) = (request.method(), request.path());
    let message = format!(
        "There is nothing at {method} {path}. Inference is at /v1/chat/completions, /v1/completions and \
         /v1/embeddings."
    );
    Err(ApiError::new(Code::NotFound, message))
}
