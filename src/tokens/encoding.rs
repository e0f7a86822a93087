//! The tokeniser behind one small interface: load a table, count a text. Nothing else knows which crate does it.
//!
//! Counts are those of `encode_ordinary`: the names of special tokens in a text are text. Work is linear in the text and
//! cannot panic, because the crate never sees more than [`CHUNK_BYTES`] at once: it overflows its stack, and unwraps
//! that, on about a million spaces. Long texts are cut where no token can reach across, so the count stays the same.
//!
//! Measured with tiktoken-rs 0.12.1 (resident memory above that of an empty process, system allocator): o200k 46 MB
//! and 0.2 to 0.5 s to load, cl100k 24 MB and 0.1 to 0.2 s. So a table is loaded only when a model needs it. The crate
//! `tiktoken` 4.1 counts the recordings the same in 24 and 8 MB; bpe-openai 0.3 takes 66 and 30 MB.

use std::sync::OnceLock;

use tiktoken_rs::CoreBPE;

/// Longest piece handed to the tokeniser, in bytes. 16 KB keep hostile runs cheap and cuts rare.
pub(super) const CHUNK_BYTES: usize = 16 * 1024;

static O200K: OnceLock<Option<CoreBPE>> = OnceLock::new();
static CL100K: OnceLock<Option<CoreBPE>> = OnceLock::new();

/// A table of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// gpt-4o and everything since.
    O200k,
    /// gpt-4, gpt-3.5 and the embeddings.
    Cl100k,
}

impl Encoding {
    /// Makes sure the table is in memory; the first call takes a few hundred milliseconds, and calls meanwhile wait.
    pub(super) fn load(self) {
        self.table();
    }

    /// Tells whether the table is in memory.
    pub(super) fn is_loaded(self) -> bool {
        self.cell().get().is_some()
    }

    /// Counts the tokens of `text`.
    pub(super) fn count(self, text: &str) -> u64 {
        let Some(table) = self.table() else {
            return (text.len() as u64).div_ceil(4);
        };
        Chunks(text)
            .map(|chunk| table.encode_ordinary(chunk).len() as u64)
            .sum()
    }

    /// Returns the table; `None` only if the one compiled in is damaged.
    fn table(self) -> Option<&'static CoreBPE> {
        let read = match self {
            Self::O200k => tiktoken_rs::o200k_base,
            Self::Cl100k => tiktoken_rs::cl100k_base,
        };
        self.cell().get_or_init(|| read().ok()).as_ref()
    }

    fn cell(self) -> &'static OnceLock<Option<CoreBPE>> {
        match self {
            Self::O200k => &O200K,
            Self::Cl100k => &CL100K,
        }
    }
}

/// Cuts a text into pieces of at most [`CHUNK_BYTES`].
struct Chunks<'a>(&'a str);

impl<'a> Iterator for Chunks<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.0.is_empty() {
            return None;
        }
        let (chunk, rest) = self.0.split_at_checked(cut(self.0)).unwrap_or((self.0, ""));
        self.0 = rest;
        Some(chunk)
    }
}

/// Finds where to cut `text`: the last safe place in the second half of a chunk, else the end of the chunk.
fn cut(text: &str) -> usize {
    if text.len() <= CHUNK_BYTES {
        return text.len();
    }
    let limit = floor_char_boundary(text, CHUNK_BYTES);
    let earliest = floor_char_boundary(text, CHUNK_BYTES / 2);
    let window = text.get(earliest..limit).unwrap_or("");
    let mut after = text.get(limit..).and_then(|rest| rest.chars().next());
    for (offset, before) in window.char_indices().rev() {
        if after.is_some_and(|after| is_safe(before, after)) {
            return earliest + offset + before.len_utf8();
        }
        after = Some(before);
    }
    limit
}

