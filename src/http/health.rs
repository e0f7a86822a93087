//! `GET /health` for "does the process run", `GET /health/ready` for "can it serve".
//!
//! Neither asks Azure anything: readiness is what the instances know already. Redis that is away makes nobody unready,
//! since the proxy serves without it; it is only told.

use actix_web::{HttpResponse, web};
use serde::Serialize;
use serde_json::json;

use super::status;
use crate::error::ApiError;
use crate::proxy::Proxy;
use crate::store::Standing;

#[derive(Serialize)]
struct Ready {
    status: &'static str,
    available_instances: usize,
    total_instances: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    redis: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redis_cause: Option<String>,
}

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
    // Degraded is still ready: requests are decided with this replica's share.
    let redis = status::standing(&proxy).await?;
    let ready = Ready {
        status: word,
        available_instances: able,
        total_instances: views.len(),
        redis: redis.as_ref().map(Standing::word),
        redis_cause: redis.and_then(|redis| redis.degraded),
    };
    Ok(response.json(ready))
}
