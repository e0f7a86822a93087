//! Reading a form with files, `multipart/form-data` (RFC 7578), while it comes and without touching what it carries.
//!
//! A [`Scanner`] is shown the body piece by piece and walks it once, from one delimiter to the next. It says where each
//! part and its value stand, and keeps the beginning of short texts; files are never looked at, so that they may hold any
//! bytes. It holds nothing of the body itself: what it could not judge yet it is shown again with the next piece, which
//! is never more than the head of a part. What fields mean is left to `request`.
//!
//! Invariant: parts do not overlap, follow each other without a gap, and any of them can be cut out of the body, which
//! is a form still.

use std::ops::Range;

use memchr::memmem::{self, Finder};

/// Far more than the files and options of any call; what has more is no honest form and would take memory.
const MOST_PARTS: usize = 256;

/// Longest boundary (RFC 2046, 5.1.1).
const LONGEST_BOUNDARY: usize = 70;

/// Longest head of a part: the longest file name that systems allow, in letters that take nine bytes each when a
/// browser writes them, and its content-type.
const LONGEST_HEAD: usize = 4 * 1024;

/// White space that may follow a boundary on its line. Nobody sends any.
const MOST_PADDING: usize = 128;

/// What is kept of a text. Longer than a name of a model can be.
const KEPT: usize = 1024;

/// One part of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The field, as the client spells it.
    pub name: Vec<u8>,
    /// It has a file name, so it is a file.
    pub is_file: bool,
    /// All of it, from its delimiter up to the next one.
    pub whole: Range<usize>,
    /// What was filled in.
    pub value: Range<usize>,
    /// The first kilobyte of that, unless it is a file.
    pub text: Vec<u8>,
}

/// A form that has been walked to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// What separates its parts.
    pub boundary: Vec<u8>,
    /// Where its first delimiter stands.
    pub first: usize,
    /// Its parts, in order.
    pub parts: Vec<Part>,
}

/// Why a body is no form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It is said to be something else.
    #[error("must be multipart/form-data, with that content-type")]
    OtherType,
    /// Nobody can tell where its parts end.
    #[error("has a content-type without a usable boundary")]
    NoBoundary,
    /// No part begins.
    #[error("does not contain the boundary that its content-type names")]
    NoPart,
    /// The last part has no end.
    #[error("broke off: the boundary that ends the form is missing")]
    Unfinished,
    /// A part does not say what it is.
    #[error("has a part without a Content-Disposition that names its field")]
    Unnamed,
    /// The head of a part does not end.
    #[error("has a part with headers of more than {LONGEST_HEAD} bytes")]
    LongHead,
    /// It has more parts than we keep.
    #[error("has more than {MOST_PARTS} parts")]
    TooMany,
}

/// Walks a form while it comes.
pub struct Scanner {
    boundary: Vec<u8>,
    /// Finds the boundary behind its dashes.
    finder: Finder<'static>,
    /// What has been walked.
    walked: usize,
    place: Place,
    first: usize,
    parts: Vec<Part>,
}

/// Where in a form the scanner is. Offsets count from the start of the body.
enum Place {
    /// Before the first delimiter.
    Before,
    /// In a part of which the head has not come whole.
    Head { whole: usize, start: usize },
    /// In the value of a part; its ends are not known yet.
    Value(Part),
    /// Behind the last delimiter.
    After,
}

/// A step through what is there.
enum Step {
    /// On from this offset.
    On(usize),
    /// Nothing can be said of what follows this offset until more has come.
    Wait(usize),
}

/// What a search for a delimiter finds.
enum Found {
    /// A boundary on a line of its own.
    Delimiter {
        /// Where its dashes begin.
        at: usize,
        /// Where the part begins that follows; none after the last.
        part: Option<usize>,
    },
    /// None before this offset, from which on more is needed to tell.
    NoneBefore(usize),
}

impl Scanner {
    /// Begins at the start of a body with this boundary.
    pub fn new(boundary: Vec<u8>) -> Self {
        let mark = [b"--", &boundary[..]].concat();
        Self {
            finder: Finder::new(&mark).into_owned(),
            boundary,
            walked: 0,
            place: Place::Before,
            first: 0,
            parts: Vec::new(),
        }
    }

