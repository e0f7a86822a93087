//! Requests per minute, over the windows in which Azure counts them, put right by what its answers say remains.
//!
//! Azure states a limit per minute, and holds some models to a sixth of it in any 10 s (measured; its pages say "1 or
//! 10 seconds"). Which it is shows in `x-ratelimit-remaining-requests`: more than a sixth left can only be a minute's.
//! Until that has been seen, and after it was disproved, the short window is kept to, which is safe for both. A limit
//! that no answer has named for ten minutes is forgotten: it may have been changed.
//!
//! Calls that the newest answer has counted beyond ours are others'. When they were made is not known, so they count for
//! a whole span, or until the next answer tells: one comes as soon as a call of ours makes room for another. Should the
//! window be a second, what seems to be others' is only that the numbers are small: while that cannot be ruled out, they
//! leave evenly, by which as many calls go as in seconds.
//! A call that was sent stays counted whatever becomes of it, since Azure says that failed ones may count.

mod minute;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::domain::Tokens;
use crate::window::{BUCKET, Mark, Window};
use minute::ByMinute;

/// The short window.
const SHORT: Duration = Duration::from_secs(10);

/// The long one.
const MINUTE: Duration = Duration::from_secs(60);

/// A call is counted where it arrives, so it leaves later there than here by the time of its way.
const WAY: Duration = Duration::from_millis(200);

/// Short windows in a minute.
const SHARE: u64 = 6;

/// Seconds in a minute.
const SECONDS: u64 = 60;

/// How long a limit holds that answers have named, if none names it again.
const LEARNED: Duration = Duration::from_secs(600);

/// Our calls in Azure's windows when one of them left, itself included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Made {
    turn: u64,
    at: Instant,
    short: u64,
    minute: u64,
    /// None was made so shortly before that it may have arrived later.
    is_apart: bool,
    /// What had been taken back since the start.
    withdrawn: u64,
}

/// What an answer said remains.
#[derive(Clone, Copy, Debug)]
struct Heard {
    made: Made,
    limit: u64,
    remaining: u64,
}

/// A call that was taken back.
#[derive(Clone, Copy, Debug)]
struct Back {
    /// How many had been with it.
    number: u64,
    turn: u64,
    at: Instant,
}

/// Calls of others that count now, of `all` that an answer told of.
#[derive(Clone, Copy, Debug)]
struct Others {
    all: u64,
    count: u64,
    /// How much longer the last of them counts.
    rest: Duration,
    span: Duration,
}

/// Calls of one deployment or instance.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    limit: Option<u64>,
    short: Window,
    minute: Window,
    by_minute: ByMinute,
    /// It has been seen that the window is longer than a second.
    seen_to_outlast: bool,
    /// The newest call of which the answer named the limit; `None` while that is configured or not known.
    told: Option<Made>,
    turns: u64,
    /// Calls that were taken back since the start.
    withdrawn: u64,
    /// Those of them that were made in the last two minutes, in the order in which they were taken back.
    back: VecDeque<Back>,
    heard: Option<Heard>,
}

impl Others {
    /// Returns how long until at most so many are left, if they leave evenly.
    fn at_most_in(self, count: u64) -> Duration {
        let share = count as f64 / self.all.max(1) as f64;
        // Rounded up, so that they have surely left by then.
        let kept = self.span.mul_f64(share.min(1.0)).as_millis();
        let kept = Duration::from_millis(u64::try_from(kept).unwrap_or(u64::MAX));
        self.rest.saturating_sub(kept)
    }
}

impl Calls {
    /// Starts with a limit per minute, or with none until an answer tells it.
    pub(super) fn new(limit: Option<u64>, start: Instant) -> Self {
        let mut calls = Self {
            limit: None,
            short: Window::over(SHORT + WAY, Tokens(u64::MAX), start),
            minute: Window::over(MINUTE + WAY, Tokens(u64::MAX), start),
            by_minute: ByMinute::default(),
            seen_to_outlast: false,
            told: None,
            turns: 0,
            withdrawn: 0,
            back: VecDeque::new(),
            heard: None,
        };
        if let Some(limit) = limit {
            calls.set_limit(limit);
        }
        calls
    }

