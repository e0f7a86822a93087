//! The command line: `serve` (the default), `check`, `count`, `demo`, `simulate`, `healthcheck`.
//!
//! Only parses the arguments and hands over to `commands`, which say by their exit status what came of it: 0 is done, 1
//! failed, 2 must be changed before it can work.

mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Where a user finds what to set.
const VARIABLES: &str = "Configured by environment variables, or by a file `.env` in the working directory: \
                         .env.example lists them all, README.md says more.";

/// One OpenAI-compatible endpoint in front of many Azure OpenAI resources.
#[derive(Parser)]
#[command(version, about, after_help = VARIABLES)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve, configured by the environment and `.env` (the default)
    Serve,
    /// Validate the configuration and print it, keys masked
    Check,
    /// Print the prompt tokens of requests on standard input, one JSON body a line
    Count(commands::count::Options),
    /// Run three simulated resources and the proxy in front of them, without any configuration
    Demo(commands::demo::Options),
    /// Run one simulated Azure OpenAI resource
    Simulate(commands::simulate::Options),
    /// Ask a running proxy on this machine for its health; for containers
    Healthcheck(commands::healthcheck::Options),
}

fn main() -> ExitCode {
    match Cli::parse().command.unwrap_or(Command::Serve) {
        Command::Serve => commands::serve::run(),
        Command::Check => commands::check::run(),
        Command::Count(options) => commands::count::run(&options),
        Command::Demo(options) => commands::demo::run(options),
        Command::Simulate(options) => commands::simulate::run(options),
        Command::Healthcheck(options) => commands::healthcheck::run(&options),
    }
}
