//! `demo`: three simulated resources and the proxy in front of them, in one process, with nothing configured.

use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;

use azure_openai_proxy::app::App;
use azure_openai_proxy::config::{self, Config, Problem};
use azure_openai_proxy::simulator::{Resource, Simulator};
use azure_openai_proxy::telemetry;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{complain, refuse, say};

#[derive(Args)]
pub(crate) struct Options {
    /// Port of the proxy; 0 takes a free one
    #[arg(long, default_value_t = 3010)]
    port: u16,
}

pub(crate) fn run(options: Options) -> ExitCode {
    telemetry::start(log::LevelFilter::Info, false);
    match actix_rt::System::new().block_on(demo(options.port)) {
        Ok(code) => code,
        Err(error) => {
            complain(format!("the demo cannot start: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn demo(port: u16) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut simulators = Vec::new();
    for resource in Resource::demo() {
        let anywhere = (IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        simulators.push(Simulator::start(resource, anywhere).await?);
    }
    let config = match configure(port, &simulators) {
        Ok(config) => config,
        Err(problems) => return Ok(refuse(&problems)),
    };
    let mut app = App::build(config).await?;
    app.start().await?;
    if let Some(address) = app.addrs().first() {
        introduce(address.port(), &simulators);
    }
    app.run_until_stopped().await?;
    Ok(ExitCode::SUCCESS)
}

/// Builds the same settings that a user would put into `.env`.
fn configure(port: u16, simulators: &[Simulator]) -> Result<Config, Vec<Problem>> {
    let mut vars: Vec<(String, String)> = [
        ("HOST", "127.0.0.1"),
        ("AZURE_ROUTING_STRATEGY", "round_robin"),
        ("MODEL_MAP_GPT4o", "gpt-4o"),
        ("MODEL_MAP_GPT4oMINI", "gpt-4o-mini"),
        ("MODEL_MAP_GPT35TURBO", "gpt-35-turbo"),
        ("MODEL_MAP_GPT35TURBOINSTRUCT", "gpt-35-turbo-instruct"),
        ("MODEL_MAP_TEXTEMBEDDING3SMALL", "text-embedding-3-small"),
        ("MODEL_MAP_TEXTEMBEDDINGADA002", "text-embedding-ada-002"),
        ("MODEL_MAP_GPTIMAGE1", "gpt-image-1"),
        ("MODEL_MAP_WHISPER1", "whisper-1"),
        ("MODEL_MAP_GPT4oTRANSCRIBE", "gpt-4o-transcribe"),
        ("MODEL_MAP_TTS1", "tts-1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    vars.push(("PORT".to_owned(), port.to_string()));
    let names: Vec<&str> = simulators.iter().map(|s| s.resource().name()).collect();
    vars.push(("AZURE_INSTANCES".to_owned(), names.join(",")));
    for simulator in simulators {
        let resource = simulator.resource();
        let most = resource.deployments().iter().map(|d| d.tpm()).max();
        let settings = [
            ("API_KEY", resource.api_key().expose().to_owned()),
            ("API_BASE", simulator.url()),
            ("API_VERSION", "2025-04-01-preview".to_owned()),
            ("MAX_TPM", most.unwrap_or_default().to_string()),
        ];
        for (setting, value) in settings {
            let name = resource.name().to_uppercase();
            vars.push((format!("AZURE_INSTANCE_{name}_{setting}"), value));
        }
    }
    config::from_vars(vars)
}

fn introduce(port: u16, simulators: &[Simulator]) {
    let base = format!("http://127.0.0.1:{port}");
    say(format!("listening on {base}"));
    say("in front of three simulated Azure OpenAI resources, round robin:");
    for simulator in simulators {
        let resource = simulator.resource();
        say(format!("  {:<6} {}", resource.name(), simulator.url()));
    }
    say(format!(
        r#"
Ask something, as from OpenAI:
  curl {base}/v1/chat/completions -H 'content-type: application/json' \
    -d '{{"model":"gpt-4o","messages":[{{"role":"user","content":"Hello"}}],"max_tokens":50}}'

Stream it:
  curl -N {base}/v1/chat/completions -H 'content-type: application/json' \
    -d '{{"model":"gpt-4o","stream":true,"messages":[{{"role":"user","content":"Hello"}}]}}'

See the instances:
  {base}/v1/instances/status   (or {base}/ in a browser)

Stop with Ctrl-C.
"#
    ));
}

/// Takes over Ctrl-C and SIGTERM, and returns what waits for one of them.
pub(crate) fn interruption() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
