//! How an attempt ends that brought an answer to show.
//!
//! A whole answer is settled here. One that goes on takes the account with it into its body, which settles it at the
//! end, however that comes.

use actix_http::StatusCode;
use actix_http::header::HeaderMap;
use actix_web::HttpResponse;
use actix_web::body::MessageBody;

use super::account::Account;
use super::relay::Begun;

/// Hands a good answer to the client.
pub(super) fn succeed(
    mut account: Box<Account>,
    status: StatusCode,
    headers: HeaderMap,
    begun: Begun,
) -> HttpResponse {
    account.begun(status);
    match begun {
        Begun::Whole(body) => {
            account.settle_answer(&body);
            account.close(status.as_u16());
            with_headers(status, headers, body)
        }
        Begun::Long(long) => {
            account.goes_on();
            with_headers(status, headers, long.owed_by(account))
        }
        Begun::Events(events) => {
            account.goes_on();
            with_headers(status, headers, events.owed_by(account))
        }
    }
}

/// Builds an answer with these headers, which are not copied.
pub(super) fn with_headers(
    status: StatusCode,
    headers: HeaderMap,
    body: impl MessageBody + 'static,
) -> HttpResponse {
    let mut response = HttpResponse::with_body(status, body);
    *response.headers_mut() = headers;
    response.map_into_boxed_body()
}
