//! The lines of an event, as the standard has them: ended by LF, CRLF or CR, behind a byte order mark where a stream has
//! one, with data that may take several lines.
//!
//! Services write one line of data, and that is borrowed; several are joined by line feeds. Where events end is left to
//! the `Splitter`.

use std::borrow::Cow;

/// A stream may begin with it, and it is no part of the first line.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Returns the data of an event, `None` if it has no line of data.
pub fn data(event: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut values = lines(event).filter_map(|line| value(line, b"data"));
    let first = values.next()?;
    let Some(second) = values.next() else {
        return Some(Cow::Borrowed(first.trim_ascii()));
    };
    let mut joined = first.to_vec();
    for value in std::iter::once(second).chain(values) {
        joined.push(b'\n');
        joined.extend_from_slice(value);
    }
    Some(Cow::Owned(joined.trim_ascii().to_vec()))
}

/// Returns the kind that an event names in a line of its own.
pub fn named_kind(event: &[u8]) -> Option<&[u8]> {
    let kind = lines(event).find_map(|line| value(line, b"event"))?;
    Some(kind.trim_ascii())
}

/// Iterates over the lines of an event; the end of one may count as an empty one.
fn lines(event: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = event.strip_prefix(BYTE_ORDER_MARK).unwrap_or(event);
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        rest = after.get(1..).unwrap_or_default();
        Some(line)
    })
}

/// Returns the value of a line if it is of this field; one without a colon has an empty value.
fn value<'a>(line: &'a [u8], field: &[u8]) -> Option<&'a [u8]> {
    match line.strip_prefix(field)? {
        [] => Some(b""),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data_of(event: &str) -> Option<String> {
        let data = data(event.as_bytes())?;
        Some(String::from_utf8(data.into_owned()).unwrap())
    }

    #[test]
    fn data_is_found_however_its_line_is_written() {
        for event in [
            "data: {}\n\n",
            "data:{}\r\n\r\n",
            "data:  {} \r\r",
            "data: {}",
            ": hi\nevent: x\nid\ndata: {}\nretry: 5\n\n",
            "\ndata: {}\n\n",
            "\u{feff}data: {}\n\n",
        ] {
            assert_eq!(data_of(event).as_deref(), Some("{}"), "{event:?}");
        }
        for event in ["", "\n", ": data: {}\n\n", "datum: {}\n\n", " data: {}\n\n"] {
            assert_eq!(data_of(event), None, "{event:?}");
        }
    }

    #[test]
    fn one_line_is_borrowed_and_several_are_joined() {
        let one = data(b"data: {}\r\n\r\n");
        assert!(matches!(one, Some(Cow::Borrowed(b"{}"))));

        for (event, joined) in [
            ("data: {\ndata: \"a\":\ndata: 1}\n\n", "{\n\"a\":\n1}"),
            ("data:{\r\n: between\r\ndata\r\ndata:}\r\n\r\n", "{\n\n}"),
            ("data: {\rdata:   }\r\r", "{\n  }"),
            ("data: [DONE]\ndata:\n\n", "[DONE]"),
        ] {
            assert_eq!(data_of(event).as_deref(), Some(joined), "{event:?}");
        }
    }

    #[test]
    fn a_kind_may_stand_anywhere() {
        for event in [
            "event: done\ndata: {}\n\n",
            "\u{feff}event:done\r\ndata: {}\r\n\r\n",
            "id: 7\revent: done \rdata: {}\r\r",
            "data: {}\nevent: done\n\n",
        ] {
            assert_eq!(
                named_kind(event.as_bytes()),
                Some(&b"done"[..]),
                "{event:?}"
            );
        }
        assert_eq!(named_kind(b"data: event: done\n\n"), None);
    }
}
