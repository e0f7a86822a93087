//! A Redis server of our own, and what can happen to it.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use redis::Value;
use tokio::time::Instant;

use crate::process::{Folder, SOON};

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    static ASKED: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 10_000).unwrap();
    // Below those that the system gives to outgoing connections, which could take it while a server is down.
    let ports = std::iter::repeat_with(|| ASKED.fetch_add(1, Ordering::Relaxed))
        .map(|asked| 12_000 + (start + asked) % 10_000);
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.take(10_000).find(is_free).expect("a free port")
}

/// Sends a signal to a process.
pub fn signal(pid: u32, name: &str) {
    let kill = format!("kill -{name} {pid}");
    let status = Command::new("sh").args(["-c", &kill]).status().unwrap();
    assert!(status.success());
}

/// A server, killed in the end.
pub struct Server {
    pub port: u16,
    folder: Folder,
    options: Vec<String>,
    vars: Vec<(String, String)>,
    child: Option<Child>,
}

impl Server {
    /// Starts one and waits until it answers.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    pub fn start_with(options: &[&str]) -> Self {
        let mut server = Self::absent(options);
        server.run();
        server
    }

    /// One that does not run yet.
    pub fn absent(options: &[&str]) -> Self {
        Self {
            port: free_port(),
            folder: Folder::new(),
            options: options.iter().map(|&option| option.to_owned()).collect(),
            vars: Vec::new(),
            child: None,
        }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Sets a variable of its environment.
    pub fn with_var(mut self, name: &str, value: &str) -> Self {
        self.vars.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs it, empty, on its port.
    pub fn run(&mut self) {
        self.spawn();
        let start = Instant::now();
        while self.try_command(&["PING"]).is_none() {
            assert!(start.elapsed() < SOON, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Runs it without asking whether it answers.
    pub fn spawn(&mut self) {
        let child = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(self.folder.path())
            .args(&self.options)
            .envs(self.vars.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.expect("redis-server is installed"));
    }

    /// Kills it; what it held is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Stops it where it is, connections open.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        signal(self.child.as_ref().expect("it runs").id(), name);
    }

    /// Runs a command as its operator.
    pub fn command(&self, words: &[&str]) -> Value {
        self.try_command(words)
            .unwrap_or_else(|| panic!("{words:?} failed"))
    }

    /// Waits until what it says to a command holds such words.
    pub fn until(&self, words: &[&str], holds: &[&str]) {
        let start = Instant::now();
        loop {
            let said = self.try_command(words);
            let said: Option<String> = said.and_then(|said| redis::from_redis_value(said).ok());
            let said = said.unwrap_or_default();
            if holds.iter().all(|word| said.contains(word)) {
                return;
            }
            assert!(start.elapsed() < SOON, "{holds:?} did not come: {said}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn try_command(&self, words: &[&str]) -> Option<Value> {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_connection_with_timeout(SOON).ok()?;
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query(&mut connection).ok()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
