//! Processes of the binary: their settings, what they leave when they end, and how they are told to.

use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use azure_openai_proxy::simulator::{Resource, Simulator};
use serde_json::Value;
use tokio::time::Instant;

use crate::helpers::{Answer, SOON, client, read, resource};
use crate::process::command;
pub use crate::process::{Folder, Running};

/// A key that must never be seen.
pub const KEY: &str = "0123456789abcdef0123456789abcdef";

/// The settings of one sound instance at this address.
pub fn sound(base: &str) -> Vec<(&'static str, String)> {
    vec![
        ("AZURE_INSTANCES", "primary".to_owned()),
        ("AZURE_INSTANCE_PRIMARY_API_KEY", KEY.to_owned()),
        ("AZURE_INSTANCE_PRIMARY_API_BASE", base.to_owned()),
        (
            "AZURE_INSTANCE_PRIMARY_API_VERSION",
            "2024-10-21".to_owned(),
        ),
        ("HOST", "127.0.0.1".to_owned()),
        ("PORT", "0".to_owned()),
        ("WORKERS", "1".to_owned()),
    ]
}

/// What a process that ended had to say.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs to the end, with this on standard input.
pub fn run_with_input(
    folder: &Folder,
    arguments: &[&str],
    vars: &[(&str, String)],
    input: &str,
) -> Ended {
    let mut child = command(folder, arguments, vars).spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

pub fn run(arguments: &[&str], vars: &[(&str, String)]) -> Ended {
    run_with_input(&Folder::new(), arguments, vars, "")
}

impl Running {
    /// Asks it to stop, as an orchestrator does.
    pub fn terminate(&self) {
        let kill = format!("kill -TERM {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status().unwrap();
        assert!(status.success());
    }

    /// Waits until it has ended, and until everything that it said has been read.
    pub async fn ended(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            let is_read = Arc::strong_count(&self.lines) == 1;
            if let Some(status) = self.child.try_wait().unwrap().filter(|_| is_read) {
                return status;
            }
            assert!(
                start.elapsed() < SOON,
                "it does not stop: {:#?}",
                self.lines()
            );
            actix_rt::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Starts a resource that takes the key of [`sound`].
pub async fn upstream() -> Simulator {
    let resource: Resource = resource("primary", 1_000_000).key(KEY);
    Simulator::start(resource, ([127, 0, 0, 1].into(), 0))
        .await
        .unwrap()
}

/// Posts a chat request.
pub async fn chat_at(url: &str, body: &Value) -> Answer {
    let sent = client()
        .post(format!("{url}/v1/chat/completions"))
        .send_json(body)
        .await;
    read(sent.unwrap()).await
}

/// Says whether nobody accepts connections there.
pub fn is_closed(url: &str) -> bool {
    TcpStream::connect(url.trim_start_matches("http://")).is_err()
}
