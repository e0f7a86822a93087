//! `GET /`: one page that shows the instances and follows them.

use actix_web::HttpResponse;

const PAGE: &str = include_str!("dashboard.html");

/// The page loads nothing from elsewhere and talks to nobody but this proxy.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      connect-src 'self'";

pub(super) async fn page() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header(("content-security-policy", POLICY))
        .body(PAGE)
}
