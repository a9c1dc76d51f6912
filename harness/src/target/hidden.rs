//! The subcommands under which the harness is its own helper.

use std::ffi::OsString;
use std::process::ExitCode;

use super::{launcher, warden};

/// Runs a hidden subcommand, if `arguments` (those of the process, its own name first) begin with one.
///
/// To be called by `main` before anything else: a helper has one thread, starts fast, and is none of
/// the user's business.
pub fn hidden_command(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter().skip(1);
    match arguments.next()?.to_str()? {
        warden::SUBCOMMAND => Some(warden::run().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)),
        launcher::SUBCOMMAND => Some(launcher::run(arguments)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_user_types_is_not_hidden() {
        for arguments in [&["harness"][..], &["harness", "soak"], &["harness", "--help"], &[]] {
            assert!(hidden_command(arguments.iter().map(OsString::from)).is_none(), "{arguments:?}");
        }
    }

    #[test]
    fn launcher_without_a_program_fails() {
        let code = hidden_command(["harness", launcher::SUBCOMMAND].map(OsString::from)).unwrap();
        assert_ne!(format!("{code:?}"), format!("{:?}", ExitCode::SUCCESS));
    }
}
