//! What Azure believes a deployment has used: the charges that we expect, put right by what its answers say.
//!
//! Azure charges a request at admission, by a formula of its own, and gives nothing back; each charge leaves 60 s after
//! its own admission. So a log is kept of the charges that requests are expected to cause, and every answer that says
//! what remains is an anchor: the difference to the log as it was when that request left is the drift (other users of
//! the deployment, a formula that is off). Requests that left before it count as included, later ones as not.
//!
//! Some charges of the log may or may not have been in Azure's at that moment: the newest may still have been on their
//! way, the oldest may just have left. As long as Azure's number lies between the log with them and the log without
//! them, there is no drift, and the log, which lets go of a charge last, is on the safe side.
//!
//! Where the drift comes with the charges, the formula is off: its scale follows what answers say, slowly.
//!
//! Where answers say nothing, a 429 that the log explains shows what it is worth: for ten minutes it decides.
//!
//! Anchors say nothing after a minute, since by then all that they counted has left. Until then a positive drift fades
//! evenly, since when it was charged is not known, and a negative one with the charges that it was seen on.

mod anchor;

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::domain::Tokens;
use crate::window::{BUCKET, Mark, WINDOW, Window};
use anchor::{Anchor, scaled};

/// Longest time that a request needs to Azure's counter, as far as it is allowed for: a charge leaves there later than
/// here by that way. An answer that comes sooner shows that the way was shorter. Enough for a new connection with TLS;
/// half a percent of the quota stays unused for it when answers take longer.
const WAY: Duration = Duration::from_millis(300);

/// How long an anchor holds: until the last charge that it counted has surely left there and here.
const HOLDS: Duration = WINDOW
    .saturating_add(WAY)
    .saturating_add(BUCKET)
    .saturating_add(BUCKET);

/// Part of the log's difference that the scale follows with each answer, so that the odd one changes little.
const GAIN: f64 = 1.0 / 8.0;

/// Formulas that are off by more have something else to them.
const SCALES: RangeInclusive<f64> = 0.5..=2.0;

/// Part of the limit that must be in the log before it says anything about the formula.
const TELLING: u64 = 4;

/// Part of the limit that is left free on top after each 429 that should not have been. It must be far below the size
/// of a request that still matters, and a few must do where others use the deployment as well.
const MARGIN_STEP: u64 = 256;

/// Most steps: a sixteenth of the limit.
const MOST_STEPS: f64 = 16.0;

/// Answers that take a step back: so many stand against one 429, of which there are to be fewer than 5 in 1,000.
const ANSWERS_A_STEP: f64 = 400.0;

/// How long a 429 that the log explained stands for headers that are missing: then one may find out again.
const EXPLAINED: Duration = Duration::from_secs(600);

/// What the head of an answer says about the quota; `None` where it says nothing that can be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// `x-ratelimit-limit-tokens`, if positive.
    pub limit_tokens: Option<Tokens>,
    /// `x-ratelimit-remaining-tokens`, if not negative.
    pub remaining_tokens: Option<Tokens>,
    /// `x-ratelimit-limit-requests`, if positive.
    pub limit_requests: Option<u64>,
    /// `x-ratelimit-remaining-requests`, if not negative.
    pub remaining_requests: Option<u64>,
}

/// A charge in the log, and the log as it was when its request left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Charge {
    pub(super) tokens: Tokens,
    mark: Mark,
    turn: u64,
    at: Instant,
    most: Tokens,
    least: Tokens,
    left: Tokens,
    /// What had been refused since the start.
    refused: Tokens,
}

/// Azure's view of one deployment.
#[derive(Clone, Debug)]
pub(super) struct View {
    log: Window,
    turns: u64,
    /// What was not charged after all while the log held it, since the start.
    refused: Tokens,
    anchor: Option<Anchor>,
    /// What Azure charges for each token that we expect.
    scale: f64,
    /// Steps of what is left free on top.
    margin: f64,
    /// When an answer last told what remains.
    heard: Option<Instant>,
    /// When a 429 came that the log explained, and the limit by which it did.
    explained: Option<(Instant, Tokens)>,
}

/// Azure's view at one moment, for the status page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Azure {
    /// Its limit per minute.
    pub limit: Tokens,
    /// What is believed to remain there now.
    pub remaining: Tokens,
    /// How old the answer is that said so.
    pub age: Duration,
    /// By how much more Azure has counted than was expected.
    pub drift: i64,
}

impl Charge {
    /// Returns it for a request that was not charged: the log as it was before.
    pub(super) fn without_itself(self) -> Self {
        Self {
            most: self.most.less(self.tokens),
            least: self.least.less(self.tokens),
            ..self
        }
    }
}

impl View {
    pub(super) fn new(start: Instant) -> Self {
        Self {
            log: Window::new(Tokens(u64::MAX), start),
            turns: 0,
            refused: Tokens::ZERO,
            anchor: None,
            scale: 1.0,
            margin: 0.0,
            heard: None,
            explained: None,
        }
    }

