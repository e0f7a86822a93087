//! An event stream on its way: whole events are passed on at once, byte for byte, and watched for usage and for the end.
//!
//! A stream is complete when `[DONE]` has passed, or one of the events that end a response. One that breaks off, falls
//! silent or ends before it gets an error event as its last, which both OpenAI SDKs raise, and never a `[DONE]`. A torn
//! event at the break is dropped.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use futures_util::Stream;
use tokio::time::Instant;

use super::seen::{Seen, Show};
use super::{Broken, Dialect, HELD, PREAMBLE, Silence, Sorting, next};
use crate::actors::Outcome;
use crate::domain::Tokens;
use crate::error::{response_error_event, stream_error_event};
use crate::openai::response_events;
use crate::openai::sse::{self, Event, Splitter, StreamError};
use crate::proxy::account::Account;
use crate::proxy::declined::{Charge, Declined};
use crate::proxy::upstream::{Answer, Failed, NoAnswer, explain_cut};

/// How long the end of the body may stay out after `[DONE]` before the connection is given up.
const AFTER_DONE: Duration = Duration::from_secs(1);

/// The body of an event stream.
pub(in crate::proxy) struct Events {
    answer: Answer,
    splitter: Splitter,
    ready: VecDeque<Bytes>,
    seen: Seen,
    silence: Silence,
    account: Option<Box<Account>>,
    has_ended: bool,
    /// When the first content must have come, also if the events before it have been shown already.
    content_by: Instant,
}

impl Events {
    /// Reads up to the first content, or until [`PREAMBLE`] has gone by since the first event, or more than [`HELD`] come.
    pub(super) async fn begin(answer: Answer, sorting: Sorting) -> Result<Self, Broken> {
        let mut events = Self {
            answer,
            splitter: Splitter::default(),
            ready: VecDeque::new(),
            seen: Seen::new(sorting),
            silence: Silence::new(sorting.idle),
            account: None,
            has_ended: false,
            content_by: sorting.deadline,
        };
        let mut release: Option<Instant> = None;
        let mut held = 0;
        while !events.seen.is_showable() && (held <= HELD || events.ready.is_empty()) {
            let until = release.map_or(sorting.deadline, |at| at.min(sorting.deadline));
            match next(&mut events.answer, until).await {
                Ok(Some(chunk)) => {
                    held += chunk.len();
                    events.take(chunk);
                }
                Ok(None) => {
                    events.take_last();
                    events.seen.ended();
                    if !events.seen.done {
                        return Err(Broken::Cut(ended_early()));
                    }
                    // The body must not be asked again after its end.
                    events.has_ended = true;
                }
                Err(no_answer) if no_answer.kind.is_timeout() && release.is_some() => break,
                Err(no_answer) => return Err(Broken::Cut(no_answer)),
            }
            if let Some(error) = events.seen.error.take() {
                return Err(Broken::Error(error));
            }
            if !events.ready.is_empty() {
                release.get_or_insert_with(|| Instant::now() + PREAMBLE);
            }
        }
        events.silence.heard();
        Ok(events)
    }

    /// Makes the body answerable for the account.
    pub(in crate::proxy) fn owed_by(mut self, account: Box<Account>) -> Self {
        self.account = Some(account);
        self.note_made();
        if self.has_ended {
            self.settle(None);
        }
        self
    }

    /// Notes what the stream has named so far: a client may come back to it before the stream has ended.
    fn note_made(&mut self) {
        if let Some(account) = &self.account {
            for event in self.seen.naming.drain(..) {
                account.made(&event, None);
            }
        }
    }

    /// Queues what a chunk completes.
    fn take(&mut self, chunk: Bytes) {
        let whole = self.splitter.push(chunk);
        let mut shown = 0;
        let mut at = 0;
        for event in sse::events(&whole) {
            let end = at + event.len();
            if self.seen.note(&event) == Show::Hide {
                self.queue(whole.slice(shown..at));
                shown = end;
            }
            at = end;
        }
        self.queue(whole.slice(shown..));
    }

    /// Takes what the end of the body left without a blank line: some services end right after `[DONE]`.
    fn take_last(&mut self) {
        let last = self.splitter.rest();
        let was_done = self.seen.done;
        if matches!(self.seen.read(&last), Event::Done | Event::End(_)) {
            self.seen.note(&last);
        }
        if was_done || self.seen.done {
            self.queue(last);
        }
    }

