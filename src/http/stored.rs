//! Calls about what an instance keeps: responses, conversations, their items.
//!
//! Ids come from clients and go into a path at Azure, so they are checked here; of the query only what Azure documents
//! is passed on. Who is asked, and who else if that one does not know it, is left to `proxy`.

use actix_http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use url::form_urlencoded;

use super::body::Incoming;
use super::inference::forwarded;
use super::{Site, auth, cors};
use crate::error::{ApiError, Code};
use crate::openai::response_ids;
use crate::proxy::Proxy;
use crate::proxy::errand::{Action, Errand};

/// Serves one call.
pub(super) async fn serve(
    action: Action,
    proxy: web::Data<Proxy>,
    site: web::Data<Site>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    match read(action, &site, &request, payload).await {
        Ok(errand) => proxy.run(errand).await,
        Err(error) => {
            proxy.note_refused(action.label(), &error);
            Err(error)
        }
    }
}

async fn read(
    action: Action,
    site: &Site,
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<Errand, ApiError> {
    let client = auth::check(&site.client_keys, request.headers())?;
    // Before other methods a browser asks, and what a page gets by these it cannot read.
    if site.client_keys.is_empty() && action.method() == Method::POST {
        cors::refuse_unasked(&site.allowed_origins, request.headers(), false)?;
    }
    let (id, item) = (id_in(request, "id")?, id_in(request, "item")?);
    let body = match action.takes_body() {
        true => {
            Incoming::open(request.headers(), payload, site)?
                .whole()
                .await?
        }
        false => Bytes::new(),
    };
    Ok(Errand {
        action,
        id,
        item,
        query: known(request.query_string()),
        headers: forwarded(request.headers()),
        body,
        client,
        is_azure: request.path().starts_with("/openai/"),
    })
}

/// Returns the id that stands in this part of the path, if there is such a part.
fn id_in(request: &HttpRequest, part: &str) -> Result<Option<String>, ApiError> {
    let Some(id) = request.match_info().get(part) else {
        return Ok(None);
    };
    if !response_ids::is_legal(id) {
        let message = "An id in the path has letters, digits, `_` and `-` alone, 256 at most.";
        let error = ApiError::new(Code::InvalidRequest("invalid_value"), message);
        return Err(error.with_param(Some(match part {
            "item" => "item_id",
            _ if request.path().contains("/conversations/") => "conversation_id",
            _ => "response_id",
        })));
    }
    Ok(Some(id.to_owned()))
}

/// What Azure documents for these calls. An api-version is left out, in any spelling: each instance has its own.
const PARAMETERS: [&str; 9] = [
    "include",
    "include[]",
    "stream",
    "starting_after",
    "include_obfuscation",
    "limit",
    "order",
    "after",
    "before",
];

/// Takes what is known out of a query, as it is spelt.
fn known(query: &str) -> String {
    let is_known = |pair: &&str| {
        let mut parsed = form_urlencoded::parse(pair.as_bytes());
        parsed
            .next()
            .is_some_and(|(name, _)| PARAMETERS.contains(&name.as_ref()))
    };
    let kept: Vec<&str> = query.split('&').filter(is_known).collect();
    kept.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_keeps_what_is_known_and_no_spelling_of_an_api_version() {
        for (query, kept) in [
            ("", ""),
            ("api-version=2025-03-01-preview", ""),
            (
                "stream=true&api-version=v1&starting_after=7&include[]=a%20b",
                "stream=true&starting_after=7&include[]=a%20b",
            ),
            ("after=api-version", "after=api-version"),
            (
                "API-Version=v1&api%2Dversion=v1&%61pi-version=v1&limit=5",
                "limit=5",
            ),
            (
                "include%5B%5D=a&include=b&&order=asc&x",
                "include%5B%5D=a&include=b&order=asc",
            ),
        ] {
            assert_eq!(known(query), kept, "{query}");
        }
    }
}