    /// Notes that a request leaves which is expected to be charged `tokens`.
    pub(super) fn sent(&mut self, now: Instant, tokens: Tokens) -> Charge {
        let before = self.log.used(now);
        let on_their_way = now
            .checked_sub(WAY)
            .map_or(before, |then| self.log.since(then));
        // They left as early as a way before this log lets go of them, and this request arrives up to a way from now.
        let leaving = self.log.leaving_by(now + WAY + WAY + BUCKET);
        self.turns += 1;
        Charge {
            tokens,
            mark: self.log.record(now, tokens),
            turn: self.turns,
            at: now,
            most: before + tokens,
            least: before.less(on_their_way).less(leaving) + tokens,
            left: self.log.left(),
            refused: self.refused,
        }
    }

    /// Notes the head of an answer to a request that was admitted.
    pub(super) fn answered(&mut self, now: Instant, charge: Charge, said: Said) {
        self.arrived(now, charge);
        self.margin = (self.margin - 1.0 / ANSWERS_A_STEP).max(0.0);
        if let Some(anchor) = self.believe(now, charge, said) {
            self.learn(anchor);
        }
    }

    /// Notes what the head of an error says. Nothing is learned from it of the formula: its own charge may not be in it.
    pub(super) fn told(&mut self, now: Instant, charge: Charge, said: Said) {
        self.believe(now, charge, said);
    }

    /// Takes what an answer says remains for what Azure believes, unless it is old news.
    fn believe(&mut self, now: Instant, charge: Charge, said: Said) -> Option<Anchor> {
        let (limit, remaining) = said.limit_tokens.zip(said.remaining_tokens)?;
        let is_fresh = now.saturating_duration_since(charge.at) < WINDOW;
        let known = self.known(now);
        let is_newest = known.is_none_or(|anchor| charge.turn >= anchor.turn);
        if !(is_fresh && is_newest) {
            return None;
        }
        let anchor = Anchor::of(charge, limit, limit.less(remaining));
        self.heard = Some(now);
        self.anchor = Some(anchor);
        Some(anchor)
    }

    /// Notes that a request was admitted, at the latest at `now`.
    pub(super) fn arrived(&mut self, now: Instant, charge: Charge) {
        let arrived = charge.at + WAY;
        self.log
            .postpone(now, charge.mark, charge.tokens, arrived.min(now));
    }

    /// Notes that a request was not admitted, so that it was not charged.
    pub(super) fn refused(&mut self, now: Instant, charge: Charge) {
        self.log
            .settle(now, charge.mark, charge.tokens, Tokens::ZERO);
        if now.saturating_duration_since(charge.at) >= WINDOW {
            return;
        }
        self.refused = self.refused + charge.tokens;
        if let Some(anchor) = &mut self.anchor
            && anchor.turn > charge.turn
        {
            // It was never part of what Azure said.
            anchor.most = anchor.most.less(charge.tokens);
            anchor.least = anchor.least.less(charge.tokens);
        }
    }

    /// Notes a 429 over tokens, after [`View::refused`]: how much is missing for `charge` leaves within `wait`.
    ///
    /// What its head says remains decides, where that explains the refusal. Else, what of our own log leaves by then is
    /// what was missing. When that explains nothing, others must have used the rest, and no more than half of it is
    /// believed to be free. `limit` stands in where Azure has not named one.
    pub(super) fn missing(
        &mut self,
        now: Instant,
        charge: Charge,
        wait: Duration,
        limit: Tokens,
        said: Said,
    ) {
        let fresh = self.fresh(now);
        let limit = fresh.map_or(limit, |anchor| anchor.limit);
        let scale = self.scale;
        let is_short = |remaining: Tokens| remaining < scaled(charge.tokens, scale);
        let is_told = said.remaining_tokens.is_some_and(is_short);
        let is_explained = !is_told && self.explains(now, charge, limit);
        // What is left free on top stands for what nothing else explains.
        if fresh.is_some() && self.scale == scale {
            self.margin = (self.margin + 1.0).min(MOST_STEPS);
        }
        let uncharged = charge.without_itself();
        if is_told {
            self.told(now, uncharged, said);
        } else if is_explained {
            self.anchor = None;
        } else if fresh.is_none_or(|anchor| charge.turn >= anchor.turn) {
            let leaving = self.log.leaving_by(now + wait);
            let half = Tokens(charge.tokens.0 / 2);
            let free = scaled(charge.tokens.less(leaving).min(half), scale);
            self.anchor = Some(Anchor::of(uncharged, limit, limit.less(free)));
        }
    }

    /// Says whether our own charges explain a 429 where there are no headers; then the log stands for them.
    ///
    /// Azure had counted no more than the limit, and with this charge more. A scale by which the log does the same
    /// explains it; the one nearest to what was believed is taken. What was refused meanwhile was not counted.
    fn explains(&mut self, now: Instant, charge: Charge, limit: Tokens) -> bool {
        let age = |heard: Instant| now.saturating_duration_since(heard);
        if self.heard.is_some_and(|heard| age(heard) < HOLDS) {
            return false;
        }
        // Its own charge is part of both.
        let admitted = charge.least.less(self.refused.less(charge.refused));
        let with_it = self.counted_at_most(now, charge);
        let least = limit.0 as f64 / with_it.0.max(1) as f64;
        let most = limit.0 as f64 / admitted.0.max(1) as f64;
        let scale = self.scale.clamp(least, most.max(least));
        if !SCALES.contains(&scale) {
            return false;
        }
        self.scale = scale;
        self.explained = Some((now, limit));
        true
    }

