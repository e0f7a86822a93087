//! Writes a reply, at its speed, up to the point where it goes wrong.
//!
//! A silence never ends by itself: the caller stops it when the client leaves.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::reply::{Break, Framing, Mark, Reply};
use super::wire::{frame, response_head};

/// What the connection does after a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// Waits for the next request.
    KeepAlive,
    /// Closes.
    Close,
    /// Resets.
    Reset,
}

/// Writes a reply and says what becomes of the connection.
pub(super) async fn perform<W: AsyncWrite + Unpin>(
    out: &mut W,
    reply: &Reply,
    keep_alive: bool,
) -> std::io::Result<After> {
    pause(reply.pace.first_byte).await;
    if let Some(fault) = reply.fault
        && fault.at.is_none()
    {
        return break_off(out, reply, &[], 0, fault.what).await;
    }
    let keep_alive = keep_alive && reply.framing != Framing::UntilClose;
    let mut bytes = response_head(reply, keep_alive).into_bytes();
    let mut sent = 0;
    for (number, piece) in reply.pieces.iter().enumerate() {
        if let Some((keep, what)) = break_inside(reply, number, sent, piece) {
            out.write_all(&bytes).await?;
            return break_off(out, reply, piece, keep, what).await;
        }
        if number > 0 {
            pause(reply.pace.per_chunk).await;
        }
        // The head and the first piece of a whole answer leave in one write, as servers do.
        bytes.extend_from_slice(&frame(piece, reply.framing));
        out.write_all(&bytes).await?;
        bytes.clear();
        sent += piece.len();
    }
    out.write_all(&bytes).await?;
    if let Some(fault) = reply.fault {
        return break_off(out, reply, &[], 0, fault.what).await;
    }
    if reply.framing == Framing::Chunked {
        out.write_all(b"0\r\n\r\n").await?;
    }
    out.flush().await?;
    Ok(if keep_alive {
        After::KeepAlive
    } else {
        After::Close
    })
}

/// Says whether the fault lies in or before this piece, and how much of the piece is still sent.
fn break_inside(
    reply: &Reply,
    number: usize,
    sent: usize,
    piece: &Bytes,
) -> Option<(usize, Break)> {
    let fault = reply.fault?;
    match fault.at? {
        Mark::Events(events) if number >= events => Some((0, fault.what)),
        Mark::Bytes(bytes) if sent + piece.len() > bytes => {
            Some((bytes.saturating_sub(sent), fault.what))
        }
        Mark::Events(_) | Mark::Bytes(_) => None,
    }
}

async fn break_off<W: AsyncWrite + Unpin>(
    out: &mut W,
    reply: &Reply,
    piece: &[u8],
    keep: usize,
    what: Break,
) -> std::io::Result<After> {
    let kept = piece.get(..keep).unwrap_or(piece);
    if what == Break::MidChunk {
        // The size line promises one byte more than will come, or the whole piece.
        let promised = piece.len().max(kept.len() + 1);
        let line = format!("{promised:x}\r\n");
        out.write_all(line.as_bytes()).await?;
        out.write_all(kept).await?;
    } else {
        out.write_all(&frame(kept, reply.framing)).await?;
    }
    out.flush().await?;
    match what {
        Break::Stall => std::future::pending().await,
        Break::Fin | Break::MidChunk => Ok(After::Close),
        Break::Reset => Ok(After::Reset),
    }
}

async fn pause(length: Duration) {
    if !length.is_zero() {
        tokio::time::sleep(length).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::reply::event;
    use crate::simulator::script::Cut;
    use crate::simulator::stage;

    async fn written(reply: &Reply) -> (String, After) {
        let mut out = Vec::new();
        let after = perform(&mut out, reply, true).await.unwrap();
        let text = String::from_utf8(out).unwrap();
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        (body.to_owned(), after)
    }

    fn stream() -> Reply {
        Reply::events(vec![event("1"), event("22")])
    }

    #[actix_web::test]
    async fn a_whole_stream_is_one_chunk_for_each_event() {
        let (body, after) = written(&stream()).await;

        assert_eq!(body, "9\r\ndata: 1\n\n\r\na\r\ndata: 22\n\n\r\n0\r\n\r\n");
        assert_eq!(after, After::KeepAlive);
    }

    #[actix_web::test]
    async fn a_cut_keeps_what_lies_before_its_mark() {
        let cut = |after, how| stage::cut(stream(), after, how);

        let (body, after) = written(&cut(Mark::Events(1), Cut::Fin)).await;
        assert_eq!(
            (body.as_str(), after),
            ("9\r\ndata: 1\n\n\r\n", After::Close)
        );
        let (body, after) = written(&cut(Mark::Bytes(11), Cut::Reset)).await;
        assert_eq!(body, "9\r\ndata: 1\n\n\r\n2\r\nda\r\n");
        assert_eq!(after, After::Reset);
        let (body, _) = written(&cut(Mark::Bytes(11), Cut::MidChunk)).await;
        assert_eq!(body, "9\r\ndata: 1\n\n\r\na\r\nda");
        let (body, after) = written(&cut(Mark::Events(1), Cut::ShortContentLength)).await;
        assert_eq!((body.as_str(), after), ("data: 1\n\n", After::Close));
    }

    #[actix_web::test]
    async fn a_mark_beyond_the_end_breaks_before_the_end_is_told() {
        let (body, after) = written(&stage::cut(stream(), Mark::Events(9), Cut::Fin)).await;

        assert!(body.ends_with("data: 22\n\n\r\n"));
        assert_eq!(after, After::Close);
    }
}
