//! `check`: validates the configuration and prints it.

use std::process::ExitCode;

use azure_openai_proxy::config;

use super::{refuse, say};

pub(crate) fn run() -> ExitCode {
    match config::from_environment() {
        Ok(config) => {
            say(config::table::table(&config).trim_end());
            ExitCode::SUCCESS
        }
        Err(problems) => refuse(&problems),
    }
}