    pub(super) fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Follows what an answer to a call says of limit and rest; one to an earlier call than the newest heard of is old
    /// news.
    pub(super) fn heard(&mut self, mut made: Made, limit: u64, remaining: Option<u64>) {
        // More than the limit is a number of another scale, as while a limit is being changed.
        let remaining = remaining.filter(|rest| *rest <= limit);
        // It may have counted those as ours that were taken back meanwhile.
        made.short = made.short.saturating_sub(self.back_before(made, SHORT));
        made.minute = made.minute.saturating_sub(self.back_before(made, MINUTE));
        if remaining.is_some_and(|rest| rest >= limit.div_ceil(SHARE)) {
            // Of fewer than six calls a minute, none could be told apart; they are counted by the minute below.
            self.by_minute.shown();
        }
        self.seen_to_outlast |= remaining.is_some_and(|rest| rest >= limit.div_ceil(SECONDS));
        if self.told.is_some_and(|told| told.turn > made.turn) {
            return;
        }
        self.set_limit(limit);
        self.told = Some(made);
        if let Some(remaining) = remaining {
            let heard = Heard {
                made,
                limit,
                remaining,
            };
            self.doubt(heard);
            self.heard = Some(heard);
        }
    }

    /// Looks whether the newest answer speaks against a minute. Where our own calls would explain that, it says nothing.
    fn doubt(&mut self, heard: Heard) {
        let Heard { made, limit, .. } = heard;
        let whole = short_of(limit);
        let counted = |whole: u64| whole.saturating_sub(heard.remaining);
        // One call in 10 s tells nothing: it is all that a minute that others have used up leaves, too.
        if made.is_apart && whole > 1 && counted(limit) > made.minute {
            let is_explained = counted(whole) == made.short;
            self.by_minute.doubted(made.at, SHORT, is_explained);
        }
    }

    /// Notes that a call was refused for want of calls: if it went beyond a short window, and the minute had more than such
    /// a window left, it is not the minute that counts.
    pub(super) fn refused(&mut self, made: Made) {
        let Some(limit) = self.limit else {
            return;
        };
        let others = self.others(made.at).map_or(0, |others| others.count);
        let had_room = made.minute + others + short_of(limit) <= limit;
        if made.short > short_of(limit) && had_room {
            self.by_minute.disproved();
        }
    }

    /// Counts the calls of the span before one that have been taken back since it was made.
    fn back_before(&self, made: Made, span: Duration) -> u64 {
        let newest = self.back.iter().rev();
        let since = newest.take_while(|back| back.number > made.withdrawn);
        let counted = since.filter(|back| {
            back.turn < made.turn && made.at.saturating_duration_since(back.at) < span
        });
        counted.count() as u64
    }

    /// Says whether answers have shown that calls are counted by the minute.
    pub(super) fn is_by_minute(&self) -> bool {
        self.by_minute.holds()
    }

    /// Returns how long until one more call fits after so many that come first.
    pub(super) fn fits_after(&mut self, now: Instant, ahead: u64) -> Duration {
        self.forget_old(now);
        let by_minute = self.counts_by_minute();
        let alone = self.fits_alone(now, ahead, by_minute);
        let Some(others) = self.others(now) else {
            return alone;
        };
        let (window, ahead) = (self.window(), Tokens(ahead));
        let more = Tokens(others.count.saturating_add(1));
        let beside = window.fits_after(now, more, ahead);
        let free = window.limit().less(window.used(now) + Tokens(1) + ahead);
        let after = match self.outlasts_a_second() {
            true => alone.max(others.rest),
            false => alone.max(others.at_most_in(free.0)),
        };
        beside.map_or(after, |beside| beside.clamp(alone, after))
    }

    /// Returns the same by our own calls alone: in any minute, and unless they are counted `by_minute`, in any 10 s.
    pub(super) fn fits_alone(&mut self, now: Instant, ahead: u64, by_minute: bool) -> Duration {
        let fits = |window: &mut Window| window.fits_after(now, Tokens(1), Tokens(ahead));
        let minute = fits(&mut self.minute).unwrap_or_default();
        match by_minute || self.counts_by_minute() {
            true => minute,
            false => minute.max(fits(&mut self.short).unwrap_or_default()),
        }
    }

