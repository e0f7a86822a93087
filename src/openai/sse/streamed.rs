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
        self.events += 1;
        let Some(at) = KEYS.delta.find(event) else {
            self.bytes += text_bytes(&KEYS.text, event);
            return;
        };
        // It brings text or the arguments of a call.
        let delta = event.get(at..).unwrap_or_default();
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
    let mut escaped = false;
    for (length, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return length as u64,
            _ => {}
        }
    }
    text.len() as u64
}
