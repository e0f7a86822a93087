//! What texts counted to, since a conversation repeats its history with every request.
//!
//! A text is known by a keyed hash of 128 bits: two SipHashes under a random key that never leaves the process. So no
//! client can construct two texts with one hash, and even 2^40 texts share one with a chance of 2^-48. The texts
//! themselves are not kept.
//!
//! Invariant: memory is fixed. The table has [`SETS`] sets of [`WAYS`] entries, 1.7 MB in all, made at the first count;
//! a new text takes the place of the one in its set that was not asked for longest. Every set has a lock of its own,
//! held for the few instructions that compare four keys, so threads meet only over the same set. A table for each
//! thread would need no locks, but a history counted on the blocking pool would be unknown to the workers.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{LazyLock, Mutex, PoisonError};

use super::encoding::Encoding;

/// Enough for a thousand conversations of 64 messages; a power of two.
const SETS: usize = 16 * 1024;
/// Entries that share a lock.
const WAYS: usize = 4;
/// Bytes hashed at a time under one half and then the other, so that the processor works on both at once.
const STRIDE_BYTES: usize = 512;

static MEMO: LazyLock<Memo> = LazyLock::new(Memo::new);

/// A text in an encoding, as the memo knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Key {
    high: u64,
    low: u64,
}

/// What a text counted to.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    key: Key,
    tokens: u64,
}

/// A bounded map from texts to their tokens.
struct Memo {
    secret: RandomState,
    /// In each set the entry last used is the first. Empty entries have a key that no text has, for all practical purposes.
    sets: Vec<Mutex<[Entry; WAYS]>>,
}

/// Returns the key under which the count of a text is kept.
pub(super) fn key(encoding: Encoding, text: &str) -> Key {
    MEMO.key(encoding, text)
}

/// Returns what a text counted to, if that is still known.
pub(super) fn recall(key: Key) -> Option<u64> {
    MEMO.recall(key)
}

/// Remembers what a text counted to.
pub(super) fn remember(key: Key, tokens: u64) {
    MEMO.remember(key, tokens);
}

impl Memo {
    fn new() -> Self {
        Self {
            secret: RandomState::new(),
            sets: (0..SETS).map(|_| Mutex::default()).collect(),
        }
    }

    fn key(&self, encoding: Encoding, text: &str) -> Key {
        let (mut high, mut low) = (self.secret.build_hasher(), self.secret.build_hasher());
        let domain = match encoding {
            Encoding::O200k => 0,
            Encoding::Cl100k => 1,
        };
        // One key, two domains: the halves are as independent as the hash of two different texts.
        high.write_u64(domain << 1);
        low.write_u64(domain << 1 | 1);
        for stride in text.as_bytes().chunks(STRIDE_BYTES) {
            high.write(stride);
            low.write(stride);
        }
        Key {
            high: high.finish(),
            low: low.finish(),
        }
    }

    fn recall(&self, key: Key) -> Option<u64> {
        let mut set = self
            .set(key)?
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let at = set.iter().position(|entry| entry.key == key)?;
        set.get_mut(..=at)?.rotate_right(1);
        set.first().map(|entry| entry.tokens)
    }

    fn remember(&self, key: Key, tokens: u64) {
        let Some(set) = self.set(key) else {
            return;
        };
        let mut set = set.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have counted the same text meanwhile.
        let at = set.iter().position(|entry| entry.key == key);
        if let Some(used) = set.get_mut(..=at.unwrap_or(WAYS - 1)) {
            used.rotate_right(1);
        }
        if let Some(first) = set.first_mut() {
            *first = Entry { key, tokens };
        }
    }

    fn set(&self, key: Key) -> Option<&Mutex<[Entry; WAYS]>> {
        self.sets.get(key.low as usize % SETS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The `tag`-th key of one and the same set.
    fn key_in_one_set(tag: u64) -> Key {
        Key { high: tag, low: 5 }
    }

    #[test]
    fn a_count_is_kept_for_its_text_and_encoding_only() {
        let memo = Memo::new();
        let key = memo.key(Encoding::O200k, "a text of some length");

        memo.remember(key, 5);

        assert_eq!(memo.recall(key), Some(5));
        for other in [
            memo.key(Encoding::Cl100k, "a text of some length"),
            memo.key(Encoding::O200k, "a text of some lengti"),
            memo.key(Encoding::O200k, "a text of some length "),
            memo.key(Encoding::O200k, ""),
        ] {
            assert_eq!(memo.recall(other), None);
        }
    }

    #[test]
    fn both_halves_of_a_key_differ_and_depend_on_the_secret() {
        let (one, other) = (Memo::new(), Memo::new());
        let key = one.key(Encoding::O200k, "text");

        assert_ne!(key.high, key.low);
        assert_ne!(key.high, other.key(Encoding::O200k, "text").high);
        assert_ne!(key.low, other.key(Encoding::O200k, "text").low);
    }

    #[test]
    fn a_full_set_forgets_what_was_not_asked_for_longest() {
        let memo = Memo::new();
        for tag in 1..=4 {
            memo.remember(key_in_one_set(tag), tag);
        }

        assert_eq!(memo.recall(key_in_one_set(1)), Some(1));
        memo.remember(key_in_one_set(5), 5);

        assert_eq!(memo.recall(key_in_one_set(2)), None);
        for tag in [1, 3, 4, 5] {
            assert_eq!(memo.recall(key_in_one_set(tag)), Some(tag));
        }
    }

    #[test]
    fn remembering_twice_takes_one_place() {
        let memo = Memo::new();
        memo.remember(key_in_one_set(1), 1);
        for _ in 0..WAYS {
            memo.remember(key_in_one_set(2), 2);
        }

        assert_eq!(memo.recall(key_in_one_set(1)), Some(1));
        assert_eq!(memo.recall(key_in_one_set(2)), Some(2));
    }

    #[test]
    fn memory_is_what_the_header_says() {
        let bytes = SETS * size_of::<Mutex<[Entry; WAYS]>>();

        assert!((1_600_000..1_800_000).contains(&bytes), "{bytes}");
    }
}
