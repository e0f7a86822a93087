//! What the heads of errors say, and what becomes of calls that never left.

use super::*;

fn said(limit: u64, remaining: u64) -> Said {
    Said {
        limit_tokens: Some(Tokens(limit)),
        remaining_tokens: Some(Tokens(remaining)),
        ..Said::default()
    }
}

fn said_of_calls(limit: u64, remaining: u64) -> Said {
    Said {
        limit_requests: Some(limit),
        remaining_requests: Some(remaining),
        ..Said::default()
    }
}

/// Ends a request of `b` that used nothing.
fn ended(end: End, said: Said) -> (Quota, Instant) {
    let (mut quota, now) = quota(None);
    let hold = quota.reserve(now, &name("b"), need(400)).unwrap();
    quota.settle(now, &name("b"), hold, Tokens::ZERO, end, said);
    (quota, now)
}

fn throttled(limit: Limit) -> End {
    let wait = Some(Duration::from_secs(30));
    End::Throttled { limit, wait }
}

fn azure(quota: &mut Quota, now: Instant) -> Option<(Tokens, Tokens)> {
    let lanes = quota.lanes(now);
    let lane = lanes.iter().find(|lane| lane.deployment == name("b"))?;
    lane.azure.map(|azure| (azure.limit, azure.remaining))
}

#[test]
fn an_error_that_says_what_remains_is_believed_whether_it_was_charged_or_not() {
    for remaining in [300, 600] {
        let (mut quota, now) = ended(End::Uncharged, said(700, remaining));

        assert_eq!(
            azure(&mut quota, now),
            Some((Tokens(700), Tokens(remaining)))
        );
        assert!(quota.reserve(now, &name("b"), need(remaining + 1)).is_err());
        assert!(quota.reserve(now, &name("b"), need(remaining)).is_ok());
    }
}

#[test]
fn an_error_that_says_nothing_leaves_its_charge_out() {
    let (mut quota, now) = ended(End::Uncharged, Said::default());

    assert_eq!(azure(&mut quota, now), None);
    assert!(quota.reserve(now, &name("b"), need(1_000)).is_ok());
}

#[test]
fn what_a_429_says_remains_decides_and_not_what_its_wait_would_tell() {
    // Without the headers, half of its size would be believed to be free.
    let (mut quota, now) = ended(throttled(Limit::Tokens), said(1_000, 50));

    assert_eq!(azure(&mut quota, now), Some((Tokens(1_000), Tokens(50))));
    assert!(quota.reserve(now, &name("b"), need(51)).is_err());
    assert!(quota.reserve(now, &name("b"), need(50)).is_ok());
}

#[test]
fn a_429_over_tokens_that_says_it_had_room_is_not_believed() {
    let (mut quota, now) = ended(throttled(Limit::Tokens), said(1_000, 900));

    assert!(quota.free_for(now, &name("b")) < Tokens(400));
}

#[test]
fn a_429_over_calls_tells_of_tokens_and_calls() {
    let both = Said {
        limit_requests: Some(60),
        remaining_requests: Some(0),
        ..said(1_000, 600)
    };
    let (mut quota, now) = ended(throttled(Limit::Requests), both);

    assert_eq!(azure(&mut quota, now), Some((Tokens(1_000), Tokens(600))));
    quota.unthrottle(&name("b"));
    let lack = quota.reserve(now, &name("b"), need(1)).unwrap_err();
    assert!(matches!(lack, Lack::Closed(closed) if closed.reason == Reason::OutOfCalls));
}

#[test]
fn a_good_answer_to_a_later_request_outweighs_an_error() {
    let (mut quota, now) = quota(None);
    let first = quota.reserve(now, &name("b"), need(100)).unwrap();
    let second = quota.reserve(now, &name("b"), need(100)).unwrap();
    quota.heard(now, &name("b"), &second, said(1_000, 800));

    let (end, late) = (End::Uncharged, said(1_000, 10));
    quota.settle(now, &name("b"), first, Tokens::ZERO, end, late);

    assert_eq!(azure(&mut quota, now), Some((Tokens(1_000), Tokens(800))));
}

