//! Beginning an answer: reading as much of it as it takes to know that it is one, and no more.
//!
//! Until something has been shown to the client, a broken answer costs only a move to the next instance. A JSON answer
//! is therefore held until it is complete, up to [`HELD`]; a stream until its first content, or for [`PREAMBLE`]. What
//! follows is passed on as it comes by `Long` and `Events`.

mod events;
mod long;
mod seen;

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::header::{self, HeaderMap};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use self::events::Events;
use self::long::Long;
use super::upstream::{Answer, Failed, NoAnswer, explain_cut};
use crate::domain::Endpoint;
use crate::openai::sse::StreamError;

/// A JSON answer up to this size is passed on only once it is complete. Chat answers are far smaller.
const HELD: usize = 256 * 1024;

/// An error answer is read up to this size; what is longer than any service writes is broken off.
const LONGEST_ERROR: usize = 1 << 20;

/// How long the first chunks of a stream that carry no text yet are held back, so that a failure before the first
/// content can still be mended elsewhere. Services send them together with the first content.
const PREAMBLE: Duration = Duration::from_millis(200);

/// How the body of an answer is to be taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sorting {
    /// How an event stream speaks.
    pub(super) dialect: Dialect,
    /// The usage chunk was asked for by us, not by the client.
    pub(super) hides_usage: bool,
    /// The client does not expect the chunks that Azure's content filter adds.
    pub(super) hides_filters: bool,
    /// It tells of a response that was made before, so an error in it is none of this answer.
    pub(super) is_kept: bool,
    /// How many answers it holds, each of which may have an end of its own.
    pub(super) answers: u64,
    /// When the first content must have come.
    pub(super) deadline: Instant,
    /// The longest silence between two chunks.
    pub(super) idle: Duration,
}

/// The two ways in which events are told apart and streams end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Chunks with choices, then `[DONE]`.
    Chunks,
    /// The named events of the Responses API.
    Responses,
}

impl Dialect {
    pub(super) fn of(endpoint: Endpoint) -> Self {
        match endpoint {
            Endpoint::ChatCompletions | Endpoint::Completions | Endpoint::Embeddings => {
                Self::Chunks
            }
            // Images, speech and transcripts as streams have named events too.
            Endpoint::Responses
            | Endpoint::ResponsesCompact
            | Endpoint::ResponsesInputTokens
            | Endpoint::ImageGenerations
            | Endpoint::ImageEdits
            | Endpoint::Speech
            | Endpoint::Transcriptions
            | Endpoint::Translations => Self::Responses,
        }
    }
}

/// What the head of an answer says of its body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    is_event_stream: bool,
    is_json: bool,
    length: Option<u64>,
}

impl Form {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        Self {
            is_event_stream: is_event_stream(headers),
            is_json: is_json(headers),
            length: content_length(headers),
        }
    }
}

/// An answer that can be shown.
pub(super) enum Begun {
    /// A complete body.
    Whole(Bytes),
    /// A long body, of which the first part has come.
    Long(Box<Long>),
    /// An event stream.
    Events(Box<Events>),
}

/// An answer that cannot be shown.
pub(super) enum Broken {
    /// It broke off or fell silent.
    Cut(NoAnswer),
    /// Its first event is an error.
    Error(StreamError),
}

/// Reads the beginning of a successful answer.
pub(super) async fn begin(
    mut answer: Answer,
    form: Form,
    sorting: Sorting,
) -> Result<Begun, Broken> {
    if form.is_event_stream {
        let events = Events::begin(answer, sorting).await?;
        return Ok(Begun::Events(Box::new(events)));
    }
    let mut held = Held::default();
    let mut deadline = sorting.deadline;
    // Sound is played while it comes.
    let most = if form.is_json { HELD } else { 1 };
    while held.bytes < most {
        match next(&mut answer, deadline).await.map_err(Broken::Cut)? {
            Some(chunk) => held.push(chunk),
            None => {
                return whole(held, form.length)
                    .map(Begun::Whole)
                    .map_err(Broken::Cut);
            }
        }
        deadline = Instant::now() + sorting.idle;
    }
    let long = Long::new(answer, held.into_bytes(), form.length, sorting.idle);
    Ok(Begun::Long(Box::new(long)))
}

