//! The attempt loop between a client and the instances.

pub mod retry_after;
pub mod verdict;
