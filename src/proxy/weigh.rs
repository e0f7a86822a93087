//! How many tokens to reserve for a request, at the least cost that is safe.
//!
//! Bytes bound tokens from above. While that bound fits well inside what is free somewhere, an estimate from the bytes
//! is reserved and settled to the real usage later; the tokeniser runs only where its number may decide. Then the
//! worker counts what is quick, as a conversation whose history is remembered. Long new texts, and the first use of an
//! encoding, which loads its table, go to the blocking pool: they would make everyone else wait for milliseconds.

use actix_web::web;

use super::{Call, Shared};
use crate::actors::{Output, Want};
use crate::correction::Basis;
use crate::domain::{Endpoint, ModelKey, Tokens};
use crate::openai::request::Ask;
use crate::quota;
use crate::tokens::{self, Prompt, Rough};

/// The bound fits well if this many such requests would fit. Instances keep the difference to the bound free until the
/// request is settled, and one for which that is too much says so: then the request is counted and asks again.
const WELL_INSIDE: u64 = 8;

/// New text up to this length is tokenised on the worker: about half a millisecond for English.
const NEW_BYTES_INLINE: usize = 8 * 1024;

/// Longer bodies are not even parsed on the worker.
const BODY_BYTES_INLINE: usize = 256 * 1024;

/// Characters of a body that are not its text: `{"model":"text-embedding-3-small","input":""}` and a little.
const SMALLEST_BODY: u64 = 50;

/// Characters of a message that are not its text: `{"role":"user","content":""}`.
const SMALLEST_MESSAGE: u64 = 28;

/// What Azure charges each message beyond its text is a token, which is as many characters to it.
const CHARACTERS_PER_MESSAGE: u64 = 4;

/// Characters that a token of text has at most, on average (English words have 6); a body with more has data in it.
const MOST_CHARACTERS: u64 = 16;

/// Output of one image of 1024 x 1024 at medium quality (OpenAI's guide to image generation). Azure limits images by
/// requests, and an answer's usage replaces it.
const ONE_IMAGE: Tokens = Tokens(1_056);

/// An image that comes in: the tiles of 512 x 768, to which larger ones are scaled (OpenAI's guide to images as input).
const UPLOADED_IMAGE: Tokens = Tokens(323);

/// A minute of sound that comes in, ten tokens a second (what `gpt-4o-transcribe` reports).
const UPLOADED_SOUND: Tokens = Tokens(600);

/// Words spoken in a minute, as tokens.
const WORDS_OF_SOUND: Tokens = Tokens(300);

/// `max_tokens` of a legacy completion that names none, as its API documents.
const LEGACY_DEFAULT_CAP: Tokens = Tokens(16);

/// Says what a request needs, by an estimate if that is safe.
pub(super) async fn want(shared: &Shared, call: &Call) -> Want {
    if call.ask.endpoint == Endpoint::ResponsesInputTokens {
        // Nothing is generated: the tokens are what it asks for.
        return bare(call, Tokens::ZERO);
    }
    if let Some(prompt) = uploaded(call) {
        return Want {
            basis: Basis::Estimated,
            ..bare(call, prompt)
        };
    }
    let rough = match estimate(shared, call) {
        Some(rough) => rough,
        None => match counted(shared, call).await {
            Some(counted) => return counted,
            None => rough(call),
        },
    };
    Want {
        basis: Basis::Estimated,
        at_most: rough.bound,
        ..bare(call, rough.estimate)
    }
}

/// Returns the flat amount for what a form brings, which is not read; `None` for JSON.
fn uploaded(call: &Call) -> Option<Tokens> {
    let uploads = call.ask.uploads?;
    let each = match call.ask.endpoint.makes_images() {
        true => UPLOADED_IMAGE,
        false => UPLOADED_SOUND,
    };
    let files = Tokens(each.0.saturating_mul(uploads.files));
    Some(files + Tokens(uploads.prompt_bytes / 4 + 1))
}

/// Estimates a request, if its bound fits well inside what is free. The bytes are looked at only if their number fits.
fn estimate(shared: &Shared, call: &Call) -> Option<Rough> {
    let most = tokens::most_of_text(&call.body) + output(call).certain();
    let fits_well = most.0.saturating_mul(WELL_INSIDE) <= most_free(shared, &call.key).0;
    fits_well
        .then(|| rough(call))
        .filter(|rough| rough.bound.is_some())
}

fn rough(call: &Call) -> Rough {
    tokens::rough(call.ask.endpoint, call.ask.model.as_str(), &call.body)
}

