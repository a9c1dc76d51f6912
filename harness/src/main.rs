//! The `harness` command.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use harness::cli::Cli;
use harness::commands;
use harness::error::Error;
use harness::target::hidden_command;

fn main() -> ExitCode {
    // Before anything else: the harness is its own launcher of processes, and their warden.
    if let Some(code) = hidden_command(std::env::args_os()) {
        return code;
    }
    commands::execute(Cli::parse()).unwrap_or_else(|error| fail(&error))
}

/// The one place where an error becomes a message for the user.
fn fail(error: &Error) -> ExitCode {
    let style = anstyle::AnsiColor::Red.on_default().bold();
    let _ = writeln!(anstream::stderr(), "{style}error:{style:#} {error}");
    error.exit_code()
}
