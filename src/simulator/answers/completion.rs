//! Text completions: string and list prompts, token ids, `n`, `echo`, streams.

use bytes::Bytes;
use serde::Serialize;

use super::filters::{Filters, PromptFilter};
use super::text::{Pieces, fill};
use super::{Order, Stamp, Usage, render};
use crate::domain::Tokens;
use crate::simulator::ask::{Input, length};
use crate::simulator::reply::{Reply, event};

/// Output tokens when the request sets no cap.
const DEFAULT_CAP: Tokens = Tokens(16);

#[derive(Serialize)]
struct Answer<'a> {
    choices: Vec<Choice>,
    created: u64,
    id: String,
    model: &'a str,
    object: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_filter_results: Option<Vec<PromptFilter>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
}

#[derive(Serialize)]
struct Choice {
    content_filter_results: Filters,
    finish_reason: Option<&'static str>,
    index: usize,
    logprobs: Option<()>,
    text: String,
}

/// Answers a completions request.
pub(super) fn answer(order: Order<'_>, stamp: Stamp) -> Reply {
    let ask = order.ask;
    let prompts = ask.inputs("prompt");
    let text_tokens = prompts
        .iter()
        .map(Input::tokens)
        .fold(Tokens::ZERO, |a, b| a + b);
    let cap = ask.cap().unwrap_or(DEFAULT_CAP);
    let mut outputs = Vec::new();
    for prompt in &prompts {
        for choice in 0..ask.choices() {
            outputs.push(match (prompt, order.bytes) {
                (_, Some(bytes)) if ask.is_stream() => Pieces::filler(bytes.get()),
                (Input::Text(text), _) => Pieces::echo(text, choice, Some(cap)),
                (Input::Ids(ids), _) => {
                    Pieces::echo(&format!("{} token ids", ids.len()), choice, Some(cap))
                }
            });
        }
    }
    let build = Build {
        order,
        stamp,
        prompt_tokens: order.overhead.on(text_tokens),
        prompts: prompts.len(),
    };
    if ask.is_stream() {
        return Reply::events(build.stream(&outputs));
    }
    let body = match order.bytes {
        Some(bytes) => fill(bytes, |filler| build.whole(std::slice::from_ref(filler))),
        None => build.whole(&outputs),
    };
    Reply::json(200, body)
}

struct Build<'a> {
    order: Order<'a>,
    stamp: Stamp,
    prompt_tokens: Tokens,
    prompts: usize,
}

impl Build<'_> {
    fn usage(&self, outputs: &[Pieces]) -> Usage {
        let tokens: u64 = outputs.iter().map(|output| output.tokens().0).sum();
        Usage::plain(self.prompt_tokens, Tokens(tokens))
    }

    fn answer(&self, choices: Vec<Choice>) -> Answer<'_> {
        Answer {
            choices,
            created: self.stamp.created,
            id: format!("cmpl-{}", self.stamp.id),
            model: self.order.model,
            object: "text_completion",
            prompt_filter_results: None,
            usage: None,
        }
    }

    fn whole(&self, outputs: &[Pieces]) -> String {
        let mut choices = Vec::new();
        for (index, output) in outputs.iter().enumerate() {
            choices.push(Choice {
                content_filter_results: Filters::CHUNK,
                finish_reason: Some(output.finish_reason()),
                index,
                logprobs: None,
                text: output.join(),
            });
        }
        let filters = (0..self.prompts).map(PromptFilter::safe).collect();
        let answer = Answer {
            prompt_filter_results: Some(filters),
            usage: Some(self.usage(outputs)),
            ..self.answer(choices)
        };
        render(&answer)
    }

    fn stream(&self, outputs: &[Pieces]) -> Vec<Bytes> {
        let filters = (0..self.prompts).map(PromptFilter::safe).collect();
        let preamble = Answer {
            created: 0,
            id: String::new(),
            model: "",
            object: "",
            prompt_filter_results: Some(filters),
            ..self.answer(Vec::new())
        };
        let mut events = vec![event(&render(&preamble))];
        for (index, output) in outputs.iter().enumerate() {
            let last = length(output.pieces.len()).saturating_sub(1);
            for (at, piece) in (0..).zip(&output.pieces) {
                let choice = Choice {
                    content_filter_results: Filters::CHUNK,
                    finish_reason: (at == last).then(|| output.finish_reason()),
                    index,
                    logprobs: None,
                    text: piece.clone(),
                };
                events.push(event(&render(&self.answer(vec![choice]))));
            }
        }
        if self.order.ask.wants_usage() {
            let usage = Answer {
                usage: Some(self.usage(outputs)),
                ..self.answer(Vec::new())
            };
            events.push(event(&render(&usage)));
        }
        events.push(event("[DONE]"));
        events
    }
}
