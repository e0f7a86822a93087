//! What has passed by in an event stream: how far it is, what it used, and the error it told, if any.
//!
//! Of several errors the first counts: services repeat one in other words, and the first is the most exact. What a
//! kept response came to is its content, so there an error is an end like any other.

use bytes::Bytes;

use super::{Dialect, Sorting};
use crate::domain::Tokens;
use crate::openai::filter_chunks::is_filter_chunk;
use crate::openai::response_events;
use crate::openai::sse::{self, Event, StreamError, Streamed};
use crate::openai::usage::Usage;

/// What has passed by.
pub(super) struct Seen {
    pub(super) dialect: Dialect,
    hides_usage: bool,
    hides_filters: bool,
    is_kept: bool,
    pub(super) content: bool,
    pub(super) done: bool,
    pub(super) usage: Option<Usage>,
    streamed: Streamed,
    pub(super) error: Option<StreamError>,
    /// Ends that must come: each of several images has its own.
    ends: u64,
    ends_seen: u64,
    has_begun: bool,
    /// Events that name what was made: the first of a response, and those of its items.
    pub(super) naming: Vec<Bytes>,
    /// The last event, for its number and for all items.
    pub(super) last: Bytes,
}

/// What becomes of an event.
#[derive(PartialEq, Eq)]
pub(super) enum Show {
    Pass,
    Hide,
}

impl Seen {
    pub(super) fn new(sorting: Sorting) -> Self {
        Self {
            dialect: sorting.dialect,
            hides_usage: sorting.hides_usage,
            hides_filters: sorting.hides_filters,
            is_kept: sorting.is_kept,
            content: false,
            done: false,
            usage: None,
            streamed: Streamed::default(),
            error: None,
            ends: sorting.answers,
            ends_seen: 0,
            has_begun: false,
            naming: Vec::new(),
            last: Bytes::new(),
        }
    }

    /// Says whether the client may be shown what has come.
    pub(super) fn is_showable(&self) -> bool {
        self.content || self.done
    }

    /// Returns the output so far. Usage that was told counts even if the end is missing: hidden reasoning is part of it.
    pub(super) fn output(&self) -> Tokens {
        self.usage
            .map_or_else(|| self.streamed.tokens(), |usage| usage.output)
    }

    /// Notes that the body has ended properly: no more ends will come than have.
    pub(super) fn ended(&mut self) {
        self.done |= self.ends_seen > 0;
    }

    pub(super) fn read(&self, event: &[u8]) -> Event {
        match self.dialect {
            Dialect::Responses => response_events::read(event),
            Dialect::Chunks if self.content => sse::skim(event),
            Dialect::Chunks => sse::read(event),
        }
    }

    pub(super) fn note(&mut self, event: &Bytes) -> Show {
        if self.notes_text(event) {
            return Show::Pass;
        }
        if self.dialect == Dialect::Chunks && is_filter_chunk(event) {
            return match self.hides_filters {
                true => Show::Hide,
                false => Show::Pass,
            };
        }
        match self.read(event) {
            Event::Done => self.done = true,
            Event::Preamble => {}
            Event::Content => {
                self.content = true;
                self.count(event);
            }
            Event::Other => self.content = true,
            Event::End(usage) => self.end(usage),
            Event::Usage(usage) => {
                self.usage = Some(usage);
                if self.hides_usage {
                    return Show::Hide;
                }
            }
            Event::Error(_) if self.is_kept => self.done = true,
            Event::Error(error) => _ = self.error.get_or_insert(error),
        }
        self.remember(event);
        Show::Pass
    }

    /// Notes an event like nearly all of a chat, at the least cost; false if it has more than a part of the answer, or less.
    fn notes_text(&mut self, event: &[u8]) -> bool {
        if self.dialect != Dialect::Chunks || !self.content {
            return false;
        }
        // An event of the filter has none.
        let Some(delta) = sse::delta_of(event).filter(|_| sse::is_bare(event)) else {
            return false;
        };
        self.streamed.add_rest(delta);
        true
    }

    fn end(&mut self, usage: Option<Usage>) {
        self.content = true;
        self.ends_seen += 1;
        self.done = self.ends_seen >= self.ends;
        self.usage = match (self.usage, usage) {
            (Some(earlier), Some(usage)) => Some(earlier.plus(usage)),
            (earlier, usage) => usage.or(earlier),
        };
    }

    /// Keeps an event of a response. Comments and `[DONE]` name nothing.
    fn remember(&mut self, event: &Bytes) {
        let names = sse::data(event).is_some_and(|data| *data != *b"[DONE]");
        if self.dialect != Dialect::Responses || !names {
            return;
        }
        if !std::mem::replace(&mut self.has_begun, true) || response_events::tells_item(event) {
            self.naming.push(event.clone());
        }
        self.last = event.clone();
    }

    fn count(&mut self, event: &[u8]) {
        match self.dialect {
            Dialect::Responses => self.streamed.add_delta(event),
            Dialect::Chunks => {
                self.streamed.add(event);
                if let Some(usage) = sse::usage_beside_content(event) {
                    self.usage = Some(usage);
                }
            }
        }
    }
}
