//! `harness check FILE`: validates a manifest, a contract or a scenario, whichever the file is.

use std::fmt;
use std::path::Path;

use verifier::TraceContract;
use verifier::contract::{ForeignSpans, SpanContract};

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
            Self::Contract(contract) => {
                write!(f, "a contract: {} asks for {} ({})", contract.name, Asked(contract), Roles(contract))
            }
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
            "the system {name} with {}, {}, {} and the contract {}, which asks for {}",
            count(services.len(), "service"),
            count(queues.len(), "queue"),
            count(functions.len(), "function"),
            contract.name,
            Asked(contract),
        )
    }
}

/// What a contract asks for, in counts; what it does not ask for is left out.
struct Asked<'a>(&'a TraceContract);

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let contract = self.0;
        let of_spans = |counted: fn(&SpanContract) -> usize| contract.spans.values().map(counted).sum::<usize>();
        let counts = [
            (contract.spans.len(), "span"),
            (of_spans(|span| span.link.iter().count()), "link"),
            (of_spans(|span| span.attributes.len()), "attribute"),
            (contract.resource.len() + of_spans(|span| span.resource.len()), "resource attribute"),
            (of_spans(|span| usize::from(!span.status.is_any())), "status"),
            (of_spans(|span| span.max_duration.iter().count()), "duration"),
        ];
        let asked = counts.into_iter().filter(|(number, _)| *number > 0).map(|(number, noun)| count(number, noun));
        f.write_str(&asked.collect::<Vec<_>>().join(", "))?;
        self.fmt_exceptions(f)
    }
}

impl Asked<'_> {
    /// What makes a contract milder or stricter than its spans say.
    fn fmt_exceptions(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TraceContract { extras, foreign, sampling, severity, .. } = self.0;
        if !extras.is_empty() {
            write!(f, ", allows {}", count(extras.len(), "extra"))?;
        }
        if *foreign == ForeignSpans::Forbid {
            f.write_str(", forbids foreign spans")?;
        }
        if let Some(sampling) = sampling {
            write!(f, ", with a sampling of {sampling}")?;
        }
        if !severity.is_empty() {
            write!(f, ", weighs {} otherwise", count(severity.len(), "finding"))?;
        }
        Ok(())
    }
}

/// The roles of a contract, each with what there is one span for.
struct Roles<'a>(&'a TraceContract);

impl fmt::Display for Roles<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let roles = self.0.spans.iter().map(|(role, span)| format!("{role} per {}", span.per.as_str()));
        f.write_str(&roles.collect::<Vec<_>>().join(", "))
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
    let ending = match (count, noun.ends_with('s')) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{count} {noun}{ending}")
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
        let system = "the system my-system with 1 service, 1 queue, 1 function \
                      and the contract my-system, which asks for 3 spans";
        assert_eq!(found("a.toml"), format!("a manifest: {system}"));
        let roles = "consumer per delivery, producer per message, server per request";
        assert_eq!(found("b.toml"), format!("a contract: my-system asks for 3 spans ({roles})"));
        assert_eq!(found("c.toml"), format!("a scenario: c with 2.5 requests/s for 1m (150 requests), on {system}"));
    }

    #[test]
    fn what_a_contract_asks_for_is_told() {
        let folder = folder();
        let file = folder.path().join("contract.toml");
        let text = "name = 'n'\nforeign = 'forbid'\nsampling = 0.25\n[severity]\nspan-late = 'failure'\n\
                    [resource]\n'service.version' = { present = true }\n\
                    [span.server]\nservice = 's'\nname = 'n'\nkind = 'server'\nper = 'request'\n\
                    status = 'outcome'\nmax_duration = '2s'\n[span.server.attributes]\na = 1\nb = 2\n\
                    [span.worker]\nservice = 'w'\nname = 'n'\nkind = 'consumer'\nper = 'delivery'\nlink = 'server'\n\
                    status = 'no_error'\n[span.worker.resource]\na = 1\n\
                    [extra.canary]\nservice = 'w'\nname = 'c'\nper = 'environment'\n";
        std::fs::write(&file, text).unwrap();
        let expected = "a contract: n asks for 2 spans, 1 link, 2 attributes, 2 resource attributes, 2 statuses, \
                        1 duration, allows 1 extra, forbids foreign spans, with a sampling of 0.25, \
                        weighs 1 finding otherwise (server per request, worker per delivery)";
        assert_eq!(check(&file).unwrap().to_string(), expected);
    }

    #[test]
    fn a_contract_that_asks_of_what_its_system_has_not_is_refused_with_the_manifest() {
        let folder = folder();
        let contract = folder.path().join("contract.toml");
        let text = std::fs::read_to_string(&contract).unwrap();
        std::fs::write(&contract, text.replacen("# queue = \"jobs\"", "queue = \"job\"", 1)).unwrap();
        assert!(check(&contract).is_ok(), "by itself nobody knows");
        let error = check(&folder.path().join("system.toml")).unwrap_err();
        assert_eq!((error.file(), error.suggestion()), (contract.as_path(), Some("jobs")));
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
