//! The subcommands that end by themselves: `check`, `count`, `healthcheck`; and how a bad configuration is refused.

use std::fs::File;
use std::net::TcpListener;

use serde_json::json;

use super::process::*;
use crate::helpers::*;
use crate::process::command;

#[test]
fn check_prints_the_configuration_with_masked_keys() {
    let mut vars = sound("https://res.openai.azure.com");
    vars.push(("PROXY_API_KEYS", "team:client-key-of-the-team".to_owned()));
    vars.push(("MODEL_MAP_GPT4o", "my-gpt-4o".to_owned()));

    let ended = run(&["check"], &vars);

    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    for part in [
        "failover",
        "primary",
        "https://res.openai.azure.com",
        "my-gpt-4o",
        "****cdef",
        "****team",
        "TOKEN_RATE_LIMIT is not set",
    ] {
        assert!(ended.stdout.contains(part), "{part} in\n{}", ended.stdout);
    }
    for key in [KEY, "client-key"] {
        assert!(!ended.stdout.contains(key), "{}", ended.stdout);
    }
}

#[test]
fn every_problem_of_a_configuration_is_reported_at_once_and_no_key_is_shown() {
    let vars = [
        ("AZURE_INSTANCES", "primary,backup".to_owned()),
        ("AZURE_ROUTING_STRATEGY", "fastest".to_owned()),
        ("AZURE_INSTANCE_PRIMARY_API_KEY", format!("{KEY}\n")),
        (
            "AZURE_INSTANCE_PRIMARY_API_BASE",
            "res.openai.azure.com".to_owned(),
        ),
        ("AZURE_INSTANCE_PRIMARY_MAX_TPN", "1000".to_owned()),
        ("PORT", "port".to_owned()),
        ("PROXY_API_KEYS", "short".to_owned()),
        ("USE_REDIS_RATE_LIMITER", "perhaps".to_owned()),
        ("LOG_LEVEL", "loud".to_owned()),
    ];
    for command in ["check", "serve"] {
        let ended = run(&[command], &vars);

        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(2), ""),
            "{command}"
        );
        for part in [
            "AZURE_ROUTING_STRATEGY",
            "fastest",
            "AZURE_INSTANCE_PRIMARY_API_KEY",
            "AZURE_INSTANCE_PRIMARY_API_BASE",
            "AZURE_INSTANCE_PRIMARY_MAX_TPN",
            "AZURE_INSTANCE_BACKUP_API_KEY",
            "AZURE_INSTANCE_BACKUP_API_BASE",
            "PORT",
            "PROXY_API_KEYS",
            "USE_REDIS_RATE_LIMITER",
            "LOG_LEVEL",
            "loud",
        ] {
            assert!(ended.stderr.contains(part), "{part} in\n{}", ended.stderr);
        }
        assert!(!ended.stderr.contains(&KEY[..8]), "{}", ended.stderr);
        assert!(!ended.stderr.contains("short"), "{}", ended.stderr);
    }
}

#[test]
fn without_any_setting_the_first_step_is_told() {
    let ended = run(&[], &[]);

    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("AZURE_INSTANCES"), "{}", ended.stderr);
}

#[test]
fn settings_of_a_file_count_and_the_environment_wins_over_them() {
    let folder = Folder::new();
    let lines: Vec<String> = sound("https://from-the-file.test")
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    folder.write(".env", &lines.join("\n"));
    let over = [
        ("AZURE_ROUTING_STRATEGY", "weighted".to_owned()),
        ("PORT", "4711".to_owned()),
    ];

    let ended = run_with_input(&folder, &["check"], &over, "");

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for part in ["https://from-the-file.test", "weighted", "127.0.0.1:4711"] {
        assert!(ended.stdout.contains(part), "{part} in\n{}", ended.stdout);
    }
}

#[test]
fn a_shared_quota_without_a_redis_is_refused() {
    let mut vars = sound("https://res.openai.azure.com");
    vars.push(("USE_REDIS_RATE_LIMITER", "true".to_owned()));

    let ended = run(&["check"], &vars);

    assert_eq!(ended.code, Some(2));
    let what = "REDIS_URL: not set, although USE_REDIS_RATE_LIMITER is on";
    assert!(ended.stderr.contains(what), "{}", ended.stderr);
}

