//! The log: `log` records through `env_logger`, as text for people or as one JSON object a line for machines.
//!
//! Fields are log's key-values. What may be logged is decided where it is logged; never a prompt, completion or key.

use std::io::Write;

use env_logger::fmt::Formatter;
use log::kv::{Error, Key, Value, VisitSource};
use log::{LevelFilter, Record};
use serde::Serializer;
use serde_json::Value as Json;

/// Starts logging to standard error. A second call changes nothing.
pub fn start(level: LevelFilter, json: bool) {
    let mut builder = env_logger::Builder::new();
    // Modules of the servers below speak of every accept and worker; their errors are enough.
    builder
        .filter_level(level.min(LevelFilter::Warn))
        .filter_module("azure_openai_proxy", level);
    if json {
        builder.format(write_json);
    } else {
        builder.format(write_text);
    }
    let _ = builder.try_init();
}

fn write_text(out: &mut Formatter, record: &Record<'_>) -> std::io::Result<()> {
    let time = out.timestamp_millis();
    write!(out, "{time} {:<5} {}", record.level(), record.args())?;
    for (key, value) in fields(record) {
        match value {
            Json::String(text) if is_plain(&text) => write!(out, " {key}={text}")?,
            other => write!(out, " {key}={other}")?,
        }
    }
    writeln!(out)
}

fn write_json(out: &mut Formatter, record: &Record<'_>) -> std::io::Result<()> {
    let mut line: Vec<(String, Json)> = vec![
        ("time".to_owned(), out.timestamp_millis().to_string().into()),
        ("level".to_owned(), record.level().as_str().into()),
        ("message".to_owned(), record.args().to_string().into()),
        ("module".to_owned(), record.target().into()),
    ];
    line.extend(fields(record));
    serde_json::Serializer::new(&mut *out).collect_map(line)?;
    writeln!(out)
}

/// Text that needs no quotes to stay one field.
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'"')
}

/// Returns the key-values in the order in which they were given.
fn fields(record: &Record<'_>) -> Vec<(String, Json)> {
    struct Collect(Vec<(String, Json)>);

    impl<'kvs> VisitSource<'kvs> for Collect {
        fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
            self.0.push((key.to_string(), to_json(&value)));
            Ok(())
        }
    }

    let mut collect = Collect(Vec::new());
    // Collecting cannot fail; a source that does loses its fields, not the line.
    let _ = record.key_values().visit(&mut collect);
    collect.0
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

    #[test]
    fn fields_keep_their_types() {
        let fields = [
            ("count", Value::from(3)),
            ("share", Value::from(0.5)),
            ("name", Value::from("a b")),
        ];
        let record = Record::builder().key_values(&fields).build();

        let collected = super::fields(&record);

        let expected = [
            ("count", Json::from(3)),
            ("share", Json::from(0.5)),
            ("name", Json::from("a b")),
        ];
        assert_eq!(
            collected,
            expected.map(|(key, value)| (key.to_owned(), value))
        );
    }

    #[test]
    fn text_with_spaces_or_quotes_is_quoted() {
        assert!(is_plain("gpt-4o"));
        for text in ["", "a b", "a\"b", "line\nbreak"] {
            assert!(!is_plain(text), "{text:?}");
        }
    }
}
