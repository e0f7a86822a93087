//! `count`: prints the prompt tokens of request bodies, one JSON object a line, for planning quota.

use std::io::{BufRead, stdin};
use std::process::ExitCode;

use azure_openai_proxy::domain::Endpoint;
use azure_openai_proxy::openai::request::Ask;
use azure_openai_proxy::tokens;
use clap::{Args, ValueEnum};

use super::{UNUSABLE, complain, say};

#[derive(Args)]
pub(crate) struct Options {
    /// Endpoint that the bodies are meant for
    #[arg(long, value_enum, default_value_t = Kind::Chat)]
    endpoint: Kind,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Chat,
    Completions,
    Embeddings,
}

pub(crate) fn run(options: &Options) -> ExitCode {
    let endpoint = match options.endpoint {
        Kind::Chat => Endpoint::ChatCompletions,
        Kind::Completions => Endpoint::Completions,
        Kind::Embeddings => Endpoint::Embeddings,
    };
    let mut bad = false;
    for (number, line) in stdin().lock().split(b'\n').enumerate() {
        match line {
            Ok(body) if body.trim_ascii().is_empty() => {}
            Ok(body) => match Ask::read(endpoint, &body, None) {
                Ok(ask) => say(tokens::prompt_tokens(endpoint, ask.model.as_str(), &body)),
                Err(rejection) => {
                    complain(format!("line {}: {rejection}", number + 1));
                    bad = true;
                }
            },
            Err(error) => {
                complain(format!("standard input cannot be read: {error}"));
                return ExitCode::FAILURE;
            }
        }
    }
    if bad {
        ExitCode::from(UNUSABLE)
    } else {
        ExitCode::SUCCESS
    }
}