/// Says what a request needs, by an exact count; `None` only while the program shuts down.
pub(super) async fn counted(shared: &Shared, call: &Call) -> Option<Want> {
    let prompt = count(shared, call).await?;
    Some(bare(call, prompt))
}

fn bare(call: &Call, prompt: Tokens) -> Want {
    Want {
        model: call.key.clone(),
        name: call.ask.model.clone(),
        is_errand: false,
        prompt,
        basis: Basis::Counted,
        at_most: None,
        output: output(call),
        charge: charge(call, prompt),
    }
}

/// Returns what Azure is expected to charge at admission, which looks at the characters of the texts.
///
/// Those of the messages' JSON are taken for them, or of the body's, without what the smallest has anyway; what that is
/// off by, answers correct.
fn charge(call: &Call, prompt: Tokens) -> Tokens {
    let ask = &call.ask;
    let cap = match output(call) {
        Output::Capped(cap) => Some(cap),
        Output::Expected { .. } => None,
    };
    let chars = match (ask.uploads, ask.outline.messages.is_empty()) {
        (Some(uploads), _) => uploads.prompt_bytes,
        (None, true) => characters(&call.body).saturating_sub(SMALLEST_BODY),
        (None, false) => characters_of_messages(call),
    };
    let chars = chars.min(prompt.0.saturating_mul(MOST_CHARACTERS));
    quota::expected_charge(&ask.model, chars, cap, ask.completions)
}

/// Adds the messages up, with the token that each costs beyond its characters.
fn characters_of_messages(call: &Call) -> u64 {
    let mut sum = 0;
    for span in &call.ask.outline.messages {
        let message = call.body.get(span.clone()).unwrap_or_default();
        sum += characters(message).saturating_sub(SMALLEST_MESSAGE) + CHARACTERS_PER_MESSAGE;
    }
    sum.saturating_sub(CHARACTERS_PER_MESSAGE)
}

/// Counts the characters of UTF-8: the bytes that do not continue one. Sums that fit a byte are added up many at a time.
fn characters(text: &[u8]) -> u64 {
    let begins = |byte: &u8| u8::from(byte & 0xC0 != 0x80);
    let blocks = text.chunks(usize::from(u8::MAX));
    blocks
        .map(|block| u64::from(block.iter().map(begins).fold(0, u8::wrapping_add)))
        .sum()
}

fn output(call: &Call) -> Output {
    let ask = &call.ask;
    let all = |one: Tokens| Output::Capped(Tokens(one.0.saturating_mul(ask.completions)));
    match (ask.endpoint, ask.output_cap) {
        (Endpoint::Embeddings | Endpoint::ResponsesInputTokens | Endpoint::Speech, _) => {
            Output::Capped(Tokens::ZERO)
        }
        (Endpoint::ImageGenerations | Endpoint::ImageEdits, _) => all(ONE_IMAGE),
        (Endpoint::Transcriptions | Endpoint::Translations, _) => Output::Capped(WORDS_OF_SOUND),
        (_, Some(cap)) => all(cap),
        (Endpoint::Completions, None) => all(LEGACY_DEFAULT_CAP),
        (Endpoint::ChatCompletions | Endpoint::Responses | Endpoint::ResponsesCompact, None) => {
            Output::Expected {
                completions: ask.completions,
            }
        }
    }
}

fn most_free(shared: &Shared, model: &ModelKey) -> Tokens {
    let serving = shared.instances.iter().zip(&shared.gauges);
    serving
        .filter(|(config, _)| config.serves(model))
        .map(|(_, gauge)| gauge.free())
        .max()
        .unwrap_or(Tokens::ZERO)
}

/// Counts exactly; `None` only if the blocking pool is shutting down.
async fn count(shared: &Shared, call: &Call) -> Option<Tokens> {
    if let Some(prompt) = uploaded(call) {
        return Some(prompt);
    }
    if call.body.len() <= BODY_BYTES_INLINE {
        let quick = prompt(&call.ask, &call.body).tokens_if_quick(NEW_BYTES_INLINE);
        if quick.is_some() {
            return quick;
        }
    }
    let _turn = shared.counting.acquire().await.ok()?;
    let (ask, body) = (call.ask.clone(), call.body.clone());
    web::block(move || prompt(&ask, &body).tokens()).await.ok()
}

fn prompt<'a>(ask: &'a Ask, body: &'a [u8]) -> Prompt<'a> {
    Prompt {
        endpoint: ask.endpoint,
        model: ask.model.as_str(),
        body,
        outline: &ask.outline,
    }
}
