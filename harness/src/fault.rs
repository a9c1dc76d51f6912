//! Faults: what the harness does to a system on purpose. Each is recorded as a fact.

use std::fmt;
use std::str::FromStr;

/// A fault, by its name on the command line and in scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultName {
    /// The queue drops the trace context of every message.
    StripContext,
    /// Every process is given an API key that the endpoint does not know.
    WrongKey,
    /// The queue makes the body of one message in ten unreadable.
    CorruptBody,
}

impl FaultName {
    /// All faults.
    pub const ALL: [Self; 3] = [Self::StripContext, Self::WrongKey, Self::CorruptBody];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StripContext => "strip-context",
            Self::WrongKey => "wrong-key",
            Self::CorruptBody => "corrupt-body",
        }
    }

    /// What it does, in a line.
    pub const fn help(self) -> &'static str {
        match self {
            Self::StripContext => "the queue drops the trace context of every message",
            Self::WrongKey => "every process is given an API key that the endpoint does not know",
            Self::CorruptBody => "the queue makes the body of one message in ten unreadable",
        }
    }
}

impl fmt::Display for FaultName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is no fault's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such fault")]
pub struct UnknownFault;

impl FromStr for FaultName {
    type Err = UnknownFault;

    fn from_str(name: &str) -> Result<Self, UnknownFault> {
        Self::ALL.into_iter().find(|fault| fault.as_str() == name).ok_or(UnknownFault)
    }
}
