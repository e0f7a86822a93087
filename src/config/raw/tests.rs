//! The real environment over `.env`, and what cannot be read of either.

use std::os::unix::ffi::OsStringExt;

use super::*;

fn os(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)))
        .collect()
}

fn file(content: &str) -> io::Result<Vec<u8>> {
    Ok(content.as_bytes().to_vec())
}

fn value<'a>(vars: &'a [(String, String)], name: &str) -> Option<&'a str> {
    vars.iter()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.as_str())
}

fn shown(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(Problem::to_string).collect()
}

#[test]
fn the_real_environment_wins_over_the_file() {
    let content = "PORT=1\nHOST=127.0.0.1\nWORKERS=2\n";

    let (vars, problems) = merge(os(&[("PORT", "9"), ("WORKERS", "")]), file(content));

    assert!(problems.is_empty());
    assert_eq!(value(&vars, "PORT"), Some("9"));
    assert_eq!(value(&vars, "HOST"), Some("127.0.0.1"));
    assert_eq!(value(&vars, "WORKERS"), Some(""));
}

#[test]
fn a_missing_file_is_fine_and_an_unreadable_one_is_not() {
    let missing = Err(io::Error::from(io::ErrorKind::NotFound));
    let refused = Err(io::Error::from(io::ErrorKind::PermissionDenied));

    assert!(merge(os(&[]), missing).1.is_empty());
    let (_, problems) = merge(os(&[]), refused);

    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].variable, ".env");
}

#[test]
fn a_bad_line_is_named_by_its_number_and_never_quoted() {
    let cases = [
        ("PORT=1\nAZURE_INSTANCE_A_API_KEY topsecret\nHOST=::1\n", 2),
        ("# it's a comment\n\nPORT=topsecret two\nHOST=::1\n", 3),
        ("HOST=::1\r\nMODEL_MAP_gpt-4o=topsecret\r\n", 2),
        ("HOST=::1\nPORT='topsecret\nWORKERS=2\n", 2),
        ("HOST=::1\nPORT='top\nsecret' topsecret\n", 2),
        ("HOST=::1\nPORT=\"topsecret\\q\"", 2),
    ];
    for (content, line) in cases {
        let (vars, problems) = merge(os(&[]), file(content));

        let shown = shown(&problems);
        assert_eq!(shown.len(), 1, "{content:?}: {shown:?}");
        assert!(
            shown[0].starts_with(&format!(".env: line {line} ")),
            "{content:?}: {shown:?}"
        );
        assert!(!shown[0].contains("topsecret"), "{shown:?}");
        assert_eq!(value(&vars, "HOST"), Some("::1"), "{content:?}");
    }
}

#[test]
fn a_line_longer_than_a_buffer_counts_once() {
    let content = format!("PORT={}\nHOST\n", "1".repeat(20_000));

    let (vars, problems) = merge(os(&[]), file(&content));

    assert_eq!(value(&vars, "PORT").map(str::len), Some(20_000));
    assert!(shown(&problems)[0].starts_with(".env: line 2 "));
}

#[test]
fn marks_and_spaces_of_editors_do_no_harm() {
    let content = "\u{feff}PORT=1 \r\nexport HOST='::1' # here\nWORKERS=2  ";

    let (vars, problems) = merge(os(&[]), file(content));

    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(value(&vars, "PORT"), Some("1"));
    assert_eq!(value(&vars, "HOST"), Some("::1"));
    assert_eq!(value(&vars, "WORKERS"), Some("2"));
}

#[test]
fn a_variable_set_twice_in_the_file_is_a_problem_if_it_is_ours() {
    let (_, same) = merge(os(&[]), file("PORT=1\nPORT=1\nOTHER=1\nOTHER=2\n"));
    let (_, differing) = merge(os(&[]), file("PORT=1\nPORT=2\n"));

    assert!(same.is_empty());
    assert_eq!(
        shown(&differing),
        ["PORT: set twice in .env, differently; expected one line"]
    );
}

#[test]
fn only_our_own_variables_must_be_utf_8() {
    let bytes = || OsString::from_vec(vec![b'a', 0xff]);
    let environment = vec![
        (OsString::from("LS_COLORS"), bytes()),
        (bytes(), OsString::from("1")),
        (OsString::from("AZURE_INSTANCE_A_API_KEY"), bytes()),
        (OsString::from("PORT"), OsString::from("1")),
    ];

    let (vars, problems) = merge(environment, file(""));

    assert_eq!(vars, [("PORT".to_owned(), "1".to_owned())]);
    assert_eq!(
        shown(&problems),
        ["AZURE_INSTANCE_A_API_KEY: bytes that are not UTF-8; expected text"]
    );
    assert_eq!(merge(os(&[]), Ok(vec![0xff])).1.len(), 1);
}

#[test]
fn variables_are_sorted_by_name_and_empty_ones_are_unset() {
    let vars = [
        ("PORT", "1"),
        ("port", "2"),
        ("Host", "3"),
        ("HOST", ""),
        ("AZURE_INSTANCE_A_WEIGHT", "4"),
        ("AZURE_INSTANCE_B_WEIGHT", ""),
        ("MODEL_MAP_GPT4o", "5"),
        ("AZURE_ROUTING_STRATEGIE", "6"),
        ("AZURE_INSTANCE", "7"),
        ("AZURE_OPENAI_ENDPOINT", "8"),
    ];
    let vars = vars.map(|(name, value)| (name.to_owned(), value.to_owned()));

    let raw = Raw::collect(vars).unwrap();

    assert_eq!(raw.fixed.port.as_deref(), Some("1"));
    assert_eq!(raw.fixed.host, None);
    assert_eq!(raw.instances.len(), 1);
    assert_eq!(raw.instances["A_WEIGHT"], "4");
    assert_eq!(raw.model_map["GPT4o"], "5");
    assert_eq!(raw.strange, ["AZURE_INSTANCE", "AZURE_ROUTING_STRATEGIE"]);
}

#[test]
fn every_fixed_variable_reaches_its_field() {
    let vars = Fixed::NAMES
        .iter()
        .map(|name| (name.to_ascii_uppercase(), (*name).to_owned()));

    let raw = Raw::collect(vars).unwrap();

    assert_eq!(
        raw.fixed.azure_instances.as_deref(),
        Some("azure_instances")
    );
    assert_eq!(raw.fixed.log_format.as_deref(), Some("log_format"));
    assert_eq!(raw.fixed.redis_url.as_deref(), Some("redis_url"));
}