/// Tells whether every split of a text into words has a border between these two characters.
///
/// Neither pattern (o200k, cl100k) has a word in which a letter is followed by white space, a digit or punctuation
/// other than the apostrophe of a contraction, nor one in which a line end is followed by anything but white space or a
/// slash; and neither looks behind. Letters are taken narrowly: of a mark or a ligature nothing is claimed.
fn is_safe(before: char, after: char) -> bool {
    let is_letter = matches!(before, 'a'..='z' | 'A'..='Z' | 'А'..='я' | 'ぁ'..='ゖ' | 'ァ'..='ヺ' | '一'..='鿿' | '가'..='힣');
    let ends_word = (after.is_ascii() && !after.is_ascii_alphabetic() && after != '\'')
        || matches!(
            after,
            '\u{3000}'..='\u{3002}' | '！' | '，' | '：' | '；' | '？'
        );
    let is_line_end = before == '\n' && !after.is_whitespace() && after != '/';
    (is_letter && ends_word) || is_line_end
}

/// Returns the last character boundary at or before `at`.
fn floor_char_boundary(text: &str, at: usize) -> usize {
    (0..=at)
        .rev()
        .find(|&index| text.is_char_boundary(index))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(encoding: Encoding, text: &str) -> u64 {
        encoding.table().unwrap().encode_ordinary(text).len() as u64
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn a_text_in_chunks_counts_as_the_whole_text(
            pieces in prop::collection::vec(
                prop_oneof![
                    4 => "[a-zA-Z]{1,12}",
                    4 => Just(" ".to_owned()),
                    2 => "[0-9]{1,6}",
                    2 => "[.,;:!?'/\"(){}-]{1,4}",
                    2 => "[ \\n\\r\\t]{1,5}",
                    1 => "\\PC{1,6}",
                    1 => "[一-龥ぁ-ん。，]{1,8}",
                    1 => "[а-яА-Я]{1,8}",
                ],
                6000..12000,
            ),
        ) {
            let text = pieces.concat();

            for encoding in [Encoding::O200k, Encoding::Cl100k] {
                prop_assert_eq!(encoding.count(&text), whole(encoding, &text));
            }
        }

        #[test]
        fn a_border_called_safe_is_a_border(
            before in "[a-zА-яぁ-ゖァ-ヺ一-鿿가-힣\\n]",
            after in "\\PC|[ -/\\n\\r\\t]|[ \\n\\r\\t]",
            left in "[\\PC\\n ]{0,4}",
            right in "[\\PC\\n ]{0,4}",
        ) {
            let (first, second) = (before.chars().next().unwrap(), after.chars().next().unwrap());
            let (left, right) = (format!("{left}{before}"), format!("{after}{right}"));

            for encoding in [Encoding::O200k, Encoding::Cl100k] {
                let parts = whole(encoding, &left) + whole(encoding, &right);
                let joined = [left.as_str(), right.as_str()].concat();
                prop_assert!(!is_safe(first, second) || parts == whole(encoding, &joined), "cut inside a word");
            }
        }
    }

    #[test]
    fn chunks_are_short_and_lose_nothing() {
        for text in [
            "中".repeat(20_000),
            "a".repeat(100_000),
            "word ".repeat(20_000),
            "\u{301}".repeat(30_000),
        ] {
            let chunks: Vec<&str> = Chunks(&text).collect();

            assert_eq!(chunks.concat(), text);
            assert!(chunks.iter().all(|chunk| chunk.len() <= CHUNK_BYTES));
        }
    }

    #[test]
    fn runs_that_overflow_the_tokeniser_are_counted() {
        let spaces = " ".repeat(1_200_000);

        let tokens = Encoding::O200k.count(&spaces);

        assert!(tokens > 1_000 && tokens < spaces.len() as u64);
    }

    #[test]
    fn names_of_special_tokens_are_text() {
        assert!(Encoding::Cl100k.count("<|endoftext|>") > 1);
        assert!(Encoding::O200k.count("<|endoftext|>") > 1);
    }
}
