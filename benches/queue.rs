//! The queue alone: what a newcomer costs behind many who wait, and what a settlement costs when each of them asks for a
//! model of its own.

#![expect(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use azure_openai_proxy::domain::{Deployment, DeploymentKey, InstanceId, ModelKey, Tokens};
use azure_openai_proxy::queue::{Job, Newcomer, Offer, Queue, Ticket};
use criterion::{Criterion, criterion_group, criterion_main};

const INSTANCES: usize = 4;

fn newcomer(number: usize, now: Instant, model: &str) -> Newcomer {
    let deployment = DeploymentKey::of(&Deployment::new(model));
    Newcomer {
        ticket: Ticket(number as u64),
        since: now + Duration::from_micros(number as u64),
        patience: Duration::from_secs(15),
        model: ModelKey::of(model),
        spelled: None,
        is_known: false,
        deployments: (0..INSTANCES)
            .map(|at| (InstanceId(at), deployment.clone()))
            .collect(),
        tried: Vec::new(),
    }
}

fn offer(number: usize) -> Option<Offer> {
    Some(Offer {
        instance: InstanceId(number % INSTANCES),
        tokens: Tokens(500),
        wait: Duration::from_secs(10),
        is_of_all: true,
    })
}

/// Lets a request in, asks for what stands before it at each instance, and lets it wait.
fn wait(queue: &mut Queue<()>, now: Instant, newcomer: Newcomer) {
    let ticket = newcomer.ticket;
    queue.join(now, newcomer, ());
    for instance in 0..INSTANCES {
        black_box(queue.ahead(ticket, InstanceId(instance)));
    }
    queue.judge(now, ticket, offer(ticket.0 as usize));
}

fn settle_down(queue: &mut Queue<()>, now: Instant) {
    while let Some(Job::Try(ticket) | Job::Judge(ticket) | Job::Expire(ticket)) = queue.next(now) {
        queue.judge(now, ticket, offer(ticket.0 as usize));
    }
}

fn queue(c: &mut Criterion) {
    let now = tokio::time::Instant::now().into_std();
    for waiting in [10, 100, 1_000, 10_000] {
        let mut queue = Queue::new(waiting + 1, now);
        for number in 0..waiting {
            wait(
                &mut queue,
                now,
                newcomer(number, now, if number % 2 == 0 { "a" } else { "b" }),
            );
        }
        settle_down(&mut queue, now);
        c.bench_function(&format!("queue/newcomer behind {waiting}"), |b| {
            b.iter(|| {
                wait(&mut queue, now, newcomer(waiting, now, "a"));
                queue.take(now, Ticket(waiting as u64))
            });
        });
    }
    for waiting in [10, 100, 1_000, 10_000] {
        let mut queue = Queue::new(waiting + 1, now);
        for number in 0..waiting {
            queue.join(now, newcomer(number, now, &format!("model{number}")), ());
            queue.judge(now, Ticket(number as u64), offer(number));
        }
        settle_down(&mut queue, now);
        c.bench_function(&format!("queue/one settlement, {waiting} names"), |b| {
            b.iter(|| {
                queue.stir(now);
                while let Some(Job::Try(ticket)) = queue.next(now) {
                    for instance in 0..INSTANCES {
                        black_box(queue.ahead(ticket, InstanceId(instance)));
                    }
                    queue.judge(now, ticket, offer(ticket.0 as usize));
                }
            });
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = queue
}
criterion_main!(benches);
