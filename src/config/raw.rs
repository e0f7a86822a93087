//! Reads the process environment and `.env` into text, and sorts our variables from everybody else's.
//!
//! This is the only place in the crate that reads the environment. The real environment wins over the file, even with
//! an empty value, so that a setting of the file can be switched off for one run. Whether a text makes sense is left
//! to `validate`; here nothing is refused but what cannot be read at all.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read};
use std::path::Path;
use std::rc::Rc;

use serde::Deserialize;

use super::Problem;

#[cfg(test)]
mod tests;

/// What the names of one instance's variables begin with, before the instance's name.
pub(super) const INSTANCE_PREFIX: &str = "AZURE_INSTANCE_";

/// What the names of the model map's variables begin with, before the model's name.
pub(super) const MODEL_MAP_PREFIX: &str = "MODEL_MAP_";

/// Where settings may stand beside the real environment.
const DOTENV: &str = ".env";

macro_rules! fixed_variables {
    ($($field:ident),* $(,)?) => {
        /// The variables that have one fixed name; `None` if unset or empty.
        #[derive(Default, Deserialize)]
        pub(super) struct Fixed {
            $(pub(super) $field: Option<String>,)*
        }

        impl Fixed {
            /// The names in lower case, as `envy` matches them.
            pub(super) const NAMES: &[&str] = &[$(stringify!($field)),*];
        }
    };
}

fixed_variables!(
    azure_instances,
    azure_routing_strategy,
    azure_openai_api_key,
    azure_openai_api_base,
    azure_openai_api_version,
    token_rate_limit,
    azure_filter_chunks,
    use_redis_rate_limiter,
    redis_url,
    redis_key_prefix,
    redis_timeout_ms,
    redis_ca_file,
    redis_replicas,
    queue_timeout_secs,
    queue_max_waiting,
    host,
    port,
    workers,
    proxy_api_keys,
    cors_allow_origins,
    max_body_bytes,
    max_upload_storage_bytes,
    client_body_timeout_secs,
    client_stall_timeout_secs,
    tmpdir,
    shutdown_timeout_secs,
    upstream_connect_timeout_secs,
    upstream_first_byte_timeout_secs,
    upstream_idle_timeout_secs,
    log_level,
    log_format,
);

/// Every variable of ours that is set and not empty, as text. Holds keys in the clear, so it has no `Debug`.
#[derive(Default)]
pub(super) struct Raw {
    /// The variables with a fixed name.
    pub(super) fixed: Fixed,
    /// `AZURE_INSTANCE_*` by what follows the prefix.
    pub(super) instances: BTreeMap<String, String>,
    /// `MODEL_MAP_*` by what follows the prefix.
    pub(super) model_map: BTreeMap<String, String>,
    /// Names that look like ours and are not, such as `AZURE_ROUTING_STRATEGIE`.
    pub(super) strange: Vec<String>,
}

