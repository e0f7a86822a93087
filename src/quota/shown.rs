//! What an instance shows of its quota: to gauges, which others route by, and to the status page.
//!
//! Nothing here decides about a request.

use std::time::{Duration, Instant};

use super::Quota;
use super::lane::{Lane, LaneView};
use super::limited::Limited;
use crate::domain::{Deployment, Tokens};

impl Quota {
    /// Returns what is believed to be free for the known deployment that has the most: by our windows and by Azure's view.
    pub fn free(&mut self, now: Instant) -> Tokens {
        let own = self.window.limit().less(self.taken(now));
        let limits = &mut self.limits;
        let all = tells_nothing(&self.lanes);
        let lanes = self.lanes.iter_mut().filter(|lane| all || tells(lane));
        let most = lanes.map(|lane| free(lane, limits, now, own)).max();
        most.unwrap_or(own)
    }

    /// Returns what is believed to be free for one deployment, nothing while it is closed to all.
    pub fn free_for(&mut self, now: Instant, deployment: &Deployment) -> Tokens {
        let own = self.window.limit().less(self.taken(now));
        let mut lanes = self.lanes.iter_mut();
        let lane = lanes.find(|lane| super::is_of(lane, deployment));
        lane.map_or(own, |lane| open_to(lane, &mut self.limits, now, own))
    }

    /// Returns the same for every deployment, those used last first.
    pub fn free_for_all(&mut self, now: Instant) -> Vec<(Deployment, Tokens)> {
        let own = self.window.limit().less(self.taken(now));
        let limits = &mut self.limits;
        let lanes = used_last(&mut self.lanes).into_iter();
        let free = |lane: &mut Lane| (lane.deployment.clone(), open_to(lane, limits, now, own));
        lanes.map(free).collect()
    }

    /// Returns how long until some lane is open to a charge, zero if one is; without lanes it is open.
    pub fn opens_in(&self, now: Instant, charge: Tokens) -> Duration {
        let rest = |lane: &Lane| {
            let cooling = lane.throttle.cooling(now);
            let cooling = cooling.filter(|cooling| charge >= cooling.from);
            cooling.map_or(Duration::ZERO, |cooling| cooling.rest)
        };
        let all = tells_nothing(&self.lanes);
        let lanes = self.lanes.iter().filter(|lane| all || tells(lane));
        lanes.map(rest).min().unwrap_or_default()
    }

    /// Returns how long until no lane cools, `None` if none does.
    pub fn cools_for(&self, now: Instant) -> Option<Duration> {
        let cooling = self
            .lanes
            .iter()
            .filter_map(|lane| lane.throttle.cooling(now));
        cooling.map(|cooling| cooling.rest).max()
    }

    /// Returns the state of the lanes, those used last first.
    pub fn lanes(&mut self, now: Instant) -> Vec<LaneView> {
        let limits: Vec<Tokens> = self.limits.iter().map(Limited::limit).collect();
        let limit = |lane: &Lane| limits.get(lane.limit?).copied();
        let lanes = used_last(&mut self.lanes).into_iter();
        lanes.map(|lane| lane.state(now, limit(lane))).collect()
    }
}

/// Says whether a lane tells what the instance can serve. One that nobody has answered does only while a request is out:
/// its name may be invented, and then it would look open and free for good. So would errands', which takes no tokens.
fn tells(lane: &Lane) -> bool {
    let may_exist = lane.is_real || lane.in_flight > 0;
    may_exist && !lane.deployment.is_of_errands()
}

/// Says whether none does; then all count.
fn tells_nothing(lanes: &[Lane]) -> bool {
    !lanes.iter().any(tells)
}

fn used_last(lanes: &mut [Lane]) -> Vec<&mut Lane> {
    let mut lanes: Vec<&mut Lane> = lanes.iter_mut().collect();
    lanes.sort_by_key(|lane| std::cmp::Reverse(lane.last_used));
    lanes
}

/// Returns what is free in a lane of an instance that has `own` free.
fn free(lane: &mut Lane, limits: &mut [Limited], now: Instant, own: Tokens) -> Tokens {
    let limited = lane.limit.and_then(|limit| limits.get_mut(limit));
    let limited = limited.map(|limited| limited.free(now));
    let all = limited.into_iter().chain(lane.free(now));
    all.min().map_or(own, |free| free.min(own))
}

/// Returns the same, nothing while it is closed to all.
fn open_to(lane: &mut Lane, limits: &mut [Limited], now: Instant, own: Tokens) -> Tokens {
    match lane.throttle.cooling(now) {
        Some(cooling) if cooling.from == Tokens::ZERO => Tokens::ZERO,
        Some(_) | None => free(lane, limits, now, own),
    }
}
