//! A source file as the checker sees it: its code without tests and comments, and which modules it names.
//!
//! Code is read as text, in the form that rustfmt gives it.

use std::fs;
use std::path::{Path, PathBuf};

/// One source file.
pub struct Source {
    /// Relative to `src`, with slashes.
    pub path: String,
    pub text: String,
    /// Its code, without tests and comments.
    pub code: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let path = path.replace('\\', "/");
        let code = match is_test_file(&path) {
            true => String::new(),
            false => code(text),
        };
        Self {
            text: text.to_owned(),
            path,
            code,
        }
    }

    /// The top-level module that the file belongs to.
    pub fn module(&self) -> &str {
        let first = self.path.split('/').next().unwrap();
        first.strip_suffix(".rs").unwrap_or(first)
    }
}

fn is_test_file(path: &str) -> bool {
    path.split('/')
        .any(|part| ["tests", "tests.rs", "properties.rs"].contains(&part))
}

/// Drops comments and everything that follows `#[cfg(test)]`: an item up to its closing brace or semicolon.
fn code(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let trimmed = line.trim_start();
        if trimmed.starts_with("#[cfg(test)]") {
            let indent = line.len() - trimmed.len();
            skip_item(&mut lines, indent);
        } else if !trimmed.starts_with("//") {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// Skips one item, which rustfmt ends with `;` on its line or with a brace at its own indent.
fn skip_item<'a>(lines: &mut impl Iterator<Item = &'a str>, indent: usize) {
    for line in lines {
        let is_outside = line.len() - line.trim_start().len() == indent;
        let is_end = line.ends_with(';') || line.ends_with('}');
        if is_outside && is_end {
            return;
        }
    }
}

/// Returns the modules that code names after `crate::`, groups included.
pub fn imports(code: &str) -> Vec<String> {
    let mut modules = Vec::new();
    for (at, prefix) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c == '_' || c == '$' || c.is_alphanumeric()) {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(group) => modules.extend(group_heads(group)),
            None => modules.push(identifier(rest)),
        }
    }
    modules.sort();
    modules.dedup();
    modules
}

/// Returns the first name of each entry of `a::{b, c}, d}`.
fn group_heads(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let mut depth = 0;
    let mut is_head = true;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => is_head = true,
            c if is_head && c.is_alphanumeric() => {
                heads.push(identifier(&group[at..]));
                is_head = false;
            }
            _ => {}
        }
    }
    heads
}

fn identifier(text: &str) -> String {
    let is_part = |c: &char| *c == '_' || c.is_alphanumeric();
    text.chars().take_while(is_part).collect()
}

/// Reads every Rust file below a folder of the project.
pub fn read_all(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut sources = Vec::new();
    read(&root, &root, &mut sources);
    sources
}

fn read(folder: &Path, root: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.is_dir() {
            read(&path, root, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            sources.push(Source::new(name, &fs::read_to_string(&path).unwrap()));
        }
    }
}
