//! The list of instances, and which variable belongs to whom.

use super::*;

/// Key, base and version for an instance.
fn sound(label: &str) -> Vec<(String, String)> {
    let var = |field: &str, text: String| (format!("AZURE_INSTANCE_{label}_{field}"), text);
    vec![
        var("API_KEY", format!("key-of-{label}")),
        var(
            "API_BASE",
            format!("https://{}.test", label.replace('_', "-")),
        ),
        var("API_VERSION", "v1".to_owned()),
    ]
}

fn listed(list: &str, labels: &[&str]) -> Vec<(String, String)> {
    let mut vars = vec![("AZURE_INSTANCES".to_owned(), list.to_owned())];
    vars.extend(labels.iter().flat_map(|label| sound(label)));
    vars
}

#[test]
fn instances_keep_their_order_and_spelling() {
    let config = from_vars(listed(" West-1, 2 ,east_us", &["WEST_1", "2", "EAST_US"])).unwrap();

    let names: Vec<&str> = config.instances.iter().map(|i| i.name.as_str()).collect();
    assert_eq!(names, ["West-1", "2", "east_us"]);
    assert_eq!(config.instances[0].api_key.expose(), "key-of-WEST_1");
    assert_eq!(config.instances[0].api_version, ApiVersion::V1);
}

#[test]
fn a_name_that_begins_with_another_name_keeps_its_variables() {
    for list in ["east,east_2,east-2-b", "east-2-b,east_2,east"] {
        let mut vars = listed(list, &["EAST", "EAST_2", "EAST_2_B"]);
        vars.push(("AZURE_INSTANCE_EAST_2_WEIGHT".to_owned(), "7".to_owned()));

        let config = from_vars(vars).unwrap();

        for instance in &config.instances {
            let label = instance.name.as_str().to_uppercase().replace('-', "_");
            assert_eq!(instance.api_key.expose(), format!("key-of-{label}"));
            let weight = if label == "EAST_2" { 7 } else { 100 };
            assert_eq!(instance.weight, weight, "{label}");
        }
    }
}

#[test]
fn a_longer_name_does_not_take_a_known_field() {
    let mut vars = listed("east,east_max", &["EAST", "EAST_MAX"]);
    vars.push(("AZURE_INSTANCE_EAST_MAX_TPM".to_owned(), "5".to_owned()));

    let config = from_vars(vars).unwrap();

    assert_eq!(config.instances[0].max_tpm, Tokens(5));
    assert_eq!(config.instances[1].max_tpm, Tokens(30_000));
}

#[test]
fn a_variable_that_fits_two_names_belongs_to_the_longer() {
    for list in ["east,east_model_map", "east_model_map,east"] {
        let mut vars = listed(list, &["EAST", "EAST_MODEL_MAP"]);
        vars.push(("AZURE_INSTANCE_EAST_MODEL_MAP_WEIGHT".into(), "5".into()));

        let config = from_vars(vars).unwrap();

        for instance in &config.instances {
            let is_longer = instance.name.as_str() == "east_model_map";
            assert_eq!(instance.weight, if is_longer { 5 } else { 100 });
            assert!(instance.model_map.is_empty());
        }
    }
}

#[test]
fn a_bad_list_of_names_is_a_problem() {
    let cases = [
        ("east,", "entry 2 is empty"),
        (",east", "entry 1 is empty"),
        ("east,EAST", "entries \"east\" and \"EAST\" share"),
        ("east,we st", "entry 2 is \"we st\""),
        ("east,öst", "letters, digits"),
        ("east,a.b", "letters, digits"),
    ];
    for (list, text) in cases {
        assert_problem(&[("AZURE_INSTANCES", list)], "AZURE_INSTANCES", text);
    }
    let twice = problems(from_vars(listed("a-b,a_b", &["A_B"])));
    assert_eq!(twice.len(), 1);
    assert!(twice[0].contains("AZURE_INSTANCE_A_B_*"), "{twice:?}");
    assert_eq!(problems(with(&[("AZURE_INSTANCES", ",")])).len(), 2);
}

