//! A guess and an upper bound from the bytes of a body alone, at the speed of memory.
//!
//! A token covers at least one byte of text, an escape in JSON is longer than what it stands for, and what the service
//! adds around a message is no more than the JSON around it, so a body has no more tokens than bytes and a constant.
//! Where that could fail (a function name is charged twice), `prompt_tokens` is capped at this bound, so it holds
//! always. Attachments are another matter: what an image costs does not follow from its bytes.

use memchr::memmem;

use crate::domain::{Endpoint, Tokens};

use super::images;

/// Tokens a request can have without any byte to show for them: the priming, and what gpt-5 adds to tools.
const ADDED_TOKENS: u64 = 128;

/// Bytes of JSON to a token, over the requests of the recordings.
const BYTES_PER_TOKEN: u64 = 4;

/// What the bytes of a body say about its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rough {
    /// A guess that needs no tokeniser.
    pub estimate: Tokens,
    /// What `prompt_tokens` cannot exceed; `None` when the body may hold images, sound or files.
    pub bound: Option<Tokens>,
}

/// Reads a guess and a bound off the bytes.
pub(super) fn of(endpoint: Endpoint, body: &[u8]) -> Rough {
    let bound = bound(endpoint, body);
    let attachments = match bound {
        Some(_) => Attachments::default(),
        None => Attachments::of(body),
    };
    let text_bytes = (body.len() as u64).saturating_sub(attachments.data_bytes);
    let estimate = text_bytes / BYTES_PER_TOKEN + attachments.count * images::UNKNOWN_TOKENS;
    Rough {
        estimate: Tokens(estimate),
        bound,
    }
}

/// Returns the most tokens a body can have; `None` when it may hold attachments.
pub(super) fn bound(endpoint: Endpoint, body: &[u8]) -> Option<Tokens> {
    let may_hold_attachments = match endpoint {
        Endpoint::ChatCompletions => ATTACHMENTS
            .iter()
            .any(|mark| memmem::find(body, mark).is_some()),
        Endpoint::Completions | Endpoint::Embeddings => false,
    };
    (!may_hold_attachments).then_some(Tokens(body.len() as u64 + ADDED_TOKENS))
}

/// Strings that every part with an attachment contains.
const ATTACHMENTS: [&[u8]; 3] = [b"image_url", b"input_audio", b"\"file\""];

/// The attachments written into a body.
#[derive(Default)]
struct Attachments {
    count: u64,
    data_bytes: u64,
}

impl Attachments {
    /// Finds the data URLs of a body; each ends with its string.
    fn of(body: &[u8]) -> Self {
        let mut found = Self::default();
        let mut at = 0;
        let finder = memmem::Finder::new(b";base64,");
        while let Some(offset) = body.get(at..).and_then(|rest| finder.find(rest)) {
            let start = at + offset;
            let rest = body.get(start..).unwrap_or(&[]);
            let length = memchr::memchr(b'"', rest).unwrap_or(rest.len());
            found.count += 1;
            found.data_bytes += length as u64;
            at = start + length;
        }
        found
    }
}
