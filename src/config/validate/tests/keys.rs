//! Keys: what can be sent, and that none is ever shown.

use proptest::prelude::*;

use super::*;
use crate::config::raw::Fixed;
use crate::config::validate::sources::{FIELDS, MODEL_FIELDS};

const KEY: &str = "sk\\\"topsecret'0123456789abcdef";

/// Every variable there is, for one instance and one model.
fn every_variable() -> Vec<String> {
    let mut names: Vec<String> = Fixed::NAMES
        .iter()
        .map(|n| n.to_ascii_uppercase())
        .collect();
    names.extend(FIELDS.map(|field| format!("AZURE_INSTANCE_EAST_{field}")));
    names.extend(MODEL_FIELDS.map(|field| format!("AZURE_INSTANCE_EAST_{field}GPT4o")));
    names.extend(
        [
            "MODEL_MAP_GPT4o",
            "AZURE_ROUTING",
            "AZURE_INSTANCE_EAST_KEY",
        ]
        .map(str::to_owned),
    );
    names
}

fn rendered(problems: &[Problem]) -> String {
    let sentences: Vec<String> = problems.iter().map(Problem::to_string).collect();
    format!("{} {problems:?}", sentences.join("\n"))
}

#[test]
fn a_key_that_no_header_can_carry_is_a_problem() {
    let cases = [
        (" key", "white space around it"),
        ("key\n", "white space around it"),
        ("k\u{1}ey", "control characters"),
        ("k\ney", "control characters"),
        ("schlüssel", "outside ASCII"),
        ("https://east.test", "a URL"),
    ];
    for (key, text) in cases {
        let variable = "AZURE_INSTANCE_EAST_API_KEY";
        assert_problem(&[(variable, key)], variable, text);
    }
}

#[test]
fn client_keys_are_read_with_and_without_names() {
    let config = good(&[(
        "PROXY_API_KEYS",
        "team-a:key-number-1, key-number-2 ,b:with:colon",
    )]);

    let keys: Vec<(Option<&str>, &str)> = config
        .server
        .client_keys
        .iter()
        .map(|client| (client.name.as_deref(), client.key.expose()))
        .collect();
    assert_eq!(
        keys,
        [
            (Some("team-a"), "key-number-1"),
            (None, "key-number-2"),
            (Some("b"), "with:colon"),
        ]
    );
}

#[test]
fn a_bad_client_key_is_named_by_its_position() {
    let cases = [
        ("long-enough,", "entry 2 is empty"),
        (
            "short",
            "entry 1 has a key of 5 characters; expected at least 8",
        ),
        ("team:", "entry 1 has a key of 0 characters"),
        (":long-enough", "entry 1 has no proper name"),
        ("the team:long-enough", "entry 1 has no proper name"),
        ("a:long-enough,b:long-enough", "entry 2 repeats the key"),
        ("löng-enough", "entry 1 has a key with"),
    ];
    for (list, text) in cases {
        assert_problem(&[("PROXY_API_KEYS", list)], "PROXY_API_KEYS", text);
    }
}

#[test]
fn a_key_in_the_wrong_variable_is_not_shown() {
    // The short key is also one that would be quoted, were it not known as a key.
    for key in [KEY, "0123456789abcdef0123456789abcdef", "pass word"] {
        for variable in every_variable() {
            for known in [
                "AZURE_INSTANCE_EAST_API_KEY",
                "PROXY_API_KEYS",
                "AZURE_INSTANCE_WEST_API_KEY",
            ] {
                let named = format!("team:{key}");
                let value = if known == "PROXY_API_KEYS" {
                    &named
                } else {
                    key
                };
                let Err(problems) = with(&[(known, value), (&variable, key)]) else {
                    continue;
                };

                let text = rendered(&problems);
                assert!(!text.contains(key), "{variable}: {text}");
                assert!(!text.contains("topsecret"), "{variable}: {text}");
            }
        }
    }
}

#[test]
fn an_unknown_key_of_usual_length_is_not_shown_either() {
    let key = "0123456789abcdef0123456789abcdef";
    for variable in every_variable() {
        let mut vars: Vec<(&str, &str)> = ONE.to_vec();
        vars.retain(|(name, _)| *name != variable);
        vars.push((&variable, key));

        if let Err(problems) = parse(&vars) {
            assert!(!rendered(&problems).contains(key), "{variable}");
        }
    }
}

#[test]
fn a_debug_print_of_the_configuration_shows_no_key() {
    let config = good(&[
        ("AZURE_INSTANCE_EAST_API_KEY", KEY),
        ("PROXY_API_KEYS", "a:another-secret"),
    ]);

    let text = format!("{config:?} {}", crate::config::table::table(&config));

    assert!(!text.contains("topsecret"));
    assert!(!text.contains("another-secret"));
}

fn names() -> impl Strategy<Value = String> {
    let known = prop::sample::select(every_variable());
    let prefix = prop::sample::select(vec![
        "AZURE_INSTANCE_",
        "AZURE_INSTANCE_EAST_",
        "MODEL_MAP_",
        "",
    ]);
    let made = (prefix, any::<String>()).prop_map(|(prefix, rest)| format!("{prefix}{rest}"));
    prop_oneof![3 => known, 1 => made]
}

fn values() -> impl Strategy<Value = String> {
    let typical = prop::sample::select(vec![
        "east",
        "1",
        "0.5",
        "https://a.test",
        "v1",
        "true",
        "a,,b",
        ":",
    ]);
    prop_oneof![
        any::<String>(),
        typical.prop_map(str::to_owned),
        "[0-9.,:/-]{0,12}"
    ]
}

proptest! {
    #[test]
    fn no_text_makes_validation_panic_or_show_a_key(
        vars in prop::collection::vec((names(), values()), 0..24),
        key in "zq[a-z0-9]{10,40}",
    ) {
        let mut all: Vec<(String, String)> = vec![("AZURE_INSTANCES".into(), "east,west".into())];
        all.extend(vars);
        all.push(("AZURE_INSTANCE_EAST_API_KEY".into(), key.clone()));
        all.push(("AZURE_INSTANCE_WEST_API_KEY".into(), format!("{key}\n")));
        all.push(("AZURE_INSTANCE_WEST_WEIGHT".into(), key.clone()));

        let problems = from_vars(all).expect_err("a key is no weight");

        prop_assert!(!rendered(&problems).contains(&key));
    }

    #[test]
    fn no_text_in_a_sound_configuration_panics_or_shows_a_key(
        name in names(),
        value in values(),
        key in "zq[a-z0-9]{10,40}",
    ) {
        let vars = [(name.as_str(), value.as_str()), ("AZURE_INSTANCE_EAST_API_KEY", &key)];

        let text = match with(&vars) {
            Ok(config) => format!("{config:?}"),
            Err(problems) => rendered(&problems),
        };

        prop_assert!(!text.contains(&key));
    }
}
