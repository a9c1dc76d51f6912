//! What a runtime may ask for, and when: the state machine behind the Runtime API, and nothing else.
//!
//! Its transitions and refusals are those of the runtime interface emulator that AWS publishes
//! (`aws-lambda-runtime-interface-emulator` 1.30), which is the daemon of the real environment:
//!
//! ```text
//! Started ──/next──▶ Ready ──invoke──▶ Running ──/response, /error──▶ Responded ──/next──▶ Ready
//!    └──/init/error──▶ InitError         └──/next──▶ Running (the same event once more)
//! ```

use http::StatusCode;
use verifier::InvocationId;

/// Where a runtime stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RuntimeState {
    /// Its process was started: the Init phase.
    #[default]
    Started,
    /// It reported that it cannot be initialised. There is no way back.
    InitError,
    /// It waits for an invocation, with `/next` unanswered.
    Ready,
    /// It was given an invocation.
    Running,
    /// It has answered the invocation, and does what it does before it asks for the next one.
    Responded,
}

impl RuntimeState {
    /// Its name in error messages.
    fn name(self) -> &'static str {
        match self {
            Self::Started => "Started",
            Self::InitError => "InitError",
            Self::Ready => "Ready",
            Self::Running => "Running",
            Self::Responded => "ResponseSent",
        }
    }
}

/// What an accepted `/next` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polled {
    /// The runtime is initialised.
    Initialized,
    /// The invocation is over.
    Finished,
    /// The runtime has not answered its invocation and gets it once more.
    Again,
}

/// Why a call is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The call names another invocation than the present one, or another attempt at it.
    #[error("Invalid request ID")]
    InvalidRequestId,
    /// The call is not allowed in this state.
    #[error("State transition from {} to {to} failed for runtime. Error: State transition is not allowed", from.name())]
    InvalidTransition {
        /// The state.
        from: RuntimeState,
        /// What the call would have led to.
        to: &'static str,
    },
}

impl Refusal {
    /// The status that it is answered with.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::InvalidRequestId => StatusCode::BAD_REQUEST,
            Self::InvalidTransition { .. } => StatusCode::FORBIDDEN,
        }
    }

    /// Its `errorType`.
    pub fn error_type(&self) -> &'static str {
        match self {
            Self::InvalidRequestId => "InvalidRequestID",
            Self::InvalidTransition { .. } => "InvalidStateTransition",
        }
    }
}

/// The state machine of one runtime. A refused call changes nothing.
#[derive(Debug, Default)]
pub struct RuntimeMachine {
    state: RuntimeState,
    /// The invocation that is running or was just answered.
    current: Option<Attempt>,
}

/// One attempt at an invocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The invocation.
    pub invocation: InvocationId,
    /// Which attempt at it this is.
    pub attempt: String,
}

impl Attempt {
    /// Whether an answer is one to this attempt. A runtime need not say which attempt it answers
    /// (`Lambda-Runtime-Invocation-Id` is newer than most of them); one that names another answers a
    /// stale one.
    fn is_meant(&self, invocation: &str, attempt: Option<&str>) -> bool {
        self.invocation.as_str() == invocation && attempt.is_none_or(|attempt| attempt == self.attempt)
    }
}

impl RuntimeMachine {
    /// Where the runtime stands.
    pub fn state(&self) -> RuntimeState {
        self.state
    }

    /// `GET /runtime/invocation/next`.
    ///
    /// # Errors
    /// If the runtime waits already, or has failed to initialise.
    pub fn poll(&mut self) -> Result<Polled, Refusal> {
        let polled = match self.state {
            RuntimeState::Started => Polled::Initialized,
            RuntimeState::Responded => Polled::Finished,
            RuntimeState::Running => return Ok(Polled::Again),
            RuntimeState::Ready | RuntimeState::InitError => return Err(self.refuse("Ready")),
        };
        self.state = RuntimeState::Ready;
        self.current = None;
        Ok(polled)
    }

    /// `POST /runtime/invocation/{id}/response`, with the attempt that it says it answers.
    ///
    /// # Errors
    /// If this is not the present attempt at the present invocation, or if it was answered before.
    pub fn respond(&mut self, id: &str, attempt: Option<&str>) -> Result<(), Refusal> {
        self.answer(id, attempt, "InvocationResponse")
    }

    /// `POST /runtime/invocation/{id}/error`.
    ///
    /// # Errors
    /// As [`RuntimeMachine::respond`].
    pub fn fail(&mut self, id: &str, attempt: Option<&str>) -> Result<(), Refusal> {
        self.answer(id, attempt, "InvocationErrorResponse")
    }

    /// `POST /runtime/init/error`.
    ///
    /// # Errors
    /// If the Init phase is over.
    pub fn fail_init(&mut self) -> Result<(), Refusal> {
        if self.state != RuntimeState::Started {
            return Err(self.refuse("InitError"));
        }
        self.state = RuntimeState::InitError;
        Ok(())
    }

