//! Finds the word that was probably meant, for hints at typos.

/// Longer names are no typos, and comparing them would cost the product of the lengths.
const LONGEST_COMPARED: usize = 64;

/// Returns the candidate that is reached with the fewest edits, if it is near enough to be meant.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    if word.len() > LONGEST_COMPARED {
        return None;
    }
    let word = word.to_ascii_uppercase();
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= LONGEST_COMPARED)
        .map(|candidate| (edits(&word, &candidate.to_ascii_uppercase()), candidate))
        .filter(|(edits, candidate)| *edits <= candidate.len() / 3)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Counts the insertions, deletions and replacements between two words (Levenshtein).
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, letter) in from.chars().enumerate() {
        let mut diagonal = line;
        let mut left = line + 1;
        let mut next = vec![left];
        for (other, above) in to.iter().zip(row.iter().skip(1)) {
            let replaced = diagonal + usize::from(letter != *other);
            left = replaced.min(left + 1).min(above + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted_as_levenshtein_does() {
        let cases = [
            ("", "", 0),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("APIKEY", "API_KEY", 1),
        ];
        for (from, to, count) in cases {
            assert_eq!(edits(from, to), count, "{from} {to}");
            assert_eq!(edits(to, from), count, "{to} {from}");
        }
    }

    #[test]
    fn only_a_near_word_is_suggested() {
        let fields = ["API_KEY", "API_BASE", "WEIGHT"];

        assert_eq!(nearest("APIKEY", fields), Some("API_KEY"));
        assert_eq!(nearest("weight", fields), Some("WEIGHT"));
        assert_eq!(nearest("REGION", fields), None);
        assert_eq!(nearest("3", ["1", "2"]), None);
        assert_eq!(nearest(&"X".repeat(10_000), fields), None);
    }
}
