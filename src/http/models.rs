//! `GET /v1/models`: the configured models, since Azure's own list is its region's catalogue and not what is deployed.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::{Site, auth};
use crate::domain::{ModelKey, ModelName};
use crate::error::{ApiError, Code};

pub(super) async fn list(
    site: web::Data<Site>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    auth::check(&site.client_keys, request.headers())?;
    let names = site.catalog.iter();
    let data: Vec<Value> = names.map(|name| describe(&site, name)).collect();
    Ok(HttpResponse::Ok().json(json!({"object": "list", "data": data})))
}

pub(super) async fn retrieve(
    site: web::Data<Site>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    auth::check(&site.client_keys, request.headers())?;
    let key = ModelKey::of(&id);
    let mut names = site.catalog.iter();
    match names.find(|name| ModelKey::of(name.as_str()) == key) {
        Some(name) => Ok(HttpResponse::Ok().json(describe(&site, name))),
        None => {
            let message = format!("The model `{id}` is not in the configuration of this proxy.");
            Err(ApiError::new(Code::ModelNotFound, message).with_param(Some("model")))
        }
    }
}

fn describe(site: &Site, name: &ModelName) -> Value {
    json!({"id": name.as_str(), "object": "model", "created": site.started, "owned_by": "azure"})
}
