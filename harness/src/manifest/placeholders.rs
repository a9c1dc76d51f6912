//! Which placeholders exist where.

/// The values of a run, which exist wherever a process runs or a request is sent.
const OF_THE_RUN: &[&str] = &[
    "aws.access_key_id",
    "aws.region",
    "aws.secret_access_key",
    "cargo.profile",
    "cargo.target_dir",
    "otlp.api_key",
    "otlp.authority",
    "otlp.ca_file",
    "otlp.endpoint",
    "run.id",
    "sqs.endpoint",
];

/// Those of them that differ from one sender of telemetry to the next.
const OF_A_SENDER: &[&str] = &["otlp.authority", "otlp.endpoint"];

/// A place in a manifest, which decides what is known there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A build command: it runs before anything has an address.
    Build,
    /// A service.
    Service,
    /// A function.
    Function,
    /// An extension of a function: it gets the function's variables with all that they hold, and what
    /// it has of its own is the same in every environment.
    Extension,
    /// `[env]`, which every process gets.
    Env,
    /// `[request]`.
    Request,
}

impl Place {
    /// The place in words.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Build => "in a build command",
            Self::Service => "in a service",
            Self::Function => "in a function",
            Self::Extension => "in an extension",
            Self::Env => "in [env]",
            Self::Request => "in [request]",
        }
    }

    /// The names of all placeholders that are known here, in order.
    pub(super) fn known<'a>(self, queues: impl Iterator<Item = &'a str>) -> Vec<String> {
        let mut known: Vec<String> = self.fixed().map(str::to_owned).collect();
        if self != Self::Build {
            known.extend(queues.map(|queue| format!("queue.{queue}.url")));
        }
        known.sort_unstable();
        known
    }

    /// Those whose names the manifest has no say in.
    fn fixed(self) -> impl Iterator<Item = &'static str> {
        let of_the_run = OF_THE_RUN.iter().filter(move |name| match self {
            Self::Build => name.starts_with("cargo."),
            Self::Extension => !OF_A_SENDER.contains(name),
            _ => true,
        });
        let own = match self {
            Self::Service => Some("service.port"),
            Self::Function => Some("environment.id"),
            Self::Request => Some("request.id"),
            Self::Build | Self::Env | Self::Extension => None,
        };
        of_the_run.copied().chain(own)
    }
}
