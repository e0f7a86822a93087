//! Turns a [`Play`] and the honest answer into the reply that is written.
//!
//! Pure: what needs the socket (silence, resets) is only marked here, and done by `perform`.

use bytes::Bytes;

use super::errors::ERROR_EVENT;
use super::reply::{Break, Fault, Framing, Mark, Reply, event};
use super::script::{Answer, Chunking, Cut};

/// Spoils a reply at a point; `None` is before its head.
pub(super) fn break_at(mut reply: Reply, at: Option<Mark>, what: Break) -> Reply {
    if what == Break::MidChunk {
        reply.framing = Framing::Chunked;
    }
    reply.fault = Some(Fault { at, what });
    reply
}

/// Cuts a reply short.
pub(super) fn cut(mut reply: Reply, after: Mark, how: Cut) -> Reply {
    let what = match how {
        Cut::Fin | Cut::ShortContentLength => Break::Fin,
        Cut::Reset => Break::Reset,
        Cut::MidChunk => Break::MidChunk,
    };
    if how == Cut::ShortContentLength {
        reply.framing = Framing::Length;
    }
    break_at(reply, Some(after), what)
}

/// Ends a stream with an error after some events.
pub(super) fn error_after(mut reply: Reply, events: usize) -> Reply {
    if reply.is_stream() {
        reply.pieces.truncate(events);
        reply.pieces.push(event(ERROR_EVENT));
    }
    reply
}

/// Ends a stream without its last event.
pub(super) fn without_done(mut reply: Reply) -> Reply {
    if reply.is_stream() {
        reply
            .pieces
            .retain(|piece| !piece.starts_with(b"data: [DONE]"));
    }
    reply
}

/// Leaves the end of the body to the end of the connection.
pub(super) fn until_close(mut reply: Reply) -> Reply {
    reply.framing = Framing::UntilClose;
    reply
}

/// Cuts a ready-made answer into its writes.
pub(super) fn replay(answer: Answer) -> Reply {
    let mut reply = answer.reply;
    let body = Bytes::from(reply.pieces.concat());
    let every = |size: usize| (size..body.len()).step_by(size).collect();
    let (framing, offsets) = match answer.chunks {
        Chunking::Whole => (Framing::Length, Vec::new()),
        Chunking::LengthEvery(size) => (Framing::Length, every(size.get())),
        Chunking::Every(size) => (Framing::Chunked, every(size.get())),
        Chunking::At(offsets) => (Framing::Chunked, offsets),
    };
    reply.framing = framing;
    reply.pieces = pieces(body, &offsets);
    reply.pace.per_chunk = answer.pause;
    reply
}

fn pieces(mut rest: Bytes, offsets: &[usize]) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    let mut taken = 0;
    for &offset in offsets {
        if offset <= taken || offset >= taken + rest.len() {
            continue;
        }
        pieces.push(rest.split_to(offset - taken));
        taken = offset;
    }
    pieces.push(rest);
    pieces
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    fn stream() -> Reply {
        Reply::events(vec![event("1"), event("2"), event("[DONE]")])
    }

    fn replayed(chunks: Chunking) -> (Framing, Vec<Bytes>) {
        let reply = replay(Answer::new(200, "aé€b").chunks(chunks));
        (reply.framing, reply.pieces)
    }

    #[test]
    fn a_body_is_cut_where_asked_even_inside_characters() {
        let three = NonZeroUsize::new(3).unwrap();
        let (framing, pieces) = replayed(Chunking::Every(three));
        assert_eq!(framing, Framing::Chunked);
        assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [3, 3, 1]);

        let (framing, pieces) = replayed(Chunking::LengthEvery(three));
        assert_eq!(framing, Framing::Length);
        assert_eq!(pieces.concat(), "aé€b".as_bytes());

        let (_, pieces) = replayed(Chunking::At(vec![2, 2, 5, 7, 99]));
        assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [2, 3, 2]);
    }

    #[test]
    fn an_error_event_replaces_the_rest_of_a_stream_only() {
        let spoilt = error_after(stream(), 1);
        let whole = error_after(Reply::json(200, "{}"), 0);

        assert_eq!(spoilt.pieces, [event("1"), event(ERROR_EVENT)]);
        assert_eq!(whole.pieces, ["{}"]);
    }

    #[test]
    fn a_stream_without_done_keeps_the_rest() {
        assert_eq!(without_done(stream()).pieces, [event("1"), event("2")]);
    }
}
