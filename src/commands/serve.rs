//! `serve`: the proxy.

use std::process::ExitCode;
use std::time::Duration;

use azure_openai_proxy::app::App;
use azure_openai_proxy::config::{self, Config};
use azure_openai_proxy::telemetry;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::{complain, refuse};

/// One wish to stop may come as several signals: from an init to its whole group and from a script that passes its own
/// on, or from GNU's `timeout`. They come within milliseconds.
const ECHO: Duration = Duration::from_secs(1);

pub(crate) fn run() -> ExitCode {
    match config::from_environment() {
        Ok(config) => serve(config),
        Err(problems) => refuse(&problems),
    }
}

fn serve(config: Config) -> ExitCode {
    telemetry::start(config.log.level, config.log.json);
    take_files();
    let instances = config.instances.len();
    let strategy = config.strategy.as_str();
    let outcome = actix_rt::System::new().block_on(async move {
        let mut app = App::build(config).await?;
        app.start().await?;
        for address in app.addrs() {
            log::info!(address:%, instances, strategy; "listening");
        }
        let repeated = repeated_signal()?;
        app.run_until(repeated).await?;
        log::info!("stopped");
        Ok::<(), Box<dyn std::error::Error>>(())
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format!("azure-openai-proxy: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Takes all the open files that the system grants. Usually 1024 are given at first, for programs that cannot handle more,
/// and each request takes two; without any left, clients are not let in and instances seem to be down.
fn take_files() {
    let granted = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: granted.maximum,
        ..granted
    };
    if let Err(error) = setrlimit(Resource::Nofile, all) {
        log::warn!(error:%, files:? = granted.current; "no more open files can be had");
    }
}

/// Takes over SIGTERM and Ctrl-C beside the server, which waits for open answers and hears no second one, and returns
/// what waits for a second one that is no echo of the first: whoever repeats it does not want to wait.
fn repeated_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        let mut first = None;
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            let since = *first.get_or_insert_with(Instant::now);
            if since.elapsed() > ECHO {
                log::warn!("a second signal cuts off what is still open");
                return;
            }
        }
    })
}