#[test]
fn an_unknown_subcommand_is_explained() {
    let ended = run(&["server"], &[]);

    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("serve"), "{}", ended.stderr);
}

#[test]
fn count_prints_the_tokens_of_each_line_and_names_a_bad_one() {
    let good = chat("Hello there", 10).to_string();
    let folder = Folder::new();

    let ended = run_with_input(&folder, &["count"], &[], &format!("{good}\n\n{good}\n"));

    // Two words, a role, and the six of the frame around a message and the answer.
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(lines, ["9", "9"]);

    let ended = run_with_input(
        &folder,
        &["count"],
        &[],
        &format!("{good}\n{{\"messages\": []}}\n{good}\nnonsense\n"),
    );

    assert_eq!(ended.code, Some(2));
    assert_eq!(ended.stdout.lines().count(), 2);
    for part in ["line 2: ", "model", "line 4: "] {
        assert!(ended.stderr.contains(part), "{part} in\n{}", ended.stderr);
    }
}

#[test]
fn count_knows_the_other_endpoints() {
    let folder = Folder::new();
    let body = json!({"model": "text-embedding-3-small", "input": [[1, 2, 3], [4]]}).to_string();

    let ended = run_with_input(&folder, &["count", "--endpoint", "embeddings"], &[], &body);

    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(0), "4\n"),
        "{}",
        ended.stderr
    );
}

#[actix_web::test]
async fn healthcheck_succeeds_in_front_of_a_proxy_and_fails_in_front_of_nothing() {
    let app = spawn_app(1).await;
    let port = app.url.rsplit(':').next().unwrap().to_owned();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let free = nobody.local_addr().unwrap().port().to_string();
    drop(nobody);

    // The proxy of this test starts on this thread, which must not be blocked.
    let checks = move || {
        let healthy = run(&["healthcheck", "--port", &port], &[]);
        let by_variable = run(&["healthcheck"], &[("PORT", port.clone())]);
        let file = format!("PORT={port}\nHOST=127.0.0.1\nTOKEN_RATE_LIMIT=lots\n");
        let folder = Folder::new();
        folder.write(".env", &file);
        let by_file = run_with_input(&folder, &["healthcheck"], &[], "");
        let bad = run(&["healthcheck"], &[("PORT", "http".to_owned())]);
        (
            (healthy, by_variable, by_file, bad),
            run(&["healthcheck", "--port", &free], &[]),
        )
    };
    let ((healthy, by_variable, by_file, bad), missing) =
        actix_web::web::block(checks).await.unwrap();

    assert_eq!((healthy.code, healthy.stderr.as_str()), (Some(0), ""));
    assert_eq!(by_variable.code, Some(0));
    assert_eq!((by_file.code, by_file.stderr.as_str()), (Some(0), ""));
    assert_eq!(bad.code, Some(2));
    assert!(bad.stderr.contains("PORT"), "{}", bad.stderr);
    assert_eq!(missing.code, Some(1));
    assert!(
        missing.stderr.contains("does not answer: "),
        "{}",
        missing.stderr
    );
    app.finish().await;
}

#[test]
fn a_reader_that_has_had_enough_ends_a_command_quietly() {
    let folder = Folder::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut check = command(&folder, &["check"], &sound("https://res.openai.azure.com"));

    let output = check.stdout(writer).spawn().unwrap().wait_with_output();

    let output = output.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.as_str()), (Some(0), ""));
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    let folder = Folder::new();
    let full = File::create("/dev/full").unwrap();
    let mut check = command(&folder, &["check"], &sound("https://res.openai.azure.com"));

    let output = check.stdout(full).spawn().unwrap().wait_with_output();

    let output = output.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.starts_with("standard output cannot be written: "),
        "{said}"
    );
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn a_complaint_that_nobody_can_read_changes_no_exit_status() {
    let folder = Folder::new();
    let full = File::create("/dev/full").unwrap();

    let status = command(&folder, &["check"], &[]).stderr(full).status();

    assert_eq!(status.unwrap().code(), Some(2));
}
