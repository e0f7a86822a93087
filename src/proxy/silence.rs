//! An attempt that brought nothing that could be shown: what the instance is charged with, and on to the next.
//!
//! The tokens go by what Azure may have seen: a request that timed out after it was sent may run on over there, so its
//! charge stands; one that found no connection costs nothing.

use actix_web::ResponseError;

use super::Step;
use super::account::Account;
use super::give_up::Last;
use super::upstream::{Failed, NoAnswer};
use crate::actors::Outcome;
use crate::domain::Tokens;
use crate::error::{ApiError, Code};
use crate::metrics::Attempt;

/// Ends an attempt that brought nothing.
pub(super) fn fail(mut account: Box<Account>, no_answer: NoAnswer) -> Step {
    let summary = no_answer.summary.clone();
    let (kind, outcome) = match no_answer.kind {
        // Over there it may still be running, and Azure keeps the charge.
        Failed::AfterSending => {
            let used = account.reserved();
            (Attempt::Timeout, Outcome::Faulted { used, summary })
        }
        Failed::Connecting | Failed::Unreachable => {
            (Attempt::Fault, Outcome::Unreachable { summary })
        }
        Failed::Broken => {
            let used = Tokens::ZERO;
            (Attempt::Fault, Outcome::Faulted { used, summary })
        }
        Failed::Unreadable => return unreadable(account, &summary),
        // It may have refused the size, in words that the break took away; so it is no fault of the instance.
        Failed::Uploading => {
            account.tell_fault(&summary);
            let used = Some(Tokens::ZERO);
            (Attempt::Fault, Outcome::Abandoned { used })
        }
    };
    account.settle(kind, outcome);
    Step::Next(account, Last::Nothing(no_answer))
}

/// Ends a request of which a part is lost: no other instance can have it either.
fn unreadable(mut account: Box<Account>, summary: &str) -> Step {
    log::error!(request_id = account.request_id(); "{summary}");
    let used = Some(Tokens::ZERO);
    account.settle(Attempt::Fault, Outcome::Abandoned { used });
    let message = "The proxy cannot read the upload that it has stored.";
    let error = account.refuse(ApiError::new(Code::Internal, message));
    Step::Done(error.error_response())
}

impl NoAnswer {
    pub(super) fn broken(summary: &str) -> Self {
        Self {
            kind: Failed::Broken,
            summary: summary.to_owned(),
        }
    }
}