#[test]
fn every_answer_tells_of_the_calls_of_others_errors_included() {
    for end in [End::Answered, End::Uncharged] {
        let (mut quota, now) = quota(None);
        let first = quota.reserve(now, &name("b"), need(1)).unwrap();
        quota.heard(now, &name("b"), &first, said_of_calls(60, 9));
        let second = quota.reserve(now, &name("b"), need(1)).unwrap();
        let told = said_of_calls(60, 1);
        match end {
            End::Answered => quota.heard(now, &name("b"), &second, told),
            _ => quota.settle(now, &name("b"), second, Tokens(1), end, told),
        }

        assert!(quota.reserve(now, &name("b"), need(1)).is_ok());
        let lack = quota.reserve(now, &name("b"), need(1)).unwrap_err();
        assert!(matches!(lack, Lack::Closed(closed) if closed.reason == Reason::OutOfCalls));
    }
}

#[test]
fn a_call_that_never_left_is_given_back_and_any_other_counts() {
    let left = [
        End::Answered,
        End::Charged,
        End::Uncharged,
        throttled(Limit::Tokens),
    ];
    for (end, counts) in left
        .map(|end| (end, true))
        .into_iter()
        .chain([(End::Unsent, false)])
    {
        let (mut quota, now) = quota(Some(6));
        let hold = quota.reserve(now, &name("b"), need(1)).unwrap();

        quota.settle(now, &name("b"), hold, Tokens::ZERO, end, Said::default());

        let again = quota.reserve(now, &name("a"), need(1));
        assert_eq!(again.is_err(), counts, "{end:?}");
    }
}

#[test]
fn what_is_free_for_a_deployment_is_its_own() {
    let (mut quota, now) = quota(None);
    quota.reserve(now, &name("a"), need(500)).unwrap();

    assert_eq!(quota.free_for(now, &name("a")), Tokens(100));
    assert_eq!(quota.free_for(now, &name("B")), Tokens(500));
    assert_eq!(quota.free_for(now, &name("unknown")), Tokens(500));
    quota.throttle(now, &name("b"), Limit::Tokens, Tokens(9), WINDOW);
    assert_eq!(quota.free_for(now, &name("b")), Tokens(500));
    quota.throttle(now, &name("b"), Limit::Requests, Tokens::ZERO, WINDOW);
    assert_eq!(quota.free_for(now, &name("b")), Tokens::ZERO);
}

/// Asks for 100 of 1,000 tokens whenever they fit, for so many seconds; returns how many went. `answer` says what the
/// answer to each of them says remains.
fn asked_for(seconds: u64, answer: impl Fn(u64) -> Said) -> u64 {
    let (mut quota, start) = quota(None);
    let mut sent = 0;
    for tenth in 0..seconds * 10 {
        let now = start + Duration::from_millis(tenth * 100);
        if let Ok(hold) = quota.reserve(now, &name("b"), need(100)) {
            quota.heard(now, &name("b"), &hold, answer(sent));
            let (end, said) = (End::Answered, Said::default());
            quota.settle(now, &name("b"), hold, Tokens(100), end, said);
            sent += 1;
        }
    }
    sent
}

#[test]
fn a_wrong_zero_heals_within_a_window_and_one_in_every_answer_shuts_nothing() {
    let once = asked_for(60, |sent| match sent {
        0 => said(1_000, 0),
        _ => Said::default(),
    });
    let always = asked_for(600, |_| said(1_000, 0));
    let calls = asked_for(600, |_| said_of_calls(60, 0));

    assert!(once >= 9, "{once}");
    // Of 100: charges seem to be twice what is expected, at most.
    assert!((40..=101).contains(&always), "{always}");
    assert!(calls >= 58, "{calls}");
}