#[test]
fn a_variable_that_belongs_to_nobody_is_answered_with_what_was_meant() {
    let cases = [
        (
            "AZURE_INSTANCE_EAST_APIKEY",
            "no such field APIKEY; expected AZURE_INSTANCE_EAST_API_KEY",
        ),
        (
            "AZURE_INSTANCE_EAST_WIEGHT",
            "expected AZURE_INSTANCE_EAST_WEIGHT",
        ),
        (
            "AZURE_INSTANCE_EAST_REGION",
            "expected one of API_KEY, API_BASE",
        ),
        (
            "AZURE_INSTANCE_EASTT_API_KEY",
            "no instance EASTT; expected AZURE_INSTANCE_EAST_API_KEY",
        ),
        (
            "AZURE_INSTANCE_east_WEIGHT",
            "no instance east; expected AZURE_INSTANCE_EAST_WEIGHT",
        ),
        ("AZURE_INSTANCE_EAST_2_API_KEY", "no instance EAST_2"),
        (
            "AZURE_INSTANCE_NORTH_MODEL_MAP_GPT4",
            "no instance NORTH; expected NORTH in the list, or one of EAST",
        ),
        ("AZURE_INSTANCE_NORTH", "no such variable"),
        ("AZURE_INSTANCE_", "no such variable"),
        ("AZURE_INSTANCE_EAST_", "no such field"),
    ];
    for (variable, text) in cases {
        assert_problem(&[(variable, "x")], variable, text);
    }
}

#[test]
fn a_name_that_only_looks_like_ours_is_a_problem() {
    let cases = [
        ("AZURE_INSTANCE", "expected AZURE_INSTANCES"),
        ("AZURE_ROUTING", "expected AZURE_ROUTING_STRATEGY"),
        ("AZURE_ROUTING_STRATEGIE", "expected AZURE_ROUTING_STRATEGY"),
        (
            "AZURE_INSTANCE_EAST_MODEL_MAP_",
            "no model in the variable's name",
        ),
        ("MODEL_MAP_", "no model in the variable's name"),
        ("MODEL_MAP_--", "no model in the variable's name"),
    ];
    for (variable, text) in cases {
        assert_problem(&[(variable, "x")], variable, text);
    }
}

#[test]
fn required_fields_are_reported_when_missing() {
    for field in ["API_KEY", "API_BASE"] {
        let variable = format!("AZURE_INSTANCE_EAST_{field}");
        assert_problem(&[(&variable, "")], &variable, "not set; expected");
    }
    let base = "AZURE_INSTANCE_EAST_API_BASE";
    assert_problem(
        &[(base, "https://a.test/x/openai/v1/")],
        base,
        "expected https://a.test/x, and `v1` in the API_VERSION variable",
    );
}

#[test]
fn the_form_of_an_api_version_is_checked() {
    let variable = "AZURE_INSTANCE_EAST_API_VERSION";
    for version in [
        "2024-10-21",
        "2024-09-01-preview",
        "2025-04-01-preview",
        "v1",
    ] {
        let config = good(&[(variable, version)]);
        assert_eq!(config.instances[0].api_version.as_str(), version);
        assert!(config.warnings.is_empty(), "{version}");
    }
    let wrong = [
        "v2",
        "V1",
        "latest",
        "preview",
        "2024-10",
        "2024-13-01",
        "2024-00-01",
        "2024-10-32",
        "24-10-21",
        "2024-10-21-beta",
        "2024-10-21-preview-preview",
        "-preview",
        "2024/10/21",
        "2024-1-021",
        "2024-10-+1",
    ];
    for version in wrong {
        assert_problem(&[(variable, version)], variable, "such as 2024-10-21");
    }
}

#[test]
fn an_old_api_version_draws_one_warning_per_instance() {
    let variable = "AZURE_INSTANCE_EAST_API_VERSION";

    for version in ["2024-08-01-preview", "2024-06-01", "2023-07-01-preview"] {
        let config = good(&[(variable, version)]);
        assert_eq!(config.warnings.len(), 1, "{version}");
        assert!(config.warnings[0].starts_with(&format!("{variable}: {version} is older")));
    }
    let config = good(&[
        (variable, ""),
        ("AZURE_INSTANCES", "east,west"),
        ("AZURE_INSTANCE_WEST_API_KEY", "key"),
        ("AZURE_INSTANCE_WEST_API_BASE", "http://west.test"),
    ]);

    assert_eq!(
        config.instances[0].api_version.as_str(),
        "2023-07-01-preview"
    );
    assert_eq!(config.warnings.len(), 2);
    assert!(config.warnings[0].contains("2023-07-01-preview (the default)"));
    assert!(config.warnings[1].starts_with("AZURE_INSTANCE_WEST_API_VERSION"));
}

