//! An environment, its freezes and its records.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use verifier::event::{Fault, InvocationOutcome, ProcessEnd};
use verifier::{EnvironmentId, EventKind, InvocationId};

use super::init::{AfterInit, InitCause, InitFailure};
use super::processes::Processes;
use crate::cloud::function::{Function, Initialization, Place, Wired};
use crate::cloud::platform::Kill;
use crate::cloud::runtime_api::{ApiSpec, RuntimeApi};
use crate::cloud::variables::log_stream_name;
use crate::target::freezer::{Escaped, Freezer, NotStopped};

/// An execution environment. Dropping it kills its processes, without a record.
#[derive(Debug)]
pub struct Environment {
    pub(super) id: EnvironmentId,
    pub(super) number: u32,
    pub(super) function: Arc<Function>,
    pub(super) initialization: Initialization,
    /// `AWS_LAMBDA_LOG_STREAM_NAME`, which outlives its processes.
    log_stream: String,
    /// There are none once it was reset, until its next invocation.
    pub(super) processes: Option<Processes>,
    /// How often its processes were started.
    pub(super) starts: u32,
    /// How the last of its runtimes ended, if one has.
    pub(super) last_end: Option<ProcessEnd>,
    frozen: bool,
    pub(super) invocations: u32,
    /// How many invocations it is good for, if there is a limit.
    lifetime: Option<NonZeroU32>,
    /// When it is killed by order, if it is.
    pub(super) kill: Option<Kill>,
    /// Last, because its connections are let go after the processes.
    pub(super) wired: Wired,
}

impl Environment {
    /// Starts an environment and sees it through its Init phase.
    ///
    /// If it fails in there, it is reset, and Init is run again inside its first invocation, as on
    /// AWS; but what is started ahead of its use is expected to start.
    ///
    /// # Errors
    /// If it cannot be started, or if it was started ahead of its use and fails. It is then gone.
    pub async fn start(function: &Arc<Function>, then: AfterInit) -> Result<Self, InitFailure> {
        let mut environment = Self::prepare(function, then).await?;
        let limit = function.init_limit(environment.initialization);
        match environment.initialize(limit, then).await {
            Ok(()) => Ok(environment),
            Err(cause) => environment.fail_init(cause, then).await,
        }
    }

    /// Everything that comes before the first process.
    async fn prepare(function: &Arc<Function>, then: AfterInit) -> Result<Self, InitFailure> {
        let number = function.next_number();
        let id = function.environment_id(number);
        delay(function, &id, number).await;
        let wired = match function.wiring.wire(&id).await {
            Ok(wired) => wired,
            Err(error) => return Err(InitFailure::new(id, InitCause::NotWired(error))),
        };
        let platform = &function.spec.platform;
        let lifetime = function.spec.recycling.lifetime(number);
        let is_provisioned = then == AfterInit::Freeze && platform.provisioned > 0;
        Ok(Self {
            id,
            number,
            function: Arc::clone(function),
            initialization: if is_provisioned { Initialization::Provisioned } else { Initialization::OnDemand },
            log_stream: log_stream_name(SystemTime::now()),
            processes: None,
            starts: 0,
            last_end: None,
            frozen: false,
            invocations: 0,
            lifetime,
            kill: platform.kills.and_then(|kills| kills.of(number, lifetime)),
            wired,
        })
    }

    /// Its identifier.
    pub fn id(&self) -> &EnvironmentId {
        &self.id
    }

    /// Whether it can be used: its processes are there, or it was reset and starts them when it is.
    pub fn is_alive(&self) -> bool {
        self.processes.as_ref().is_none_or(Processes::are_alive)
    }

    /// Whether it has no processes, so that its next invocation begins with an Init phase.
    pub fn is_reset(&self) -> bool {
        self.processes.is_none()
    }

    /// Whether it has done as many invocations as it was meant for.
    pub fn is_worn_out(&self) -> bool {
        self.lifetime.is_some_and(|lifetime| self.invocations >= lifetime.get())
    }

    pub(super) fn thaw(&mut self) {
        if std::mem::take(&mut self.frozen) {
            self.record(EventKind::EnvironmentThawed { environment: self.id.clone() });
            self.processes.iter().flat_map(Processes::all).for_each(|process| process.resume());
        }
    }

