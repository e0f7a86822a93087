//! `count`: prints the prompt tokens of request bodies, one JSON object a line, for planning quota.

use std::io::{BufRead, stdin};
use std::process::ExitCode;

use azure_openai_proxy::domain::{Endpoint, Tokens};
use azure_openai_proxy::openai::request::{Ask, Rejection};
use azure_openai_proxy::tokens;
use clap::{Args, ValueEnum};

use super::{UNUSABLE, complain, say};

#[derive(Args)]
pub(crate) struct Options {
    /// Endpoint that the bodies are meant for; `responses` is counted but not proxied
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
    /// The proxied endpoint by whose rules the body is read.
    fn endpoint(self) -> Endpoint {
        match self {
            // Of a Responses body only the model is read, which stands where that of a chat does.
            Self::Chat | Self::Responses => Endpoint::ChatCompletions,
            Self::Completions => Endpoint::Completions,
            Self::Embeddings => Endpoint::Embeddings,
        }
    }

    fn count(self, body: &[u8]) -> Result<Tokens, Rejection> {
        let ask = Ask::read(self.endpoint(), body, None)?;
        let model = ask.model.as_str();
        Ok(match self {
            Self::Responses => tokens::responses_input_tokens(model, body),
            Self::Chat | Self::Completions | Self::Embeddings => {
                tokens::prompt_tokens(self.endpoint(), model, body)
            }
        })
    }
}

pub(crate) fn run(options: &Options) -> ExitCode {
    let mut bad = false;
    for (number, line) in stdin().lock().split(b'\n').enumerate() {
        match line {
            Ok(body) if body.trim_ascii().is_empty() => {}
            Ok(body) => match options.endpoint.count(&body) {
                Ok(tokens) => say(tokens),
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