    /// The platform gives the runtime an invocation.
    ///
    /// # Errors
    /// If the runtime has not asked for one.
    pub fn invoke(&mut self, attempt: Attempt) -> Result<(), Refusal> {
        if self.state != RuntimeState::Ready {
            return Err(self.refuse("Running"));
        }
        self.state = RuntimeState::Running;
        self.current = Some(attempt);
        Ok(())
    }

    /// The identifier is looked at before the state, as the real one does.
    fn answer(&mut self, id: &str, attempt: Option<&str>, to: &'static str) -> Result<(), Refusal> {
        if !self.current.as_ref().is_some_and(|current| current.is_meant(id, attempt)) {
            return Err(Refusal::InvalidRequestId);
        }
        if self.state != RuntimeState::Running {
            return Err(self.refuse(to));
        }
        self.state = RuntimeState::Responded;
        Ok(())
    }

    fn refuse(&self, to: &'static str) -> Refusal {
        Refusal::InvalidTransition { from: self.state, to }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy)]
    enum Call {
        Next,
        Respond(&'static str),
        Fail(&'static str),
        FailInit,
        Invoke(&'static str),
    }

    use Call::{Fail, FailInit, Invoke, Next, Respond};

    fn attempt(id: &str) -> Attempt {
        Attempt { invocation: InvocationId::new(id), attempt: format!("attempt at {id}") }
    }

    fn make(machine: &mut RuntimeMachine, call: Call) -> Result<(), u16> {
        match call {
            Next => machine.poll().map(drop),
            Respond(id) => machine.respond(id, None),
            Fail(id) => machine.fail(id, None),
            FailInit => machine.fail_init(),
            Invoke(id) => machine.invoke(attempt(id)),
        }
        .map_err(|refusal| refusal.status().as_u16())
    }

    fn after(calls: &[Call]) -> RuntimeMachine {
        let mut machine = RuntimeMachine::default();
        calls.iter().for_each(|call| make(&mut machine, *call).unwrap());
        machine
    }

    /// Every state, how it is reached, and what each call leads to from there.
    #[test]
    fn every_call_in_every_state_has_its_answer() {
        type Answer = Result<RuntimeState, u16>;
        type Row<'a> = (&'a [Call], [Answer; 5]);
        use RuntimeState::{InitError, Ready, Responded, Running};
        let table: [Row<'_>; 6] = [
            //                                     /next        /response(1)    /error(1)       /init/error    invoke(2)
            (&[], [Ok(Ready), Err(400), Err(400), Ok(InitError), Err(403)]),
            (&[FailInit], [Err(403), Err(400), Err(400), Err(403), Err(403)]),
            (&[Next], [Err(403), Err(400), Err(400), Err(403), Ok(Running)]),
            (&[Next, Invoke("1")], [Ok(Running), Ok(Responded), Ok(Responded), Err(403), Err(403)]),
            (&[Next, Invoke("1"), Respond("1")], [Ok(Ready), Err(403), Err(403), Err(403), Err(403)]),
            (&[Next, Invoke("1"), Fail("1"), Next], [Err(403), Err(400), Err(400), Err(403), Ok(Running)]),
        ];
        for (way, answers) in table {
            for (call, expected) in [Next, Respond("1"), Fail("1"), FailInit, Invoke("2")].into_iter().zip(answers) {
                let mut machine = after(way);
                let before = machine.state();
                let answer = make(&mut machine, call).map(|()| machine.state());
                assert_eq!(answer, expected, "{call:?} after {way:?}");
                assert!(answer.is_ok() || machine.state() == before, "{call:?} after {way:?} changed the state");
            }
        }
    }

    #[test]
    fn stale_identifier_is_refused_before_the_state_is_looked_at() {
        let mut machine = after(&[Next, Invoke("1"), Respond("1"), Next, Invoke("2"), Respond("2")]);
        assert_eq!(machine.respond("1", None), Err(Refusal::InvalidRequestId));
        assert_eq!(machine.respond("2", None).unwrap_err().error_type(), "InvalidStateTransition");
    }

    #[test]
    fn answer_to_another_attempt_is_stale_and_one_that_names_none_is_not() {
        let mut machine = after(&[Next, Invoke("1")]);
        assert_eq!(machine.respond("1", Some("attempt at 0")), Err(Refusal::InvalidRequestId));
        assert_eq!(machine.fail("1", Some("attempt at 0")), Err(Refusal::InvalidRequestId));
        machine.respond("1", Some("attempt at 1")).unwrap();
        after(&[Next, Invoke("1")]).respond("1", None).unwrap();
    }

    #[test]
    fn next_tells_the_beginning_from_the_end_and_from_a_repetition() {
        let mut machine = RuntimeMachine::default();
        assert_eq!(machine.poll(), Ok(Polled::Initialized));
        machine.invoke(attempt("1")).unwrap();
        assert_eq!(machine.poll(), Ok(Polled::Again));
        machine.respond("1", None).unwrap();
        assert_eq!(machine.poll(), Ok(Polled::Finished));
    }

    #[test]
    fn refusal_says_from_where_to_where() {
        let refusal = after(&[Next]).fail_init().unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "State transition from Ready to InitError failed for runtime. Error: State transition is not allowed"
        );
    }
}
