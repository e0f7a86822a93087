//! The scripts, called over a connection to Redis, and their replies as typed values.
//!
//! All calls share one connection and pipeline on it. Scripts are called by their hash and sent whole when Redis does not
//! know them, so that nothing is lost by a SCRIPT FLUSH or a restart. How long a call may take is left to the caller.

use std::time::Duration;

use redis::{Cmd, ErrorKind, RedisError, RedisResult, Script, ServerErrorKind, Value};

use super::reply::{self, Heartbeat, Joined, Verdict};
use super::wire::{Plan, Wire};
use crate::ledger::{Acts, Change};

/// How long an instance's state outlives the last replica.
const STATE_LIVES: Duration = Duration::from_secs(600);

/// How long a replica counts after its last heartbeat.
const REPLICA_COUNTS: Duration = Duration::from_secs(3);

/// Where one shared window is kept, and its measure.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) key: String,
    pub(super) limit: u64,
    pub(super) buckets: u64,
}

/// A call's part of one window.
pub(super) struct Slice<'a, T> {
    pub(super) place: &'a Place,
    /// The replicas are told of the sum when this much was charged that they do not know.
    pub(super) step: u64,
    pub(super) what: T,
}

/// Where Redis keeps what concerns one instance. All keys carry its hash tag, so that a cluster has them on one node.
#[derive(Clone, Debug)]
pub(super) struct Home {
    state: String,
    replicas: String,
    cooldowns: String,
    /// What this replica has told.
    told: String,
    pub(super) windows: Vec<Place>,
}

impl Home {
    /// `windows` are named, with the limit and the number of buckets.
    pub(super) fn new(
        prefix: &str,
        instance: &str,
        replica: &str,
        windows: &[(String, u64, u64)],
    ) -> Self {
        let key = |what: &str| format!("{{{prefix}:{instance}}}:{what}");
        let place = |(name, limit, buckets): &(String, u64, u64)| Place {
            key: key(name),
            limit: *limit,
            buckets: *buckets,
        };
        Self {
            state: key("state"),
            replicas: key("replicas"),
            cooldowns: key("cooldowns"),
            told: key(&format!("told:{replica}")),
            windows: windows.iter().map(place).collect(),
        }
    }

    /// Returns what a replica publishes to, and listens to, about this instance.
    pub(super) fn channel(&self) -> &str {
        &self.state
    }

    fn keys(&self) -> Vec<&str> {
        let own = [&self.state, &self.replicas, &self.cooldowns];
        let windows = self.windows.iter().map(|place| &place.key);
        own.into_iter().chain(windows).map(String::as_str).collect()
    }
}

/// A connection on which scripts are called.
pub(super) struct Link {
    wire: Wire,
    scripts: Scripts,
    /// Redis tells what other replicas charge.
    pub(super) is_listening: bool,
}

/// What a replica expects the clock of Redis to read, and how far that may be wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    /// `None` before it has ever been read.
    pub(super) reads: Option<Duration>,
    pub(super) give_or_take: Duration,
}

impl Expected {
    fn args(self) -> [String; 2] {
        let reads = self.reads.map_or(0, |reads| reads.as_millis());
        [reads.to_string(), self.give_or_take.as_millis().to_string()]
    }
}

/// What a replica knows of an instance when it joins.
pub(super) struct Joining<'a> {
    /// Epoch to set if Redis has none.
    pub(super) proposal: &'a str,
    /// Epoch that it knew, with the acts.
    pub(super) epoch: &'a str,
    pub(super) acts: Acts,
    /// How long the others may take to join as well.
    pub(super) opens_in: Duration,
    pub(super) has_admitted: bool,
    pub(super) expected: Expected,
    /// What the clock read when it was last heard.
    pub(super) heard: Duration,
}

/// The scripts, ready to be called.
struct Scripts {
    reserve: Prepared,
    adjust: Prepared,
    announce: Prepared,
    join: Prepared,
    pulse: Prepared,
}

struct Prepared {
    code: String,
    hash: String,
}

macro_rules! script {
    ($file:literal) => {
        Prepared::new(concat!(include_str!("window.lua"), include_str!($file)))
    };
}

impl Prepared {
    fn new(code: &str) -> Self {
        Self {
            hash: Script::new(code).get_hash().to_owned(),
            code: code.to_owned(),
        }
    }
}

impl Scripts {
    fn new() -> Self {
        Self {
            reserve: script!("reserve.lua"),
            adjust: script!("adjust.lua"),
            announce: script!("announce.lua"),
            join: script!("join.lua"),
            pulse: script!("pulse.lua"),
        }
    }
}

/// A call being put together.
struct Call<'a> {
    script: &'a Prepared,
    keys: Vec<&'a str>,
    args: Vec<String>,
}

impl Call<'_> {
    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys.len());
        command.arg(&self.keys).arg(&self.args);
        command
    }
}

