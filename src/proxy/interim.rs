//! Interim answers (`100 Continue`, `103 Early Hints`), which a server may send before the one that counts, asked for or
//! not (RFC 9110, 15.2). awc would take the first for the answer and give the connection back, and what follows would
//! answer the next request over it. So they are taken out of what comes before awc sees it.
//!
//! `101` is none of them: it ends HTTP, and nobody here asks for that.

use std::io;

use tokio::io::ReadBuf;

/// More bytes than any head has.
const LONGEST: usize = 64 * 1024;

/// What the first line of an interim answer begins with, any byte for each `_`.
const INTERIM: &[u8] = b"HTTP/1._ 1__";

/// Where in an exchange a connection is.
#[derive(Debug, Default)]
pub(super) struct Interim {
    /// The next byte is the first of an answer.
    is_at_start: bool,
    /// What has come of an answer so far, if that does not tell its kind; then what was left of it.
    held: Vec<u8>,
}

/// What an answer is by what has come of it.
enum Kind {
    Final,
    Interim,
    Unknown,
}

impl Interim {
    /// Notes that a request begins to go out.
    pub(super) fn asked(&mut self) {
        self.is_at_start = true;
    }

    /// Hands out what is left of what was held; false if nothing is.
    pub(super) fn hand_out(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        if self.is_at_start || self.held.is_empty() {
            return false;
        }
        let count = self.held.len().min(buf.remaining());
        buf.put_slice(self.held.get(..count).unwrap_or_default());
        self.held.drain(..count);
        true
    }

    /// Looks at what has just been read behind the first `before` bytes; false if nothing of it may be seen.
    ///
    /// # Errors
    /// If an interim answer does not end.
    pub(super) fn admit(&mut self, buf: &mut ReadBuf<'_>, before: usize) -> io::Result<bool> {
        if !self.is_at_start {
            return Ok(true);
        }
        let came = buf.filled().get(before..).unwrap_or_default();
        if self.held.is_empty() && matches!(kind(came), Kind::Final) {
            self.is_at_start = false;
            return Ok(true);
        }
        self.held.extend_from_slice(came);
        buf.set_filled(before);
        loop {
            match kind(&self.held) {
                Kind::Final => {
                    self.is_at_start = false;
                    return Ok(self.hand_out(buf));
                }
                Kind::Unknown => return Ok(false),
                Kind::Interim => match memchr::memmem::find(&self.held, b"\r\n\r\n") {
                    Some(end) => _ = self.held.drain(..end + 4),
                    None if self.held.len() > LONGEST => {
                        return Err(io::Error::other("an interim answer does not end"));
                    }
                    None => return Ok(false),
                },
            }
        }
    }
}

fn kind(head: &[u8]) -> Kind {
    let mut pairs = head.iter().zip(INTERIM);
    let is_alike = pairs.all(|(byte, pattern)| byte == pattern || *pattern == b'_');
    match head.get(10..INTERIM.len()) {
        _ if !is_alike => Kind::Final,
        None => Kind::Unknown,
        Some(b"01") => Kind::Final,
        Some(_) => Kind::Interim,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads `stream` in pieces that end at `cuts`, into a buffer of `room` bytes.
    fn seen(stream: &[u8], cuts: &[usize], room: usize) -> Vec<u8> {
        let mut interim = Interim::default();
        interim.asked();
        let (mut out, mut from) = (Vec::new(), 0);
        let mut memory = vec![0; room];
        for to in cuts.iter().copied().chain([stream.len()]) {
            while from < to {
                let mut buf = ReadBuf::new(&mut memory);
                if !interim.hand_out(&mut buf) {
                    let piece = &stream[from..to.min(from + room)];
                    from += piece.len();
                    buf.put_slice(piece);
                    interim.admit(&mut buf, 0).unwrap();
                }
                out.extend_from_slice(buf.filled());
            }
        }
        let mut buf = ReadBuf::new(&mut memory);
        while interim.hand_out(&mut buf) {
            out.extend_from_slice(buf.filled());
            buf.clear();
        }
        out
    }

    #[test]
    fn other_answers_are_not_touched() {
        for stream in [
            "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "HTTP/1.0 404 Not Found\r\n\r\n",
            "HTTP/2 103\r\n\r\n",
            "x",
        ] {
            assert_eq!(seen(stream.as_bytes(), &[], 100), stream.as_bytes());
        }
    }

    #[test]
    fn an_interim_answer_without_end_is_an_error() {
        let mut interim = Interim::default();
        interim.asked();
        let head = format!("HTTP/1.1 103 {}", "x".repeat(LONGEST / 2));
        let mut memory = vec![0; LONGEST];

        for is_fine in [true, false] {
            let mut buf = ReadBuf::new(&mut memory);
            buf.put_slice(head.as_bytes());
            assert_eq!(interim.admit(&mut buf, 0).is_ok(), is_fine);
        }
    }

    proptest! {
        #[test]
        fn interim_answers_are_taken_out_however_they_are_cut(
            interims in prop::collection::vec(prop::sample::select(&[
                "HTTP/1.1 100 Continue\r\n\r\n",
                "HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n",
                "HTTP/1.0 199 \r\n\r\n",
            ][..]), 0..4),
            mut cuts in prop::collection::vec(0usize..200, 0..20),
            room in 1usize..300,
        ) {
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\nHTTP/1.1 100 ";
            let stream = format!("{}{answer}", interims.concat());
            cuts.retain(|cut| *cut < stream.len());
            cuts.sort_unstable();

            prop_assert_eq!(seen(stream.as_bytes(), &cuts, room), answer.as_bytes());
        }
    }
}
