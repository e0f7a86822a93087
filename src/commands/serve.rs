//! `serve`: the proxy.

use std::process::ExitCode;

use azure_openai_proxy::app::App;
use azure_openai_proxy::config::{self, Config};
use azure_openai_proxy::telemetry;

use super::{complain, refuse};

pub(crate) fn run() -> ExitCode {
    match config::from_environment() {
        Ok(config) => serve(config),
        Err(problems) => refuse(&problems),
    }
}

fn serve(config: Config) -> ExitCode {
    telemetry::start(config.log.level, config.log.json);
    let instances = config.instances.len();
    let strategy = config.strategy.as_str();
    let outcome = actix_rt::System::new().block_on(async move {
        let mut app = App::build(config).await?;
        app.start().await?;
        for address in app.addrs() {
            log::info!(address:%, instances, strategy; "listening");
        }
        app.run_until_stopped().await?;
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
