//! `healthcheck`: asks a running proxy for `/health`, so that an image needs no curl.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use azure_openai_proxy::config::{self, Problem};
use clap::Args;

use super::{complain, refuse};

/// A healthy proxy answers in under a millisecond.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Args)]
pub(crate) struct Options {
    /// Address that the proxy listens on [default: HOST, of the environment or .env; this machine if that is any]
    #[arg(long)]
    host: Option<IpAddr>,
    /// Port that the proxy listens on [default: PORT, of the environment or .env, else 3010]
    #[arg(long)]
    port: Option<u16>,
}

pub(crate) fn run(options: &Options) -> ExitCode {
    let address = match address(options) {
        Ok(address) => address,
        Err(problems) => return refuse(&problems),
    };
    match ask(address) {
        Ok(status) if status.starts_with("HTTP/1.1 200 ") => ExitCode::SUCCESS,
        Ok(status) => {
            complain(format!("{address} answers: {status}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            complain(format!("{address} does not answer{}", why(&error)));
            ExitCode::FAILURE
        }
    }
}

/// Says what went wrong; the system's words for a timeout are others at each step, and tell nobody that it was one.
fn why(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => format!(" within {} s", PATIENCE.as_secs()),
        _ => format!(": {error}"),
    }
}

/// Returns where `serve` listens in this environment, as far as the options do not say.
fn address(options: &Options) -> Result<SocketAddr, Vec<Problem>> {
    if let (Some(host), Some(port)) = (options.host, options.port) {
        return Ok(SocketAddr::new(host, port));
    }
    let set = config::address_from_environment()?;
    let host = options.host.unwrap_or_else(|| reachable(set.ip()));
    Ok(SocketAddr::new(host, options.port.unwrap_or(set.port())))
}

/// Returns an address by which to reach one who listens on this: nobody can be called on "any".
fn reachable(host: IpAddr) -> IpAddr {
    match host {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        host => host,
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
    fn a_silence_is_told_as_one_and_all_else_in_the_words_of_the_system() {
        for (kind, told) in [
            (ErrorKind::WouldBlock, " within 3 s"),
            (ErrorKind::TimedOut, " within 3 s"),
            (ErrorKind::ConnectionRefused, ": connection refused"),
        ] {
            assert_eq!(why(&kind.into()), told);
        }
    }

    #[test]
    fn who_listens_on_any_address_is_called_on_this_machine() {
        for (host, called) in [
            ("0.0.0.0", "127.0.0.1"),
            ("::", "::1"),
            ("10.1.2.3", "10.1.2.3"),
        ] {
            let host: IpAddr = host.parse().unwrap();
            assert_eq!(reachable(host).to_string(), called);
        }
    }
}
