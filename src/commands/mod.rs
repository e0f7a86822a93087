//! One file per subcommand. Standard output is theirs, hence the expectations beside each print.

pub(crate) mod check;
pub(crate) mod count;
pub(crate) mod demo;
pub(crate) mod healthcheck;
pub(crate) mod serve;
pub(crate) mod simulate;

use std::fmt::Display;
use std::process::ExitCode;

use azure_openai_proxy::config::Problem;

/// Exit status for a configuration or command that must be changed before it can work.
const UNUSABLE: u8 = 2;

/// Prints a line of a command's result.
#[expect(
    clippy::print_stdout,
    reason = "the result of a command goes to standard output"
)]
fn say(line: impl Display) {
    println!("{line}");
}

/// Reports why a command failed.
#[expect(clippy::print_stderr, reason = "the log may not have been set up yet")]
fn complain(line: impl Display) {
    eprintln!("{line}");
}

fn refuse(problems: &[Problem]) -> ExitCode {
    complain(format!(
        "The configuration has {} problem(s):",
        problems.len()
    ));
    for problem in problems {
        complain(format!("  {problem}"));
    }
    ExitCode::from(UNUSABLE)
}