/// Where a variable belongs, judged by its name alone.
#[derive(Debug, PartialEq, Eq)]
enum Kind<'a> {
    Fixed,
    Instance(&'a str),
    ModelMap(&'a str),
    Strange,
    Foreign,
}

impl<'a> Kind<'a> {
    fn of(name: &'a str) -> Self {
        // Names are case-sensitive on Unix: a `host` or a `Port` of somebody else is not ours.
        let is_upper = !name.contains(|c: char| c.is_lowercase());
        let lower = name.to_ascii_lowercase();
        if is_upper && Fixed::NAMES.contains(&lower.as_str()) {
            return Self::Fixed;
        }
        if let Some(rest) = name.strip_prefix(INSTANCE_PREFIX) {
            return Self::Instance(rest);
        }
        if let Some(rest) = name.strip_prefix(MODEL_MAP_PREFIX) {
            return Self::ModelMap(rest);
        }
        if name.starts_with("AZURE_ROUTING") || name == "AZURE_INSTANCE" {
            return Self::Strange;
        }
        Self::Foreign
    }
}

impl Raw {
    /// Sorts variables by their names; of a repeated name the last value counts.
    pub(super) fn collect(
        vars: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Problem> {
        // Empty is unset for every variable, so that a compose file can pass on `${NAME:-}`.
        let mut latest: BTreeMap<String, String> = vars.into_iter().collect();
        latest.retain(|_, value| !value.is_empty());

        let mut raw = Self::default();
        let mut fixed = Vec::new();
        for (name, value) in latest {
            match Kind::of(&name) {
                Kind::Fixed => fixed.push((name, value)),
                Kind::Instance(rest) => {
                    raw.instances.insert(rest.to_owned(), value);
                }
                Kind::ModelMap(rest) => {
                    raw.model_map.insert(rest.to_owned(), value);
                }
                Kind::Strange => raw.strange.push(name),
                Kind::Foreign => {}
            }
        }
        // The error of envy may quote a value, which may be a key.
        raw.fixed = envy::from_iter(fixed).map_err(|_| Problem {
            variable: "environment".to_owned(),
            found: "variables that cannot be read".to_owned(),
            expected: "text".to_owned(),
        })?;
        Ok(raw)
    }
}

/// Returns the variables of the environment and of `.env` in the working directory, and what could not be read.
pub(super) fn load() -> (Vec<(String, String)>, Vec<Problem>) {
    merge(std::env::vars_os(), std::fs::read(Path::new(DOTENV)))
}

/// Lays the real environment over the content of the file.
fn merge(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    file: io::Result<Vec<u8>>,
) -> (Vec<(String, String)>, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut vars = match file {
        Ok(content) => parse_file(&content, &mut problems),
        Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
        Err(error) => {
            problems.push(file_problem(
                DOTENV,
                error.to_string(),
                "a readable file, or none",
            ));
            BTreeMap::new()
        }
    };
    for (name, value) in environment {
        // A name that is not UTF-8 cannot be one of ours.
        let Ok(name) = name.into_string() else {
            continue;
        };
        match value.into_string() {
            Ok(value) => {
                vars.insert(name, value);
            }
            Err(_) if Kind::of(&name) == Kind::Foreign => {}
            Err(_) => problems.push(file_problem(&name, "bytes that are not UTF-8", "text")),
        }
    }
    (vars.into_iter().collect(), problems)
}

/// Parses the file line by line, so that one bad line does not hide the next. Never quotes a line: it may hold a key.
fn parse_file(content: &[u8], problems: &mut Vec<Problem>) -> BTreeMap<String, String> {
    let mut vars: BTreeMap<String, String> = BTreeMap::new();
    let Ok(text) = std::str::from_utf8(content) else {
        problems.push(file_problem(DOTENV, "bytes that are not UTF-8", "text"));
        return vars;
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let line = Rc::new(Cell::new(0));
    let reader = LineReader::new(text, Rc::clone(&line));
    for entry in dotenvy::from_read_iter(reader) {
        match entry {
            Ok((name, value)) => {
                // Docker Compose takes the last of two lines, dotenv tools the first: neither is what was meant.
                let is_other = vars.get(&name).is_some_and(|known| *known != value);
                if is_other && Kind::of(&name) != Kind::Foreign {
                    let found = format!("set twice in {DOTENV}, differently");
                    problems.push(file_problem(&name, found, "one line"));
                }
                vars.insert(name, value);
            }
            Err(dotenvy::Error::LineParse(entry, _)) => {
                // An entry in quotes may span lines; the one to look at is the first.
                let spanned = entry.lines().count().max(1);
                let first = (line.get() + 1_usize).saturating_sub(spanned);
                problems.push(file_problem(
                    DOTENV,
                    format!("line {first} cannot be parsed"),
                    "NAME=value, the value in single quotes if it holds spaces, quotes, # or $",
                ));
            }
            Err(error) => problems.push(file_problem(DOTENV, error.to_string(), "text")),
        }
    }
    vars
}

fn file_problem(variable: &str, found: impl Into<String>, expected: &str) -> Problem {
    Problem {
        variable: variable.to_owned(),
        found: found.into(),
        expected: expected.to_owned(),
    }
}

/// Hands out one line per `read` and counts them, because dotenvy's errors do not say in which line they are.
struct LineReader {
    /// The lines still to come, the next one last; each ends in a line feed.
    rest: Vec<Vec<u8>>,
    given: Rc<Cell<usize>>,
}

impl LineReader {
    fn new(text: &str, given: Rc<Cell<usize>>) -> Self {
        // The line feed is added to the last line too: dotenvy 0.15 refuses trailing spaces at the end of a file.
        let rest = text
            .lines()
            .rev()
            .map(|line| format!("{line}\n").into_bytes())
            .collect();
        Self { rest, given }
    }
}

impl Read for LineReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(line) = self.rest.pop() else {
            return Ok(0);
        };
        let size = line.len().min(buffer.len());
        let (now, later) = line.split_at(size);
        for (to, from) in buffer.iter_mut().zip(now) {
            *to = *from;
        }
        if later.is_empty() {
            self.given.set(self.given.get() + 1);
        } else {
            self.rest.push(later.to_vec());
        }
        Ok(size)
    }
}
