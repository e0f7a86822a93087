//! Connections over which nothing flows for minutes: while a model thinks, and while a request waits for capacity.
//!
//! Firewalls, address translation and load balancers on the way forget a connection after four to six minutes of that,
//! without a word to either end. So the system probes both sides.

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// How long nothing may flow before the first probe; well below what anything on the way is known to allow (240 s).
const QUIET: Duration = Duration::from_secs(60);

/// Time between probes that nobody answers.
const BETWEEN_PROBES: Duration = Duration::from_secs(30);

/// Keeps a connection known to all on the way. One that cannot be kept so is used all the same.
pub fn keep_known(tcp: &TcpStream) {
    let probes = TcpKeepalive::new()
        .with_time(QUIET)
        .with_interval(BETWEEN_PROBES);
    if let Err(error) = SockRef::from(tcp).set_tcp_keepalive(&probes) {
        log::debug!(error:%; "a quiet connection may be forgotten on its way");
    }
}
