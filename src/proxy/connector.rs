//! The connections to upstreams, with one property that awc's own lack: an end that nobody announced is an error.
//!
//! awc takes a closed connection for the end of a body, even in the middle of a chunk, and a proxy would pass a cut
//! answer on as a complete one. A [`Wire`] therefore answers every read of nothing with `UnexpectedEof`. It lies above
//! TLS, so that a clean `close_notify` in the middle of a body is seen as well; that is why TLS is done here and awc
//! believes that it speaks plain HTTP. A connection that fails as soon as it waits for an answer, after it has already
//! delivered one, was stale: [`is_stale`] tells, since such a request may be sent again.

use std::collections::HashSet;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_rt::net::{ActixStream, Ready};
use actix_service::Service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use awc::http::Uri;
use futures_util::future::LocalBoxFuture;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::interim::Interim;
use super::quiet::keep_known;

/// Builds the TLS settings that all workers share, so that they share the session cache too.
///
/// Roots are those of the system (or of `SSL_CERT_FILE`, `SSL_CERT_DIR`), and Mozilla's where the system has none.
pub fn tls_config() -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        log::warn!(error:%; "system root certificates could not be read in full");
    }
    let (_, unusable) = roots.add_parsable_certificates(native.certs);
    if unusable > 0 {
        log::debug!(unusable; "some system root certificates are not usable");
    }
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    tls_config_with(roots)
}

/// Builds the TLS settings with the given roots.
pub fn tls_config_with(roots: RootCertStore) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // HTTP/2 would need a Wire per stream; Azure speaks HTTP/1.1 to everyone who asks for it.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Connects to upstreams; those in `tls_authorities` (`host:port`) with TLS.
#[derive(Clone)]
pub(super) struct UpstreamConnector {
    tls: TlsConnector,
    tls_authorities: Rc<HashSet<String>>,
}

impl UpstreamConnector {
    pub(super) fn new(tls: Arc<ClientConfig>, tls_authorities: HashSet<String>) -> Self {
        Self {
            tls: TlsConnector::from(tls),
            tls_authorities: Rc::new(tls_authorities),
        }
    }
}

impl Service<ConnectInfo<Uri>> for UpstreamConnector {
    type Response = Connection<Uri, Wire>;
    type Error = ConnectError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    actix_service::always_ready!();

    fn call(&self, info: ConnectInfo<Uri>) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let uri = info.request().clone();
            let wire = connector.open(&uri).await.map_err(ConnectError::Io)?;
            Ok(Connection::new(uri, wire))
        })
    }
}

impl UpstreamConnector {
    async fn open(&self, uri: &Uri) -> io::Result<Wire> {
        let Some(authority) = uri.authority() else {
            return Err(io::Error::other("upstream address without a host"));
        };
        // A literal IPv6 host carries brackets, which neither the resolver nor a certificate knows.
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        let port = authority.port_u16().unwrap_or(80);
        let tcp = TcpStream::connect((host, port)).await?;
        tcp.set_nodelay(true)?;
        keep_known(&tcp);
        if !self.tls_authorities.contains(authority.as_str()) {
            return Ok(Wire::new(Link::Plain(tcp)));
        }
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let stream = self.tls.connect(name, tcp).await?;
        Ok(Wire::new(Link::Tls(Box::new(stream))))
    }
}

#[derive(Debug)]
enum Link {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// One connection to an upstream.
#[derive(Debug)]
pub(super) struct Wire {
    link: Link,
    /// It has delivered something before.
    answered: bool,
    /// When the first byte was written since the last one came.
    waiting_since: Option<Instant>,
    interim: Interim,
}

/// An idle connection that the other side has closed shows it within a round trip. One that fails later may have been
/// at work on the request, and sending it again could have it paid twice.
const SHOWS_WITHIN: Duration = Duration::from_secs(1);

/// Marks an error of a reused connection that ended while it waited for an answer.
#[derive(Debug, thiserror::Error)]
#[error("the upstream closed an idle connection as the request went out")]
struct Stale;

/// Says whether a request failed only because its pooled connection had just been closed.
pub(super) fn is_stale(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Stale>())
}

impl Wire {
    fn new(link: Link) -> Self {
        Self {
            link,
            answered: false,
            waiting_since: None,
            interim: Interim::default(),
        }
    }

    fn failed(&self, error: io::Error) -> io::Error {
        let is_early = |since: Instant| since.elapsed() < SHOWS_WITHIN;
        if self.answered && self.waiting_since.is_some_and(is_early) {
            return io::Error::new(error.kind(), Stale);
        }
        error
    }

    fn tcp(&self) -> &TcpStream {
        match &self.link {
            Link::Plain(tcp) => tcp,
            Link::Tls(tls) => tls.get_ref().0,
        }
    }
}

impl Wire {
    /// Reads what comes, be it what it may.
    fn poll_link(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let wants_bytes = buf.remaining() > 0;
        let polled = match &mut self.link {
            Link::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Link::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        };
        match polled {
            Poll::Ready(Ok(())) if wants_bytes && buf.filled().len() == before => {
                let end = io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the upstream closed the connection",
                );
                Poll::Ready(Err(self.failed(end)))
            }
            Poll::Ready(Ok(())) => {
                self.answered = true;
                self.waiting_since = None;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.failed(error))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.interim.hand_out(buf) {
            return Poll::Ready(Ok(()));
        }
        loop {
            let before = buf.filled().len();
            ready!(self.poll_link(cx, buf))?;
            if self.interim.admit(buf, before)? {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.waiting_since.is_none() {
            self.waiting_since = Some(Instant::now());
            self.interim.asked();
        }
        let polled = match &mut self.link {
            Link::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Link::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        };
        polled.map_err(|error| self.failed(error))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = match &mut self.link {
            Link::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Link::Tls(tls) => Pin::new(tls).poll_flush(cx),
        };
        polled.map_err(|error| self.failed(error))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.link {
            Link::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Link::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

impl ActixStream for Wire {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        self.tcp().poll_read_ready(cx).map_ok(|()| Ready::READABLE)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        self.tcp().poll_write_ready(cx).map_ok(|()| Ready::WRITABLE)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[actix_web::test]
    async fn a_connection_to_an_instance_is_probed_while_nothing_flows() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/", listener.local_addr().unwrap());
        let tls = tls_config_with(RootCertStore::empty()).unwrap();
        let connector = UpstreamConnector::new(tls, HashSet::new());

        let wire = connector.open(&uri.parse().unwrap()).await.unwrap();

        let socket = socket2::SockRef::from(wire.tcp());
        assert!(socket.keepalive().unwrap());
        assert_eq!(
            socket.tcp_keepalive_time().unwrap(),
            Duration::from_secs(60)
        );
    }
}
