//! HTTP/1.1 as bytes: request heads, chunked request bodies, response heads and chunks.
//!
//! Pure functions over buffers; sockets are left to `connection` and `perform`.

use bytes::{Buf, Bytes, BytesMut};

use super::reply::{Framing, Reply};

/// More headers than any client sends.
const MAX_HEADERS: usize = 128;

/// A parsed request head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) method: String,
    /// Path and query as sent.
    pub(super) target: String,
    /// Names in lower case.
    pub(super) headers: Vec<(String, String)>,
    pub(super) keep_alive: bool,
    pub(super) body: BodyLength,
    pub(super) expects_continue: bool,
}

/// How the length of a request body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyLength {
    /// By content-length, 0 without one.
    Exact(usize),
    /// By chunks.
    Chunked,
}

/// A step of a chunked body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// The buffer does not hold the next chunk yet.
    Incomplete,
    /// One chunk, taken from the buffer.
    Data(Bytes),
    /// The last chunk and its trailers, taken from the buffer.
    End,
}

/// Bytes that are not HTTP/1.1.
#[derive(Debug, thiserror::Error)]
#[error("malformed HTTP")]
pub(super) struct Malformed;

impl Head {
    /// Takes a head from the buffer once it is complete.
    pub(super) fn take(buffer: &mut BytesMut) -> Result<Option<Self>, Malformed> {
        let mut slots = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut slots);
        let status = request.parse(buffer).map_err(|_| Malformed)?;
        let httparse::Status::Complete(length) = status else {
            return Ok(None);
        };
        let headers: Vec<(String, String)> = request
            .headers
            .iter()
            .map(|header| {
                let value = String::from_utf8_lossy(header.value).into_owned();
                (header.name.to_ascii_lowercase(), value)
            })
            .collect();
        let version_1_1 = request.version == Some(1);
        let mut head = Self {
            method: request.method.unwrap_or_default().to_owned(),
            target: request.path.unwrap_or_default().to_owned(),
            headers,
            keep_alive: version_1_1,
            body: BodyLength::Exact(0),
            expects_continue: false,
        };
        head.read_framing()?;
        buffer.advance(length);
        Ok(Some(head))
    }

    /// Returns the first header of a lower-case name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    fn read_framing(&mut self) -> Result<(), Malformed> {
        let is = |head: &Self, name: &str, wanted: &str| {
            head.header(name)
                .is_some_and(|value| value.eq_ignore_ascii_case(wanted))
        };
        if is(self, "transfer-encoding", "chunked") {
            self.body = BodyLength::Chunked;
        } else if let Some(length) = self.header("content-length") {
            self.body = BodyLength::Exact(length.parse().map_err(|_| Malformed)?);
        }
        self.expects_continue = is(self, "expect", "100-continue");
        if is(self, "connection", "close") {
            self.keep_alive = false;
        } else if is(self, "connection", "keep-alive") {
            self.keep_alive = true;
        }
        Ok(())
    }
}

/// Takes the next chunk of a request body from the buffer.
pub(super) fn take_chunk(buffer: &mut BytesMut) -> Result<Chunk, Malformed> {
    let status = httparse::parse_chunk_size(buffer).map_err(|_| Malformed)?;
    let httparse::Status::Complete((line, size)) = status else {
        return Ok(Chunk::Incomplete);
    };
    let size = usize::try_from(size).map_err(|_| Malformed)?;
    if size == 0 {
        return Ok(take_trailers(buffer, line));
    }
    let needed = line.checked_add(size).and_then(|sum| sum.checked_add(2));
    if buffer.len() < needed.ok_or(Malformed)? {
        return Ok(Chunk::Incomplete);
    }
    buffer.advance(line);
    let data = buffer.split_to(size).freeze();
    if !buffer.starts_with(b"\r\n") {
        return Err(Malformed);
    }
    buffer.advance(2);
    Ok(Chunk::Data(data))
}

