//! What extensions may ask for, and when: the state machines behind the Extensions API, and nothing else.
//!
//! Transitions and refusals are those of the AWS documentation ("Using the Lambda Extensions API",
//! version 2020-01-01) and of AWS's runtime interface emulator, for each extension:
//!
//! ```text
//! register ──▶ Registered ──event/next──▶ Ready ──INVOKE, SHUTDOWN──▶ Running ──event/next──▶ Ready
//!                  ├──init/error──▶ InitError
//!                  └──exit/error──▶ ExitError ◀──exit/error── Ready, Running
//! ```

use std::fmt;

use uuid::Uuid;

/// How many extensions an environment may have, internal and external ones together.
pub const MAX_EXTENSIONS: usize = 10;

/// An event that an extension can want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subscription {
    /// An invocation begins.
    Invoke,
    /// The environment is about to end.
    Shutdown,
}

impl Subscription {
    fn parse(name: &str) -> Option<Self> {
        match name {
            "INVOKE" => Some(Self::Invoke),
            "SHUTDOWN" => Some(Self::Shutdown),
            _ => None,
        }
    }

    /// Its name in the Extensions API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invoke => "INVOKE",
            Self::Shutdown => "SHUTDOWN",
        }
    }
}

/// Where an extension stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtensionState {
    /// It has registered itself and is being initialised.
    Registered,
    /// It waits for an event.
    Ready,
    /// It was given an event.
    Running,
    /// It reported that it cannot be initialised. There is no way back.
    InitError,
    /// It reported that it is about to exit for an error. There is no way back.
    ExitError,
}

impl fmt::Display for ExtensionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Registered => "Registered",
            Self::Ready => "Ready",
            Self::Running => "Running",
            Self::InitError => "InitError",
            Self::ExitError => "ExitError",
        })
    }
}

/// Why a call of an extension is refused. The status is always 403.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExtensionRefusal {
    /// It did not say what it is called.
    #[error("Empty extension name")]
    EmptyName,
    /// The body of its registration could not be read.
    #[error("{0}")]
    InvalidFormat(String),
    /// It wants an event that there is not, or that is none of an internal extension's business.
    #[error("{0}: event type not allowed for {} extensions", if *.internal { "internal" } else { "external" })]
    InvalidEventType {
        /// The event.
        event: String,
        /// Whether the extension is an internal one.
        internal: bool,
    },
    /// The runtime has asked for its first invocation.
    #[error("Extension registration closed already")]
    RegistrationClosed,
    /// An extension of this name is there already.
    #[error("Extension with this name already registered")]
    NameTaken,
    /// There are enough.
    #[error("Extension limit ({MAX_EXTENSIONS}) reached")]
    TooMany,
    /// It did not say who it is.
    #[error("Missing Lambda-Extension-Identifier header")]
    MissingIdentifier,
    /// Who it says it is cannot be anybody.
    #[error("Invalid Lambda-Extension-Identifier")]
    InvalidIdentifier,
    /// Who it says it is has not registered.
    #[error("Unknown extension {0}")]
    UnknownIdentifier(Uuid),
    /// It reported an error and did not say of what type.
    #[error("Lambda-Extension-Function-Error-Type not found")]
    MissingErrorType,
    /// The call is not allowed in this state.
    #[error(
        "State transition from {from} to {to} failed for extension {extension}. Error: State transition is not allowed"
    )]
    InvalidTransition {
        /// The state.
        from: ExtensionState,
        /// What the call would have led to.
        to: ExtensionState,
        /// The extension.
        extension: Uuid,
    },
}

impl ExtensionRefusal {
    /// Its `errorType`.
    pub fn error_type(&self) -> &'static str {
        match self {
            Self::EmptyName => "Extension.InvalidExtensionName",
            Self::InvalidFormat(_) => "InvalidRequestFormat",
            Self::InvalidEventType { .. } => "Extension.InvalidEventType",
            Self::RegistrationClosed => "Extension.RegistrationClosed",
            Self::NameTaken | Self::InvalidTransition { .. } => "Extension.InvalidExtensionState",
            Self::TooMany => "Extension.TooManyExtensions",
            Self::MissingIdentifier => "Extension.MissingExtensionIdentifier",
            Self::InvalidIdentifier => "Extension.InvalidExtensionIdentifier",
            Self::UnknownIdentifier(_) => "Extension.UnknownExtensionIdentifier",
            Self::MissingErrorType => "Extension.MissingHeader",
        }
    }
}

