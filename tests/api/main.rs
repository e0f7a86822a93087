//! The proxy over real sockets, in front of simulated Azure OpenAI resources.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking; clippy knows the test functions, but not what they share"
)]

mod azure_words;
mod bodies;
mod command_line;
mod connections;
mod cuts;
mod dialects;
mod disconnects;
mod forms;
mod give_up;
mod healing;
mod helpers;
mod hostile;
mod leaks;
mod limits;
mod media;
#[path = "../process/mod.rs"]
mod process;
mod queue;
mod quota;
mod raw;
mod relay;
mod replay;
mod responses;
mod spellings;
mod status;
mod story;
mod strategies;
mod streaming;
mod tls;
mod uploads;
mod verdicts;
mod versions;
mod workers;
