//! `harness check FILE`: validates a manifest, a contract or a scenario, whichever the file is.

use std::fmt;
use std::path::Path;

use verifier::TraceContract;

use crate::input::{InputError, Source};
use crate::manifest::Manifest;
use crate::scenario::Scenario;

/// A file that is valid, and what it was found to be.
#[derive(Debug, Clone)]
pub enum Checked {
    /// A system's manifest; its contract is valid as well.
    Manifest(Box<Manifest>),
    /// A trace contract.
    Contract(TraceContract),
    /// A scenario; its system's manifest and contract are valid as well.
    Scenario(Box<Scenario>, Box<Manifest>),
}

impl fmt::Display for Checked {
    /// What was found, in counts: so that an empty file could not look like a success.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest(manifest) => write!(f, "a manifest: {}", Summary(manifest)),
            Self::Contract(contract) => write!(
                f,
                "a contract: {} with {} ({})",
                contract.name,
                count(contract.spans.len(), "span"),
                joined(contract.spans.keys()),
            ),
            Self::Scenario(scenario, manifest) => write!(
                f,
                "a scenario: {} with {} requests/s for {} ({} requests), on {}",
                scenario.name,
                scenario.load.rate,
                humantime::format_duration(scenario.load.duration),
                scenario.load.schedule().count(),
                Summary(manifest),
            ),
        }
    }
}

/// A manifest in one line.
struct Summary<'a>(&'a Manifest);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Manifest { name, services, queues, functions, contract, .. } = self.0;
        write!(
            f,
            "the system {name} with {}, {}, {} and the contract {} ({})",
            count(services.len(), "service"),
            count(queues.len(), "queue"),
            count(functions.len(), "function"),
            contract.name,
            count(contract.spans.len(), "span"),
        )
    }
}

/// Validates a file, and what it refers to.
///
/// # Errors
/// The first thing that is wrong, or that the file is none of those that can be checked.
pub fn check(file: &Path) -> Result<Checked, InputError> {
    match kind(&Source::read(file)?)? {
        Kind::Manifest => Ok(Checked::Manifest(Box::new(Manifest::read(file)?))),
        Kind::Contract => Ok(Checked::Contract(crate::contract::read(file)?)),
        Kind::Scenario => {
            let scenario = Scenario::read(file)?;
            let manifest = Manifest::read(&scenario.system)?;
            Ok(Checked::Scenario(Box::new(scenario), Box::new(manifest)))
        }
    }
}

/// The kinds of files that users write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Manifest,
    Contract,
    Scenario,
}

/// The tables that only one kind of file has.
const MARKS: &[(&str, Kind)] = &[
    ("service", Kind::Manifest),
    ("request", Kind::Manifest),
    ("span", Kind::Contract),
    ("load", Kind::Scenario),
    ("system", Kind::Scenario),
];

/// What a file is, told by its content: a name can be anything.
fn kind(source: &Source) -> Result<Kind, InputError> {
    let table: toml::Table = source.parse()?;
    MARKS.iter().find(|(key, _)| table.contains_key(*key)).map(|(_, kind)| *kind).ok_or_else(|| {
        let message = "nothing to check: a manifest has [service.NAME], a contract [span.NAME] and a scenario [load]";
        InputError::of_file(source.file(), message)
    })
}

fn count(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn joined<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names.map(String::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with a valid manifest and contract.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        crate::init::init(folder.path()).unwrap();
        folder
    }

    #[test]
    fn each_kind_of_file_is_recognised_whatever_its_name() {
        let folder = folder();
        let path = |name: &str| folder.path().join(name);
        std::fs::rename(path("system.toml"), path("a.toml")).unwrap();
        std::fs::copy(path("contract.toml"), path("b.toml")).unwrap();
        std::fs::write(path("c.toml"), "name='c'\nsystem='a.toml'\n[load]\nrate=2.5\nduration='1m'\n").unwrap();
        let found = |name| check(&path(name)).unwrap().to_string();
        let system = "the system my-system with 1 service, 1 queue, 1 function and the contract my-system (3 spans)";
        assert_eq!(found("a.toml"), format!("a manifest: {system}"));
        assert_eq!(found("b.toml"), "a contract: my-system with 3 spans (consumer, producer, server)");
        assert_eq!(found("c.toml"), format!("a scenario: c with 2.5 requests/s for 1m (150 requests), on {system}"));
    }

    #[test]
    fn a_scenario_is_only_as_valid_as_its_system() {
        let folder = folder();
        let file = folder.path().join("scenario.toml");
        std::fs::write(&file, "name='c'\nsystem='nowhere.toml'\n[load]\nrate=1\nduration='1m'\n").unwrap();
        let error = check(&file).unwrap_err();
        assert_eq!(error.file(), folder.path().join("nowhere.toml"));
    }

    #[test]
    fn a_file_of_no_kind_is_refused() {
        let folder = folder();
        let file = folder.path().join("empty.toml");
        std::fs::write(&file, "").unwrap();
        assert!(check(&file).unwrap_err().message().starts_with("nothing to check: a manifest has [service.NAME]"));
        std::fs::write(&file, "a = = 1").unwrap();
        assert_eq!(check(&file).unwrap_err().line(), Some(1));
    }
}
