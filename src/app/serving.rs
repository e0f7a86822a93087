//! The server: a listener, workers, and HTTP/1.1 over the connections of clients.
//!
//! It is put together of the parts of actix-web's own server, which would take no connections but the system's, and
//! those wait for a client that reads nothing without limit. What is served is left to the caller.

use std::fmt::Debug;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, Request, Response};
use actix_service::{
    IntoServiceFactory, ServiceFactory, ServiceFactoryExt, fn_service, map_config,
};
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, Server, Service};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;

use crate::config;
use crate::http::{CLIENT_FAREWELL, ClientSocket};

/// How long an idle client connection is kept: longer than common load balancers keep theirs, so that they close first.
const CLIENT_KEEP_ALIVE: Duration = Duration::from_secs(75);

/// Clients that may wait to be accepted, as far as the system allows so many.
const BACKLOG: i32 = 2048;

/// Binds the port and prepares a server of what `make` builds for each worker.
///
/// # Errors
/// If the address cannot be listened on.
pub(super) fn serve<F, I, S, B>(
    address: SocketAddr,
    settings: &config::Server,
    make: F,
) -> io::Result<(Server, SocketAddr)>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig, Error = actix_web::Error> + 'static,
    S::InitError: Debug,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    let listener = listen(address)?;
    let bound = listener.local_addr()?;
    let builder = Server::build()
        .workers(settings.workers)
        .shutdown_timeout(whole_seconds(settings.shutdown));
    let shutdown = builder.graceful_shutdown_signal();
    let longest_stall = settings.stall_timeout;
    let server = builder.listen("clients", listener, move || {
        let shutdown = shutdown.clone();
        let http = HttpService::build()
            // Not in the documentation of actix-http: idle connections end at a stop instead of holding it up.
            .graceful_shutdown_signal(move || {
                let shutdown = shutdown.clone();
                async move { shutdown.notified().await }
            })
            .keep_alive(CLIENT_KEEP_ALIVE)
            .client_disconnect_timeout(CLIENT_FAREWELL)
            // A client that closes its side has left; without this its paid request would run on unnoticed.
            .h1_allow_half_closed(false)
            .local_addr(bound)
            .h1(map_config(make(), |()| AppConfig::default()));
        fn_service(move |tcp: TcpStream| async move {
            let peer = tcp.peer_addr().ok();
            let socket = ClientSocket::new(tcp, longest_stall);
            Ok::<_, DispatchError>((socket, peer))
        })
        .and_then(http)
    })?;
    Ok((server.run(), bound))
}

/// Listens with room for a crowd: the standard library's own would let only 128 clients wait to be accepted.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A port that has just been left may be taken again. Elsewhere this would let two listen to the same.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Returns whole seconds, which is all that the server counts, rounded up: no answer is to be cut off too early.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_of_a_second_is_granted_as_a_whole_one() {
        let granted = [0.0, 0.5, 1.0, 1.001, 30.0].map(Duration::from_secs_f64);

        assert_eq!(granted.map(whole_seconds), [0, 1, 1, 2, 30]);
    }
}