/// An extension that has registered itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// `Lambda-Extension-Identifier`: who it says it is from now on.
    pub identifier: Uuid,
    /// Its name.
    pub name: String,
    /// Whether it is a part of the runtime's process, and not one of its own.
    pub internal: bool,
    /// What it wants to be told.
    pub events: Vec<Subscription>,
    /// Where it stands.
    pub state: ExtensionState,
}

impl Extension {
    /// Whether it wants to be told of this.
    pub fn wants(&self, event: Subscription) -> bool {
        self.events.contains(&event)
    }
}

/// The extensions of one environment. A refused call changes nothing.
#[derive(Debug, Default)]
pub struct Extensions {
    /// The names of those that are processes of their own.
    externals: Vec<String>,
    registered: Vec<Extension>,
    /// Whether the runtime has asked for its first invocation: nobody can register any more.
    closed: bool,
}

impl Extensions {
    /// Those of an environment in which these are processes of their own.
    pub fn new(externals: Vec<String>) -> Self {
        Self { externals, ..Self::default() }
    }

    /// All that have registered, in the order in which they did.
    pub fn registered(&self) -> &[Extension] {
        &self.registered
    }

    /// `POST /extension/register`.
    ///
    /// # Errors
    /// If it is too late for it, if there are too many or one of that name, or if it wants what it cannot have.
    pub fn register(&mut self, name: &str, events: &[String]) -> Result<&Extension, ExtensionRefusal> {
        if name.is_empty() {
            return Err(ExtensionRefusal::EmptyName);
        }
        let internal = !self.externals.iter().any(|external| external == name);
        let events = subscriptions(events, internal)?;
        self.may_register(name, internal)?;
        let (identifier, name) = (Uuid::new_v4(), name.to_owned());
        let extension = Extension { identifier, name, internal, events, state: ExtensionState::Registered };
        Ok(self.registered.push_mut(extension))
    }

    /// The runtime has asked for its first invocation.
    pub fn close_registration(&mut self) {
        self.closed = true;
    }

    /// Whether all that are processes of their own have registered.
    pub fn externals_have_registered(&self) -> bool {
        self.externals.len() == self.registered.iter().filter(|extension| !extension.internal).count()
    }

    /// Which extension a call comes from, by the value of its header.
    ///
    /// # Errors
    /// If it is none that has registered.
    pub fn find(&self, identifier: Option<&str>) -> Result<usize, ExtensionRefusal> {
        let identifier = identifier.filter(|given| !given.is_empty()).ok_or(ExtensionRefusal::MissingIdentifier)?;
        let identifier = Uuid::parse_str(identifier).map_err(|_| ExtensionRefusal::InvalidIdentifier)?;
        let position = self.registered.iter().position(|extension| extension.identifier == identifier);
        position.ok_or(ExtensionRefusal::UnknownIdentifier(identifier))
    }

    /// `GET /extension/event/next`.
    ///
    /// # Errors
    /// If it waits already, or has reported an error.
    pub fn poll(&mut self, extension: usize) -> Result<(), ExtensionRefusal> {
        use ExtensionState::{Ready, Registered, Running};
        self.go(extension, Ready, |from| matches!(from, Registered | Running))
    }

    /// The platform gives a waiting extension an event.
    ///
    /// # Errors
    /// If it does not wait for one.
    pub fn tell(&mut self, extension: usize) -> Result<(), ExtensionRefusal> {
        self.go(extension, ExtensionState::Running, |from| from == ExtensionState::Ready)
    }

    /// `POST /extension/init/error`. Can be reported more than once.
    ///
    /// # Errors
    /// If its initialisation is over.
    pub fn fail_init(&mut self, extension: usize) -> Result<(), ExtensionRefusal> {
        use ExtensionState::{InitError, Registered};
        self.go(extension, InitError, |from| matches!(from, Registered | InitError))
    }