    /// Walks on through `window`, what follows on what was walked before, and returns how much of it need not be shown
    /// again.
    pub fn scan(&mut self, window: &[u8]) -> Result<usize, Malformed> {
        let mut at = 0;
        loop {
            match self.step(window, at)? {
                Step::On(next) => at = next,
                Step::Wait(next) => {
                    self.walked += next;
                    return Ok(next);
                }
            }
        }
    }

    /// Ends the walk where the body has ended.
    pub fn finish(self) -> Result<Form, Malformed> {
        match self.place {
            Place::Before => Err(Malformed::NoPart),
            Place::Head { .. } | Place::Value(_) => Err(Malformed::Unfinished),
            Place::After => Ok(Form {
                boundary: self.boundary,
                first: self.first,
                parts: self.parts,
            }),
        }
    }

    /// Goes on from `at`, an offset in `window` as all here.
    fn step(&mut self, window: &[u8], at: usize) -> Result<Step, Malformed> {
        match std::mem::replace(&mut self.place, Place::After) {
            Place::Before => match self.delimiter(window, at) {
                Found::NoneBefore(end) => {
                    self.place = Place::Before;
                    Ok(Step::Wait(end))
                }
                Found::Delimiter { at, part } => {
                    self.first = self.walked + at;
                    self.pass(at, part)
                }
            },
            Place::Head { whole, start } => self.head(window, whole, start),
            Place::Value(part) => self.value(window, at, part),
            Place::After => Ok(Step::Wait(window.len())),
        }
    }

    /// Passes a delimiter.
    fn pass(&mut self, at: usize, part: Option<usize>) -> Result<Step, Malformed> {
        let Some(start) = part else {
            self.place = Place::After;
            return Ok(Step::On(at));
        };
        if self.parts.len() == MOST_PARTS {
            return Err(Malformed::TooMany);
        }
        self.place = Place::Head {
            whole: self.walked + at,
            start: self.walked + start,
        };
        Ok(Step::On(at))
    }

    /// Reads the head of a part, once it is there.
    fn head(&mut self, window: &[u8], whole: usize, start: usize) -> Result<Step, Malformed> {
        let from = start - self.walked;
        let inside = window.get(from..).unwrap_or_default();
        let reach = inside.get(..LONGEST_HEAD + 4).unwrap_or(inside);
        let end = memmem::find(reach, b"\r\n\r\n");
        // Another delimiter before the end of the head ends the part, which then has none.
        let head = window.get(..from + end.map_or(reach.len(), |end| end + 4));
        if let Found::Delimiter { .. } = self.delimiter(head.unwrap_or_default(), from) {
            return Err(Malformed::Unnamed);
        }
        let Some(end) = end else {
            if inside.len() > reach.len() {
                return Err(Malformed::LongHead);
            }
            self.place = Place::Head { whole, start };
            return Ok(Step::Wait(whole - self.walked));
        };
        let value = start + end + 4;
        let named = part(inside.get(..end).unwrap_or_default(), whole, value);
        self.place = Place::Value(named.ok_or(Malformed::Unnamed)?);
        // A delimiter is told from content by the line end before it.
        Ok(Step::On(value - self.walked - 2))
    }

    /// Looks for the end of a value.
    fn value(&mut self, window: &[u8], at: usize, mut part: Part) -> Result<Step, Malformed> {
        match self.delimiter(window, at) {
            Found::NoneBefore(end) => {
                self.keep(window, end, &mut part);
                self.place = Place::Value(part);
                Ok(Step::Wait(end))
            }
            Found::Delimiter { at, part: next } => {
                // The line end before a delimiter belongs to the delimiter.
                let end = (self.walked + at).saturating_sub(2);
                if end < part.value.start {
                    return Err(Malformed::Unnamed);
                }
                self.keep(window, end - self.walked, &mut part);
                part.value.end = end;
                part.whole.end = self.walked + at;
                self.parts.push(part);
                self.pass(at, next)
            }
        }
    }

    /// Keeps what there is of a text up to `end`, as long as it is short.
    fn keep(&self, window: &[u8], end: usize, part: &mut Part) {
        if part.is_file {
            return;
        }
        let kept = part.text.len();
        let from = (part.value.start + kept).saturating_sub(self.walked);
        let end = end.min(from + (KEPT - kept));
        part.text
            .extend_from_slice(window.get(from..end).unwrap_or_default());
    }

