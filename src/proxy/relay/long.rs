//! A long JSON answer on its way: passed on chunk by chunk, its end remembered for the usage.
//!
//! If it breaks off, the client's connection breaks off too: a status line has gone out, and a clean end would make a
//! part look like the whole.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use bytes::{Bytes, BytesMut};
use futures_util::Stream;

use super::Silence;
use crate::openai::usage;
use crate::proxy::account::Account;
use crate::proxy::upstream::{Answer, explain_cut};

/// Bytes at the end of an answer in which `usage` is looked for; the object takes a few hundred.
const TAIL: usize = 4 * 1024;

/// The body of a long answer.
pub(in crate::proxy) struct Long {
    answer: Answer,
    first: Option<Bytes>,
    tail: BytesMut,
    passed: u64,
    expected: Option<u64>,
    silence: Silence,
    account: Option<Box<Account>>,
    broken: Option<String>,
    told: bool,
}

/// The answer broke off; the client's connection is closed without an end.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(in crate::proxy) struct Cut(String);

impl Long {
    pub(super) fn new(answer: Answer, first: Bytes, expected: Option<u64>, idle: Duration) -> Self {
        Self {
            answer,
            first: Some(first),
            tail: BytesMut::new(),
            passed: 0,
            expected,
            silence: Silence::new(idle),
            account: None,
            broken: None,
            told: false,
        }
    }

    /// Makes the body answerable for the account.
    pub(in crate::proxy) fn owed_by(mut self, account: Box<Account>) -> Self {
        account.began_long(self.first.as_deref().unwrap_or_default());
        self.account = Some(account);
        self
    }

    fn pass(&mut self, chunk: Bytes) -> Bytes {
        self.passed += chunk.len() as u64;
        let from = chunk.len().saturating_sub(TAIL);
        self.tail
            .extend_from_slice(chunk.get(from..).unwrap_or_default());
        let surplus = self.tail.len().saturating_sub(TAIL);
        // Moves the kept bytes only once in a while.
        if surplus >= TAIL {
            self.tail = BytesMut::from(self.tail.get(surplus..).unwrap_or_default());
        }
        chunk
    }

    fn end(&mut self) -> Poll<Option<Result<Bytes, Cut>>> {
        if let Some(expected) = self.expected
            && expected != self.passed
        {
            return self.cut(format!(
                "the answer ended after {} of {expected} bytes",
                self.passed
            ));
        }
        if let Some(mut account) = self.account.take() {
            account.settle_usage(usage::from_tail(&self.tail));
            account.close(self.answer.status().as_u16());
        }
        Poll::Ready(None)
    }

    fn cut(&mut self, summary: String) -> Poll<Option<Result<Bytes, Cut>>> {
        if let Some(mut account) = self.account.take() {
            account.settle_cut(None, summary.clone());
            account.close(self.answer.status().as_u16());
        }
        self.broken = Some(summary);
        Poll::Pending
    }
}

impl MessageBody for Long {
    type Error = Cut;

    fn size(&self) -> BodySize {
        self.expected.map_or(BodySize::Stream, BodySize::Sized)
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(self.pass(first))));
        }
        if self.broken.is_none() {
            let polled = match Pin::new(&mut self.answer).poll_next(cx) {
                Poll::Ready(Some(Ok(chunk))) => {
                    self.silence.heard();
                    return Poll::Ready(Some(Ok(self.pass(chunk))));
                }
                Poll::Ready(Some(Err(error))) => self.cut(explain_cut(&error)),
                Poll::Ready(None) => self.end(),
                Poll::Pending => {
                    let until = self.silence.end();
                    match self.silence.poll(cx, until) {
                        Poll::Ready(()) => self.cut("the answer fell silent".to_owned()),
                        Poll::Pending => return Poll::Pending,
                    }
                }
            };
            if polled.is_ready() {
                return polled;
            }
        }
        // actix-web throws unsent bytes away when a body fails; a pause lets it send them first.
        if !self.told {
            self.told = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let summary = self.broken.clone().unwrap_or_default();
        Poll::Ready(Some(Err(Cut(summary))))
    }
}

impl Drop for Long {
    fn drop(&mut self) {
        if let Some(mut account) = self.account.take() {
            account.settle_left(None);
        }
    }
}