#[test]
fn limits_that_nobody_chose_draw_one_warning_with_the_instances_that_got_them() {
    let mut vars = listed("a,b,c", &["A", "B", "C"]);
    vars.push(("AZURE_INSTANCE_B_MAX_TPM".to_owned(), "90000".to_owned()));
    vars.push(("AZURE_INSTANCE_C_MAX_TPM".to_owned(), " ".to_owned()));
    let chosen = |variable: &str| {
        let setting = (variable.to_owned(), "50000".to_owned());
        from_vars([vars.clone(), vec![setting]].concat()).unwrap()
    };

    let config = from_vars(vars.clone()).unwrap();

    let limits = [30_000, 90_000, 30_000].map(Tokens);
    assert!(config.instances.iter().map(|i| i.max_tpm).eq(limits));
    assert_eq!(config.warnings.len(), 1, "{:?}", config.warnings);
    let warning = &config.warnings[0];
    assert!(
        warning.starts_with("TOKEN_RATE_LIMIT is not set"),
        "{warning}"
    );
    for part in ["MAX_TPM has 30000 tokens", ": a, c; set the sum"] {
        assert!(warning.contains(part), "{part} in {warning}");
    }
    let one_more = chosen("AZURE_INSTANCE_A_MAX_TPM").warnings;
    assert!(one_more[0].contains(": c; set the sum"), "{one_more:?}");
    assert!(chosen("TOKEN_RATE_LIMIT").warnings.is_empty());
}

#[test]
fn the_legacy_variables_make_one_instance() {
    let legacy = [
        ("AZURE_OPENAI_API_KEY", "key"),
        ("AZURE_OPENAI_API_BASE", "https://a.test/"),
        ("AZURE_OPENAI_API_VERSION", "2024-10-21"),
        ("AZURE_INSTANCES", ""),
        ("MODEL_MAP_GPT4o", "four"),
        ("TOKEN_RATE_LIMIT", "60000"),
    ];

    let config = parse(&legacy).unwrap();

    assert_eq!(config.instances.len(), 1);
    let instance = &config.instances[0];
    assert_eq!(instance.name.as_str(), "default");
    assert_eq!(instance.api_key.expose(), "key");
    assert_eq!(instance.max_tpm, Tokens(60_000));
    assert_eq!(instance.model_map[&ModelKey::of("gpt-4o")].as_str(), "four");
    assert!(config.warnings.is_empty());
}

#[test]
fn half_of_the_legacy_variables_is_a_problem_of_the_other_half() {
    let key_only = problems(parse(&[("AZURE_OPENAI_API_KEY", "key")]));
    let base_only = problems(parse(&[("AZURE_OPENAI_API_BASE", "https://a.test")]));
    let mixed = problems(parse(&[
        ("AZURE_OPENAI_API_KEY", "key"),
        ("AZURE_OPENAI_API_BASE", "https://a.test"),
        ("AZURE_INSTANCE_1_API_KEY", "key"),
        ("AZURE_INSTANCE_1_API_BASE", "https://a.test"),
    ]));

    assert!(
        key_only[0].starts_with("AZURE_OPENAI_API_BASE: not set"),
        "{key_only:?}"
    );
    assert!(
        base_only[0].starts_with("AZURE_OPENAI_API_KEY: not set"),
        "{base_only:?}"
    );
    assert_eq!(mixed.len(), 2, "{mixed:?}");
    assert!(mixed[1].starts_with("AZURE_INSTANCE_1_API_KEY: set, but AZURE_INSTANCES is not"));
}

#[test]
fn no_instance_at_all_is_one_problem() {
    let nothing = problems(parse(&[("AZURE_OPENAI_API_VERSION", "2024-10-21")]));
    let unlisted = problems(parse(&[
        ("AZURE_INSTANCE_1_API_KEY", "key"),
        ("AZURE_INSTANCE_2_API_KEY", "key"),
    ]));

    assert_eq!(nothing.len(), 1);
    assert!(nothing[0].starts_with("AZURE_INSTANCES: not set; expected instance names"));
    assert_eq!(unlisted.len(), 1);
    assert!(unlisted[0].contains("not set, though AZURE_INSTANCE_1_API_KEY is"));
}

#[test]
fn legacy_variables_beside_a_list_are_ignored_with_a_warning() {
    let config = good(&[
        ("AZURE_OPENAI_API_KEY", "other-key"),
        ("AZURE_OPENAI_API_BASE", "not even a URL"),
    ]);

    assert_eq!(config.instances.len(), 1);
    assert_eq!(
        config.warnings,
        ["ignored, because AZURE_INSTANCES is set: AZURE_OPENAI_API_KEY, AZURE_OPENAI_API_BASE"]
    );
}
