//! `simulate`: one simulated Azure OpenAI resource, for trying an application against throttling without paying for it.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use azure_openai_proxy::domain::Tokens;
use azure_openai_proxy::simulator::{InvalidDeployment, Pace, Resource, SimDeployment, Simulator};
use clap::Args;

use super::{UNUSABLE, complain, say};

#[derive(Args)]
pub(crate) struct Options {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 3020)]
    port: u16,
    /// Key that callers must send
    #[arg(long, default_value = "simulated-key")]
    key: String,
    /// Tokens per minute of deployments that name none
    #[arg(long, default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1..))]
    tpm: u64,
    /// Deployment as name, name=model or name=model:tpm; may be repeated [default: gpt-4o and text-embedding-3-small]
    #[arg(long = "deployment", value_name = "DEPLOYMENT")]
    deployments: Vec<String>,
    /// Milliseconds until an answer begins
    #[arg(long, value_name = "MS", default_value_t = 120)]
    first_byte_ms: u64,
    /// Milliseconds between two events of a stream
    #[arg(long, value_name = "MS", default_value_t = 25)]
    per_chunk_ms: u64,
}

pub(crate) fn run(mut options: Options) -> ExitCode {
    if options.deployments.is_empty() {
        options.deployments = vec!["gpt-4o".to_owned(), "text-embedding-3-small".to_owned()];
    }
    let resource = match resource(&options) {
        Ok(resource) => resource,
        Err(error) => {
            complain(format!("--deployment: {error}"));
            return ExitCode::from(UNUSABLE);
        }
    };
    match actix_rt::System::new().block_on(serve(resource, &options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let address = SocketAddr::new(options.host, options.port);
            complain(format!(
                "cannot simulate: cannot listen on {address}: {error}"
            ));
            ExitCode::FAILURE
        }
    }
}

/// Builds what the options say.
fn resource(options: &Options) -> Result<Resource, InvalidDeployment> {
    let mut resource = Resource::new("simulated")
        .key(options.key.clone())
        .remembering(0)
        .pace(Pace {
            first_byte: Duration::from_millis(options.first_byte_ms),
            per_chunk: Duration::from_millis(options.per_chunk_ms),
        });
    for text in &options.deployments {
        resource = resource.deployment(SimDeployment::parse(text, Tokens(options.tpm))?);
    }
    Ok(resource)
}

/// Serves until Ctrl-C or SIGTERM.
async fn serve(resource: Resource, options: &Options) -> std::io::Result<()> {
    let interruption = super::demo::interruption()?;
    let simulator = Simulator::start(resource, (options.host, options.port)).await?;
    say(format!(
        "a simulated Azure OpenAI resource is listening on {}",
        simulator.url()
    ));
    say(format!("api-key: {}", options.key));
    for deployment in &options.deployments {
        say(format!("deployment: {deployment}"));
    }
    interruption.await;
    Ok(())
}
