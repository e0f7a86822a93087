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

/// Open files that macOS grants at most, though it names no maximum: then it refuses to lift the limit altogether.
const OPEN_MAX: u64 = 10_240;

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
    let maximum = granted.maximum;
    let mut outcome = Ok(());
    for current in wishes(granted.current, maximum) {
        outcome = setrlimit(Resource::Nofile, Rlimit { current, maximum });
        if outcome.is_ok() {
            break;
        }
    }
    if let Err(error) = outcome {
        log::warn!(error:%, files:? = granted.current; "no more open files can be had");
    }
}

/// Returns the limits of open files to ask for, the best first; `None` is no limit.
fn wishes(current: Option<u64>, maximum: Option<u64>) -> impl Iterator<Item = Option<u64>> {
    let fewer = maximum.map_or(OPEN_MAX, |maximum| maximum.min(OPEN_MAX));
    let is_more = maximum != Some(fewer) && current.is_some_and(|current| current < fewer);
    [Some(maximum), is_more.then_some(Some(fewer))]
        .into_iter()
        .flatten()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_that_names_no_maximum_is_asked_for_a_number_too() {
        let asked = |current, maximum| wishes(current, maximum).collect::<Vec<_>>();

        assert_eq!(asked(Some(256), None), [None, Some(10_240)]);
        assert_eq!(asked(Some(256), Some(4_096)), [Some(4_096)]);
        assert_eq!(asked(Some(20_000), None), [None]);
        assert_eq!(asked(None, None), [None]);
    }
}
