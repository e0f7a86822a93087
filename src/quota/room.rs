//! Which lanes are kept: clients invent names of deployments, and each that is asked for gets a lane.
//!
//! What must hold whatever clients invent is not a lane's: the instance's own windows, and the limits that are configured.

use std::time::Instant;

use super::Quota;

/// Lanes that are kept. More are there only while more than these have requests out.
pub(super) const MOST_LANES: usize = 64;

impl Quota {
    /// Forgets what lanes there are too many, so that `more` fit, as far as that is possible: only such as have nothing
    /// out, and first those that Azure has never answered, then those of which nothing counts any more.
    pub fn make_room(&mut self, now: Instant, more: usize) {
        let excess = (self.lanes.len() + more).saturating_sub(MOST_LANES);
        if excess == 0 {
            return;
        }
        let lanes = self.lanes.iter_mut().enumerate();
        let idle = lanes.filter(|(_, lane)| lane.in_flight == 0);
        let worth = idle.map(|(position, lane)| {
            let is_cooling = lane.throttle.cooling(now).is_some();
            let counts = lane.counts(now);
            (lane.is_real, counts, is_cooling, lane.last_used, position)
        });
        let mut worth: Vec<_> = worth.collect();
        worth.sort_unstable();
        let least = worth.into_iter().take(excess);
        let mut least: Vec<usize> = least.map(|(.., position)| position).collect();
        least.sort_unstable();
        for position in least.into_iter().rev() {
            self.lanes.swap_remove(position);
        }
    }
}
