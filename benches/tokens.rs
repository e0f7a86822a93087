//! What counting costs: the guess from bytes against the exact count, for chat bodies of three sizes.

#![expect(missing_docs, reason = "criterion_group makes a public function")]

use std::hint::black_box;

use azure_openai_proxy::domain::Endpoint;
use azure_openai_proxy::tokens;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const MODEL: &str = "gpt-4o";

/// English in turns of about 500 bytes, as a conversation has them.
fn body(bytes: usize) -> Vec<u8> {
    let text = "The proxy keeps every resource inside its quota, and fails over when one of them is throttled. ".repeat(5);
    let mut messages =
        vec![r#"{"role":"system","content":"You are a helpful assistant."}"#.to_owned()];
    let mut length = 0;
    while length < bytes {
        let role = if messages.len() % 2 == 1 {
            "user"
        } else {
            "assistant"
        };
        let message = format!(
            r#"{{"role":"{role}","content":"{} {text}"}}"#,
            messages.len()
        );
        length += message.len();
        messages.push(message);
    }
    format!(
        r#"{{"model":"{MODEL}","messages":[{}]}}"#,
        messages.join(",")
    )
    .into_bytes()
}

fn count(criterion: &mut Criterion) {
    tokens::load(MODEL);
    let mut group = criterion.benchmark_group("tokens");
    for kilobytes in [1, 10, 100] {
        let body = body(kilobytes * 1_000);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(
            BenchmarkId::new("rough", kilobytes),
            &body,
            |bencher, body| {
                bencher.iter(|| tokens::rough(Endpoint::ChatCompletions, MODEL, black_box(body)));
            },
        );
        group.bench_with_input(
            BenchmarkId::new("prompt_tokens", kilobytes),
            &body,
            |bencher, body| {
                bencher.iter(|| {
                    tokens::prompt_tokens(Endpoint::ChatCompletions, MODEL, black_box(body))
                });
            },
        );
    }
    group.finish();
}

criterion_group!(benches, count);
criterion_main!(benches);
