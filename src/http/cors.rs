//! What pages of other sites may do, by `CORS_ALLOW_ORIGINS`.
//!
//! A browser asks before it sends a key or JSON (the preflight), and hides answers and headers from a page unless the
//! answer allows them. Preflights carry no key, so they are answered before anything else; every other answer is
//! marked on its way out, errors and streams included. Cookies are never allowed: nothing here uses them.
//!
//! What a browser sends without asking is left to a key to stop; without keys [`refuse_unasked`] does.

use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};

use crate::config::AllowedOrigins;
use crate::error::{ApiError, Code};

/// Every method that some address takes.
const METHODS: &str = "DELETE, GET, HEAD, OPTIONS, POST";

/// How long a browser may remember a preflight, in seconds: the most that Chromium does.
const MAX_AGE: u32 = 7200;

/// What a page may read beside the few headers that it always may: each is one of these, or starts with it if it ends
/// in a hyphen.
const EXPOSED: [&str; 6] = [
    "retry-after",
    "retry-after-ms",
    "x-request-id",
    "x-should-retry",
    "x-ratelimit-",
    "x-proxy-",
];

/// What a page may send to any site without a preflight; no `Content-Type` at all is such a one too.
const UNASKED_TYPES: [&str; 3] = [
    "text/plain",
    "application/x-www-form-urlencoded",
    FORM_WITH_FILES,
];

/// The one of them that is also the right one for some endpoints.
const FORM_WITH_FILES: &str = "multipart/form-data";

/// Refuses what any page on the web could have a visitor's browser send, and so spend quota though it reads nothing.
///
/// Programs are not meant: they say JSON, have no `Origin`, or one of their own kind (`app://`, `chrome-extension://`); and
/// where forms go (`takes_form`), they send one.
///
/// # Errors
/// [`Code::OriginNotAllowed`].
pub(super) fn refuse_unasked(
    allowed: &AllowedOrigins,
    headers: &HeaderMap,
    takes_form: bool,
) -> Result<(), ApiError> {
    let (Some(origin), Some(content_type)) = (headers.get(header::ORIGIN), unasked_type(headers))
    else {
        return Ok(());
    };
    let is_elsewhere = match text(headers, "sec-fetch-site") {
        Some(says) => says == "cross-site",
        // An old browser, or a server that is not TLS; but some programs send forms and an `Origin` of a web page too.
        None if takes_form && content_type == FORM_WITH_FILES => false,
        None => !is_own(headers, origin),
    };
    if !is_elsewhere || !is_of_page(origin) || permit(allowed, Some(origin)).is_some() {
        return Ok(());
    }
    let message = "Pages of other sites may not use this proxy. List their origin in CORS_ALLOW_ORIGINS and send \
                   `Content-Type: application/json`, or let clients show a key by PROXY_API_KEYS.";
    Err(ApiError::new(Code::OriginNotAllowed, message))
}

/// Returns the content type if a browser sends it without asking.
fn unasked_type(headers: &HeaderMap) -> Option<&'static str> {
    let full = text(headers, "content-type").unwrap_or("text/plain");
    let essence = full.split(';').next().unwrap_or_default().trim();
    let is_it = |known: &&str| essence.eq_ignore_ascii_case(known);
    UNASKED_TYPES.into_iter().find(is_it)
}

/// Says whether a page of this proxy's own address asks, seen from a browser.
fn is_own(headers: &HeaderMap, origin: &HeaderValue) -> bool {
    let origin = origin.to_str().unwrap_or_default();
    let host = origin.split_once("://").map(|(_, host)| host);
    let is_host = |name| host.is_some() && text(headers, name) == host;
    is_host("host") || is_host("x-forwarded-host")
}

/// Says whether this is the origin of a web page, or `null` as of one in a sandbox.
fn is_of_page(origin: &HeaderValue) -> bool {
    let origin = origin.as_bytes();
    [&b"http://"[..], b"https://"]
        .iter()
        .any(|scheme| origin.starts_with(scheme))
        || origin == b"null"
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Answers a preflight of a site that is allowed; any other request goes on.
pub(super) fn preflight(allowed: &AllowedOrigins, request: &HttpRequest) -> Option<HttpResponse> {
    let headers = request.headers();
    let asks = request.method() == Method::OPTIONS
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let origin = permit(allowed, headers.get(header::ORIGIN)).filter(|_| asks)?;
    let mut response = HttpResponse::NoContent();
    response
        .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, origin))
        .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, METHODS))
        .insert_header((header::ACCESS_CONTROL_MAX_AGE, MAX_AGE))
        .insert_header((
            header::VARY,
            "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
        ));
    // Repeated, since a `*` would not cover `Authorization`; what arrives is sorted out by the allow-list upwards.
    if let Some(wanted) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        response.insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone()));
    }
    Some(response.finish())
}

