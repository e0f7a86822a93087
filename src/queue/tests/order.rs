//! The order of the queue and its deadlines, whatever comes, in virtual time.
//!
//! A pool of one instance and two models; requests of all sizes, some of which leave again.

use proptest::prelude::*;

use super::*;

/// A pool of one instance that gives `capacity` tokens back every second.
struct Pool {
    free: u64,
}

/// One request of the property.
#[derive(Clone, Debug)]
struct Request {
    pause: u64,
    tokens: u64,
    patience: u64,
    model: bool,
    leaves_after: Option<u64>,
}

fn request() -> impl Strategy<Value = Request> {
    let leaving = prop::option::weighted(0.2, 0u64..10_000);
    (0u64..400, 1u64..120, 0u64..12, any::<bool>(), leaving).prop_map(
        |(pause, tokens, patience, model, leaves_after)| Request {
            pause,
            tokens,
            patience,
            model,
            leaves_after,
        },
    )
}

/// Does what a dispatcher does, until there is nothing to do now. Returns who was served.
fn work(queue: &mut Queue<(u64, Duration)>, pool: &mut Pool, now: Instant) -> Vec<Ticket> {
    let mut served = Vec::new();
    while let Some(job) = queue.next(now) {
        let (Job::Try(ticket) | Job::Judge(ticket) | Job::Expire(ticket)) = job;
        let (tokens, patience) = *queue.get(ticket).unwrap();
        let claimed = queue.ahead(ticket, A).all.tokens.0;
        let ahead = queue.ahead(ticket, A).all.tokens.0;
        let short = (ahead + tokens).saturating_sub(pool.free);
        let offer = offer(A, tokens, short.div_ceil(100));
        match job {
            Job::Try(_) if claimed + tokens <= pool.free => {
                pool.free -= tokens;
                queue.take(now, ticket).unwrap();
                served.push(ticket);
            }
            Job::Try(_) | Job::Judge(_) => {
                if let Judgement::Refused(_) = queue.judge(now, ticket, offer) {
                    queue.turn_away(now, ticket, patience, offer).unwrap();
                }
            }
            Job::Expire(_) => {
                queue.turn_away(now, ticket, patience, offer).unwrap();
            }
        }
    }
    served
}

proptest! {
    /// Per model, requests are served in the order of their arrival; each ends by its deadline; nothing is left.
    #[test]
    fn the_order_is_kept_and_everyone_ends_in_time(requests in prop::collection::vec(request(), 1..80)) {
        let begin = start();
        let mut queue = Queue::new(20, begin);
        let mut pool = Pool { free: 100 };
        let mut arrivals = Vec::new();
        let mut at = Duration::ZERO;
        for (number, request) in (0u64..).zip(&requests) {
            at += Duration::from_millis(request.pause);
            arrivals.push((at, number, request.clone()));
        }
        let mut served: Vec<(u64, Duration)> = Vec::new();
        for tick in 0..2_000u64 {
            let now_at = Duration::from_millis(tick * 25);
            let now = begin + now_at;
            if tick % 40 == 39 {
                pool.free = (pool.free + 100).min(300);
                queue.stir(now);
            }
            for (at, number, request) in &arrivals {
                let came_now = *at <= now_at && *at + Duration::from_millis(25) > now_at;
                if came_now {
                    let model = if request.model { "m" } else { "o" };
                    let newcomer = newcomer(*number, begin + *at, request.patience, model);
                    queue.join(now, newcomer, (request.tokens, secs(request.patience)));
                }
                let left = request.leaves_after.map(|after| *at + Duration::from_millis(after));
                if left.is_some_and(|left| left <= now_at) && !came_now {
                    queue.take(now, Ticket(*number));
                }
            }
            for ticket in work(&mut queue, &mut pool, now) {
                served.push((ticket.0, now_at));
            }
            prop_assert!(queue.waiting() <= 20);
            for (at, number, request) in &arrivals {
                let over = *at + secs(request.patience) + Duration::from_millis(50);
                prop_assert!(over > now_at || queue.get(Ticket(*number)).is_none(), "{number} outlived its time");
            }
        }

        for model in [true, false] {
            let of_model = |number: &u64| requests[*number as usize].model == model;
            let order: Vec<u64> = served.iter().map(|(n, _)| *n).filter(of_model).collect();
            prop_assert!(order.is_sorted(), "{order:?}");
        }
        prop_assert!(queue.is_empty());
        prop_assert_eq!((queue.waiting(), queue.wake_at()), (0, None));
        let end = begin + secs(100);
        queue.join(end, newcomer(1_000, end, 1, "m"), (1, secs(1)));
        prop_assert_eq!(queue.ahead(Ticket(1_000), A), Ahead::default());
    }
}
