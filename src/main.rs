//! The command line: serve (default), check, count, demo, simulate, healthcheck.

fn main() {}