fn take_trailers(buffer: &mut BytesMut, from: usize) -> Chunk {
    let tail = buffer.get(from..).unwrap_or_default();
    let end = if tail.starts_with(b"\r\n") {
        Some(2)
    } else {
        memchr::memmem::find(tail, b"\r\n\r\n").map(|at| at + 4)
    };
    match end {
        Some(end) => {
            buffer.advance(from + end);
            Chunk::End
        }
        None => Chunk::Incomplete,
    }
}

/// Renders a response head, blank line included.
pub(super) fn response_head(reply: &Reply, keep_alive: bool) -> String {
    let status = reply.status;
    let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status));
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let length: usize = reply.pieces.iter().map(Bytes::len).sum();
    match reply.framing {
        Framing::Length => head.push_str(&format!("content-length: {length}\r\n")),
        Framing::Chunked => head.push_str("transfer-encoding: chunked\r\n"),
        Framing::UntilClose => {}
    }
    if !keep_alive {
        head.push_str("connection: close\r\n");
    }
    head.push_str("\r\n");
    head
}

/// Frames a piece of a response body; an empty piece is nothing, since an empty chunk would end the body.
pub(super) fn frame(piece: &[u8], framing: Framing) -> Vec<u8> {
    match framing {
        Framing::Length | Framing::UntilClose => piece.to_vec(),
        Framing::Chunked if piece.is_empty() => Vec::new(),
        Framing::Chunked => {
            let mut framed = format!("{:x}\r\n", piece.len()).into_bytes();
            framed.extend_from_slice(piece);
            framed.extend_from_slice(b"\r\n");
            framed
        }
    }
}

fn reason(status: u16) -> &'static str {
    actix_web::http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_taken_only_when_it_is_complete() {
        let whole =
            b"POST /a?b=c HTTP/1.1\r\nHost: h\r\nAPI-Key: k\r\nContent-Length: 3\r\n\r\nxyz";
        let mut buffer = BytesMut::new();
        for byte in &whole[..whole.len() - 4] {
            buffer.extend_from_slice(&[*byte]);
            assert!(Head::take(&mut buffer).unwrap().is_none());
        }
        buffer.extend_from_slice(&whole[whole.len() - 4..]);

        let head = Head::take(&mut buffer).unwrap().unwrap();

        assert_eq!(head.target, "/a?b=c");
        assert_eq!(head.header("api-key"), Some("k"));
        assert_eq!(head.body, BodyLength::Exact(3));
        assert!(head.keep_alive);
        assert_eq!(&buffer[..], b"xyz");
    }

    #[test]
    fn framing_and_connection_headers_are_read() {
        let mut buffer = BytesMut::from(
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\nexpect: 100-continue\r\n\
             connection: close\r\n\r\n",
        );

        let head = Head::take(&mut buffer).unwrap().unwrap();

        assert_eq!(head.body, BodyLength::Chunked);
        assert!(head.expects_continue);
        assert!(!head.keep_alive);
        assert!(Head::take(&mut BytesMut::from("\0\0\r\n\r\n")).is_err());
    }

    #[test]
    fn chunks_are_taken_one_by_one_whatever_the_cuts() {
        let whole = b"3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nx-trailer: 1\r\n\r\nGET";
        let mut buffer = BytesMut::new();
        let mut body = Vec::new();
        let mut ended = false;
        for byte in whole {
            buffer.extend_from_slice(&[*byte]);
            while !ended {
                match take_chunk(&mut buffer).unwrap() {
                    Chunk::Incomplete => break,
                    Chunk::Data(data) => body.extend_from_slice(&data),
                    Chunk::End => ended = true,
                }
            }
        }

        assert!(ended);
        assert_eq!(body, b"abcde");
        assert_eq!(&buffer[..], b"GET");
        assert!(take_chunk(&mut BytesMut::from("3\r\nabcdef")).is_err());
    }

    #[test]
    fn an_empty_piece_never_ends_a_chunked_body() {
        assert_eq!(frame(b"", Framing::Chunked), b"");
        assert_eq!(frame(b"ab", Framing::Chunked), b"2\r\nab\r\n");
    }
}
