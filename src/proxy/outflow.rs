//! What is sent to an instance: bytes that are there, or an upload that is read from where it waits while it is sent.
//!
//! An upload goes out as it came but for one edit, with its length told ahead. It may go out as often as instances are
//! tried, each time from the start and with an edit of its own.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::openai::request::{Edit, Fields};
use crate::spool::{Content, Spool};

/// Bytes read from a file at a time. The HTTP client takes more only once these are on their way.
const PIECE: usize = 128 * 1024;

/// A form that has come whole.
pub struct Upload {
    /// Where it can be edited.
    pub fields: Fields,
    /// The form itself.
    pub content: Content,
}

/// A body as one instance gets it.
pub(super) enum Parcel {
    Bytes(Bytes),
    Upload {
        content: Content,
        edit: Option<Edit>,
    },
}

impl Parcel {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Upload { content, edit } => {
                let edited = edit.as_ref().map(|edit| (edit.span.len(), edit.with.len()));
                let (less, more) = edited.unwrap_or_default();
                content.len() - less + more
            }
        }
    }
}

/// An upload on its way out.
pub(super) struct Outflow {
    bytes: usize,
    rest: VecDeque<Stretch>,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
    /// What was read last, for the room that it takes.
    last: Bytes,
}

/// A part of what is still to be sent.
enum Stretch {
    Bytes(Bytes),
    File(Arc<Spool>, Range<usize>),
}

impl Stretch {
    fn of(content: &Content, range: Range<usize>) -> Self {
        match content {
            Content::Memory(bytes) => Self::Bytes(bytes.slice(range)),
            Content::Disk(spool) => Self::File(spool.clone(), range),
        }
    }
}

impl Outflow {
    /// Begins to send an upload.
    pub(super) fn new(content: &Content, edit: Option<&Edit>) -> Self {
        let end = content.len();
        let Some(Edit { span, with }) = edit else {
            return Self::of(end, [Stretch::of(content, 0..end)]);
        };
        let stretches = [
            Stretch::of(content, 0..span.start),
            Stretch::Bytes(with.clone()),
            Stretch::of(content, span.end..end),
        ];
        Self::of(end - span.len() + with.len(), stretches)
    }

    fn of(bytes: usize, stretches: impl Into<VecDeque<Stretch>>) -> Self {
        Self {
            bytes,
            rest: stretches.into(),
            reading: None,
            last: Bytes::new(),
        }
    }
}

impl MessageBody for Outflow {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.bytes as u64)
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            if let Some(reading) = &mut self.reading {
                let read = ready!(Pin::new(reading).poll(cx));
                self.reading = None;
                let read = read.map_err(io::Error::other).flatten();
                if let Ok(piece) = &read {
                    self.last = piece.clone();
                }
                return Poll::Ready(Some(read));
            }
            match self.rest.pop_front() {
                None => return Poll::Ready(None),
                Some(Stretch::Bytes(bytes)) if bytes.is_empty() => {}
                Some(Stretch::Bytes(bytes)) => return Poll::Ready(Some(Ok(bytes))),
                Some(Stretch::File(_, range)) if range.is_empty() => {}
                Some(Stretch::File(spool, range)) => {
                    let next = range.end.min(range.start + PIECE);
                    // The HTTP client has copied it by now, so that it is ours alone.
                    let last = std::mem::take(&mut self.last);
                    let room = last.try_into_mut().unwrap_or_default();
                    self.reading = Some(spool.read(range.start..next, room));
                    self.rest.push_front(Stretch::File(spool, next..range.end));
                }
            }
        }
    }
}
