//! `healthcheck`: asks a running proxy for `/health`, so that an image needs no curl.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::num::ParseIntError;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::complain;

/// A healthy proxy answers in under a millisecond.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where the proxy listens unless `PORT` says otherwise.
const DEFAULT_PORT: u16 = 3010;

#[derive(Args)]
pub(crate) struct Options {
    /// Address that the proxy listens on
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Port that the proxy listens on
    #[arg(long, env = "PORT", default_value_t = DEFAULT_PORT, value_parser = port)]
    port: u16,
}

/// Reads a port as the configuration does: an empty text counts as unset.
fn port(text: &str) -> Result<u16, ParseIntError> {
    match text.trim() {
        "" => Ok(DEFAULT_PORT),
        number => number.parse(),
    }
}

pub(crate) fn run(options: &Options) -> ExitCode {
    let address = SocketAddr::new(options.host, options.port);
    match ask(address) {
        Ok(status) if status.starts_with("HTTP/1.1 200 ") => ExitCode::SUCCESS,
        Ok(status) => {
            complain(format!("{address} answers: {status}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            complain(format!("{address} does not answer: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!("GET /health HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(4_096).read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_port_is_the_default_one() {
        assert_eq!(port(""), Ok(3010));
        assert_eq!(port(" 8080 "), Ok(8080));
        assert!(port("http").is_err());
    }
}
