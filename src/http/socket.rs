//! The connection to a client, with one property that the server's own lack: it fails when the client takes nothing.
//!
//! The server waits without limit until it can write, and with it the answer, its lease and its connection to the
//! instance. So a write that has found no room for `CLIENT_STALL_TIMEOUT_SECS` is an error here; then all ends as if the
//! client had left. Only what waits to be written counts, and not what the system has taken for later (some 100 KB): a
//! client that hears nothing because its model thinks is let be, as is one that takes little at a time. The kernel's own
//! timeout (`TCP_USER_TIMEOUT`) would not do: Linux goes by when a window was first closed, whatever was taken since.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::proxy::keep_known;

/// How much may wait in the system beyond what the client's window admits. There is room again at half of it, so a client
/// that takes less than that within the longest stall counts as one that takes nothing. Other systems than Linux go by
/// their send buffer, of which Linux itself would have a third freed, of up to 4 MB.
#[cfg(target_os = "linux")]
const MOST_UNSENT: u32 = 128 * 1024;

/// How long a client has to take the rest when its connection ends: when it has closed its side, when the answer ended
/// long ago, or while it is still sending a request that was refused. A connection that is closed sooner takes the rest
/// away from it, and one that is kept longer holds up a stop.
pub const CLIENT_FAREWELL: Duration = Duration::from_secs(10);

/// The connection to a client.
pub struct ClientSocket {
    tcp: TcpStream,
    /// How long nothing may be taken of what waits.
    longest_stall: Duration,
    /// Since when what waits has found no room.
    stalled_since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    /// The client sends nothing any more.
    has_closed: bool,
}

impl ClientSocket {
    /// Takes over a connection that has just come.
    pub fn new(tcp: TcpStream, longest_stall: Duration) -> Self {
        keep_known(&tcp);
        if let Err(error) = tcp.set_nodelay(true) {
            log::debug!(error:%; "small parts of answers may be held back");
        }
        #[cfg(target_os = "linux")]
        if let Err(error) = socket2::SockRef::from(&tcp).set_tcp_notsent_lowat(MOST_UNSENT) {
            log::debug!(error:%; "a client that takes little may seem to take nothing");
        }
        Self {
            tcp,
            longest_stall,
            stalled_since: None,
            timer: None,
            has_closed: false,
        }
    }

    /// Is ready when nothing has been taken for too long. The timer is set anew only when it has run out, so that a
    /// client that takes a little all the time costs no more than a look at the clock.
    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let since = *self.stalled_since.get_or_insert_with(Instant::now);
        let end = since + self.patience();
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(end)));
        if timer.deadline() > end {
            timer.as_mut().reset(end);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= end {
                return Poll::Ready(());
            }
            timer.as_mut().reset(end);
        }
        Poll::Pending
    }

    /// Returns how long this client may take nothing: one that has closed its side has most likely left.
    fn patience(&self) -> Duration {
        match self.has_closed {
            true => self.longest_stall.min(CLIENT_FAREWELL),
            false => self.longest_stall,
        }
    }

    fn give_up(&self) -> io::Error {
        // With a plain close the system would hold what was not taken, and an HTTP/1.0 client take the end for a proper one.
        if let Err(error) = self.tcp.set_zero_linger() {
            log::debug!(error:%; "a client that takes nothing may keep its buffers");
        }
        let message = "the client took nothing of its answer for CLIENT_STALL_TIMEOUT_SECS";
        log::debug!("{message}");
        io::Error::new(io::ErrorKind::TimedOut, message)
    }
}

impl AsyncRead for ClientSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.remaining();
        let read = Pin::new(&mut self.tcp).poll_read(cx, buf);
        self.has_closed |=
            matches!(read, Poll::Ready(Ok(()))) && before > 0 && buf.remaining() == before;
        read
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.tcp).poll_write(cx, bytes) {
            Poll::Ready(written) => {
                self.stalled_since = None;
                Poll::Ready(written)
            }
            Poll::Pending => self.poll_stall(cx).map(|()| Err(self.give_up())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn connected() -> (ClientSocket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (tcp, _) = listener.accept().await.unwrap();
        (
            ClientSocket::new(tcp, Duration::from_secs(300)),
            client.unwrap(),
        )
    }

    #[actix_web::test]
    async fn a_client_that_closed_its_side_is_not_waited_for_as_long() {
        tokio::time::pause();
        for closes in [false, true] {
            let (mut socket, mut client) = connected().await;
            if closes {
                client.shutdown().await.unwrap();
                assert_eq!(socket.read(&mut [0; 8]).await.unwrap(), 0);
            }
            let start = Instant::now();

            let written = socket.write_all(&vec![0; 64 << 20]).await;

            assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
            let is_waited_for = start.elapsed() >= socket.longest_stall;
            assert_ne!(is_waited_for, closes, "{:?}", start.elapsed());
        }
    }

    #[actix_web::test]
    async fn a_connection_to_a_client_is_probed_while_nothing_flows() {
        let (socket, _client) = connected().await;

        let socket = socket2::SockRef::from(&socket.tcp);
        assert!(socket.keepalive().unwrap());
        assert_eq!(
            socket.tcp_keepalive_time().unwrap(),
            Duration::from_secs(60)
        );
    }
}
