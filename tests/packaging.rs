//! Holds the files around the program to the program: README, docs, .env.example, docker-compose.yml, Dockerfile, LICENSE.
//!
//! They are read as text, so only the forms that they have today are understood. That `.env.example` names every
//! variable of the code is tested beside `config`; here the README is held to `.env.example`, every link of the pages to
//! what it leads to, and the tables of errors and metrics to the code.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy knows tests by their attribute, and here functions of tests stand beside them"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use azure_openai_proxy::config;

const PROGRAM: &str = "azure-openai-proxy";

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Returns the README between a heading and the next of the same rank.
fn chapter(heading: &str) -> String {
    let readme = file("README.md");
    let after = readme.split_once(&format!("\n## {heading}\n"));
    let (_, rest) = after.unwrap_or_else(|| panic!("the README has no chapter {heading}"));
    rest.split("\n## ").next().unwrap_or_default().to_owned()
}

fn is_name(text: &str) -> bool {
    text.contains('_') && is_word(text) && text.starts_with(|c: char| c.is_ascii_uppercase())
        || ["HOST", "PORT", "WORKERS", "TMPDIR"].contains(&text)
}

fn is_word(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '<' | '>'))
}

/// Returns the variables in the first column of the tables of a chapter.
fn tabled(heading: &str) -> BTreeSet<String> {
    let chapter = chapter(heading);
    let rows = chapter.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.filter_map(|row| row.split_once(" |"));
    let quoted = cells.flat_map(|(cell, _)| cell.split('`'));
    quoted
        .filter(|text| is_name(text))
        .map(str::to_owned)
        .collect()
}

/// Reads `NAME=value` lines; those behind `# ` only if `commented`.
fn settings(text: &str, commented: bool) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for line in text.lines() {
        let line = match line.strip_prefix("# ") {
            Some(rest) if commented => rest,
            _ => line,
        };
        if let Some((name, value)) = line.split_once('=')
            && is_name(name)
        {
            found.push((name.to_owned(), value.to_owned()));
        }
    }
    found
}

/// Writes `<NAME>` and `<MODEL>` for what users choose.
fn documented(name: &str) -> String {
    let mut name = name.to_owned();
    for instance in ["PRIMARY", "BACKUP"] {
        name = name.replace(&format!("_{instance}_"), "_<NAME>_");
    }
    for before in ["MODEL_MAP_", "MAX_TPM_"] {
        if let Some((start, _)) = name.split_once(before) {
            name = format!("{start}{before}<MODEL>");
        }
    }
    name
}

/// Returns the lines below `key`, as far as they are indented more than it.
fn below<'a>(lines: &[&'a str], key: &str) -> Vec<&'a str> {
    let depth = |line: &str| line.len() - line.trim_start().len();
    let mut lines = lines.iter().skip_while(|line| line.trim_end() != key);
    let least = lines.next().map_or(0, |line| depth(line)) + 1;
    let inside = |line: &&&str| line.trim().is_empty() || depth(line) >= least;
    lines.take_while(inside).copied().collect()
}

/// Returns what compose makes of `${NAME:-default}` if the variable is not set, and of anything else.
fn default_of(value: &str) -> String {
    let inner = value
        .strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'));
    let default = inner.and_then(|inner| inner.split_once(":-"));
    default.map_or(value, |(_, default)| default).to_owned()
}

/// Returns the words of a JSON array somewhere in a line.
fn words(line: &str) -> Vec<String> {
    let array = line.split_once('[').map(|(_, rest)| format!("[{rest}"));
    serde_json::from_str(&array.unwrap_or_default()).unwrap_or_default()
}

fn assert_is_accepted(vars: Vec<(String, String)>) {
    if let Err(problems) = config::from_vars(vars) {
        panic!("{problems:?}");
    }
}

/// Returns the README and the pages of `docs`, each by its path.
fn pages() -> Vec<String> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let entries = std::fs::read_dir(docs).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut pages: Vec<String> = names.map(|name| format!("docs/{name}")).collect();
    pages.push("README.md".to_owned());
    pages
}

/// Returns where the links of a page lead, but for those to other sites.
fn links(page: &str) -> Vec<String> {
    let targets = page.split("](").skip(1);
    targets
        .filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()))
        .filter(|target| !target.contains("://"))
        .collect()
}

/// Returns the names by which headings of a page are linked to.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let text = line.trim_start_matches('#').trim().to_lowercase();
            let kept = text
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.collect::<String>().replace(' ', "-")
        })
        .collect()
}

/// Asks the program itself whether it knows a subcommand.
fn assert_is_a_call_of_the_program(call: &[String]) {
    let (program, arguments) = call.split_first().unwrap();
    assert_eq!(program, PROGRAM);
    let mut command = Command::new(env!("CARGO_BIN_EXE_azure-openai-proxy"));
    let asked = command.args(arguments).arg("--help").output().unwrap();
    assert!(asked.status.success(), "{call:?}: {asked:?}");
}

