//! Forms as clients write them, and as nobody should; contents are any bytes.

use proptest::prelude::*;

use super::*;

/// Walks a body that comes in pieces, as large as `sizes` says in turn.
fn walked(boundary: &[u8], body: &[u8], sizes: &[usize]) -> Result<Form, Malformed> {
    let mut scanner = Scanner::new(boundary.to_vec());
    let mut window = Vec::new();
    let mut rest = body;
    for size in sizes.iter().cycle() {
        let (next, after) = rest.split_at((*size).min(rest.len()));
        window.extend_from_slice(next);
        rest = after;
        let done = scanner.scan(&window)?;
        window.drain(..done);
        if rest.is_empty() {
            break;
        }
        assert!(window.len() <= LONGEST_HEAD + 256, "{} bytes", window.len());
    }
    scanner.finish()
}

fn parts(boundary: &[u8], body: &[u8]) -> Result<Vec<Part>, Malformed> {
    walked(boundary, body, &[usize::MAX]).map(|form| form.parts)
}

fn found(boundary: &str, body: &[u8]) -> Result<Vec<(String, bool, Vec<u8>)>, Malformed> {
    let parts = parts(boundary.as_bytes(), body)?;
    let read = |part: Part| {
        let name = String::from_utf8(part.name).unwrap();
        (name, part.is_file, body[part.value].to_vec())
    };
    Ok(parts.into_iter().map(read).collect())
}

#[test]
fn the_boundary_is_quoted_or_not() {
    for kind in [
        "multipart/form-data; boundary=a-b",
        "Multipart/Form-Data;charset=utf-8 ; Boundary=\"a-b\"",
        "multipart/form-data; boundary=a-b ; x=y",
    ] {
        assert_eq!(boundary(kind.as_bytes()), Ok(b"a-b".to_vec()), "{kind}");
    }
    assert_eq!(boundary(b""), Err(Malformed::OtherType));
    assert_eq!(boundary(b"application/json"), Err(Malformed::OtherType));
    for kind in [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; charset=utf-8",
        "multipart/form-data; boundary=one; Boundary=two",
    ] {
        assert_eq!(
            boundary(kind.as_bytes()),
            Err(Malformed::NoBoundary),
            "{kind}"
        );
    }
    let long = format!("multipart/form-data; boundary={}", "b".repeat(71));
    assert_eq!(boundary(long.as_bytes()), Err(Malformed::NoBoundary));
}

#[test]
fn fields_and_files_are_told_apart_however_heads_are_spelt() {
    let body = "ignored\r\n--b \t\r\n\
         content-type: text/plain\r\nCONTENT-DISPOSITION: form-data; name=model\r\n\r\nwhisper\r\n\
         --b\r\nContent-Disposition: form-data; filename=\"name=\\\"x\\\";.wav\"; name=\"file\"\r\n\r\n\r\n\
         --b\r\nContent-Disposition: form-data; name=\"image[]\"; filename*=UTF-8''a.png\r\n\r\n\r\n--bc\r\n\r\n\
         --b--\r\nignored";

    let found = found("b", body.as_bytes()).unwrap();

    let expected = [
        ("model", false, "whisper"),
        ("file", true, ""),
        ("image[]", true, "\r\n--bc\r\n"),
    ];
    let expected = expected.map(|(name, is_file, value)| (name.to_owned(), is_file, value.into()));
    assert_eq!(found, expected);
}

#[test]
fn what_is_no_form_is_refused_for_its_reason() {
    let part = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nvalue\r\n";

    for (body, why) in [
        (String::new(), Malformed::NoPart),
        ("{\"model\": \"x\"}".to_owned(), Malformed::NoPart),
        (part.to_owned(), Malformed::Unfinished),
        (format!("{part}--b"), Malformed::Unfinished),
        (
            format!("{part}--b\r\n\r\nvalue\r\n--b--"),
            Malformed::Unnamed,
        ),
        (format!("{part}--b\r\n--b--"), Malformed::Unnamed),
        (
            format!("{part}--b\r\nContent-Disposition: form-data\r\n\r\nvalue\r\n--b--"),
            Malformed::Unnamed,
        ),
        (
            format!(
                "{part}--b\r\nContent-Disposition: form-data; name=x; NAME=\"model\"\r\n\r\nv\r\n--b--"
            ),
            Malformed::Unnamed,
        ),
        (part.repeat(MOST_PARTS + 1) + "--b--", Malformed::TooMany),
        (
            format!("--b\r\nX: {}", "x".repeat(LONGEST_HEAD + 2)),
            Malformed::LongHead,
        ),
    ] {
        assert_eq!(found("b", body.as_bytes()), Err(why), "{body:.100}");
        let in_pieces = walked(b"b", body.as_bytes(), &[1]);
        assert_eq!(in_pieces, Err(why), "{body:.100}");
    }
    assert_eq!(found("b", b"--b--\r\n"), Ok(Vec::new()));
}

