//! What runs invocations: a function and its environments, or what a test puts in their place.

use std::fmt;
use std::sync::Arc;

use crate::cloud::environment::{AfterInit, Environment, InitFailure, Invocation, Invoked};
use crate::cloud::function::{Function, FunctionSpec};
use crate::journal::Recorder;

/// What starts environments.
pub trait Runner: fmt::Debug + Send + Sync + 'static {
    /// An environment that was started.
    type Environment: RunningEnvironment;

    /// What it is that runs.
    fn spec(&self) -> &FunctionSpec;

    /// Who is told what happens.
    fn recorder(&self) -> &Recorder;

    /// Starts an environment and sees it through its Init phase.
    fn start(&self, then: AfterInit) -> impl Future<Output = Result<Self::Environment, InitFailure>> + Send;
}

/// An environment that runs.
pub trait RunningEnvironment: fmt::Debug + Send + Sized + 'static {
    /// Whether it can be used.
    fn is_alive(&self) -> bool;

    /// Whether its next invocation begins with an Init phase, because it was reset.
    fn is_reset(&self) -> bool;

    /// Whether it has done as many invocations as it was meant for.
    fn is_worn_out(&self) -> bool;

    /// Invokes the function. The environment is handed out again, unless the invocation was its end.
    fn invoke(self, invocation: &Invocation) -> impl Future<Output = Invoked<Self>> + Send;

    /// Ends it.
    fn end(self) -> impl Future<Output = ()> + Send;

    /// Waits for the end of one that is not alive.
    fn bury(self) -> impl Future<Output = ()> + Send;
}

impl Runner for Arc<Function> {
    type Environment = Environment;

    fn spec(&self) -> &FunctionSpec {
        Function::spec(self)
    }

    fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    async fn start(&self, then: AfterInit) -> Result<Environment, InitFailure> {
        Environment::start(self, then).await
    }
}

impl RunningEnvironment for Environment {
    fn is_alive(&self) -> bool {
        Self::is_alive(self)
    }

    fn is_reset(&self) -> bool {
        Self::is_reset(self)
    }

    fn is_worn_out(&self) -> bool {
        Self::is_worn_out(self)
    }

    async fn invoke(self, invocation: &Invocation) -> Invoked {
        Self::invoke(self, invocation).await
    }

    async fn end(self) {
        Self::end(self).await;
    }

    async fn bury(self) {
        Self::bury(self).await;
    }
}