    fn queue(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.ready.push_back(bytes);
        }
    }

    /// Notes that the upstream will send no more; `cut` says why if that was no proper end.
    fn end(&mut self, cut: Option<String>) {
        self.has_ended = true;
        self.take_last();
        if cut.is_none() {
            self.seen.ended();
        }
        let failure = match (self.seen.error.take(), cut) {
            _ if self.seen.done => None,
            // The client has the service's own words already.
            (Some(error), _) => Some(Failure::Told(error)),
            (None, cut) => {
                let summary = cut.unwrap_or_else(|| ended_early().summary);
                self.tell(&summary);
                Some(Failure::Cut(summary))
            }
        };
        self.settle(failure);
    }

    /// Returns until when the upstream may be silent, and what longer silence means; nothing if all is there.
    fn patience(&self) -> (Instant, Option<&'static str>) {
        let idle = self.silence.end();
        if self.seen.done {
            // Only the end of the body is missing; without it the connection cannot be used again.
            (idle.min(self.silence.heard + AFTER_DONE), None)
        } else if self.seen.content {
            (idle, Some("the stream fell silent"))
        } else {
            (idle.min(self.content_by), Some("no content came in time"))
        }
    }

    fn tell(&mut self, summary: &str) {
        let message = format!("The upstream broke off its answer: {summary}.");
        let event = match self.seen.dialect {
            Dialect::Chunks => stream_error_event(&message),
            Dialect::Responses => {
                let last = response_events::sequence_number(&self.seen.last);
                response_error_event(&message, last.map_or(0, |number| number + 1))
            }
        };
        if self.splitter.is_torn() {
            self.queue(Bytes::from_static(b"\n\n"));
        }
        self.queue(Bytes::from(event));
    }

    fn settle(&mut self, failure: Option<Failure>) {
        let Some(mut account) = self.account.take() else {
            return;
        };
        let output = self.seen.output();
        account.made(&self.seen.last, self.seen.usage);
        match (failure, self.seen.usage) {
            (None, Some(usage)) => account.settle_usage(Some(usage)),
            (None, None) => account.settle_streamed(output),
            (Some(Failure::Cut(summary)), _) => account.settle_cut(Some(output), summary),
            (Some(Failure::Told(error)), _) => settle_told(&mut account, error, output),
        }
        account.close(self.answer.status().as_u16());
    }
}

/// Why a stream has no proper end.
enum Failure {
    /// It broke off, and the client was told by us.
    Cut(String),
    /// The service said so itself.
    Told(StreamError),
}

/// Ends an attempt whose stream told an error after its content: what it means, it would have meant before.
fn settle_told(account: &mut Account, error: StreamError, output: Tokens) {
    match Declined::in_stream(error).judge(SystemTime::now()) {
        None => account.settle_client_error(Some(output)),
        Some(Charge {
            outcome: Outcome::Faulted { summary, .. },
            ..
        }) => account.settle_cut(Some(output), summary),
        Some(charge) => account.settle(charge.attempt, charge.outcome),
    }
}

fn ended_early() -> NoAnswer {
    NoAnswer {
        kind: Failed::Broken,
        // Without the mark itself: many clients take any line that contains it for the end.
        summary: "the stream ended without its end mark".to_owned(),
    }
}

impl MessageBody for Events {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(bytes)));
            }
            if self.has_ended {
                return Poll::Ready(None);
            }
            match Pin::new(&mut self.answer).poll_next(cx) {
                Poll::Ready(Some(Ok(chunk))) => {
                    self.silence.heard();
                    self.take(chunk);
                    self.note_made();
                }
                Poll::Ready(Some(Err(error))) => self.end(Some(explain_cut(&error))),
                Poll::Ready(None) => self.end(None),
                Poll::Pending => {
                    let (until, meaning) = self.patience();
                    match self.silence.poll(cx, until) {
                        Poll::Ready(()) => self.end(meaning.map(str::to_owned)),
                        Poll::Pending => return Poll::Pending,
                    }
                }
            }
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        if let Some(mut account) = self.account.take() {
            account.made(&self.seen.last, self.seen.usage);
            // A client that has read the last event may close before the last chunk of HTTP has gone out.
            match (self.seen.done, self.seen.usage) {
                (true, Some(usage)) => account.settle_usage(Some(usage)),
                (true, None) => account.settle_streamed(self.seen.output()),
                (false, _) => account.settle_left(Some(self.seen.output())),
            }
            if self.seen.done {
                account.close(self.answer.status().as_u16());
            }
        }
    }
}
