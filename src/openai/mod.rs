//! The OpenAI wire format: just enough of it to route, to account and to pass everything else through untouched.
//!
//! `request` peeks at a request body and splices bytes into it, `usage` finds the token usage of an answer, `sse`
//! splits event streams, `multipart` finds the parts of a form. All of it is pure and linear in its input. Counting
//! prompt tokens is left to `tokens`.

pub mod filter_chunks;
pub mod multipart;
pub mod request;
pub mod response_events;
pub mod response_ids;
pub mod sse;
pub mod usage;