#[test]
fn the_beginning_of_a_text_is_kept_and_nothing_of_a_file() {
    let value = "0123456789".repeat(KEPT);
    let part = |file: &str| {
        format!("--b\r\nContent-Disposition: form-data; name=\"a\"{file}\r\n\r\n{value}\r\n")
    };
    let body = format!("{}{}--b--", part(""), part("; filename=\"f\""));

    for size in [1, 7, 1_000, usize::MAX] {
        let form = walked(b"b", body.as_bytes(), &[size]).unwrap();

        assert_eq!(form.parts[0].text, value.as_bytes()[..KEPT], "{size}");
        assert_eq!(form.parts[0].value.len(), value.len());
        assert_eq!(form.parts[1].text, b"");
    }
}

/// Bytes among which those of delimiters are frequent.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"--".to_vec()),
        Just(b"--boundar".to_vec()),
        Just(b"boundary".to_vec()),
        prop::collection::vec(any::<u8>(), 0..12),
    ];
    prop::collection::vec(piece, 0..8)
        .prop_map(|pieces| pieces.concat())
        .prop_filter("the boundary does not occur in a form", |bytes| {
            memmem::find(bytes, b"--boundary").is_none()
        })
}

/// What forms are made of.
const PIECES: &[&str] = &[
    "\r\n",
    "--b",
    "--",
    " ",
    "\r\n\r\n",
    "x",
    "Content-Disposition: form-data; name=\"a\"",
    "--b\r\nContent-Disposition: form-data; name=a\r\n\r\n",
    "\"",
    "; filename=\\",
];

proptest! {
    #[test]
    fn whatever_a_form_carries_is_found_and_any_part_can_be_cut_out(
        fields in prop::collection::vec(("[a-z]{1,8}", any::<bool>(), content()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut body = Vec::new();
        for (name, is_file, value) in &fields {
            let file = if *is_file { "; filename=\"f\"" } else { "" };
            body.extend(format!("--boundary\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").into_bytes());
            body.extend(value);
            body.extend(b"\r\n");
        }
        body.extend(b"--boundary--\r\n");

        prop_assert_eq!(found("boundary", &body), Ok(fields.clone()));
        for part in parts(b"boundary", &body).unwrap() {
            let text = if part.is_file { &[] } else { &body[part.value.clone()] };
            prop_assert_eq!(&part.text, text);
        }
        let cut = cut.index(fields.len());
        let whole = parts(b"boundary", &body).unwrap()[cut].whole.clone();
        body.drain(whole);
        let mut rest = fields;
        rest.remove(cut);
        prop_assert_eq!(found("boundary", &body), Ok(rest));
    }

    #[test]
    fn it_does_not_matter_in_what_pieces_a_form_comes(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 0..40),
        sizes in prop::collection::vec(1_usize..20, 1..8),
    ) {
        let body = pieces.concat();

        let whole = walked(b"b", body.as_bytes(), &[usize::MAX]);

        prop_assert_eq!(walked(b"b", body.as_bytes(), &sizes), whole.clone());
        prop_assert_eq!(walked(b"b", body.as_bytes(), &[1]), whole);
    }

    #[test]
    fn parts_of_any_bytes_lie_in_order_inside_them(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 0..40),
    ) {
        let body = pieces.concat();
        let mut end = 0;
        for part in parts(b"b", body.as_bytes()).unwrap_or_default() {
            prop_assert!(end <= part.whole.start && part.whole.start < part.value.start);
            prop_assert!(part.value.end <= part.whole.end && part.whole.end <= body.len());
            end = part.whole.end;
        }
    }
}
