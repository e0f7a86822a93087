//! Charging ahead: tokens for requests that are about to come, so that not each of very many has to ask Redis.
//!
//! What was charged ahead holds only for the tick in which Redis charged it, so nothing leaves the window before its
//! time; the rest is given back. It is done only at a pace at which round trips cost, and only with a small part of what
//! is free, so that it takes nothing from other replicas.

use std::cell::Cell;
use std::rc::Rc;

use super::Part;
use crate::domain::Tokens;
use crate::ledger::Tick;

/// Requests that it must be good for, or it is not worth giving back what is left.
const LEAST: u64 = 8;

/// It takes at most this part of what is free, among all replicas.
const PART_OF_FREE: u64 = 16;

/// What one instance has been charged ahead.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    pace: Pace,
    /// A call that is to charge ahead is under way.
    is_asking: Rc<Cell<bool>>,
    left: Vec<Left>,
}

/// A call that charges ahead, for so many more requests. While it is kept, no other is worth it.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) count: u64,
    is_asking: Rc<Cell<bool>>,
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.is_asking.set(false);
    }
}

/// Requests by tick.
#[derive(Debug, Default)]
struct Pace {
    tick: u64,
    count: u64,
    before: u64,
}

/// What is left of one charge, for requests to the same windows.
#[derive(Debug)]
struct Left {
    at: Tick,
    parts: Vec<Part>,
}

impl Ahead {
    /// Notes a request, and takes it from what was charged for its like; returns the tick of that charge.
    pub(super) fn take(&mut self, now: Tick, parts: &[Part]) -> Option<Tick> {
        self.pace.note(now);
        let fits =
            |left: &&mut Left| {
                left.at >= now
                    && left.parts.len() == parts.len()
                    && left.parts.iter().zip(parts).all(|(left, part)| {
                        left.window == part.window && left.amount >= part.amount
                    })
            };
        let left = self.left.iter_mut().find(fits)?;
        for (left, part) in left.parts.iter_mut().zip(parts) {
            left.amount = left.amount.less(part.amount);
        }
        Some(left.at)
    }

    /// Says for how many more such requests to charge with one that has to ask. `free` is what is free in a window, for
    /// each replica.
    pub(super) fn worth(
        &mut self,
        parts: &[Part],
        free: impl Fn(usize) -> Tokens,
    ) -> Option<Asking> {
        // One call at a time: all that wait for it would else charge for each other's followers.
        if self.is_asking.get() {
            return None;
        }
        let mut count = self.pace.before.max(self.pace.count);
        for part in parts.iter().filter(|part| part.amount > Tokens::ZERO) {
            let most = Tokens(free(part.window).0 / PART_OF_FREE);
            let room = most.less(self.unused(part.window));
            count = count.min(room.0 / part.amount.0);
        }
        if count < LEAST {
            return None;
        }
        self.is_asking.set(true);
        let is_asking = self.is_asking.clone();
        Some(Asking { count, is_asking })
    }

    /// Returns what was charged ahead to a window and neither taken nor given back.
    fn unused(&self, window: usize) -> Tokens {
        let parts = self.left.iter().flat_map(|left| &left.parts);
        let amounts = parts.filter(|part| part.window == window);
        Tokens(amounts.map(|part| part.amount.0).sum())
    }

    /// Keeps what was charged at a tick for `count` such requests.
    pub(super) fn keep(&mut self, at: Tick, parts: &[Part], count: u64) {
        let parts = parts.iter().map(|part| part.times(count)).collect();
        self.left.push(Left { at, parts });
    }

    /// Returns what nobody took, with the tick of its charge. It is to be given back.
    pub(super) fn take_left(&mut self, now: Tick) -> Vec<(Tick, Part)> {
        let mut over = Vec::new();
        self.left.retain(|left| {
            let is_over = left.at < now;
            if is_over {
                over.extend(left.parts.iter().map(|part| (left.at, *part)));
            }
            !is_over
        });
        over
    }

    /// Follows Redis's clock, which reads so many ticks more than was thought.
    pub(super) fn turn(&mut self, by: i64) {
        for left in &mut self.left {
            left.at = Tick(left.at.0.saturating_add_signed(by));
        }
    }
}

impl Pace {
    fn note(&mut self, now: Tick) {
        if now.0 != self.tick {
            let is_next = now.0 == self.tick + 1;
            self.before = if is_next { self.count } else { 0 };
            (self.tick, self.count) = (now.0, 0);
        }
        self.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Tick = Tick(1_000);

    fn parts(tokens: u64) -> Vec<Part> {
        let part = |window, amount| Part {
            window,
            amount: Tokens(amount),
        };
        vec![part(0, tokens), part(1, 1)]
    }

    /// After so many requests in one tick.
    fn busy(requests: u64) -> Ahead {
        let mut ahead = Ahead::default();
        for _ in 0..requests {
            assert_eq!(ahead.take(NOW, &parts(10)), None);
        }
        ahead
    }

    fn worth(ahead: &mut Ahead, free: u64) -> Option<u64> {
        let asking = ahead.worth(&parts(10), |_| Tokens(free));
        asking.map(|asking| asking.count)
    }

    #[test]
    fn few_requests_or_little_room_are_not_charged_ahead() {
        assert_eq!(worth(&mut busy(7), 1_000_000), None);
        assert_eq!(worth(&mut busy(20), 16 * 79), None);
        assert_eq!(worth(&mut busy(20), 16 * 90), Some(9));
        assert_eq!(worth(&mut busy(20), 1_000_000), Some(20));
    }

    #[test]
    fn while_one_call_charges_ahead_no_other_does() {
        let mut ahead = busy(20);
        ahead.keep(NOW, &parts(10), 1);

        let asking = ahead.worth(&parts(10), |_| Tokens(1_000_000));
        assert!(asking.is_some());
        assert_eq!(worth(&mut ahead, 1_000_000), None);
        drop(asking);
        assert_eq!(worth(&mut ahead, 1_000_000), Some(20));
    }

    #[test]
    fn what_was_charged_ahead_and_is_not_used_counts_towards_the_most_that_may_be() {
        let mut ahead = busy(20);
        ahead.keep(NOW, &parts(10), 12);

        assert_eq!(worth(&mut ahead, 16 * 190), None, "7 would do");
        assert_eq!(worth(&mut ahead, 16 * 210), Some(9));
        ahead.take_left(Tick(1_001));
        assert_eq!(worth(&mut ahead, 16 * 190), Some(19));
    }

    #[test]
    fn what_was_charged_serves_its_tick_and_the_rest_is_given_back() {
        let mut ahead = busy(20);
        ahead.keep(NOW, &parts(10), 2);

        assert_eq!(ahead.take(NOW, &parts(15)), Some(NOW));
        assert_eq!(ahead.take(NOW, &parts(6)), None, "only 5 are left");
        assert_eq!(ahead.take(NOW, &parts(5)[..1]), None, "other windows");
        assert_eq!(ahead.take_left(NOW), []);
        assert_eq!(ahead.take(Tick(1_001), &parts(5)), None, "its tick is over");

        let left = ahead.take_left(Tick(1_001));
        let expected: Vec<_> = parts(5).into_iter().map(|part| (NOW, part)).collect();
        assert_eq!(left, expected);
        assert_eq!(ahead.take_left(Tick(1_001)), []);
    }
}