    /// The APIs have stopped the processes already, in the moment in which the last of them asked;
    /// except for one that does so faster than its start was reported, and where a freeze takes its time.
    ///
    /// Where nothing is to be frozen, nothing is, and nothing is told.
    pub(super) async fn freeze(&mut self) -> Result<(), NotStopped> {
        if !self.freezes() {
            return Ok(());
        }
        let Some(processes) = &self.processes else { return Ok(()) };
        let delay = self.function.spec.platform.freeze_delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let escaped = processes.suspend().await?;
        self.record_escaped(escaped);
        self.frozen = true;
        let open = self.wired.network.drained().await;
        self.record(EventKind::EnvironmentFrozen { environment: self.id.clone(), open });
        Ok(())
    }

    /// Its processes are gone.
    pub(super) fn forget_freeze(&mut self) {
        self.frozen = false;
    }

    fn freezes(&self) -> bool {
        self.function.spec.platform.freezer != Freezer::Off
    }

    /// What was ordered to happen to its connections while it is frozen, or would be.
    pub(super) fn cut_connections(&self) {
        let Some(cuts) = self.function.spec.platform.cuts else { return };
        if self.invocations == cuts.after.get() {
            let (environment, cut) = (self.id.clone(), cuts.how);
            self.record(EventKind::FaultInjected(Fault::ConnectionsCut { environment, cut }));
            self.wired.network.cut(cut);
        }
    }

    pub(super) fn api_spec(&self, then: AfterInit) -> ApiSpec {
        let spec = &self.function.spec;
        ApiSpec {
            environment: self.id.clone(),
            function: spec.name.clone(),
            handler: spec.handler().to_owned(),
            account: spec.account.id.clone(),
            externals: spec.extensions.iter().map(|extension| extension.name.clone()).collect(),
            freezes: self.freezes(),
            freezes_at_once: self.function.spec.platform.freeze_delay.is_zero(),
            freezes_after_init: then == AfterInit::Freeze,
            network: self.wired.network.clone(),
            recorder: self.function.recorder.clone(),
        }
    }

    pub(super) fn place(&self, api: &RuntimeApi) -> Place<'_> {
        Place {
            environment: &self.id,
            number: self.number,
            start: self.starts,
            initialization: self.initialization,
            api: api.address(),
            log_stream: &self.log_stream,
            wired: &self.wired,
        }
    }

    pub(super) fn record(&self, event: EventKind) {
        self.function.recorder.record(event);
    }

    /// Tells of a process as soon as there is one, if it is the first.
    pub(super) fn start_record(&self, is_first: bool) -> impl FnOnce(u32) + Send + use<> {
        let (recorder, environment) = (self.function.recorder.clone(), self.id.clone());
        let function = self.function.spec.name.clone();
        move |pid| {
            if is_first {
                recorder.record(EventKind::EnvironmentStarted { environment, function, pid });
            }
        }
    }

    pub(super) fn record_initialized(&self, started: Option<Instant>, at: Instant) {
        let init = started.map(|started| at.saturating_duration_since(started)).unwrap_or_default();
        let event = EventKind::EnvironmentInitialized { environment: self.id.clone(), init };
        self.function.recorder.record_at(self.function.recorder.at(at), event);
    }

    pub(super) fn record_escaped(&self, escaped: Vec<Escaped>) {
        for Escaped { pid, name } in escaped {
            self.record(EventKind::ProcessEscaped { environment: self.id.clone(), pid, name });
        }
    }

    pub(super) fn record_finished(&self, invocation: InvocationId, outcome: InvocationOutcome) {
        self.record(EventKind::InvocationFinished { invocation, outcome });
    }

    pub(super) fn record_ended(&self, end: ProcessEnd) {
        self.record(EventKind::EnvironmentEnded { environment: self.id.clone(), end });
    }
}

/// What the platform takes before it starts anything. It is no part of Init.
async fn delay(function: &Function, environment: &EnvironmentId, number: u32) {
    let Some(delay) = function.spec.platform.delay else { return };
    let delay = delay.sample(number);
    tokio::time::sleep(delay).await;
    function.recorder.record(EventKind::PlatformDelayed { environment: environment.clone(), delay });
}
