//! `serve`: its start and its log.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use azure_openai_proxy::simulator::{Answer, Chunking, Cut, Mark, Play};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use super::process::*;
use crate::forms::{KIND, field, file, form};
use crate::helpers::*;
use crate::process::command;
use crate::raw::ByHand;

#[test]
fn a_taken_port_is_a_clear_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut vars = sound("https://res.openai.azure.com");
    vars.retain(|(name, _)| *name != "PORT");
    vars.push(("PORT", port.clone()));

    let ended = run(&["serve"], &vars);

    assert_eq!(ended.code, Some(1));
    let address = format!("cannot listen on 127.0.0.1:{port}");
    assert!(ended.stderr.contains(&address), "{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

/// Serves one good, one failed and one refused request at the most talkative level, and returns the log.
async fn log_of_three_requests(format: &str) -> Vec<String> {
    let sim = upstream().await;
    let mut vars = sound(&sim.url());
    vars.push(("LOG_FORMAT", format.to_owned()));
    vars.push(("LOG_LEVEL", "trace".to_owned()));
    vars.push(("PROXY_API_KEYS", "team:client-key-of-the-team".to_owned()));
    let mut proxy = Running::start(Folder::new(), &["serve"], &vars);
    let url = format!("{}/v1/chat/completions", proxy.url().await);
    let body = json!({"choices": [{"message": {"content": "completion-text"}}], "usage": {"total_tokens": 7}});
    let whole = Answer::new(200, body.to_string()).chunks(Chunking::Whole);
    sim.play([Play::Answer(whole), Play::access_denied()]);
    for (key, status) in [
        ("client-key-of-the-team", 200),
        ("client-key-of-the-team", 401),
        ("stolen-client-key", 401),
    ] {
        let request = client().post(&url).insert_header(("api-key", key));
        let answer = read(request.send_json(&chat("prompt-text", 50)).await.unwrap()).await;
        assert_eq!(answer.status, status);
    }
    proxy.terminate();
    proxy.ended().await;
    let lines = proxy.lines();
    for secret in [KEY, "client-key", "prompt-text", "completion-text"] {
        assert!(
            !lines.iter().any(|line| line.contains(secret)),
            "{secret} in {lines:#?}"
        );
    }
    lines
}

#[actix_web::test]
async fn the_log_for_machines_is_one_object_a_line_with_what_a_request_came_to() {
    let lines = log_of_three_requests("json").await;

    let objects: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for object in &objects {
        for field in ["time", "level", "message", "module"] {
            assert!(object[field].is_string(), "{field} in {object}");
        }
    }
    let requests: Vec<&Value> = objects
        .iter()
        .filter(|o| o["message"] == "request")
        .collect();
    assert_eq!(requests.len(), 2, "{lines:#?}");
    let first = requests[0];
    assert_eq!(first["level"], "INFO");
    assert!(
        first["request_id"]
            .as_str()
            .is_some_and(|id| id.starts_with("req_")),
        "{first}"
    );
    for (field, value) in [
        ("model", json!("gpt-4o")),
        ("instance", json!("primary")),
        ("client", json!("team")),
        ("attempts", json!(1)),
        ("status", json!(200)),
        ("used", json!(7)),
        ("endpoint", json!("chat/completions")),
    ] {
        assert_eq!(first[field], value, "{field} in {first}");
    }
    assert!(
        first["reserved"]
            .as_u64()
            .is_some_and(|reserved| reserved > 50),
        "{first}"
    );
    let (first_byte, whole) = (
        first["ttfb_ms"].as_f64().unwrap(),
        first["duration_ms"].as_f64().unwrap(),
    );
    assert!(
        0.0 < first_byte && first_byte <= whole && whole < 5_000.0,
        "{first}"
    );
    assert_eq!(
        (&requests[1]["status"], &requests[1]["used"]),
        (&json!(401), &json!(0))
    );
}

#[actix_web::test]
async fn the_log_for_people_says_the_same() {
    let lines = log_of_three_requests("text").await;

    let request = lines
        .iter()
        .find(|line| line.contains(" request request_id="))
        .unwrap();
    for part in [
        "INFO",
        "model=gpt-4o",
        "instance=primary",
        "attempts=1",
        "status=200",
        "used=7",
        "ttfb_ms=",
    ] {
        assert!(request.contains(part), "{part} in {request}");
    }
    let cause = lines
        .iter()
        .find(|line| line.contains("out of service"))
        .unwrap();
    assert!(
        cause.contains("ERROR") && cause.contains("instance=primary"),
        "{cause}"
    );
}

#[actix_web::test]
async fn the_log_tells_why_an_attempt_failed() {
    let sim = upstream().await;
    sim.play([Play::CloseBeforeHead]);
    let proxy = Running::start(Folder::new(), &["serve"], &sound(&sim.url()));
    let url = format!("{}/v1/chat/completions", proxy.url().await);

    let sent = client()
        .post(&url)
        .send_json(&chat("prompt-text", 50))
        .await;
    let answer = read(sent.unwrap()).await;

    assert_eq!(answer.status, 502);
    let is_cause = |line: &str| line.contains("attempt failed");
    let cause = proxy.line("the cause", is_cause).await;
    let request_id = format!("request_id={}", answer.header("x-request-id").unwrap());
    for part in [
        "WARN",
        request_id.as_str(),
        "model=gpt-4o instance=primary attempt=1",
        "cause=\"the connection broke before the answer",
    ] {
        assert!(cause.contains(part), "{part} in {cause}");
    }
}

#[actix_web::test]
async fn the_log_tells_why_an_upload_did_not_arrive() {
    let upstream = ByHand::bind().await;
    let base = format!("http://{}", upstream.authority());
    let proxy = Running::start(Folder::new(), &["serve"], &sound(&base));
    let url = format!("{}/v1/audio/transcriptions", proxy.url().await);
    let sound = vec![0; 16 << 20];
    let upload = form(&[file("file", &sound), field("model", "whisper-1")]);
    let break_off = async {
        let mut stream = upstream.accept().await;
        stream.read_exact(&mut [0; 1000]).await.unwrap();
        // What is left unread resets the connection.
        drop(stream);
    };

    let request = client().post(&url).insert_header(("content-type", KIND));
    let (sent, ()) = tokio::join!(request.send_body(upload), break_off);

    assert_eq!(sent.unwrap().status(), 502);
    let is_cause = |line: &str| line.contains("attempt failed");
    let cause = proxy.line("the cause", is_cause).await;
    for part in ["WARN", "while the request was sent", "instance=primary"] {
        assert!(cause.contains(part), "{part} in {cause}");
    }
}

/// The value of a field of a line for people.
fn value_of<'a>(line: &'a str, name: &str) -> &'a str {
    let mut words = line.split(' ').filter_map(|word| word.split_once('='));
    let found = words.find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("{name} in {line}")).1
}

