//! One file per subcommand, and how they speak to whoever called them: results on standard output, complaints on standard
//! error. No output that is closed or full makes one panic.

pub(crate) mod check;
pub(crate) mod count;
pub(crate) mod demo;
pub(crate) mod healthcheck;
pub(crate) mod serve;
pub(crate) mod simulate;

use std::fmt::Display;
use std::io::{self, Write, stderr, stdout};
use std::ops::ControlFlow;
use std::process::ExitCode;

use azure_openai_proxy::config::Problem;

/// Exit status for a configuration or command that must be changed before it can work.
const UNUSABLE: u8 = 2;

/// Prints a command's result, of which whoever reads it may have had enough (`| head -1`).
fn print(result: impl Display) -> ControlFlow<ExitCode> {
    match writeln!(stdout(), "{result}") {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            ControlFlow::Break(ExitCode::SUCCESS)
        }
        Err(error) => {
            complain(format!("standard output cannot be written: {error}"));
            ControlFlow::Break(ExitCode::FAILURE)
        }
    }
}

/// Tells what may be of use to whoever started a server, which serves all the same if nobody can read it.
fn say(line: impl Display) {
    let _ = writeln!(stdout(), "{line}");
}

/// Reports why a command failed; the log may not have been set up yet.
fn complain(line: impl Display) {
    let _ = writeln!(stderr(), "{line}");
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