    /// `POST /extension/exit/error`. Can be reported more than once.
    ///
    /// # Errors
    /// If it could not even be initialised.
    pub fn fail(&mut self, extension: usize) -> Result<(), ExtensionRefusal> {
        self.go(extension, ExtensionState::ExitError, |from| from != ExtensionState::InitError)
    }

    /// Whether every extension waits for its next event; of those that know of invocations only, once Init is over.
    pub fn are_ready(&self, init: bool) -> bool {
        let mut awaited = self.registered.iter().filter(|extension| init || extension.wants(Subscription::Invoke));
        awaited.all(|extension| extension.state == ExtensionState::Ready)
    }

    fn may_register(&self, name: &str, internal: bool) -> Result<(), ExtensionRefusal> {
        let internals = self.registered.iter().filter(|extension| extension.internal).count();
        if self.closed {
            Err(ExtensionRefusal::RegistrationClosed)
        } else if self.registered.iter().any(|extension| extension.name == name) {
            Err(ExtensionRefusal::NameTaken)
        } else if self.externals.len() + internals + usize::from(internal) > MAX_EXTENSIONS {
            Err(ExtensionRefusal::TooMany)
        } else {
            Ok(())
        }
    }

    fn go(
        &mut self,
        extension: usize,
        to: ExtensionState,
        is_allowed: impl FnOnce(ExtensionState) -> bool,
    ) -> Result<(), ExtensionRefusal> {
        let extension = &mut self.registered[extension];
        let from = extension.state;
        if !is_allowed(from) {
            return Err(ExtensionRefusal::InvalidTransition { from, to, extension: extension.identifier });
        }
        extension.state = to;
        Ok(())
    }
}

/// An internal extension learns of its end by SIGTERM, as a part of the runtime.
fn subscriptions(events: &[String], internal: bool) -> Result<Vec<Subscription>, ExtensionRefusal> {
    let subscription = |event: &String| {
        let known = Subscription::parse(event).filter(|known| !internal || *known == Subscription::Invoke);
        known.ok_or_else(|| ExtensionRefusal::InvalidEventType { event: event.clone(), internal })
    };
    events.iter().map(subscription).collect()
}

#[cfg(test)]
mod tests {
    use ExtensionState::{ExitError, InitError, Ready, Registered, Running};

    use super::*;