#[actix_web::test]
async fn what_failed_first_can_be_joined_with_the_answer_of_the_next_instance() {
    let (first, second) = (upstream().await, upstream().await);
    let cut = Play::Cut {
        after: Mark::Bytes(40),
        how: Cut::Reset,
    };
    // The one fails without an id of its own, the other has given one in its head.
    first.play([Play::CloseBeforeHead, cut]);
    let mut vars = sound(&first.url());
    vars.retain(|(name, _)| *name != "AZURE_INSTANCES");
    vars.extend([
        ("AZURE_INSTANCES", "primary,second".to_owned()),
        ("AZURE_INSTANCE_SECOND_API_KEY", KEY.to_owned()),
        ("AZURE_INSTANCE_SECOND_API_BASE", second.url()),
        ("AZURE_INSTANCE_SECOND_API_VERSION", "2024-10-21".to_owned()),
    ]);
    let mut proxy = Running::start(Folder::new(), &["serve"], &vars);
    let url = proxy.url().await;

    let mut answers = Vec::new();
    for _ in 0..2 {
        answers.push(chat_at(&url, &chat("prompt-text", 50)).await);
    }

    proxy.terminate();
    proxy.ended().await;
    let lines = proxy.lines();
    let with = |words: &str| lines.iter().filter(|line| line.contains(words)).collect();
    let (causes, requests): (Vec<&String>, Vec<&String>) =
        (with("attempt failed"), with(" request request_id="));
    assert_eq!((causes.len(), requests.len()), (2, 2), "{lines:#?}");
    for ((answer, cause), request) in answers.iter().zip(causes).zip(requests) {
        assert_eq!((answer.status.as_u16(), answer.instance()), (200, "second"));
        assert_eq!(
            Some(value_of(request, "request_id")),
            answer.header("x-request-id")
        );
        assert_ne!(
            value_of(cause, "request_id"),
            value_of(request, "request_id")
        );
        let ids = [cause, request].map(|line| value_of(line, "proxy_request_id"));
        assert!(ids[0] == ids[1] && ids[0].len() == 36, "{cause} {request}");
    }
}

#[actix_web::test]
async fn clients_that_do_not_speak_http_leave_no_errors_in_the_log() {
    let mut proxy = Running::start(Folder::new(), &[], &sound("http://127.0.0.1:9"));
    let url = proxy.url().await;
    let address = url.strip_prefix("http://").unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"\x16\x03\x01 hello\r\n\r\n").unwrap();
    let mut answer = String::new();

    client.read_to_string(&mut answer).unwrap();

    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    proxy.terminate();
    proxy.ended().await;
    let lines = proxy.lines();
    assert!(
        !lines.iter().any(|line| line.contains("ERROR")),
        "{lines:#?}"
    );
}

#[actix_web::test]
async fn clients_are_let_in_beyond_the_usual_number_of_open_files() {
    let folder = Folder::new();
    let program = command(&folder, &[], &sound("http://127.0.0.1:9"));
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "ulimit -Sn 64; exec \"$0\" serve"])
        .arg(program.get_program())
        .env_clear()
        .envs(
            program
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let proxy = Running::start_by(folder, shell);
    let url = proxy.url().await;
    let address = url.strip_prefix("http://").unwrap();
    let connect = |_| TcpStream::connect(address).unwrap();

    let idle: Vec<TcpStream> = (0..100).map(connect).collect();

    let health = client().get(format!("{url}/health")).send().await;
    assert_eq!(health.unwrap().status(), 200);
    drop(idle);
}
