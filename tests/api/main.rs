//! The proxy over real sockets, in front of simulated Azure OpenAI resources.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and the harness measures real time"
)]

mod give_up;
mod helpers;
mod limits;
mod relay;
mod strategies;
mod verdicts;