    /// Forgets a limit that was learned long ago, and what was shown of its window.
    pub(super) fn forget_old(&mut self, now: Instant) {
        let is_old = |told: Made| now.saturating_duration_since(told.at) >= LEARNED;
        if !self.told.is_some_and(is_old) {
            return;
        }
        (self.limit, self.told, self.heard) = (None, None, None);
        self.by_minute.disproved();
        self.seen_to_outlast = false;
        for window in [&mut self.short, &mut self.minute] {
            window.set_limit(Tokens(u64::MAX));
        }
    }

    /// Counts a call.
    pub(super) fn record(&mut self, now: Instant) -> Made {
        let way_before = now.checked_sub(WAY).unwrap_or(now);
        let is_apart = self.short.since(way_before) == Tokens::ZERO;
        self.short.record(now, Tokens(1));
        self.minute.record(now, Tokens(1));
        self.turns += 1;
        // Calls stay here for a way and a bucket longer than there: by then those must not hide others'.
        let there = |window: &mut Window| {
            let here = window.used(now);
            here.less(window.leaving_by(now + WAY + BUCKET)).0
        };
        Made {
            turn: self.turns,
            at: now,
            short: there(&mut self.short),
            minute: there(&mut self.minute),
            is_apart,
            withdrawn: self.withdrawn,
        }
    }

    /// Takes back a call that never left, so that nobody has counted it.
    pub(super) fn withdraw(&mut self, now: Instant, mark: Mark, made: Made) {
        self.withdrawn += 1;
        let is_old = |back: &Back| now.saturating_duration_since(back.at) >= 2 * MINUTE;
        while self.back.front().is_some_and(is_old) {
            self.back.pop_front();
        }
        self.back.push_back(Back {
            number: self.withdrawn,
            turn: made.turn,
            at: made.at,
        });
        for window in [&mut self.short, &mut self.minute] {
            window.settle(now, mark, Tokens(1), Tokens::ZERO);
        }
        if let Some(heard) = &mut self.heard
            && heard.made.turn > made.turn
        {
            // It was never part of what Azure said.
            let since = heard.made.at.saturating_duration_since(made.at);
            let counted = |span| u64::from(since < span);
            heard.made.short = heard.made.short.saturating_sub(counted(SHORT));
            heard.made.minute = heard.made.minute.saturating_sub(counted(MINUTE));
        }
    }

    /// Returns the calls of others that the newest answer told of; `None` if none count any more.
    fn others(&self, now: Instant) -> Option<Others> {
        let heard = self.heard?;
        let (whole, ours, span) = match self.counts_by_minute() {
            true => (heard.limit, heard.made.minute, MINUTE + WAY),
            false => (short_of(heard.limit), heard.made.short, SHORT + WAY),
        };
        let counted = whole.saturating_sub(heard.remaining);
        let all = counted.saturating_sub(ours);
        let rest = (heard.made.at + span).saturating_duration_since(now);
        let others = Others {
            all,
            count: match self.outlasts_a_second() {
                true => all,
                false => (all as f64 * rest.div_duration_f64(span)).ceil() as u64,
            },
            rest,
            span,
        };
        (others.count > 0 && !rest.is_zero()).then_some(others)
    }

    fn set_limit(&mut self, limit: u64) {
        let limit = limit.max(1);
        self.limit = Some(limit);
        self.short.set_limit(Tokens(short_of(limit)));
        self.minute.set_limit(Tokens(limit));
    }

    /// Says which window decides. A limit that leaves not one call in 10 s can only mean the minute.
    fn counts_by_minute(&self) -> bool {
        self.by_minute.holds() || self.limit.is_some_and(|limit| limit < SHARE)
    }

    /// Says whether the window is known to be longer than a second, in which such a limit would leave not one call.
    fn outlasts_a_second(&self) -> bool {
        self.seen_to_outlast || self.limit.is_some_and(|limit| limit < SECONDS)
    }

    fn window(&mut self) -> &mut Window {
        match self.counts_by_minute() {
            true => &mut self.minute,
            false => &mut self.short,
        }
    }
}

/// Returns what a limit per minute leaves to a short window.
fn short_of(limit: u64) -> u64 {
    (limit / SHARE).max(1)
}

#[cfg(test)]
mod tests;
