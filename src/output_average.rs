//! What a request without an output cap is expected to generate, learned from the answers of its model.
//!
//! An exponentially weighted mean per model: twenty answers are enough to follow a change, one extreme answer is
//! clipped. The table is bounded, since model names come from clients. What is done with the guess is left to `actors`.

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
    means: HashMap<ModelKey, f64>,
}

impl OutputAverage {
    /// Returns the tokens that one completion of `model` is expected to generate.
    pub fn expected(&self, model: &ModelKey) -> Tokens {
        self.means
            .get(model)
            .map_or(FIRST_GUESS, |mean| Tokens(mean.ceil() as u64))
    }

    /// Learns from a finished completion of `generated` tokens.
    pub fn learn(&mut self, model: &ModelKey, generated: Tokens) {
        let full = self.means.len() >= MOST_MODELS;
        if full && !self.means.contains_key(model) {
            return;
        }
        let mean = self
            .means
            .entry(model.clone())
            .or_insert(FIRST_GUESS.0 as f64);
        let seen = (generated.0 as f64).min(*mean * OUTLIER);
        *mean = (*mean + GAIN * (seen - *mean)).max(1.0);
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
    }
}
