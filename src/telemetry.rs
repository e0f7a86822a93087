//! The log: `log` records through `env_logger`, as text for people or as one JSON object a line for machines.
//!
//! Fields are log's key-values. What may be logged is decided where it is logged; never a prompt, completion or key.

use std::io::Write;

use env_logger::fmt::Formatter;
use log::kv::{Error, Key, Value, VisitSource};
use log::{LevelFilter, Record};
use serde::Serializer;
use serde::ser::SerializeMap;
use serde_json::Value as Json;

/// Bytes that the line of a request takes, and some to spare.
const USUAL_LINE: usize = 384;

/// Starts logging to standard error. A second call changes nothing.
pub fn start(level: LevelFilter, json: bool) {
    let mut builder = env_logger::Builder::new();
    // Modules of the servers below speak of every accept and worker; their errors are enough.
    builder
        .filter_level(level.min(LevelFilter::Warn))
        .filter_module("azure_openai_proxy", level);
    if level < LevelFilter::Debug {
        // What it calls errors are clients, or scanners, that do not speak HTTP; nobody must act.
        builder.filter_module("actix_http", LevelFilter::Off);
    }
    if json {
        builder.format(write_json);
    } else {
        builder.format(write_text);
    }
    let _ = builder.try_init();
}

fn write_text(out: &mut Formatter, record: &Record<'_>) -> std::io::Result<()> {
    let time = out.timestamp_millis();
    // Gathered here: a formatter takes each of some fifty pieces with more ado.
    let mut line = Vec::with_capacity(USUAL_LINE);
    write!(line, "{time} {:<5} {}", record.level(), record.args())?;
    write_fields(&mut line, record)?;
    line.push(b'\n');
    out.write_all(&line)
}

/// Writes the key-values in the order in which they were given, past the machinery of `write!` where that can be: the
/// line is the dearest thing about a small request that is ours.
fn write_fields(out: &mut impl Write, record: &Record<'_>) -> std::io::Result<()> {
    struct Fields<'a, W>(&'a mut W);

    impl<'kvs, W: Write> VisitSource<'kvs> for Fields<'_, W> {
        fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
            self.0.write_all(b" ")?;
            self.0.write_all(key.as_str().as_bytes())?;
            self.0.write_all(b"=")?;
            match value.to_borrowed_str() {
                Some(text) if is_plain(text) => self.0.write_all(text.as_bytes())?,
                Some(text) => write!(self.0, "{text:?}")?,
                None => serde_json::to_writer(&mut *self.0, &to_json(&value))
                    .map_err(std::io::Error::from)?,
            }
            Ok(())
        }
    }

    let visited = record.key_values().visit(&mut Fields(out));
    visited.map_err(std::io::Error::other)
}

fn write_json(out: &mut Formatter, record: &Record<'_>) -> std::io::Result<()> {
    let time = out.timestamp_millis().to_string();
    write_json_line(out, &time, record)?;
    writeln!(out)
}

fn write_json_line(out: &mut impl Write, time: &str, record: &Record<'_>) -> std::io::Result<()> {
    struct Fields<M>(M);

    impl<'kvs, M: SerializeMap> VisitSource<'kvs> for Fields<M> {
        fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
            let entry = self.0.serialize_entry(key.as_str(), &to_json(&value));
            entry.map_err(|_| Error::msg("a field cannot be written"))
        }
    }

    let mut writer = serde_json::Serializer::new(out);
    let mut line = writer.serialize_map(None)?;
    line.serialize_entry("time", time)?;
    line.serialize_entry("level", record.level().as_str())?;
    line.serialize_entry("message", &record.args().to_string())?;
    line.serialize_entry("module", record.target())?;
    let mut fields = Fields(line);
    let visited = record.key_values().visit(&mut fields);
    visited.map_err(std::io::Error::other)?;
    Ok(fields.0.end()?)
}

/// Text that needs no quotes to stay one field.
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'"')
}

fn to_json(value: &Value<'_>) -> Json {
    if let Some(number) = value.to_u64() {
        return number.into();
    }
    if let Some(number) = value.to_i64() {
        return number.into();
    }
    if let Some(flag) = value.to_bool() {
        return flag.into();
    }
    if let Some(number) = value.to_f64() {
        return number.into();
    }
    value.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record_fields() -> [(&'static str, Value<'static>); 4] {
        [
            ("count", Value::from(3)),
            ("share", Value::from(0.5)),
            ("name", Value::from("a \"b\"")),
            ("model", Value::from("gpt-4o")),
        ]
    }

    #[test]
    fn a_text_line_keeps_the_order_and_quotes_what_has_spaces() {
        let fields = record_fields();
        let record = Record::builder().key_values(&fields).build();
        let mut line = Vec::new();

        write_fields(&mut line, &record).unwrap();

        let text = String::from_utf8(line).unwrap();
        assert_eq!(text, r#" count=3 share=0.5 name="a \"b\"" model=gpt-4o"#);
    }

    #[test]
    fn a_json_line_keeps_the_types() {
        let fields = record_fields();
        let record = Record::builder()
            .args(format_args!("request"))
            .key_values(&fields)
            .build();
        let mut line = Vec::new();

        write_json_line(&mut line, "now", &record).unwrap();

        let parsed: Json = serde_json::from_slice(&line).unwrap();
        let expected = serde_json::json!({
            "time": "now", "level": "INFO", "message": "request", "module": "",
            "count": 3, "share": 0.5, "name": "a \"b\"", "model": "gpt-4o"
        });
        assert_eq!(parsed, expected);
    }

    #[test]
    fn text_with_spaces_or_quotes_is_quoted() {
        assert!(is_plain("gpt-4o"));
        for text in ["", "a b", "a\"b", "line\nbreak"] {
            assert!(!is_plain(text), "{text:?}");
        }
    }
}
