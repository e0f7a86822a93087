//! Any bytes as an event stream, in chunks of any size: what goes in comes out, in whole events, and reading any of
//! them never panics.
//!
//! The first byte says how many follow that are the sizes of the chunks, in turn. Run with
//! `cargo fuzz run -s none sse`.

#![no_main]

use azure_openai_proxy::openai::sse::{self, Event, Splitter, Streamed};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

/// Cuts `stream` into chunks of the given sizes, over and over; without a size, into one.
fn chunks(stream: Bytes, sizes: &[u8]) -> Vec<Bytes> {
    let mut rest = stream;
    let mut chunks = Vec::new();
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        // Never empty, so that this ends.
        let size = usize::from(*size).clamp(1, rest.len());
        chunks.push(rest.split_to(size));
    }
    chunks.push(rest);
    chunks
}

fn look_at(event: &[u8], streamed: &mut Streamed) {
    let read = sse::read(event);
    let skimmed = sse::skim(event);
    assert_ne!(skimmed, Event::Preamble, "after the first content all is content");
    if !matches!(skimmed, Event::Content) {
        assert_eq!(read, skimmed, "skimming finds nothing that is not there");
    }
    if let Event::Error(error) = read {
        assert!((400..600).contains(&error.status()));
    }
    sse::usage_beside_content(event);
    streamed.add(event);
}

fuzz_target!(|data: &[u8]| {
    let Some((count, data)) = data.split_first() else {
        return;
    };
    let (sizes, stream) = data.split_at(usize::from(*count).min(data.len()));

    let mut splitter = Splitter::default();
    let mut streamed = Streamed::default();
    let mut out = Vec::new();
    for chunk in chunks(Bytes::copy_from_slice(stream), sizes) {
        let whole = splitter.push(chunk);
        let mut events = Vec::new();
        for event in sse::events(&whole) {
            look_at(&event, &mut streamed);
            events.extend_from_slice(&event);
        }
        assert_eq!(events, whole, "the events are all of what was passed on");
        if !splitter.is_torn() && !whole.is_empty() {
            let ends = [&b"\n\n"[..], b"\n\r\n", b"\r\r\n", b"\r\r", b"\n\r"];
            let is_end = ends.iter().any(|end| whole.ends_with(end));
            assert!(is_end, "what is passed on ends with an event");
        }
        out.extend_from_slice(&whole);
    }
    let rest = splitter.rest();
    look_at(&rest, &mut streamed);
    out.extend_from_slice(&rest);

    assert_eq!(out, stream);
    assert!(streamed.tokens().0 <= stream.len() as u64 + 1);
});
