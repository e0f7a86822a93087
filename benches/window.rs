//! The sliding window: one reservation with its settlement, on a window that is full of history.

#![expect(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use azure_openai_proxy::domain::Tokens;
use azure_openai_proxy::window::Window;
use criterion::{Criterion, criterion_group, criterion_main};

fn window(c: &mut Criterion) {
    let start = tokio::time::Instant::now().into_std();
    let mut window = Window::new(Tokens(1_000_000_000), start);
    let mut now: Instant = start;
    for _ in 0..120 {
        now += Duration::from_millis(500);
        let _ = window.reserve(now, Tokens(100));
    }
    c.bench_function("window/reserve and settle", |b| {
        b.iter(|| {
            if let Ok(mark) = window.reserve(black_box(now), Tokens(1_000)) {
                window.settle(now, mark, Tokens(1_000), Tokens(0));
            }
        });
    });
    c.bench_function("window/wait for room", |b| {
        b.iter(|| window.fits_in(black_box(now), Tokens(999_999_000)));
    });
}

criterion_group!(benches, window);
criterion_main!(benches);
