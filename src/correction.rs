//! How the prompt tokens that a service reports differ from ours, learned from its answers.
//!
//! A constant that changed adds a few tokens to every request, another tokeniser a share of each: `factor * ours +
//! offset`. Both come from the medians of the last answers (the slopes between pairs of answers of unlike size, then
//! what is left), not from running means: absurd answers move a median by almost nothing however absurd they are, and
//! a lasting change is followed in full once it fills the window. Prompts of like size say nothing of the factor, so
//! that what a tiny prompt pays on top is never taken for a share of a large one. Both are bounded, and counted
//! prompts learn apart from estimated ones, which are noisy. While answers come as expected, nothing is fitted anew: the
//! medians would be where they are. What is done with the result is left to `actors`.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};

use crate::domain::{ModelKey, Tokens};

/// Answers that are remembered: a change has replaced all of them, and the factor with them, within twenty.
const REMEMBERED: usize = 15;

/// Nothing is corrected before this many answers, so that a few odd ones at the start teach nothing.
const ENOUGH: usize = 8;

/// No tokeniser in use differs more from another on whole prompts.
const SMALLEST_FACTOR: f64 = 0.5;

/// The same upwards; also what keeps a hostile service from emptying a window with its reports.
const LARGEST_FACTOR: f64 = 2.0;

/// Tokens; more than any preamble a service was seen to add.
const LARGEST_OFFSET: f64 = 512.0;

/// Prompts closer than this many tokens do not tell a share from a constant.
const FAR_TOKENS: f64 = 64.0;

/// Nor do prompts that are closer than this share of the larger one.
const FAR_SHARE: f64 = 0.25;

/// Answers of another size needed before a factor is read off them: one absurd one among them is outvoted.
const FAR_ANSWERS: usize = 3;

/// An answer is as expected within this many tokens. A share would be too lenient: large prompts would stand up for a
/// line that is wrong for small ones.
const EXPECTED_TOKENS: f64 = 1.0;

/// One answer in so many may be unlike the others, and the medians still lie among these.
const ODD_ONE_IN: usize = 5;

/// Once the window is full, a fit is made this many answers apart at most: a change that has filled the window is
/// followed within twenty answers all the same, and noise costs a third.
const FIT_EVERY: u64 = 3;

/// Models that are remembered; prompts of further ones stay as they are.
const MOST_MODELS: usize = 256;

/// How the tokens of a prompt were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Basis {
    /// By the tokeniser.
    Counted,
    /// From the length of the body.
    Estimated,
}

/// Learned corrections per model.
#[derive(Clone, Debug, Default)]
pub struct Corrections {
    models: HashMap<ModelKey, Lines>,
}

/// What was learned about one model, for the status page.
#[derive(Clone, Debug, PartialEq)]
pub struct Correction {
    /// The model.
    pub model: ModelKey,
    /// The prompts it is for.
    pub basis: Basis,
    /// Reported tokens per token of ours.
    pub factor: f64,
    /// Reported tokens beyond that.
    pub offset: f64,
    /// Answers seen since the start.
    pub answers: u64,
}

impl Corrections {
    /// Returns what the service is expected to report for a prompt of `ours` tokens.
    pub fn expected(&self, model: &ModelKey, basis: Basis, ours: Tokens) -> Tokens {
        self.models
            .get(model)
            .map_or(ours, |lines| lines.of(basis).expected(ours))
    }

    /// Learns from an answer: the service reported `theirs` for a prompt of `ours`. Zero means unknown.
    pub fn learn(&mut self, model: &ModelKey, basis: Basis, ours: Tokens, theirs: Tokens) {
        if ours == Tokens::ZERO || theirs == Tokens::ZERO {
            return;
        }
        let full = self.models.len() >= MOST_MODELS;
        if full && !self.models.contains_key(model) {
            return;
        }
        let lines = self.models.entry(model.clone()).or_default();
        let line = match basis {
            Basis::Counted => &mut lines.counted,
            Basis::Estimated => &mut lines.estimated,
        };
        line.learn(Pair {
            ours: ours.0 as f64,
            theirs: theirs.0 as f64,
        });
    }