/// Lets a page of an allowed site read the answer.
pub(super) fn mark(allowed: &AllowedOrigins, origin: Option<&HeaderValue>, answer: &mut HeaderMap) {
    if let AllowedOrigins::Listed(_) = allowed {
        // Also where the origin is not allowed: a cache must not hand that answer to a site that is.
        answer.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    let Some(origin) = permit(allowed, origin) else {
        return;
    };
    let exposed: Vec<&str> = answer
        .keys()
        .map(|name| name.as_str())
        .filter(|name| is_exposed(name))
        .collect();
    if let Ok(names) = HeaderValue::from_str(&exposed.join(", ")) {
        answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, names);
    }
    answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
}

fn is_exposed(name: &str) -> bool {
    EXPOSED.iter().any(|known| match known.ends_with('-') {
        true => name.starts_with(known),
        false => name == *known,
    })
}

/// Returns what an answer to this origin names as allowed.
fn permit(allowed: &AllowedOrigins, origin: Option<&HeaderValue>) -> Option<HeaderValue> {
    let origin = origin?;
    match allowed {
        AllowedOrigins::None => None,
        AllowedOrigins::Any => Some(HeaderValue::from_static("*")),
        AllowedOrigins::Listed(list) => {
            let is_listed =
                |known: &String| origin.as_bytes().eq_ignore_ascii_case(known.as_bytes());
            list.iter().any(is_listed).then(|| origin.clone())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderName;

    fn with(lines: &[(&str, &str)]) -> HeaderMap {
        let pair = |&(name, value): &(&str, &str)| {
            let name: HeaderName = name.parse().unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        };
        lines.iter().map(pair).collect()
    }

    fn is_refused(lines: &[(&str, &str)]) -> bool {
        let listed = AllowedOrigins::Listed(vec!["https://app.example.com".to_owned()]);
        refuse_unasked(&listed, &with(lines), false).is_err()
    }

    fn is_refused_where_forms_go(lines: &[(&str, &str)]) -> bool {
        refuse_unasked(&AllowedOrigins::None, &with(lines), true).is_err()
    }

    const ELSEWHERE: (&str, &str) = ("origin", "https://evil.example.com");
    const TEXT: (&str, &str) = ("content-type", "Text/Plain;charset=UTF-8");
    const FORM: (&str, &str) = ("content-type", "multipart/form-data; boundary=x");

    #[test]
    fn pages_of_other_sites_are_refused_what_needs_no_preflight() {
        let cross = ("sec-fetch-site", "cross-site");

        assert!(is_refused(&[ELSEWHERE, TEXT]));
        assert!(is_refused(&[ELSEWHERE]));
        assert!(is_refused(&[("origin", "null"), TEXT, cross]));
        assert!(is_refused(&[ELSEWHERE, FORM, cross]));
        assert!(is_refused_where_forms_go(&[ELSEWHERE, FORM, cross]));
        assert!(is_refused_where_forms_go(&[ELSEWHERE, TEXT]));
    }

    #[test]
    fn json_said_to_be_a_form_is_refused_where_no_form_goes() {
        assert!(is_refused(&[ELSEWHERE, FORM]));
        assert!(!is_refused_where_forms_go(&[ELSEWHERE, FORM]));
    }

    #[test]
    fn pages_of_this_host_and_of_allowed_sites_may() {
        let own = [ELSEWHERE, TEXT, ("host", "evil.example.com")];
        let behind = [ELSEWHERE, TEXT, ("x-forwarded-host", "evil.example.com")];

        assert!(!is_refused(&own));
        assert!(!is_refused(&behind));
        assert!(!is_refused(&[
            ELSEWHERE,
            FORM,
            ("sec-fetch-site", "same-origin")
        ]));
        assert!(!is_refused(&[("origin", "https://app.example.com"), TEXT]));
    }

    #[test]
    fn programs_are_not_held_for_pages() {
        let json = ("content-type", "application/json");

        assert!(!is_refused(&[TEXT]));
        assert!(!is_refused(&[ELSEWHERE, json]));
        let tauri = ("origin", "http://tauri.localhost");
        assert!(!is_refused_where_forms_go(&[tauri, FORM]));
        for origin in [
            "app://obsidian.md",
            "vscode-file://vscode-app",
            "chrome-extension://abc",
        ] {
            assert!(!is_refused(&[("origin", origin), TEXT]), "{origin}");
        }
    }
}