    /// Finds the next delimiter; the same bytes inside a line are content.
    fn delimiter(&self, window: &[u8], from: usize) -> Found {
        let mark = self.finder.needle().len();
        let mut from = from;
        while let Some(found) = self.finder.find(window.get(from..).unwrap_or_default()) {
            let at = from + found;
            from = at + mark;
            let is_start = self.walked + at == 0;
            let line_end = at.saturating_sub(2);
            if !is_start && window.get(line_end..at) != Some(b"\r\n") {
                continue;
            }
            let rest = window.get(from..).unwrap_or_default();
            if rest.starts_with(b"--") {
                return Found::Delimiter { at, part: None };
            }
            let is_padding = |byte: &&u8| matches!(byte, b' ' | b'\t');
            let padding = rest.iter().take_while(is_padding).count();
            let after = rest.get(padding..).unwrap_or_default();
            if after.starts_with(b"\r\n") {
                let part = Some(from + padding + 2);
                return Found::Delimiter { at, part };
            }
            let is_open = matches!(after, [] | [b'\r']) || (padding == 0 && after == b"-");
            if is_open && padding <= MOST_PADDING {
                return Found::NoneBefore(line_end);
            }
        }
        // What could be the beginning of a mark, with the line end before it.
        let open = window.len().saturating_sub(mark - 1 + 2);
        Found::NoneBefore(open.max(from.min(window.len())))
    }
}

/// Returns the boundary that a content-type names.
pub fn boundary(content_type: &[u8]) -> Result<Vec<u8>, Malformed> {
    let kind = content_type.split(|byte| *byte == b';').next();
    let is_form = kind.is_some_and(|kind| {
        kind.trim_ascii()
            .eq_ignore_ascii_case(b"multipart/form-data")
    });
    if !is_form {
        return Err(Malformed::OtherType);
    }
    let found = only_parameter(content_type, "boundary").ok_or(Malformed::NoBoundary)?;
    match found.len() {
        1..=LONGEST_BOUNDARY => Ok(found),
        _ => Err(Malformed::NoBoundary),
    }
}

/// Reads the head of a part whose value begins at `value`; `None` if it does not name its field.
fn part(head: &[u8], whole: usize, value: usize) -> Option<Part> {
    let disposition = disposition(head)?;
    Some(Part {
        name: only_parameter(disposition, "name")?,
        is_file: ["filename", "filename*"]
            .iter()
            .any(|name| parameter(disposition, name).is_some()),
        whole: whole..whole,
        value: value..value,
        text: Vec::new(),
    })
}

fn disposition(head: &[u8]) -> Option<&[u8]> {
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        let (name, value) = line.split_at_checked(colon)?;
        name.trim_ascii()
            .eq_ignore_ascii_case(b"content-disposition")
            .then_some(value)
    })
}

/// Returns a parameter that a header has once; if it had two, nobody could say which one an instance takes.
fn only_parameter(header: &[u8], wanted: &str) -> Option<Vec<u8>> {
    let (value, rest) = parameter(header, wanted)?;
    parameter(rest, wanted).is_none().then_some(value)
}

/// Returns a parameter of a header such as `form-data; name="model"`, whose name is compared without case, and what follows.
fn parameter<'a>(header: &'a [u8], wanted: &str) -> Option<(Vec<u8>, &'a [u8])> {
    let mut rest = past(header, b';')?;
    loop {
        let end = memchr::memchr2(b'=', b';', rest)?;
        let (name, after) = rest.split_at_checked(end)?;
        let Some(after) = after.strip_prefix(b"=") else {
            rest = past(after, b';')?;
            continue;
        };
        let (value, after) = value(after.trim_ascii_start());
        if name.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes()) {
            return Some((value, after));
        }
        rest = past(after, b';')?;
    }
}

fn past(text: &[u8], mark: u8) -> Option<&[u8]> {
    let at = memchr::memchr(mark, text)?;
    text.get(at + 1..)
}

/// Reads the value at the start of `text`, quoted or not, and returns what follows it too.
fn value(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let end = memchr::memchr(b';', text).unwrap_or(text.len());
        let (value, rest) = text.split_at_checked(end).unwrap_or((text, &[]));
        return (value.trim_ascii().to_vec(), rest);
    };
    let mut found = Vec::new();
    let mut bytes = quoted.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => break,
            b'\\' => found.extend(bytes.next()),
            _ => found.push(*byte),
        }
    }
    (found, bytes.as_slice())
}

#[cfg(test)]
mod tests;
