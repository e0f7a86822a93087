//! What the log says of a client request: a line for each attempt that failed, and one for the end.
//!
//! An instance gives its answer an id of its own, which Azure's support can look up. So the line of a failed attempt and
//! that of the request may name different ones, and what joins them is the id that we made for the first failure.

use std::time::Duration;

use log::Level;

use super::Account;
use crate::actors::Outcome;

impl Account {
    /// Logs why an attempt failed, if its outcome says so. Of what changes the state of its instance, the log tells anyway.
    pub(super) fn tell_outcome(&self, outcome: &Outcome) {
        match outcome {
            Outcome::Faulted { summary, .. } | Outcome::Unreachable { summary } => {
                self.tell_fault(summary);
            }
            Outcome::Throttled { summary, .. }
            | Outcome::NoCapacity { summary, .. }
            | Outcome::Unauthorized { summary }
            | Outcome::NoDeployment { summary } => self.tell_failure(Level::Debug, summary),
            Outcome::Answered { .. }
            | Outcome::Refused { .. }
            | Outcome::Withdrawn
            | Outcome::Abandoned { .. } => {}
        }
    }

    /// Logs why an attempt failed that its outcome does not hold against the instance.
    pub(in crate::proxy) fn tell_fault(&self, cause: &str) {
        self.tell_failure(Level::Warn, cause);
    }

    fn tell_failure(&self, level: Level, cause: &str) {
        log::log!(
            level,
            request_id = self.request_id(),
            proxy_request_id = self.own_id(),
            model = self.model.as_str(),
            instance = self.instance_name(),
            attempt = self.attempts,
            cause;
            "attempt failed"
        );
    }

    /// Logs what the request came to.
    pub(super) fn tell_end(&self, status: u16) {
        log::info!(
            request_id = self.request_id(),
            proxy_request_id = self.own_id.get().map_or("-", String::as_str),
            endpoint = self.label,
            model = self.model.as_str(),
            client = self.client.as_deref().unwrap_or("-"),
            instance = self.instance_name(),
            attempts = self.attempts,
            status,
            reserved = self.reserved.0,
            used = self.used.0,
            queued_ms = in_millis(self.queued),
            ttfb_ms = self.first_byte.map_or(-1.0, in_millis),
            duration_ms = in_millis(self.started.elapsed());
            "request"
        );
    }

    fn instance_name(&self) -> &str {
        let instance = self.instance.and_then(|id| self.shared.instances.get(id.0));
        instance.map_or("-", |config| config.name.as_str())
    }
}

fn in_millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e5).round() / 100.0
}