#[test]
fn the_readme_and_the_example_name_the_same_variables() {
    let in_readme = tabled("Variables");
    let in_example: BTreeSet<String> = settings(&file(".env.example"), true)
        .iter()
        .map(|(name, _)| documented(name))
        .collect();

    assert!(in_example.len() > 30, "{in_example:?}");
    assert_eq!(in_readme, in_example);
}

#[test]
fn every_link_of_the_pages_leads_to_a_file_and_a_heading() {
    let mut found = 0;
    for page in pages() {
        let folder = Path::new(&page).parent().unwrap();
        for link in links(&file(&page)) {
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match path {
                "" => page.clone(),
                path => folder.join(path).to_str().unwrap().to_owned(),
            };
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            assert!(root.join(&target).exists(), "{page}: {link}");
            assert!(
                anchor.is_empty() || anchors(&file(&target)).contains(anchor),
                "{page}: no heading for {link}"
            );
            found += 1;
        }
    }
    assert!(found > 30, "{found} links");
}

#[test]
fn every_code_of_an_error_is_in_the_table_of_the_readme() {
    let source = file("src/error.rs");
    let (_, row) = source.split_once("fn row(self)").unwrap();
    let row = row.split("\n    }\n").next().unwrap();
    let codes: Vec<&str> = row.split('"').skip(1).step_by(2).collect();
    let table = chapter("Errors of the proxy");

    assert!(codes.len() > 15, "{codes:?}");
    for code in codes {
        assert!(table.contains(&format!("`{code}`")), "{code}");
    }
}

#[test]
fn every_metric_is_documented_and_no_other() {
    let named = |path: &str, quote: char| -> BTreeSet<String> {
        let text = file(path);
        let quoted = text.split(quote).skip(1).step_by(2);
        let names = quoted.filter(|text| text.starts_with("aoai_proxy_") && is_word(text));
        names.map(str::to_owned).collect()
    };
    let files = ["metrics.rs", "metrics/queue.rs", "metrics/uploads.rs"];
    let registered: BTreeSet<String> = files
        .iter()
        .flat_map(|name| named(&format!("src/{name}"), '"'))
        .collect();

    assert!(registered.len() > 15, "{registered:?}");
    assert_eq!(named("docs/metrics.md", '`'), registered);
}

#[test]
fn the_small_env_of_the_readme_is_accepted() {
    let vars = settings(&chapter("Your own resources"), false);

    assert!(
        vars.iter()
            .any(|(name, _)| name == "AZURE_INSTANCE_BACKUP_API_KEY")
    );
    assert_is_accepted(vars);
}

#[test]
fn compose_sets_no_variable_that_the_program_refuses() {
    let compose = file("docker-compose.yml");
    let lines: Vec<&str> = compose.lines().collect();
    let proxy = below(&lines, "  proxy:");
    let mut vars = settings(&file(".env.example"), false);
    let before = vars.len();

    for line in below(&proxy, "    environment:") {
        if let Some((name, value)) = line.trim().split_once(": ")
            && is_name(name)
        {
            vars.push((name.to_owned(), default_of(value.trim_matches('"'))));
        }
    }

    assert!(vars.len() > before, "no environment was found");
    assert_is_accepted(vars);
}

#[test]
fn the_health_checks_of_image_and_compose_call_a_known_subcommand() {
    let dockerfile = file("Dockerfile");
    let image = dockerfile
        .lines()
        .find(|line| line.trim_start().starts_with("CMD [\"azure"));
    let compose = file("docker-compose.yml");
    let lines: Vec<&str> = compose.lines().collect();
    let proxy = below(&lines, "  proxy:");
    let mut proxy = proxy.into_iter();
    let test = proxy.find(|line| line.trim_start().starts_with("test:"));

    assert_is_a_call_of_the_program(&words(image.unwrap()));
    let test = words(test.unwrap());
    assert_eq!(test[0], "CMD");
    assert_is_a_call_of_the_program(&test[1..]);
}

#[test]
fn the_image_starts_and_serves_what_it_builds() {
    let dockerfile = file("Dockerfile");
    let entry = dockerfile
        .lines()
        .find(|line| line.starts_with("ENTRYPOINT "));

    assert_eq!(words(entry.unwrap()), [PROGRAM]);
    assert!(dockerfile.contains(&format!("--bin {PROGRAM}")));
    assert!(dockerfile.contains("\nEXPOSE 3010\n"));
}

#[test]
fn the_licence_is_mit() {
    let licence = file("LICENSE");
    let licence = licence.split_whitespace().collect::<Vec<_>>().join(" ");

    assert!(licence.starts_with("MIT License Copyright (c) "));
    assert!(licence.contains(
        "without restriction, including without limitation the rights to use, copy, modify"
    ));
    assert!(licence.contains("THE SOFTWARE IS PROVIDED \"AS IS\", WITHOUT WARRANTY OF ANY KIND"));
    assert_eq!(env!("CARGO_PKG_LICENSE"), "MIT");
}
