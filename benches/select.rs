//! One pick of each strategy among ten instances.

#![expect(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;

use azure_openai_proxy::domain::{InstanceId, StrategyKind};
use azure_openai_proxy::routing::{Candidate, Router};
use criterion::{Criterion, criterion_group, criterion_main};

fn select(c: &mut Criterion) {
    let candidates: Vec<Candidate> = (0..10)
        .map(|id| Candidate {
            id: InstanceId(id),
            priority: 100 + id as u32 % 2,
            weight: 1 + id as u32,
            load: 0.1 * id as f64,
            in_flight: id as u32,
        })
        .collect();
    for kind in StrategyKind::ALL {
        let mut router = Router::new(kind, 7);
        c.bench_function(&format!("select/{kind}"), |b| {
            b.iter(|| router.pick(black_box(&candidates)));
        });
    }
}

criterion_group!(benches, select);
criterion_main!(benches);
