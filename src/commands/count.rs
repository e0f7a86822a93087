//! `count`: prints the prompt tokens of request bodies, one JSON object a line, for planning quota.

use std::io::{BufRead, stdin};
use std::ops::ControlFlow;
use std::process::ExitCode;

use azure_openai_proxy::domain::{Endpoint, Tokens};
use azure_openai_proxy::openai::request::{Ask, Rejection};
use azure_openai_proxy::tokens;
use clap::{Args, ValueEnum};

use super::{UNUSABLE, complain, print};

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
    Responses,
}

impl Kind {
    fn endpoint(self) -> Endpoint {
        match self {
            Self::Chat => Endpoint::ChatCompletions,
            Self::Completions => Endpoint::Completions,
            Self::Embeddings => Endpoint::Embeddings,
            Self::Responses => Endpoint::Responses,
        }
    }

    fn count(self, body: &[u8]) -> Result<Tokens, Rejection> {
        let ask = Ask::read(self.endpoint(), body, None)?;
        let model = ask.model.as_str();
        Ok(tokens::prompt_tokens(self.endpoint(), model, body))
    }
}

pub(crate) fn run(options: &Options) -> ExitCode {
    let mut bad = false;
    for (number, line) in stdin().lock().split(b'\n').enumerate() {
        match line {
            Ok(body) if body.trim_ascii().is_empty() => {}
            Ok(body) => match options.endpoint.count(&body) {
                Ok(tokens) => {
                    if let ControlFlow::Break(code) = print(tokens) {
                        return code;
                    }
                }
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