    /// Returns the most that Azure can have counted with a charge that it refused: what the log has held since that left,
    /// but for what was refused and for what left too late to have arrived before.
    fn counted_at_most(&mut self, now: Instant, charge: Charge) -> Tokens {
        let all = self.log.used(now) + self.log.left().less(charge.left);
        let later = self.log.since(charge.at + WAY + WAY + BUCKET);
        all.less(later) + charge.tokens
    }

    /// Says whether a charge of the last minute counts.
    pub(super) fn counts(&mut self, now: Instant) -> bool {
        self.log.used(now) > Tokens::ZERO
    }

    /// Returns what is free, `None` while Azure's view is not known.
    pub(super) fn free(&mut self, now: Instant) -> Option<Tokens> {
        let anchor = self.fresh(now)?;
        let used = anchor.used_at(now, self.log.used(now), self.log.left(), self.scale);
        Some(anchor.limit.less(used))
    }

    /// Returns how long until a charge fits after others had theirs, each limit of which takes a minute more.
    ///
    /// What exceeds the limit by our estimate alone waits for an empty log.
    pub(super) fn fits_after(&mut self, now: Instant, tokens: Tokens, ahead: Tokens) -> Duration {
        let Some(anchor) = self.fresh(now) else {
            return Duration::ZERO;
        };
        let limit = anchor.limit.0.max(1);
        let all = scaled(tokens, self.scale).min(anchor.limit) + scaled(ahead, self.scale);
        let minutes = all.0.saturating_sub(1) / limit;
        let wait = self.fits_in(now, anchor, Tokens(all.0 - minutes * limit));
        // The answers to others will keep it known.
        let silent = anchor.at + HOLDS;
        let wait = match ahead {
            Tokens::ZERO => wait.min(silent.saturating_duration_since(now)),
            _ => wait,
        };
        let minutes = u32::try_from(minutes).unwrap_or(u32::MAX);
        wait.saturating_add(WINDOW.saturating_mul(minutes))
    }

    /// Returns how long until so much of Azure's limit is free by an anchor, if nothing more is sent.
    fn fits_in(&mut self, now: Instant, anchor: Anchor, needed: Tokens) -> Duration {
        let scale = self.scale;
        let step = Tokens(anchor.limit.0 / MARGIN_STEP);
        let allowed = anchor.limit.less(needed + scaled(step, self.margin));
        let mut used = self.log.used(now);
        let mut left = self.log.left();
        let mut from = now;
        for (leaves, leaving) in self.log.leaving() {
            if let Some(fits) = anchor.fits_from(from, (used, left), allowed, scale)
                && fits < leaves
            {
                return fits.saturating_duration_since(now);
            }
            used = used.less(leaving);
            left = left + leaving;
            from = leaves;
        }
        // By then all that it counted has left.
        let last = anchor.fits_from(from, (used, left), allowed, scale);
        let silent = anchor.at + HOLDS;
        last.unwrap_or(silent).saturating_duration_since(now)
    }

    /// Returns what the status page shows.
    pub(super) fn azure(&mut self, now: Instant) -> Option<Azure> {
        let anchor = self.known(now)?;
        let remaining = self.free(now)?;
        Some(Azure {
            limit: anchor.limit,
            remaining,
            age: now.saturating_duration_since(anchor.at),
            drift: anchor.drift_at(now, self.log.left(), self.scale),
        })
    }

    /// Follows how far the formula is off, as far as the log explains what Azure counts.
    fn learn(&mut self, anchor: Anchor) {
        if anchor.least.0 < anchor.limit.0 / TELLING || anchor.least == Tokens::ZERO {
            return;
        }
        let used = anchor.used.0 as f64;
        let least = used / anchor.most.0 as f64;
        let most = used / anchor.least.0 as f64;
        let target = self.scale.clamp(least, most);
        self.scale += (target - self.scale) * GAIN;
        self.scale = self.scale.clamp(*SCALES.start(), *SCALES.end());
    }

    fn fresh(&self, now: Instant) -> Option<Anchor> {
        self.known(now).or_else(|| {
            let (at, limit) = self.explained?;
            let is_known = now.saturating_duration_since(at) < EXPLAINED;
            is_known.then(|| Anchor::without_drift(now, limit))
        })
    }

    /// Returns what an answer told within the last minute.
    fn known(&self, now: Instant) -> Option<Anchor> {
        let age = |anchor: &Anchor| now.saturating_duration_since(anchor.at);
        self.anchor.filter(|anchor| age(anchor) < HOLDS)
    }
}

#[cfg(test)]
mod tests;
