//! `GET /health` for "does the process run", `GET /health/ready` for "can it serve".

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::status;
use crate::error::ApiError;
use crate::proxy::Proxy;

pub(super) async fn alive() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "ok"}))
}

pub(super) async fn ready(proxy: web::Data<Proxy>) -> Result<HttpResponse, ApiError> {
    let views = status::snapshot(&proxy).await?;
    let able = views.iter().filter(|view| view.can_serve).count();
    let (mut response, word) = match able {
        0 => (HttpResponse::ServiceUnavailable(), "unavailable"),
        _ => (HttpResponse::Ok(), "ready"),
    };
    Ok(response.json(json!({
        "status": word, "available_instances": able, "total_instances": views.len()
    })))
}
