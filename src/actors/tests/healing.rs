//! What answers teach an instance about the prompts that follow.

use super::*;

/// Has a prompt answered that the service counts as `theirs`.
async fn teach(registry: &Addr<Registry>, prompt: u64, theirs: u64) {
    let lease = acquire(registry, want(prompt, 0), &[]).await.unwrap();
    lease.settle(Outcome::Answered {
        used: Some(Tokens(theirs)),
        prompt: Some(Tokens(theirs)),
        output: None,
    });
}

#[actix::test]
async fn answers_correct_what_their_model_reserves_at_their_instance() {
    let registry = launch(&[instance("a", 1, 1_000_000), instance("b", 2, 1_000_000)]);
    for prompt in [100, 700, 40, 1_500].into_iter().cycle().take(20) {
        teach(&registry, prompt, prompt * 13 / 10 + 50).await;
    }

    let here = acquire(&registry, want(1_000, 10), &[]).await.unwrap();
    let there = acquire(&registry, want(1_000, 10), &[0]).await.unwrap();
    let estimate = Want {
        basis: Basis::Estimated,
        at_most: None,
        ..want(1_000, 10)
    };
    let estimate = acquire(&registry, estimate, &[]).await.unwrap();

    assert_eq!(here.expected_prompt(), Tokens(1_350));
    assert_eq!(here.reserved(), Tokens(1_360));
    assert_eq!(there.reserved(), Tokens(1_010));
    assert_eq!(estimate.reserved(), Tokens(1_010));
    let learned = view(&registry, 0).await.corrections.remove(0);
    assert_eq!((learned.basis, learned.answers), (Basis::Counted, 20));
    assert!(view(&registry, 1).await.corrections.is_empty());
}

#[actix::test]
async fn a_correction_never_makes_a_request_too_large() {
    let registry = launch(&[instance("a", 1, 1_000)]);
    for _ in 0..20 {
        teach(&registry, 100, 200).await;
        tokio::time::advance(Duration::from_secs(62)).await;
    }

    let capped = acquire(&registry, want(500, 450), &[]).await.unwrap();
    assert_eq!(capped.reserved(), Tokens(1_000));
    capped.settle(answered(0));
    let whole = acquire(&registry, want(1_000, 0), &[]).await.unwrap();
    assert_eq!(whole.reserved(), Tokens(1_000));
    whole.settle(answered(0));
    let open = Want {
        output: Output::Expected { completions: 9 },
        ..want(980, 0)
    };
    let open = acquire(&registry, open, &[]).await.unwrap();
    assert_eq!(open.reserved(), Tokens(1_000));
}

#[actix::test]
async fn only_complete_answers_with_usage_teach_something() {
    let registry = launch(&[instance("a", 1, 1_000_000)]);
    let summary = || "cut".to_owned();
    let used = Some(Tokens(900));
    for outcome in [
        answered(900),
        Outcome::Abandoned { used },
        Outcome::Faulted {
            used: Tokens(900),
            summary: summary(),
        },
        Outcome::NoCapacity {
            wait: None,
            summary: summary(),
        },
    ] {
        let lease = acquire(&registry, want(100, 0), &[]).await.unwrap();
        lease.settle(outcome);
    }

    let view = view(&registry, 0).await;

    assert!(view.corrections.is_empty() && view.expected_output.is_empty());
}
