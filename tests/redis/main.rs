//! Tests against real Redis servers, which they start, freeze, kill and restart themselves.
//!
//! They need `redis-server` on the path, so they are ignored unless asked for: `cargo test --test redis -- --ignored`.
//! `tests/run.sh` runs them.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy knows tests by their attribute, and here functions of tests stand beside them"
)]

mod clock;
mod conformance;
mod failover;
mod faults;
mod fleet;
mod heartbeats;
mod kinds;
#[path = "../process/mod.rs"]
mod process;
mod replica;
mod replicas;
mod sentinel;
mod server;
mod sharing;
