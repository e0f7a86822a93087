//! The binary itself: what its subcommands print, how they end, and what the log holds.
//!
//! Every process starts with an emptied environment in a folder of its own, and is killed if its test fails.

mod process;
mod serve;
mod simulated;
mod stops;
mod tools;
