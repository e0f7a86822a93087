//! What a client request owes: the settlement of its lease, its metrics and its one log line, each exactly once.
//!
//! The account travels with the request, from the handler into the body of the answer. Whoever drops it before closing
//! it stands for a client that left, or for a panic: the lease is settled as abandoned and the request counted as 499.

mod lines;

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::StatusCode;
use tokio::time::Instant;

use super::Shared;
use super::errand::Job;
use super::relay::Dialect;
use crate::actors::{Lease, Outbox, Outcome};
use crate::domain::{InstanceId, ModelKey, ModelName, Tokens};
use crate::error::{ApiError, new_request_id};
use crate::metrics::Attempt;
use crate::openai::usage::{self, Usage};
use crate::quota::Said;

/// nginx's status for a client that closed the connection; it is logged, never sent.
const CLIENT_LEFT: u16 = 499;

/// Bytes at the end of an answer that hold its usage if it comes last; the object takes up to 400.
const USAGE_TAIL: usize = 1024;

/// The open account of one client request.
pub(super) struct Account {
    shared: Arc<Shared>,
    outbox: Rc<Outbox>,
    /// Made only where it is needed; from then on the log names it, whatever ids instances give.
    own_id: OnceCell<String>,
    upstream_id: Option<String>,
    label: &'static str,
    model: ModelName,
    key: ModelKey,
    client: Option<String>,
    /// What its answer names can be asked for again.
    keeps_state: bool,
    /// It uses no tokens, whatever usage its answer tells of.
    is_errand: bool,
    /// It brings along what is not in the request, so its usage teaches nothing about prompts.
    has_hidden_prompt: bool,
    started: Instant,
    queued: Duration,
    first_byte: Option<Duration>,
    completions: u64,
    prompt: Tokens,
    attempts: u32,
    lease: Option<Lease>,
    instance: Option<InstanceId>,
    reserved: Tokens,
    used: Tokens,
    is_closed: bool,
}

impl Account {
    /// Opens the account of a request that has just come. It is boxed, since it passes through many hands.
    pub(super) fn open(shared: Arc<Shared>, outbox: Rc<Outbox>, job: Job<'_>) -> Box<Self> {
        shared.metrics.began();
        let (label, client) = match job {
            Job::Call(call) => (call.ask.endpoint.path(), call.client.clone()),
            Job::Errand(errand) => (errand.action.label(), errand.client.clone()),
        };
        let call = match job {
            Job::Call(call) => Some(call),
            Job::Errand(_) => None,
        };
        Box::new(Self {
            shared,
            outbox,
            own_id: OnceCell::new(),
            upstream_id: None,
            label,
            key: call.map_or_else(|| ModelKey::of(""), |call| call.key.clone()),
            model: call.map_or_else(|| ModelName::new("-"), |call| call.ask.model.clone()),
            client,
            keeps_state: job.dialect() == Dialect::Responses,
            is_errand: call.is_none(),
            has_hidden_prompt: call.is_some_and(|call| {
                let mut ties = call.ask.ties.iter();
                ties.any(|tie| tie.kept.is_unseen())
            }),
            started: Instant::now(),
            queued: Duration::ZERO,
            first_byte: None,
            completions: call.map_or(1, |call| call.ask.completions),
            prompt: Tokens::ZERO,
            attempts: 0,
            lease: None,
            instance: None,
            reserved: Tokens::ZERO,
            used: Tokens::ZERO,
            is_closed: false,
        })
    }

    /// Returns when the request came.
    pub(super) fn started(&self) -> std::time::Instant {
        self.started.into_std()
    }

    /// Notes time that was spent on asking for a lease.
    pub(super) fn queued(&mut self, waited: Duration) {
        self.queued += waited;
    }

    /// Returns the id that the client sees and the log names: the instance's if it gave one, else our own.
    pub(super) fn request_id(&self) -> &str {
        let upstream_id = self.upstream_id.as_deref();
        upstream_id.unwrap_or_else(|| self.own_id())
    }

