//! The output of a stream by what passed by, for streams that end without telling their usage.
//!
//! It errs on the side of more, since quota that was used and is not counted leads to 429s.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::domain::Tokens;

/// The keys of what a stream brings. Preparing a search costs more than searching one event.
struct Keys {
    delta: Finder<'static>,
    content: Finder<'static>,
    arguments: Finder<'static>,
    text: Finder<'static>,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys {
    delta: Finder::new("\"delta\":"),
    content: Finder::new("\"content\":"),
    arguments: Finder::new("\"arguments\":"),
    text: Finder::new("\"text\":"),
});

/// Estimates the output of a stream from what passed by, for streams that end without usage.
///
/// Services send about one token an event; Azure's content filter gathers several, and then four bytes of text are
/// about a token. The larger of the two is taken, so that quota is not underrated.
#[derive(Clone, Copy, Debug, Default)]
pub struct Streamed {
    events: u64,
    bytes: u64,
}

impl Streamed {
    /// Counts a content event.
    pub fn add(&mut self, event: &[u8]) {
        if let Some(delta) = delta_of(event) {
            return self.add_rest(delta);
        }
        self.events += 1;
        self.bytes += text_bytes(&KEYS.text, event);
    }

    /// Counts a content event of which [`delta_of`] has found the rest.
    pub fn add_rest(&mut self, delta: &[u8]) {
        self.events += 1;
        // It brings text or the arguments of a call.
        self.bytes += match text_bytes(&KEYS.content, delta) {
            0 => text_bytes(&KEYS.arguments, delta),
            bytes => bytes,
        };
    }

    /// Counts a content event of the Responses API, which has its text in `delta`.
    pub fn add_delta(&mut self, event: &[u8]) {
        self.events += 1;
        self.bytes += text_bytes(&KEYS.delta, event);
    }

    /// Returns the estimated output tokens.
    pub fn tokens(&self) -> Tokens {
        Tokens(self.events.max(self.bytes.div_ceil(4)))
    }
}

/// Returns an event of a chat from its `delta` on; `None` if it has none. Inside a string the quotes would be escaped.
pub fn delta_of(event: &[u8]) -> Option<&[u8]> {
    event.get(KEYS.delta.find(event)?..)
}

/// Returns the length of the string behind a key; 0 if there is none.
fn text_bytes(key: &Finder<'_>, event: &[u8]) -> u64 {
    let Some(at) = key.find(event) else {
        return 0;
    };
    let after = at + key.needle().len();
    string_bytes(event.get(after..).unwrap_or_default())
}

/// Returns the length of the JSON string at the start of `json`, escapes counted as written; 0 if there is none.
fn string_bytes(json: &[u8]) -> u64 {
    let Some(text) = json.trim_ascii_start().strip_prefix(b"\"") else {
        return 0;
    };
    let mut length = 0;
    while let Some(at) = memchr::memchr2(b'"', b'\\', text.get(length..).unwrap_or_default()) {
        length += at;
        if text.get(length) == Some(&b'"') {
            return length as u64;
        }
        // A backslash, and what it escapes.
        length += 2;
    }
    text.len() as u64
}