/// Reads the body of an error answer.
pub(super) async fn error_body(
    headers: &HeaderMap,
    mut answer: Answer,
    idle: Duration,
) -> Result<Bytes, NoAnswer> {
    let expected = content_length(headers);
    let mut held = Held::default();
    while held.bytes < LONGEST_ERROR {
        match next(&mut answer, Instant::now() + idle).await? {
            Some(chunk) => held.push(chunk),
            None => return whole(held, expected),
        }
    }
    Err(NoAnswer {
        kind: Failed::Broken,
        summary: format!("an error answer of more than {LONGEST_ERROR} bytes"),
    })
}

fn whole(held: Held, expected: Option<u64>) -> Result<Bytes, NoAnswer> {
    if let Some(expected) = expected
        && expected != held.bytes as u64
    {
        return Err(NoAnswer {
            kind: Failed::Broken,
            summary: format!("the answer ended after {} of {expected} bytes", held.bytes),
        });
    }
    Ok(held.into_bytes())
}

/// Reads the next chunk, `None` at the announced end of the body.
async fn next(answer: &mut Answer, deadline: Instant) -> Result<Option<Bytes>, NoAnswer> {
    match timeout_at(deadline, answer.next()).await {
        Ok(Some(Ok(chunk))) => Ok(Some(chunk)),
        Ok(None) => Ok(None),
        Ok(Some(Err(error))) => Err(NoAnswer {
            kind: Failed::Broken,
            summary: explain_cut(&error),
        }),
        Err(_) => Err(NoAnswer {
            kind: Failed::AfterSending,
            summary: "the answer began and then fell silent".to_owned(),
        }),
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            let kind = value.split(';').next().unwrap_or_default();
            kind.trim().eq_ignore_ascii_case("text/event-stream")
        })
}

/// Says whether an answer is JSON, as it is unless it says otherwise.
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_none_or(|kind| {
        let kind = kind.as_bytes();
        !(kind.starts_with(b"audio/") || kind.starts_with(b"application/octet-stream"))
    })
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    // Chunks win over a length (RFC 9112, 6.3).
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return None;
    }
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// Chunks that are joined only if there are several.
#[derive(Default)]
struct Held {
    first: Option<Bytes>,
    joined: BytesMut,
    bytes: usize,
}

impl Held {
    fn push(&mut self, chunk: Bytes) {
        self.bytes += chunk.len();
        match self.first.take() {
            None if self.joined.is_empty() => self.first = Some(chunk),
            None => self.joined.extend_from_slice(&chunk),
            Some(first) => {
                self.joined.extend_from_slice(&first);
                self.joined.extend_from_slice(&chunk);
            }
        }
    }

    fn into_bytes(self) -> Bytes {
        self.first.unwrap_or_else(|| self.joined.freeze())
    }
}

/// Notices when an upstream has been silent for too long. A chunk costs it a look at the clock, no timer.
struct Silence {
    idle: Duration,
    heard: Instant,
    timer: Pin<Box<Sleep>>,
    set_to: Instant,
}

impl Silence {
    fn new(idle: Duration) -> Self {
        let heard = Instant::now();
        let set_to = heard + idle;
        Self {
            idle,
            heard,
            timer: Box::pin(sleep_until(set_to)),
            set_to,
        }
    }

    fn heard(&mut self) {
        self.heard = Instant::now();
    }

    /// Returns when the silence will have become too long.
    fn end(&self) -> Instant {
        self.heard + self.idle
    }

    /// Is ready when `until` has passed. The timer is set anew only when it is too late or has run out.
    fn poll(&mut self, cx: &mut Context<'_>, until: Instant) -> Poll<()> {
        if until < self.set_to {
            self.set(until);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= until {
                return Poll::Ready(());
            }
            self.set(until);
        }
        Poll::Pending
    }

    fn set(&mut self, to: Instant) {
        self.timer.as_mut().reset(to);
        self.set_to = to;
    }
}