    fn own_id(&self) -> &str {
        self.own_id.get_or_init(new_request_id)
    }

    /// Takes over the id that the instance gave, which Azure's support can look up.
    pub(super) fn known_as(&mut self, request_id: &str) {
        self.upstream_id = Some(request_id.to_owned());
    }

    pub(super) fn model_key(&self) -> &ModelKey {
        &self.key
    }

    pub(super) fn model(&self) -> &ModelName {
        &self.model
    }

    /// Says whether it is about a kept response and so needs no tokens.
    pub(super) fn is_errand(&self) -> bool {
        self.is_errand
    }

    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Returns what the running attempt has reserved.
    pub(super) fn reserved(&self) -> Tokens {
        self.reserved
    }

    /// Begins an attempt.
    pub(super) fn hold(&mut self, mut lease: Lease) {
        lease.sending();
        if self.attempts == 0 {
            self.shared.metrics.overhead(self.started.elapsed());
        }
        self.attempts += 1;
        self.upstream_id = None;
        self.instance = Some(lease.id());
        self.reserved = lease.reserved();
        self.prompt = lease.expected_prompt();
        self.used = Tokens::ZERO;
        self.lease = Some(lease);
    }

    /// Notes what the head of a good answer says about quota.
    pub(super) fn heard(&mut self, said: Said) {
        if let Some(lease) = &mut self.lease {
            lease.heard(said, Instant::now().into_std());
        }
    }

    /// Notes what the head of an answer that is no good one says about quota.
    pub(super) fn declined(&mut self, said: Said) {
        if let Some(lease) = &mut self.lease {
            lease.declined(said);
        }
    }

    /// Passes on the news of an answer whose end, and with it the settlement, may be far off.
    pub(super) fn goes_on(&mut self) {
        if let Some(lease) = &mut self.lease {
            self.outbox.begun(lease);
        }
    }

    /// Notes that the answer begins to reach the client.
    pub(super) fn begun(&mut self, status: StatusCode) {
        let took = self.started.elapsed();
        self.first_byte = Some(took);
        self.shared.metrics.first_byte(took);
        if status.is_success()
            && let Some(lease) = &mut self.lease
        {
            lease.confirm();
        }
    }

    /// Ends the running attempt.
    pub(super) fn settle(&mut self, kind: Attempt, outcome: Outcome) {
        let Some(lease) = self.lease.take() else {
            return;
        };
        self.tell_outcome(&outcome);
        let outcome = self.without_what_was_not_asked(outcome);
        self.used = outcome.charged(self.reserved);
        let metrics = &self.shared.metrics;
        metrics.attempt(lease.id(), kind, self.reserved, self.used);
        self.outbox.settle(lease, outcome);
    }

    /// Takes out what an answer tells of another request: an errand's of the one that it is about, and of a continued
    /// response's prompt.
    fn without_what_was_not_asked(&self, outcome: Outcome) -> Outcome {
        let free = |used: Tokens| if self.is_errand { Tokens::ZERO } else { used };
        match outcome {
            Outcome::Answered {
                used,
                prompt,
                output,
            } => Outcome::Answered {
                used: if self.is_errand {
                    Some(Tokens::ZERO)
                } else {
                    used
                },
                prompt: prompt.filter(|_| !self.is_errand && !self.has_hidden_prompt),
                output: output.filter(|_| !self.is_errand),
            },
            Outcome::Refused { used } => Outcome::Refused { used: free(used) },
            Outcome::Faulted { used, summary } => Outcome::Faulted {
                used: free(used),
                summary,
            },
            Outcome::Abandoned { used } => Outcome::Abandoned {
                used: used.map(free),
            },
            other @ (Outcome::Throttled { .. }
            | Outcome::NoCapacity { .. }
            | Outcome::Unreachable { .. }
            | Outcome::Withdrawn
            | Outcome::Unauthorized { .. }
            | Outcome::NoDeployment { .. }) => other,
        }
    }