    fn register<'a>(
        extensions: &'a mut Extensions,
        name: &str,
        events: &[&str],
    ) -> Result<&'a Extension, &'static str> {
        let events: Vec<_> = events.iter().map(|event| (*event).to_owned()).collect();
        extensions.register(name, &events).map_err(|refusal| refusal.error_type())
    }

    fn with_external(name: &str) -> Extensions {
        Extensions::new(vec![name.to_owned()])
    }

    #[derive(Debug, Clone, Copy)]
    enum Call {
        Next,
        Tell,
        FailInit,
        Fail,
    }

    fn make(extensions: &mut Extensions, call: Call) -> Result<ExtensionState, &'static str> {
        let answer = match call {
            Call::Next => extensions.poll(0),
            Call::Tell => extensions.tell(0),
            Call::FailInit => extensions.fail_init(0),
            Call::Fail => extensions.fail(0),
        };
        answer.map(|()| extensions.registered()[0].state).map_err(|refusal| refusal.error_type())
    }

    /// Every state, how it is reached, and what each call leads to from there.
    #[test]
    fn every_call_in_every_state_has_its_answer() {
        const NO: Result<ExtensionState, &str> = Err("Extension.InvalidExtensionState");
        type Row<'a> = (&'a [Call], ExtensionState, [Result<ExtensionState, &'static str>; 4]);
        use Call::{Fail, FailInit, Next, Tell};
        let table: [Row<'_>; 5] = [
            //                              event/next  event  init/error      exit/error
            (&[], Registered, [Ok(Ready), NO, Ok(InitError), Ok(ExitError)]),
            (&[Next], Ready, [NO, Ok(Running), NO, Ok(ExitError)]),
            (&[Next, Tell], Running, [Ok(Ready), NO, NO, Ok(ExitError)]),
            (&[FailInit], InitError, [NO, NO, Ok(InitError), NO]),
            (&[Next, Fail], ExitError, [NO, NO, NO, Ok(ExitError)]),
        ];
        for (way, state, answers) in table {
            for (call, expected) in [Next, Tell, FailInit, Fail].into_iter().zip(answers) {
                let mut extensions = with_external("a");
                register(&mut extensions, "a", &["INVOKE"]).unwrap();
                for call in way {
                    make(&mut extensions, *call).unwrap();
                }
                assert_eq!(extensions.registered()[0].state, state);
                assert_eq!(make(&mut extensions, call), expected, "{call:?} in {state}");
            }
        }
    }

    #[test]
    fn extension_whose_name_is_no_file_is_internal_and_may_not_want_shutdown() {
        let mut extensions = with_external("collector");
        assert!(!register(&mut extensions, "collector", &["INVOKE", "SHUTDOWN"]).unwrap().internal);
        assert_eq!(register(&mut extensions, "flusher", &["SHUTDOWN"]).unwrap_err(), "Extension.InvalidEventType");
        assert!(register(&mut extensions, "flusher", &["INVOKE"]).unwrap().internal);
    }

    #[test]
    fn registration_is_refused_for_its_reason() {
        let mut extensions = with_external("collector");
        assert_eq!(register(&mut extensions, "", &[]).unwrap_err(), "Extension.InvalidExtensionName");
        assert_eq!(register(&mut extensions, "collector", &["RESTORE"]).unwrap_err(), "Extension.InvalidEventType");
        register(&mut extensions, "flusher", &[]).unwrap();
        assert_eq!(register(&mut extensions, "flusher", &[]).unwrap_err(), "Extension.InvalidExtensionState");
        extensions.close_registration();
        assert_eq!(register(&mut extensions, "late", &[]).unwrap_err(), "Extension.RegistrationClosed");
        assert_eq!(register(&mut extensions, "collector", &[]).unwrap_err(), "Extension.RegistrationClosed");
    }

    #[test]
    fn eleventh_extension_is_refused_and_an_external_one_has_its_place_before_it_registers() {
        let mut extensions = with_external("collector");
        for number in 1..MAX_EXTENSIONS {
            register(&mut extensions, &number.to_string(), &[]).unwrap();
        }
        assert_eq!(register(&mut extensions, "eleventh", &[]).unwrap_err(), "Extension.TooManyExtensions");
        assert!(!extensions.externals_have_registered());
        register(&mut extensions, "collector", &[]).unwrap();
        assert!(extensions.externals_have_registered());
    }

    #[test]
    fn identifier_is_missing_or_invalid_or_unknown_or_somebodys() {
        let mut extensions = Extensions::default();
        let identifier = register(&mut extensions, "a", &[]).unwrap().identifier.to_string();
        let nobody = Uuid::nil().to_string();
        let find = |identifier| extensions.find(identifier).map_err(|refusal| refusal.error_type());
        assert_eq!(find(None), Err("Extension.MissingExtensionIdentifier"));
        assert_eq!(find(Some("")), Err("Extension.MissingExtensionIdentifier"));
        assert_eq!(find(Some("me")), Err("Extension.InvalidExtensionIdentifier"));
        assert_eq!(find(Some(&nobody)), Err("Extension.UnknownExtensionIdentifier"));
        assert_eq!(find(Some(&identifier)), Ok(0));
    }

    #[test]
    fn init_waits_for_all_and_an_invocation_for_those_that_know_of_it() {
        let mut extensions = Extensions::default();
        assert!(extensions.are_ready(true), "there are none");
        register(&mut extensions, "flusher", &["INVOKE"]).unwrap();
        register(&mut extensions, "helper", &[]).unwrap();
        extensions.poll(0).unwrap();
        assert!(!extensions.are_ready(true));
        assert!(extensions.are_ready(false));
        extensions.poll(1).unwrap();
        assert!(extensions.are_ready(true));
        extensions.tell(0).unwrap();
        assert!(!extensions.are_ready(false));
    }

    #[test]
    fn refusal_says_from_where_to_where_and_who() {
        let mut extensions = Extensions::default();
        let identifier = register(&mut extensions, "a", &[]).unwrap().identifier;
        extensions.poll(0).unwrap();
        let expected = format!(
            "State transition from Ready to Ready failed for extension {identifier}. Error: State transition is not allowed"
        );
        assert_eq!(extensions.poll(0).unwrap_err().to_string(), expected);
    }
}
