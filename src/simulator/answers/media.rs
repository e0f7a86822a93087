//! Images, speech and transcripts: the smallest that clients can read.

use serde_json::json;

use super::{Order, Stamp};
use crate::simulator::ask::tokens_of;
use crate::simulator::reply::{Reply, named_event};

/// A PNG of one grey pixel.
const PIXEL: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg==";

/// Output tokens of an image, as gpt-image reports them for a small one.
const IMAGE_TOKENS: u64 = 272;

/// Tokens of an image that comes in, as gpt-image reports them.
const UPLOADED_TOKENS: u64 = 323;

/// Bytes of sound that comes in for each of its tokens.
const SOUND_PER_TOKEN: u64 = 1_000;

/// Bytes of sound for each character.
const SOUND: usize = 1_200;

/// Answers with as many images as were asked for; only gpt-image tells a usage.
pub(super) fn image(order: Order<'_>, stamp: &Stamp) -> Reply {
    let count = order.ask.choices().min(10);
    let image = || match files(order, "image").is_empty() {
        true => json!({"b64_json": PIXEL}),
        // What of dall-e says how it understood the prompt, here says what came.
        false => json!({"b64_json": PIXEL, "revised_prompt": seen(order, "image")}),
    };
    let images: Vec<_> = (0..count).map(|_| image()).collect();
    let mut body = json!({"created": stamp.created, "data": images});
    if order.model.starts_with("gpt-image") {
        let text = tokens_of(order.ask.text("prompt").unwrap_or_default()).0;
        let images = files(order, "image").len() as u64 * UPLOADED_TOKENS;
        let input = text + images;
        let output = IMAGE_TOKENS * count;
        if let Some(fields) = body.as_object_mut() {
            let details = json!({"image_tokens": images, "text_tokens": text});
            let usage = json!({
                "input_tokens": input, "input_tokens_details": details,
                "output_tokens": output, "total_tokens": input + output,
            });
            fields.insert("usage".to_owned(), usage);
        }
    }
    Reply::json(200, body.to_string())
}

/// Answers with bytes that stand for sound.
pub(super) fn speech(order: Order<'_>) -> Reply {
    let spoken = order.ask.text("input").unwrap_or_default();
    let sound: Vec<u8> = (0..spoken.chars().count() * SOUND)
        .map(|at| u8::try_from(at % 251).unwrap_or_default())
        .collect();
    Reply::whole(200, "audio/mpeg", sound)
}

/// Answers with words that name the sound, in the format that was asked for; only the gpt models count tokens.
pub(super) fn words(order: Order<'_>) -> Reply {
    let bytes: u64 = files(order, "file").iter().map(|file| file.bytes).sum();
    let text = format!("I hear {}.", seen(order, "file"));
    let counts_tokens = order.model.starts_with("gpt-");
    match order.ask.text("response_format") {
        Some("text") => return Reply::whole(200, "text/plain; charset=utf-8", text + "\n"),
        Some("srt") => {
            let captions = format!("1\n00:00:00,000 --> 00:00:01,000\n{text}\n\n");
            return Reply::whole(200, "text/plain; charset=utf-8", captions);
        }
        Some(_) | None => {}
    }
    let (input, output) = (bytes.div_ceil(SOUND_PER_TOKEN), tokens_of(&text).0);
    let usage = match counts_tokens {
        true => json!({
            "type": "tokens", "input_tokens": input, "output_tokens": output, "total_tokens": input + output,
            "input_token_details": {"text_tokens": 0, "audio_tokens": input},
        }),
        false => json!({"type": "duration", "seconds": bytes.div_ceil(SOUND_PER_TOKEN * 10)}),
    };
    if order.ask.is_stream() && counts_tokens {
        let event = |kind: &str, mut data: serde_json::Value| {
            if let Some(fields) = data.as_object_mut() {
                fields.insert("type".to_owned(), kind.into());
            }
            named_event(kind, &data.to_string())
        };
        let delta = event("transcript.text.delta", json!({"delta": text}));
        let done = event(
            "transcript.text.done",
            json!({"text": text, "usage": usage}),
        );
        return Reply::events(vec![delta, done]);
    }
    Reply::json(200, json!({"text": text, "usage": usage}).to_string())
}

/// A file as `ask` keeps it.
struct Seen {
    bytes: u64,
    checksum: u64,
}

/// Returns the files under a field.
fn files(order: Order<'_>, field: &str) -> Vec<Seen> {
    let files = order.ask.get(field).and_then(serde_json::Value::as_array);
    let files = files.into_iter().flatten();
    files
        .filter_map(|file| {
            Some(Seen {
                bytes: file.get("bytes")?.as_u64()?,
                checksum: file.get("checksum")?.as_u64()?,
            })
        })
        .collect()
}

/// Names the files under a field in words, so that a client can tell whether its own have come: `7 bytes (adler32
/// 12345678)`.
fn seen(order: Order<'_>, field: &str) -> String {
    let one = |file: &Seen| format!("{} bytes (adler32 {:08x})", file.bytes, file.checksum);
    let all: Vec<String> = files(order, field).iter().map(one).collect();
    all.join(" and ")
}
