//! Clients that take nothing of an answer that waits for them.
//!
//! The server waits for such a client without limit, and with it the answer, its lease and its connection to the instance.
//! So the system is told to give up a connection over which nothing could be sent for `CLIENT_STALL_TIMEOUT_SECS`
//! (`TCP_USER_TIMEOUT`: a closed window counts as well as a peer that is silent); then all ends as if the client had left.
//! A client that takes little at a time is let be. Other systems than Linux have no such option, and there nothing is done.

use std::any::Any;
use std::time::Duration;

/// Bounds how long a client that has just connected may take nothing of what waits for it.
pub fn bound_stalls(connection: &dyn Any, longest: Duration) {
    #[cfg(target_os = "linux")]
    if let Some(connection) = connection.downcast_ref::<tokio::net::TcpStream>() {
        let socket = socket2::SockRef::from(connection);
        if let Err(error) = socket.set_tcp_user_timeout(Some(longest)) {
            log::debug!(error:%; "a client may stall without limit");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (connection, longest);
}