    /// Returns what was learned of the `most` models and bases with the most answers, those first.
    pub fn most_answered(&self, most: usize) -> Vec<Correction> {
        let mut all = Vec::new();
        for (model, lines) in &self.models {
            for basis in [Basis::Counted, Basis::Estimated] {
                let line = lines.of(basis);
                if line.answers > 0 {
                    all.push(Correction {
                        model: model.clone(),
                        basis,
                        factor: line.factor,
                        offset: line.offset,
                        answers: line.answers,
                    });
                }
            }
        }
        all.sort_by(|a, b| {
            let order = |one: &Correction| (Reverse(one.answers), one.basis);
            (order(a), &a.model).cmp(&(order(b), &b.model))
        });
        all.truncate(most);
        all
    }
}

#[derive(Clone, Debug, Default)]
struct Lines {
    counted: Line,
    estimated: Line,
}

impl Lines {
    fn of(&self, basis: Basis) -> &Line {
        match basis {
            Basis::Counted => &self.counted,
            Basis::Estimated => &self.estimated,
        }
    }
}

/// One answer.
#[derive(Clone, Copy, Debug)]
struct Pair {
    ours: f64,
    theirs: f64,
}

#[derive(Clone, Debug)]
struct Line {
    pairs: VecDeque<Pair>,
    factor: f64,
    offset: f64,
    answers: u64,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            pairs: VecDeque::new(),
            factor: 1.0,
            offset: 0.0,
            answers: 0,
        }
    }
}

impl Line {
    fn expected(&self, ours: Tokens) -> Tokens {
        if self.factor == 1.0 && self.offset == 0.0 {
            return ours;
        }
        let count = ours.0 as f64;
        // An offset learned from larger prompts must not make a small one free.
        let least = count * SMALLEST_FACTOR;
        Tokens((self.factor * count + self.offset).max(least).round() as u64)
    }

    fn learn(&mut self, pair: Pair) {
        self.answers += 1;
        self.pairs.push_back(pair);
        if self.pairs.len() > REMEMBERED {
            self.pairs.pop_front();
        }
        if self.pairs.len() >= ENOUGH && !self.is_settled() {
            self.fit();
        }
    }

    /// Tells whether a fit would change next to nothing, or was made just now.
    fn is_settled(&self) -> bool {
        if self.pairs.len() == REMEMBERED && !self.answers.is_multiple_of(FIT_EVERY) {
            return true;
        }
        let is_odd = |pair: &&Pair| {
            let error = self.factor * pair.ours + self.offset - pair.theirs;
            error.abs() > EXPECTED_TOKENS
        };
        let odd = self.pairs.iter().filter(is_odd).count();
        odd * ODD_ONE_IN <= self.pairs.len()
    }

    fn fit(&mut self) {
        // Without prompts of unlike size the last factor stands, and the offset makes it right for the present size.
        if let Some(slope) = self.slope() {
            self.factor = slope.clamp(SMALLEST_FACTOR, LARGEST_FACTOR);
        }
        let factor = self.factor;
        let rests = self
            .pairs
            .iter()
            .map(|pair| pair.theirs - factor * pair.ours);
        let rest = median(rests.collect()).unwrap_or(0.0);
        self.offset = rest.clamp(-LARGEST_OFFSET, LARGEST_OFFSET);
        if rest != self.offset {
            // Too much for a constant: what is left over is a share after all.
            let offset = self.offset;
            let shares = self
                .pairs
                .iter()
                .map(|pair| (pair.theirs - offset) / pair.ours);
            let share = median(shares.collect()).unwrap_or(1.0);
            self.factor = share.clamp(SMALLEST_FACTOR, LARGEST_FACTOR);
        }
    }

    /// Returns the median slope between prompts of unlike size, if there are enough of them.
    fn slope(&self) -> Option<f64> {
        let mut slopes = Vec::with_capacity(REMEMBERED * REMEMBERED / 2);
        for (position, a) in self.pairs.iter().enumerate() {
            for b in self.pairs.iter().skip(position + 1) {
                let apart = (a.ours - b.ours).abs();
                if apart >= FAR_TOKENS && apart >= FAR_SHARE * a.ours.max(b.ours) {
                    slopes.push((a.theirs - b.theirs) / (a.ours - b.ours));
                }
            }
        }
        let needed = FAR_ANSWERS * (self.pairs.len() - FAR_ANSWERS.min(self.pairs.len()));
        (slopes.len() >= needed).then(|| median(slopes)).flatten()
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    let middle = values.len() / 2;
    if values.is_empty() {
        return None;
    }
    let (_, median, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    Some(*median)
}

#[cfg(test)]
mod tests;
