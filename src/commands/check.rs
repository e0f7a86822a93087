//! `check`: validates the configuration and prints it.

use std::ops::ControlFlow;
use std::process::ExitCode;

use azure_openai_proxy::config;

use super::{print, refuse};

pub(crate) fn run() -> ExitCode {
    match config::from_environment() {
        Ok(config) => match print(config::table::table(&config).trim_end()) {
            ControlFlow::Continue(()) => ExitCode::SUCCESS,
            ControlFlow::Break(code) => code,
        },
        Err(problems) => refuse(&problems),
    }
}
