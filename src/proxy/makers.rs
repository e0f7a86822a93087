//! Which instance made a response, a conversation or an item of one: the way back to what lives at one resource alone.
//!
//! A hint, and bounded: what is not remembered here (made through another replica, before a restart, long ago) is found
//! by asking one instance after the other, which do no work for what they do not know. So nothing has to be shared, and
//! ids stay as Azure gave them.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::{InstanceId, Tokens};
use crate::openai::response_ids;
use crate::openai::usage::Usage;

/// Entries of one generation, which fill a table of 131,072 places, 3.3 MB; two are kept. A response has three or four.
const MOST: usize = 114_688;

/// What is known of a response or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Made {
    /// The instance that made it.
    pub(super) by: InstanceId,
    /// What a request that continues it, or refers to it, brings along unseen; zero if unknown.
    pub(super) tokens: Tokens,
}

/// The makers of recent responses, shared by the workers.
#[derive(Default)]
pub struct Makers {
    /// Ids come from outside: a keyed hash keeps them from being chosen to collide.
    key: RandomState,
    known: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    young: HashMap<u64, Made>,
    old: HashMap<u64, Made>,
}

impl Makers {
    /// Remembers who made what an answer, or an event of one, names. Of its usage all belongs to a response and to its
    /// conversation, and to each of its items an equal part of the output: no answer says how long which is.
    pub(super) fn note(&self, answer: &[u8], by: InstanceId, usage: Option<Usage>) {
        let ids = response_ids::made(answer);
        let items = ids.iter().filter(|id| !response_ids::is_whole(id)).count() as u64;
        for id in ids {
            let tokens = usage.map(|usage| match response_ids::is_whole(id) {
                true => usage.total,
                false => Tokens(usage.output.0 / items.max(1)),
            });
            self.remember(id, by, tokens);
        }
        for mark in response_ids::sealed(answer) {
            self.remember(mark, by, None);
        }
    }

    /// Remembers who has it.
    pub(super) fn found(&self, id: &str, by: InstanceId) {
        self.remember(id, by, None);
    }

    fn remember(&self, id: &str, by: InstanceId, tokens: Option<Tokens>) {
        let hash = self.key.hash_one(id);
        let mut known = self.lock();
        let before = || known.get(hash).map_or(Tokens::ZERO, |made| made.tokens);
        let tokens = tokens.unwrap_or_else(before);
        known.insert(hash, Made { by, tokens });
    }

    /// Returns who made it, if that is remembered.
    pub(super) fn of(&self, id: &str) -> Option<Made> {
        self.lock().get(self.key.hash_one(id))
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn get(&self, hash: u64) -> Option<Made> {
        self.young
            .get(&hash)
            .or_else(|| self.old.get(&hash))
            .copied()
    }

    fn insert(&mut self, hash: u64, made: Made) {
        if self.young.len() >= MOST {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(hash, made);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(number: usize) -> Vec<u8> {
        format!(r#"{{"id":"resp_{number}"}}"#).into_bytes()
    }

    #[test]
    fn the_maker_and_the_size_of_a_response_are_remembered() {
        let makers = Makers::default();

        let answer = br#"{"id":"resp_1","output":[{"id":"rs_1"},{"id":"fc_1"}]}"#;
        let usage = Usage {
            prompt: Tokens(50),
            output: Tokens(20),
            total: Tokens(70),
        };
        makers.note(answer, InstanceId(2), Some(usage));
        // Read later, without usage: the sizes stay.
        makers.note(answer, InstanceId(2), None);

        let made = |tokens| {
            Some(Made {
                by: InstanceId(2),
                tokens: Tokens(tokens),
            })
        };
        assert_eq!(makers.of("resp_1"), made(70));
        assert_eq!(makers.of("fc_1"), made(10));
        assert_eq!(makers.of("resp_2"), None);
    }

    #[test]
    fn the_oldest_are_forgotten_and_the_memory_stays_bounded() {
        let makers = Makers::default();

        for number in 0..3 * MOST {
            makers.note(&answer(number), InstanceId(0), None);
        }

        assert_eq!(makers.of("resp_0"), None);
        assert!(makers.of(&format!("resp_{}", 3 * MOST - 1)).is_some());
        assert!(makers.of(&format!("resp_{}", 2 * MOST - 1)).is_some());
        let known = makers.lock();
        assert!(known.young.len() <= MOST && known.old.len() <= MOST);
    }
}
