//! A process of the binary in a folder of its own, and what it has said so far.
//!
//! Shared by the tests that run the binary. It starts with an emptied environment, and is killed if its test fails.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

/// What a test may wait for something that must happen soon, on a machine with other things to do.
pub const SOON: Duration = Duration::from_secs(15);

/// An empty folder that is removed in the end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let tests = env!("CARGO_CRATE_NAME");
        let name = format!("{tests}-{}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file and returns where it is.
    pub fn write(&self, name: &str, content: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The binary with these arguments and nothing but these variables.
pub fn command(folder: &Folder, arguments: &[&str], vars: &[(&str, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_azure-openai-proxy"));
    command
        .args(arguments)
        .env_clear()
        .current_dir(folder.path());
    command.envs(vars.iter().map(|(name, value)| (name, value)));
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A process that serves until it is told to stop.
pub struct Running {
    pub child: Child,
    /// Everything said so far, on both outputs; held by nobody else once all has been read.
    pub lines: Arc<Mutex<Vec<String>>>,
    _folder: Folder,
}

impl Running {
    pub fn start(folder: Folder, arguments: &[&str], vars: &[(&str, String)]) -> Self {
        let command = command(&folder, arguments, vars);
        Self::start_by(folder, command)
    }

    /// Starts by a command of one's own.
    pub fn start_by(folder: Folder, mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        collect(child.stdout.take().unwrap(), lines.clone());
        collect(child.stderr.take().unwrap(), lines.clone());
        Self {
            child,
            lines,
            _folder: folder,
        }
    }

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
        let is_part = |c: &char| c.is_ascii_digit() || ".:".contains(*c);
        let address: String = line[at..].chars().take_while(is_part).collect();
        format!("http://{address}")
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
