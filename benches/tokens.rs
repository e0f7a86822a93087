//! What counting costs for chat bodies of three sizes: the guess from bytes, the exact count of texts never seen, that of
//! a conversation of which only the last question is new, and that of one known to the end.

#![expect(missing_docs, reason = "criterion_group makes a public function")]

use std::hint::black_box;

use azure_openai_proxy::domain::{Endpoint, Tokens};
use azure_openai_proxy::tokens;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const MODEL: &str = "gpt-4o";

/// English in turns of about 500 bytes, as a conversation has them, and a question of 100 bytes at the end.
fn body(bytes: usize, history: u64, question: u64) -> Vec<u8> {
    let text =
        "The proxy keeps every resource inside its quota, and fails over when one is throttled.\\n"
            .repeat(5);
    let mut messages =
        vec![r#"{"role":"system","content":"You are a helpful assistant."}"#.to_owned()];
    let mut length = 0;
    while length + 600 < bytes {
        let role = if messages.len() % 2 == 1 {
            "user"
        } else {
            "assistant"
        };
        let message = format!(
            r#"{{"role":"{role}","content":"{history}.{} {text}"}}"#,
            messages.len()
        );
        length += message.len();
        messages.push(message);
    }
    messages.push(format!(
        r#"{{"role":"user","content":"Question {question}: which of the resources would take this request, and how long would it wait?"}}"#
    ));
    format!(
        r#"{{"model":"{MODEL}","messages":[{}]}}"#,
        messages.join(",")
    )
    .into_bytes()
}

fn exact(body: &[u8]) -> Tokens {
    tokens::prompt_tokens(Endpoint::ChatCompletions, MODEL, black_box(body))
}

fn count(criterion: &mut Criterion) {
    tokens::load(MODEL);
    let mut group = criterion.benchmark_group("tokens");
    let mut fresh = 0;
    for kilobytes in [1, 10, 100] {
        let bytes = kilobytes * 1_000;
        let known = body(bytes, 0, 0);
        group.throughput(Throughput::Bytes(known.len() as u64));
        group.bench_function(BenchmarkId::new("rough", kilobytes), |bencher| {
            bencher.iter(|| tokens::rough(Endpoint::ChatCompletions, MODEL, black_box(&known)));
        });
        group.bench_function(BenchmarkId::new("new", kilobytes), |bencher| {
            let setup = || {
                fresh += 1;
                body(bytes, fresh, fresh)
            };
            bencher.iter_batched(setup, |body| exact(&body), BatchSize::SmallInput);
        });
        group.bench_function(BenchmarkId::new("last_new", kilobytes), |bencher| {
            let setup = || {
                fresh += 1;
                body(bytes, 0, fresh)
            };
            bencher.iter_batched(setup, |body| exact(&body), BatchSize::SmallInput);
        });
        group.bench_function(BenchmarkId::new("known", kilobytes), |bencher| {
            bencher.iter(|| exact(&known));
        });
    }
    group.finish();
}

criterion_group!(benches, count);
criterion_main!(benches);
