//! A process of the binary, and what it has said so far.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::helpers::{Answer, SOON, client, read};

/// A key that must never be seen.
pub const KEY: &str = "0123456789abcdef0123456789abcdef";

/// An empty folder that is removed in the end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("command-line-{}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn write(&self, name: &str, content: &str) {
        fs::write(self.0.join(name), content).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

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

fn command(folder: &Folder, arguments: &[&str], vars: &[(&str, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_azure-openai-proxy"));
    command.args(arguments).env_clear().current_dir(&folder.0);
    command.envs(vars.iter().map(|(name, value)| (name, value)));
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
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

/// A process that serves until it is told to stop.
pub struct Running {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    _folder: Folder,
}

impl Running {
    pub fn start(folder: Folder, arguments: &[&str], vars: &[(&str, String)]) -> Self {
        let mut child = command(&folder, arguments, vars).spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        collect(child.stdout.take().unwrap(), lines.clone());
        collect(child.stderr.take().unwrap(), lines.clone());
        Self {
            child,
            lines,
            _folder: folder,
        }
    }

    /// Everything said so far, on both outputs.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Waits for a line.
    pub async fn line(&self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            if let Some(line) = self.lines().into_iter().find(|line| holds(line)) {
                return line;
            }
            assert!(
                start.elapsed() < SOON,
                "{what} was not said: {:#?}",
                self.lines()
            );
            actix_rt::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until it says where it listens, and returns that as a base URL.
    pub async fn url(&self) -> String {
        let line = self
            .line("the address", |line| line.contains("listening"))
            .await;
        let at = line.find("127.0.0.1:").unwrap();
        let is_part = |c: char| c.is_ascii_digit() || ".:".contains(c);
        let address = &line[at..];
        let end = address.find(|c| !is_part(c)).unwrap_or(address.len());
        format!("http://{}", &address[..end])
    }

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

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(from: impl Read + Send + 'static, lines: Arc<Mutex<Vec<String>>>) {
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            lines.lock().unwrap().push(line);
        }
    });
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