    /// Remembers that the running attempt's instance made what an answer, or an event of one, names.
    pub(super) fn made(&self, answer: &[u8], usage: Option<Usage>) {
        if let Some(by) = self.instance {
            self.shared.makers.note(answer, by, usage);
        }
    }

    /// Notes how a long answer begins: a response has its id there.
    pub(super) fn began_long(&self, start: &[u8]) {
        if self.keeps_state {
            self.made(start, None);
        }
    }

    /// Ends the running attempt because the instance does not know what the request is about: nothing was done there.
    pub(super) fn settle_unknown(&mut self) {
        let used = Tokens::ZERO;
        self.settle(Attempt::ClientError, Outcome::Refused { used });
    }

    /// Ends the running attempt with a whole JSON answer. Services write the usage last, so that is looked at first.
    pub(super) fn settle_answer(&mut self, body: &[u8]) {
        let tail = body.get(body.len().saturating_sub(USAGE_TAIL)..);
        let usage = tail.and_then(usage::from_tail);
        let usage = usage.or_else(|| usage::from_json(body));
        if self.keeps_state {
            self.made(body, usage);
        }
        self.settle_usage(usage);
    }

    /// Ends the running attempt with a complete answer; without usage the reservation stands.
    pub(super) fn settle_usage(&mut self, usage: Option<Usage>) {
        let outcome = Outcome::Answered {
            used: usage.map(|usage| usage.total),
            prompt: usage.map(|usage| usage.prompt),
            output: usage.map(|usage| self.per_completion(usage.output)),
        };
        self.settle(Attempt::Answered, outcome);
    }

    /// Ends the running attempt with a complete stream that told no usage, by what was streamed.
    pub(super) fn settle_streamed(&mut self, output: Tokens) {
        let outcome = Outcome::Answered {
            used: Some(self.prompt + output),
            prompt: None,
            output: Some(self.per_completion(output)),
        };
        self.settle(Attempt::Answered, outcome);
    }

    /// Ends the running attempt with an error of the client's own: the prompt may have been charged, and what was
    /// generated before the error, if any, was.
    pub(super) fn settle_client_error(&mut self, output: Option<Tokens>) {
        let used = match output {
            Some(output) => self.prompt + output,
            None => self.prompt.min(self.reserved),
        };
        self.settle(Attempt::ClientError, Outcome::Refused { used });
    }

    /// Ends the running attempt with an answer that broke off after `output` tokens.
    pub(super) fn settle_cut(&mut self, output: Option<Tokens>, summary: String) {
        let used = output.map_or(self.reserved, |output| self.prompt + output);
        self.settle(Attempt::Cut, Outcome::Faulted { used, summary });
    }

    /// Ends the running attempt because the client left after `output` tokens; `None` if unknown.
    pub(super) fn settle_left(&mut self, output: Option<Tokens>) {
        let used = output.map(|output| self.prompt + output);
        self.settle(Attempt::ClientLeft, Outcome::Abandoned { used });
    }

    /// Closes the account of an answered request.
    pub(super) fn close(mut self: Box<Self>, status: u16) {
        self.finish(status);
    }

    /// Closes the account of a request that gets our own error, and returns the error.
    pub(super) fn refuse(mut self: Box<Self>, error: ApiError) -> ApiError {
        self.upstream_id = None;
        let status = actix_web::ResponseError::status_code(&error).as_u16();
        let code = error.code().as_str();
        log::debug!(request_id = self.request_id(), code, error:%; "request refused");
        self.finish(status);
        error.with_request(self.request_id(), self.attempts)
    }

    fn per_completion(&self, output: Tokens) -> Tokens {
        Tokens(output.0 / self.completions.max(1))
    }

    fn finish(&mut self, status: u16) {
        if self.is_closed {
            return;
        }
        self.is_closed = true;
        self.shared.metrics.ended(self.label, status);
        self.tell_end(status);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.settle_left(None);
        self.finish(CLIENT_LEFT);
    }
}
