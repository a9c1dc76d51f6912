//! Why the harness could not do what it was asked to: as a message for its user, and as an exit code.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use verifier::{Conclusion, Verdict};

use crate::init::InitError;
use crate::input::InputError;
use crate::journal::JournalError;
use crate::recording::RecordingError;
use crate::story::StoryError;
use crate::target::freezer::FreezerUnavailable;

/// Why a command came to no verdict.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What the user wrote cannot be used.
    #[error("{0}")]
    Input(#[from] InputError),
    /// What the user asked for on the command line is not possible.
    #[error("{0}")]
    Usage(String),
    /// There is no journal to judge.
    #[error("{0}")]
    Journal(#[from] JournalError),
    /// There is no recording to judge.
    #[error("{0}")]
    Recording(#[from] RecordingError),
    /// There is no story of the request.
    #[error("{0}")]
    Story(#[from] StoryError),
    /// The files to start from cannot be written.
    #[error("{0}")]
    Init(#[from] InitError),
    /// The run could not be set up.
    #[error("{0}")]
    Setup(String),
    /// Environments cannot be frozen as they are to be.
    #[error("{0}")]
    Freezer(#[from] FreezerUnavailable),
    /// Something went wrong that never should.
    #[error("internal error: {0}\nThis is a bug of the harness.")]
    Internal(String),
    /// The user asked for the end before there was anything to judge.
    #[error("interrupted before the load: nothing was verified")]
    NothingDone,
    /// The user asked twice for the end.
    #[error("interrupted: no verdict")]
    Interrupted,
}

impl Error {
    /// A run that could not be set up, and why.
    pub fn setup(what: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::Setup(format!("{what}: {why}"))
    }

    /// A folder or file that the run needs and cannot have.
    pub fn file(what: &str, path: &Path, error: &io::Error) -> Self {
        Self::Setup(format!("{what} {}: {error}", path.display()))
    }

    /// The exit code, one of `harness --help`'s table.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Internal(_) => 1,
            Self::Input(_) | Self::Usage(_) | Self::Journal(_) | Self::Recording(_) | Self::Story(_) => 2,
            Self::Init(_) | Self::Setup(_) | Self::Freezer(_) => 3,
            Self::NothingDone => 4,
            Self::Interrupted => 130,
        })
    }
}

/// The exit code of a run that came to this conclusion, one of `harness --help`'s table.
pub fn exit_code(conclusion: Conclusion) -> ExitCode {
    ExitCode::from(match conclusion {
        Conclusion::Passed => 0,
        Conclusion::BooksBroken => 1,
        Conclusion::NothingVerified => 4,
        Conclusion::Inconclusive => 5,
        Conclusion::Failed => 10,
    })
}

/// The exit code of one request's own verdict, one of `harness --help`'s table.
pub fn exit_code_of_request(verdict: Verdict) -> ExitCode {
    exit_code(match verdict {
        Verdict::Pass => Conclusion::Passed,
        Verdict::Fail => Conclusion::Failed,
        Verdict::Inconclusive => Conclusion::Inconclusive,
    })
}
