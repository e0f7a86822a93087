//! Splitting server-sent events.
