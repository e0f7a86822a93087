//! Amounts in the order of the queue, and how much and how many of them stand before a place.
//!
//! They lie in chunks, each with its sum: so a question costs the number of chunks and one of them, about the root of how
//! many wait, and nothing at all for the youngest, who asks the most.

use std::ops::Add;

use super::{Place, Share};
use crate::domain::Tokens;

/// Amounts in a chunk, at most: as long as the list of chunks is when ten thousand wait.
const MOST: usize = 128;

/// Amounts by place.
#[derive(Debug, Default)]
pub(super) struct Sums {
    chunks: Vec<Chunk>,
    total: u64,
    count: usize,
}

#[derive(Debug)]
struct Chunk {
    /// In order, and at least one.
    amounts: Vec<(Place, u64)>,
    sum: u64,
}

impl Chunk {
    fn of(amounts: Vec<(Place, u64)>) -> Self {
        let sum = amounts.iter().map(|(_, amount)| amount).sum();
        Self { amounts, sum }
    }

    fn ends_before(&self, place: Place) -> bool {
        self.amounts.last().is_none_or(|(last, _)| *last < place)
    }
}

impl Sums {
    /// Says whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Adds the amount of a place that has none.
    pub(super) fn insert(&mut self, place: Place, amount: u64) {
        self.total += amount;
        self.count += 1;
        let after = self.chunk_of(place);
        let at = after.min(self.chunks.len().saturating_sub(1));
        let Some(chunk) = self.chunks.get_mut(at) else {
            self.chunks.push(Chunk::of(vec![(place, amount)]));
            return;
        };
        let position = chunk.amounts.partition_point(|(known, _)| *known < place);
        chunk.amounts.insert(position, (place, amount));
        chunk.sum += amount;
        if chunk.amounts.len() > MOST {
            let young = Chunk::of(chunk.amounts.split_off(MOST / 2));
            chunk.sum -= young.sum;
            self.chunks.insert(at + 1, young);
        }
    }

    /// Takes the amount of a place out, if it has one.
    pub(super) fn remove(&mut self, place: Place) {
        let at = self.chunk_of(place);
        let Some(chunk) = self.chunks.get_mut(at) else {
            return;
        };
        let Ok(position) = chunk.amounts.binary_search_by_key(&place, |(at, _)| *at) else {
            return;
        };
        let (_, amount) = chunk.amounts.remove(position);
        chunk.sum -= amount;
        self.total -= amount;
        self.count -= 1;
        if chunk.amounts.is_empty() {
            self.chunks.remove(at);
        } else {
            self.join_with_next(at);
            if let Some(before) = at.checked_sub(1) {
                self.join_with_next(before);
            }
        }
    }

    /// Returns the sum of all that stand before a place, and how many they are.
    pub(super) fn before(&self, place: Place) -> Share {
        let share = |tokens, calls: usize| Share {
            tokens: Tokens(tokens),
            calls: calls as u64,
        };
        let at = self.chunk_of(place);
        let Some(chunk) = self.chunks.get(at) else {
            return share(self.total, self.count);
        };
        let whole = self.chunks.iter().take(at);
        let whole = whole.map(|chunk| share(chunk.sum, chunk.amounts.len()));
        let part = chunk.amounts.iter().take_while(|(at, _)| *at < place);
        let part = part.map(|(_, amount)| share(*amount, 1));
        whole.chain(part).fold(Share::default(), Share::add)
    }

    /// Returns the position of the first chunk that does not end before a place.
    fn chunk_of(&self, place: Place) -> usize {
        match self.chunks.last() {
            Some(last) if last.ends_before(place) => self.chunks.len(),
            Some(_) | None => self.chunks.partition_point(|one| one.ends_before(place)),
        }
    }

    /// Makes one of two chunks that have become small, so that there are never many.
    fn join_with_next(&mut self, at: usize) {
        let length = |at: usize| self.chunks.get(at).map(|chunk| chunk.amounts.len());
        let both = length(at).zip(length(at + 1));
        if both.is_some_and(|(one, next)| one + next <= MOST / 2) {
            let next = self.chunks.remove(at + 1);
            if let Some(chunk) = self.chunks.get_mut(at) {
                chunk.amounts.extend(next.amounts);
                chunk.sum += next.sum;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;
    use crate::queue::Ticket;

    fn place(begin: Instant, number: u64) -> Place {
        Place {
            since: begin + Duration::from_millis(number / 3),
            ticket: Ticket(number),
        }
    }

    proptest! {
        /// Whatever comes and goes, the sums are those of a plain list, and there are no more chunks than are needed.
        #[test]
        fn the_sums_are_those_of_a_list(
            steps in prop::collection::vec((0u64..2_000, 0u64..100, prop::bool::weighted(0.7)), 1..1_500)
        ) {
            let begin = tokio::time::Instant::now().into_std();
            let mut sums = Sums::default();
            let mut list: BTreeMap<Place, u64> = BTreeMap::new();
            for (number, amount, comes) in steps {
                let place = place(begin, number);
                if comes && !list.contains_key(&place) {
                    sums.insert(place, amount);
                    list.insert(place, amount);
                } else if !comes {
                    sums.remove(place);
                    list.remove(&place);
                }
                let before = sums.before(place);
                prop_assert_eq!(before.tokens.0, list.range(..place).map(|(_, one)| one).sum::<u64>());
                prop_assert_eq!(before.calls, list.range(..place).count() as u64);
            }
            prop_assert_eq!((sums.total, sums.count), (list.values().sum::<u64>(), list.len()));
            prop_assert_eq!(sums.is_empty(), list.is_empty());
            prop_assert!(sums.chunks.len() <= 1 + 4 * list.len() / MOST, "{}", sums.chunks.len());
        }
    }
}
