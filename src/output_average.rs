//! What a request without an output cap is expected to generate, learned from the answers of its model.
//!
//! An exponentially weighted mean per model: twenty answers are enough to follow a change, one extreme answer is
//! clipped. The table is bounded, since model names come from clients. What is done with the guess is left to `actors`.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::domain::{ModelKey, Tokens};

/// Tokens expected before the first answer was seen.
pub const FIRST_GUESS: Tokens = Tokens(256);

/// Share of a new answer in the mean: about twenty answers make up nine tenths of it.
const GAIN: f64 = 0.1;

/// An answer counts as at most this many times the mean, so that one outlier moves it by less than a third.
const OUTLIER: f64 = 4.0;

/// Models that are remembered; further ones use the first guess.
const MOST_MODELS: usize = 256;

/// Learned output sizes per model.
#[derive(Clone, Debug, Default)]
pub struct OutputAverage {
    means: HashMap<ModelKey, Mean>,
}

#[derive(Clone, Copy, Debug)]
struct Mean {
    tokens: f64,
    answers: u64,
}

/// What was learned about one model, for the status page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedOutput {
    /// The model.
    pub model: ModelKey,
    /// Tokens that one completion is expected to generate.
    pub tokens: Tokens,
    /// Answers seen since the start.
    pub answers: u64,
}

impl OutputAverage {
    /// Returns the tokens that one completion of `model` is expected to generate.
    pub fn expected(&self, model: &ModelKey) -> Tokens {
        self.means.get(model).map_or(FIRST_GUESS, Mean::expected)
    }

    /// Learns from a finished completion of `generated` tokens.
    pub fn learn(&mut self, model: &ModelKey, generated: Tokens) {
        let full = self.means.len() >= MOST_MODELS;
        if full && !self.means.contains_key(model) {
            return;
        }
        let mean = self.means.entry(model.clone()).or_insert(Mean {
            tokens: FIRST_GUESS.0 as f64,
            answers: 0,
        });
        let seen = (generated.0 as f64).min(mean.tokens * OUTLIER);
        mean.tokens = (mean.tokens + GAIN * (seen - mean.tokens)).max(1.0);
        mean.answers += 1;
    }

    /// Returns what was learned of the `most` models with the most answers, those first.
    pub fn most_answered(&self, most: usize) -> Vec<ExpectedOutput> {
        let means = self.means.iter();
        let mut all: Vec<ExpectedOutput> = means
            .map(|(model, mean)| ExpectedOutput {
                model: model.clone(),
                tokens: mean.expected(),
                answers: mean.answers,
            })
            .collect();
        all.sort_by(|a, b| (Reverse(a.answers), &a.model).cmp(&(Reverse(b.answers), &b.model)));
        all.truncate(most);
        all
    }
}

impl Mean {
    fn expected(&self) -> Tokens {
        Tokens(self.tokens.ceil() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_guess_holds_until_an_answer_is_seen() {
        let average = OutputAverage::default();

        assert_eq!(average.expected(&ModelKey::of("gpt-4o")), FIRST_GUESS);
    }

    #[test]
    fn thirty_answers_bring_the_guess_near_the_truth() {
        let model = ModelKey::of("gpt-4o");
        let mut average = OutputAverage::default();

        for _ in 0..30 {
            average.learn(&model, Tokens(40));
        }

        let guess = average.expected(&model).0;
        assert!((40..=52).contains(&guess), "{guess}");
    }

    #[test]
    fn one_extreme_answer_moves_the_guess_by_less_than_a_third() {
        let model = ModelKey::of("gpt-4o");
        let mut average = OutputAverage::default();

        average.learn(&model, Tokens(1_000_000));

        assert!(average.expected(&model) < Tokens(340));
    }

    #[test]
    fn the_table_stays_bounded() {
        let mut average = OutputAverage::default();

        for number in 0..10_000 {
            average.learn(&ModelKey::of(&format!("model-{number}")), Tokens(1));
        }

        assert_eq!(average.means.len(), MOST_MODELS);
        assert_eq!(average.most_answered(20).len(), 20);
    }

    #[test]
    fn the_models_with_the_most_answers_are_listed_first() {
        let mut average = OutputAverage::default();
        average.learn(&ModelKey::of("a"), Tokens(256));
        for _ in 0..2 {
            average.learn(&ModelKey::of("b"), Tokens(256));
        }

        let listed = average.most_answered(1);

        let b = ExpectedOutput {
            model: ModelKey::of("b"),
            tokens: FIRST_GUESS,
            answers: 2,
        };
        assert_eq!(listed, [b]);
    }
}