impl Link {
    pub(super) async fn open(plan: &Plan<'_>) -> RedisResult<Self> {
        let (wire, is_listening) = plan.open().await?;
        Ok(Self {
            wire,
            scripts: Scripts::new(),
            is_listening,
        })
    }

    /// Charges amounts to the windows of an instance, or to none.
    pub(super) async fn reserve(
        &self,
        home: &Home,
        epoch: &str,
        expected: Expected,
        windows: &[Slice<'_, u64>],
    ) -> RedisResult<Verdict> {
        let mut call = Call {
            script: &self.scripts.reserve,
            keys: vec![&home.state],
            args: vec![epoch.to_owned()],
        };
        call.args.extend(expected.args());
        for window in windows {
            let place = window.place;
            call.keys.push(&place.key);
            let numbers = [window.what, place.limit, place.buckets, window.step];
            call.args.extend(numbers.map(|number| number.to_string()));
        }
        reply::verdict(self.run(call).await?)
    }

    /// Brings changes of earlier charges, unless those of this number have arrived before, and returns the acts; `None` if
    /// Redis has lost what it was told.
    pub(super) async fn adjust(
        &self,
        home: &Home,
        epoch: &str,
        number: u64,
        windows: &[Slice<'_, &[Change]>],
    ) -> RedisResult<Option<Acts>> {
        let mut call = Call {
            script: &self.scripts.adjust,
            keys: vec![&home.state, &home.told],
            args: vec![
                epoch.to_owned(),
                STATE_LIVES.as_millis().to_string(),
                number.to_string(),
            ],
        };
        for window in windows {
            let (place, changes) = (window.place, window.what);
            call.keys.push(&place.key);
            let numbers = [place.buckets, window.step, changes.len() as u64];
            call.args.extend(numbers.map(|number| number.to_string()));
            for (tick, change) in changes {
                call.args.extend([tick.0.to_string(), change.to_string()]);
            }
        }
        reply::adjusted(self.run(call).await?)
    }

    /// Tells of cooldowns: names, and what is to be known; nothing for an end. False if Redis has lost what it was told.
    pub(super) async fn announce(
        &self,
        home: &Home,
        epoch: &str,
        cooldowns: &[(String, String)],
    ) -> RedisResult<bool> {
        let mut call = Call {
            script: &self.scripts.announce,
            keys: vec![&home.state, &home.cooldowns],
            args: vec![epoch.to_owned(), STATE_LIVES.as_millis().to_string()],
        };
        for (name, text) in cooldowns {
            call.args.extend([name.clone(), text.clone()]);
        }
        reply::announced(self.run(call).await?)
    }

    /// Joins the replicas of an instance.
    pub(super) async fn join(&self, home: &Home, joining: Joining<'_>) -> RedisResult<Joined> {
        let mut call = Call {
            script: &self.scripts.join,
            keys: home.keys(),
            args: vec![
                joining.proposal.to_owned(),
                STATE_LIVES.as_millis().to_string(),
                joining.opens_in.as_millis().to_string(),
                u8::from(joining.has_admitted).to_string(),
                joining.epoch.to_owned(),
                joining.acts.0.to_string(),
            ],
        };
        call.args.extend(joining.expected.args());
        call.args.push(joining.heard.as_millis().to_string());
        reply::joined(self.run(call).await?)
    }

    /// Says that this replica lives, and hears of the others; of what windows hold by bucket, or only in sum.
    pub(super) async fn pulse(
        &self,
        home: &Home,
        epoch: &str,
        replica: &str,
        expected: Expected,
        is_whole: bool,
    ) -> RedisResult<Heartbeat> {
        let mut call = Call {
            script: &self.scripts.pulse,
            keys: home.keys(),
            args: vec![
                epoch.to_owned(),
                replica.to_owned(),
                REPLICA_COUNTS.as_millis().to_string(),
                STATE_LIVES.as_millis().to_string(),
            ],
        };
        call.args.extend(expected.args());
        call.args.push(u8::from(is_whole).to_string());
        let windows = home.windows.iter();
        call.args
            .extend(windows.map(|place| place.buckets.to_string()));
        reply::pulse(self.run(call).await?, &home.windows)
    }

    /// Takes a replica out of those of an instance.
    pub(super) async fn leave(&self, home: &Home, replica: &str) -> RedisResult<()> {
        let mut command = redis::cmd("ZREM");
        command.arg(&home.replicas).arg(replica);
        self.wire.send(&command).await?;
        Ok(())
    }

    async fn run(&self, call: Call<'_>) -> RedisResult<Value> {
        let known = self
            .wire
            .send(&call.command("EVALSHA", &call.script.hash))
            .await;
        match known {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.wire
                    .send(&call.command("EVAL", &call.script.code))
                    .await
            }
            answer => answer,
        }
    }
}

/// Says in one line what is wrong, without what could be a secret.
pub(super) fn describe(error: &RedisError) -> String {
    match error.kind() {
        ErrorKind::AuthenticationFailed => "the user or password is refused".to_owned(),
        _ => error.to_string().replace(['\n', '\r'], " "),
    }
}
