//! The attempt loop between a client and the instances.

pub mod headers;
pub mod retry_after;
pub mod verdict;
