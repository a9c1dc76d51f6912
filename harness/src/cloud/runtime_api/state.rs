//! Who waits for what, and when all of them do: everything that is decided under one lock.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use bytes::Bytes;
use http::StatusCode;
use tokio::sync::mpsc::Permit;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};
use uuid::Uuid;
use verifier::EventKind;

use super::answer::ApiError;
use super::event::{ExtensionEvent, Next, ShutdownReason};
use super::runtime::{BODIES_AT_ONCE, FunctionError};
use super::server::{ApiSpec, Audience};
use crate::cloud::extension_state::{Extension, ExtensionRefusal, ExtensionState, Extensions, Subscription};
use crate::cloud::runtime_state::{Attempt, Polled, Refusal, RuntimeMachine, RuntimeState};
use crate::target::Process;

/// How many refused calls of one start of an environment are recorded. Whoever makes more makes them
/// in a loop, and that must not fill the journal: one more record says so.
const RECORDED_REFUSALS: u32 = 20;

/// Something that the environment's owner has to know.
#[derive(Debug)]
pub enum Call {
    /// All extensions that are processes of their own have registered: the runtime can start.
    ExtensionsRegistered,
    /// Everybody waits: the runtime for its next invocation, the extensions for their next events.
    Rested {
        /// When the last of them asked.
        at: Instant,
    },
    /// The runtime answered its invocation.
    Response(Bytes),
    /// The runtime reported that its invocation failed.
    Error(FunctionError),
    /// The runtime reported that it cannot be initialised.
    InitError(FunctionError),
    /// An extension reported that it cannot go on.
    ExtensionFailed {
        /// Its name.
        extension: String,
        /// What it said.
        error_type: String,
    },
}

/// What the environment is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Activity {
    Init,
    Invocation,
    Rest,
}

/// Whose calls are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    Everybody,
    /// The environment is shut down: the runtime has had its time.
    ExtensionsOnly,
    Nobody,
}

/// What all calls share.
#[derive(Debug)]
pub(super) struct Shared {
    spec: ApiSpec,
    state: Mutex<State>,
    calls: mpsc::Sender<Call>,
    /// Room for bodies that are being read.
    bodies: Semaphore,
}

#[derive(Debug)]
struct State {
    service: Service,
    activity: Activity,
    runtime: RuntimeMachine,
    /// The unanswered `/next`.
    parked: Option<oneshot::Sender<Next>>,
    /// What a `/next` is answered with at once, from an invocation to the runtime's answer.
    running: Option<Handover>,
    /// Whether the last invocation has been delivered.
    delivered: bool,
    extensions: Extensions,
    /// One for each extension that has registered.
    seats: Vec<Seat>,
    /// What is stopped in the very moment in which everybody waits. Weak, because the environment
    /// decides how long they live, and connections may outlive them.
    processes: Vec<Weak<Process>>,
    refusals: u32,
}

/// Where an extension waits.
#[derive(Debug, Default)]
struct Seat {
    /// Its unanswered `event/next`.
    asker: Option<oneshot::Sender<ExtensionEvent>>,
    /// What it will be told as soon as it asks.
    pending: Option<ExtensionEvent>,
}

impl Seat {
    fn has_hung_up(&self) -> bool {
        self.asker.as_ref().is_none_or(oneshot::Sender::is_closed)
    }
}

/// An invocation that the runtime is given whenever it asks while it has not answered.
struct Handover {
    next: Next,
    /// Called before each delivery.
    on_delivery: Box<dyn Fn() + Send>,
    /// Whether the last delivery was told and then reached nobody.
    told_in_vain: bool,
}

impl fmt::Debug for Handover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handover").field("id", &self.next.id).finish_non_exhaustive()
    }
}

impl Handover {
    /// Delivers it, unless whoever asked for it has hung up: that is no delivery. Answers whether it is.
    fn deliver(&mut self, asker: oneshot::Sender<Next>) -> bool {
        if asker.is_closed() {
            return false;
        }
        if !std::mem::take(&mut self.told_in_vain) {
            (self.on_delivery)();
        }
        // Whoever hangs up in between leaves the delivery that was told to whoever asks next.
        self.told_in_vain = asker.send(self.next.clone()).is_err();
        true
    }
}

impl State {
    fn new(externals: Vec<String>) -> Self {
        Self {
            service: Service::Everybody,
            activity: Activity::Init,
            runtime: RuntimeMachine::default(),
            parked: None,
            running: None,
            delivered: false,
            extensions: Extensions::new(externals),
            seats: Vec::new(),
            processes: Vec::new(),
            refusals: 0,
        }
    }

    fn deliver(&mut self, asker: oneshot::Sender<Next>) {
        if let Some(running) = &mut self.running {
            self.delivered |= running.deliver(asker);
        }
    }

    /// Whether the runtime waited and then hung up.
    fn has_hung_up(&self) -> bool {
        self.runtime.state() == RuntimeState::Ready && self.parked.as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    /// Tells an extension something, now or as soon as it asks.
    fn tell(&mut self, extension: usize, event: ExtensionEvent) {
        let seat = &mut self.seats[extension];
        let untold = match seat.asker.take() {
            Some(asker) => asker.send(event).err(),
            None => Some(event),
        };
        match untold {
            Some(event) => seat.pending = Some(event),
            // It waited, so it is ready.
            None => drop(self.extensions.tell(extension)),
        }
    }

    fn tell_all(&mut self, subscription: Subscription, event: &ExtensionEvent) {
        for extension in 0..self.seats.len() {
            if self.extensions.registered()[extension].wants(subscription) {
                self.tell(extension, event.clone());
            }
        }
    }

    fn seat(&mut self, extension: usize, asker: oneshot::Sender<ExtensionEvent>) {
        let seat = &mut self.seats[extension];
        seat.asker = Some(asker);
        if let Some(event) = seat.pending.take() {
            self.tell(extension, event);
        }
    }

    fn everybody_waits(&self) -> bool {
        let init = self.activity == Activity::Init;
        self.runtime.state() == RuntimeState::Ready
            && self.extensions.are_ready(init)
            && self.seats.iter().all(|seat| seat.pending.is_none())
    }
}

impl Shared {
    pub(super) fn new(spec: ApiSpec, calls: mpsc::Sender<Call>) -> Self {
        let state = Mutex::new(State::new(spec.externals.clone()));
        Self { spec, state, calls, bodies: Semaphore::new(BODIES_AT_ONCE) }
    }

    /// Waits until there is room for one more body. It is taken as long as the answer is kept.
    pub(super) async fn room_for_a_body(&self) -> Result<SemaphorePermit<'_>, ApiError> {
        // Nobody closes it.
        self.bodies.acquire().await.map_err(|_| ApiError::Container)
    }

    pub(super) fn spec(&self) -> &ApiSpec {
        &self.spec
    }

    /// Names a process that is stopped whenever everybody waits and there is nothing to do.
    pub(super) fn freeze(&self, process: &Arc<Process>) {
        self.lock().processes.push(Arc::downgrade(process));
    }

    pub(super) fn invoke(&self, next: Next, on_delivery: impl Fn() + Send + 'static) -> Result<(), Refusal> {
        let mut state = self.lock();
        let attempt = Attempt { invocation: next.id.clone(), attempt: next.attempt.clone() };
        state.runtime.invoke(attempt)?;
        state.activity = Activity::Invocation;
        state.delivered = false;
        let event = (!state.seats.is_empty()).then(|| ExtensionEvent::invoke(&next));
        state.running = Some(Handover { next, on_delivery: Box::new(on_delivery), told_in_vain: false });
        if let Some(asker) = state.parked.take() {
            state.deliver(asker);
        }
        if let Some(event) = event {
            state.tell_all(Subscription::Invoke, &event);
        }
        Ok(())
    }

    /// The environment is shut down: the runtime gets and answers nothing any more, and waits in vain
    /// if it waits. Answers whether the last invocation had been delivered.
    pub(super) fn stop(&self) -> bool {
        let mut state = self.lock();
        if state.service == Service::Everybody {
            state.service = Service::ExtensionsOnly;
        }
        state.delivered
    }

    /// Tells all that want to know of it that the environment is about to end.
    pub(super) fn shut_down(&self, shutdown_reason: ShutdownReason, deadline_ms: u64) {
        let event = ExtensionEvent::Shutdown { shutdown_reason, deadline_ms };
        self.lock().tell_all(Subscription::Shutdown, &event);
    }

    /// Nobody is served any more. `record` learns whether the last invocation had been delivered,
    /// before anything else can happen.
    pub(super) fn close(&self, record: impl FnOnce(bool)) {
        let mut state = self.lock();
        record(state.delivered);
        state.service = Service::Nobody;
        state.parked = None;
        state.seats.clear();
    }

    pub(super) fn audience(&self) -> Audience {
        let state = self.lock();
        let registered = state.extensions.registered();
        let is_to_be_told = |extension: &&Extension| !extension.internal && extension.wants(Subscription::Shutdown);
        Audience {
            internal: registered.iter().any(|extension| extension.internal),
            external: registered.iter().any(|extension| !extension.internal),
            shutdown: registered.iter().filter(is_to_be_told).map(|extension| extension.name.clone()).collect(),
        }
    }

    /// Makes a transition and tells the environment, as one step: calls arrive in the order in which
    /// they were accepted, and none is accepted that could not be told.
    pub(super) fn answer(
        &self,
        call: Call,
        transition: impl FnOnce(&mut RuntimeMachine) -> Result<(), Refusal>,
    ) -> Result<(), ApiError> {
        let mut state = self.serving()?;
        let permit = self.permit()?;
        transition(&mut state.runtime)?;
        permit.send(call);
        Ok(())
    }

    /// Takes a `/next` in, under one guard: an invocation comes either before it or after it.
    pub(super) fn poll(&self, asker: oneshot::Sender<Next>) -> Result<(), ApiError> {
        let mut state = self.serving_extensions()?;
        if state.has_hung_up() || state.service == Service::ExtensionsOnly {
            // It waits again, or in vain, and nothing has changed for anybody else.
            state.parked = Some(asker);
            return Ok(());
        }
        let permit = self.permit()?;
        if state.runtime.poll()? == Polled::Again {
            state.deliver(asker);
            return Ok(());
        }
        state.extensions.close_registration();
        state.running = None;
        state.parked = Some(asker);
        self.rest(&mut state, permit);
        Ok(())
    }

    pub(super) fn register(&self, name: &str, events: &[String]) -> Result<Uuid, ApiError> {
        let mut state = self.serving()?;
        let permit = self.permit()?;
        let Extension { identifier, internal, events, .. } = state.extensions.register(name, events)?.clone();
        state.seats.push(Seat::default());
        let events = events.into_iter().map(|event| event.as_str().to_owned()).collect();
        let (environment, extension) = (self.spec.environment.clone(), name.to_owned());
        self.spec.recorder.record(EventKind::ExtensionRegistered { environment, extension, internal, events });
        if !internal && state.extensions.externals_have_registered() {
            permit.send(Call::ExtensionsRegistered);
        }
        Ok(identifier)
    }

    /// Takes an `event/next` in.
    pub(super) fn poll_extension(
        &self,
        identifier: Option<&str>,
        asker: oneshot::Sender<ExtensionEvent>,
    ) -> Result<(), ApiError> {
        let mut state = self.serving_extensions()?;
        let extension = state.extensions.find(identifier)?;
        let permit = self.permit_in(state.service)?;
        let is_ready = state.extensions.registered()[extension].state == ExtensionState::Ready;
        if !(is_ready && state.seats[extension].has_hung_up()) {
            state.extensions.poll(extension)?;
        }
        state.seat(extension, asker);
        if let Some(permit) = permit {
            self.rest(&mut state, permit);
        }
        Ok(())
    }

    pub(super) fn fail_extension(
        &self,
        identifier: Option<&str>,
        error_type: Option<&str>,
        transition: impl FnOnce(&mut Extensions, usize) -> Result<(), ExtensionRefusal>,
    ) -> Result<(), ApiError> {
        let mut state = self.serving_extensions()?;
        let extension = state.extensions.find(identifier)?;
        let error_type = error_type.ok_or(ExtensionRefusal::MissingErrorType)?.to_owned();
        let permit = self.permit_in(state.service)?;
        transition(&mut state.extensions, extension)?;
        if let Some(permit) = permit {
            let extension = state.extensions.registered()[extension].name.clone();
            permit.send(Call::ExtensionFailed { extension, error_type });
        }
        Ok(())
    }

    /// Records that a call was refused. Nothing is recorded of an environment that is over.
    pub(super) fn record_refusal(&self, call: String, status: StatusCode, error_type: &str) {
        let mut state = self.lock();
        if state.service == Service::Nobody || state.refusals > RECORDED_REFUSALS {
            return;
        }
        state.refusals += 1;
        let is_one_too_many = state.refusals > RECORDED_REFUSALS;
        self.spec.recorder.record(EventKind::CallRefused {
            environment: self.spec.environment.clone(),
            call: if is_one_too_many { format!("{call}, and all further ones are not told") } else { call },
            status: status.as_u16(),
            error_type: error_type.to_owned(),
        });
    }

    /// Tells the environment when everybody waits. The processes are stopped before anybody else
    /// learns of it: what they have not sent by now stays with them until the next thaw.
    fn rest(&self, state: &mut State, permit: Permit<'_, Call>) {
        if state.activity == Activity::Rest || !state.everybody_waits() {
            return;
        }
        let at = Instant::now();
        if self.spec.freezes && (state.activity == Activity::Invocation || self.spec.freezes_after_init) {
            self.spec.network.mark();
            if self.spec.freezes_at_once {
                state.processes.iter().filter_map(Weak::upgrade).for_each(|process| process.suspend());
            }
        }
        state.activity = Activity::Rest;
        permit.send(Call::Rested { at });
    }

    fn permit(&self) -> Result<Permit<'_, Call>, ApiError> {
        self.calls.try_reserve().map_err(|_| ApiError::Container)
    }

    /// None once the environment is being shut down: it has no ear for calls then.
    fn permit_in(&self, service: Service) -> Result<Option<Permit<'_, Call>>, ApiError> {
        (service == Service::Everybody).then(|| self.permit()).transpose()
    }

    fn serving(&self) -> Result<MutexGuard<'_, State>, ApiError> {
        let state = self.lock();
        if state.service == Service::Everybody { Ok(state) } else { Err(ApiError::Container) }
    }

    fn serving_extensions(&self) -> Result<MutexGuard<'_, State>, ApiError> {
        let state = self.lock();
        if state.service == Service::Nobody { Err(ApiError::Container) } else { Ok(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use assert_matches::assert_matches;
    use verifier::{EnvironmentId, InvocationId};

    use super::*;
    use crate::cloud::network::Network;
    use crate::journal::Recorder;
    use crate::target::freezer::Freezer;
    use crate::target::{ProcessSpec, Spawner};

    fn shared() -> (Shared, mpsc::Receiver<Call>, mpsc::Receiver<verifier::Event>) {
        let (recorder, events) = Recorder::new();
        let spec = ApiSpec {
            environment: EnvironmentId::new("worker-1"),
            function: "worker".to_owned(),
            handler: "bootstrap".to_owned(),
            account: "123456789012".to_owned(),
            externals: Vec::new(),
            freezes: false,
            freezes_at_once: true,
            freezes_after_init: false,
            network: Network::default(),
            recorder,
        };
        let (calls, accepted) = mpsc::channel(8);
        (Shared::new(spec, calls), accepted, events)
    }

    fn next(id: &str) -> Next {
        Next {
            id: InvocationId::new(id),
            attempt: "attempt-1".to_owned(),
            deadline_ms: 1_700_000_000_000,
            function_arn: "arn:aws:lambda:eu-west-1:123456789012:function:worker".to_owned(),
            trace_id: "Root=1-0-0;Parent=0;Sampled=0".to_owned(),
            payload: Bytes::from_static(b"{}"),
        }
    }

    fn ask(shared: &Shared) -> oneshot::Receiver<Next> {
        let (asker, answer) = oneshot::channel();
        shared.poll(asker).unwrap();
        answer
    }

    fn ask_as(shared: &Shared, extension: Uuid) -> oneshot::Receiver<ExtensionEvent> {
        let (asker, answer) = oneshot::channel();
        shared.poll_extension(Some(&extension.to_string()), asker).unwrap();
        answer
    }

    fn register(shared: &Shared, name: &str, events: &[&str]) -> Uuid {
        let events: Vec<_> = events.iter().map(|event| (*event).to_owned()).collect();
        shared.register(name, &events).unwrap()
    }

    fn answer(shared: &Shared, id: &str) {
        shared.answer(Call::Response(Bytes::new()), |runtime| runtime.respond(id, None)).unwrap();
    }

    /// How many calls have been told.
    fn rests(calls: &mut mpsc::Receiver<Call>) -> usize {
        let mut rests = 0;
        while let Ok(call) = calls.try_recv() {
            rests += usize::from(matches!(call, Call::Rested { .. }));
        }
        rests
    }

    #[test]
    fn environment_rests_when_the_last_of_all_has_asked_once() {
        let (shared, mut calls, _events) = shared();
        let (flusher, helper) = (register(&shared, "flusher", &["INVOKE"]), register(&shared, "helper", &[]));
        let _runtime = ask(&shared);
        let told = ask_as(&shared, flusher);
        assert_eq!(rests(&mut calls), 0, "one extension is still being initialised");
        let _helper = ask_as(&shared, helper);
        assert_eq!(rests(&mut calls), 1);

        shared.invoke(next("1"), || {}).unwrap();
        assert_matches!(told.blocking_recv(), Ok(ExtensionEvent::Invoke { request_id, .. }) if request_id.as_str() == "1");
        answer(&shared, "1");
        let _runtime = ask(&shared);
        assert_eq!(rests(&mut calls), 0, "the one that was told has not asked again");
        let _flusher = ask_as(&shared, flusher);
        assert_eq!(rests(&mut calls), 1);
    }

    /// The state of a process (proc_pid_stat(5)).
    fn state(process: &Process) -> char {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
        stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
    }

    #[tokio::test]
    async fn processes_are_stopped_in_the_moment_in_which_the_last_of_all_asks() {
        let (mut shared, mut calls, _events) = shared();
        shared.spec.freezes = true;
        let command = vec!["sleep".to_owned(), "1000".to_owned()];
        let spec =
            ProcessSpec { command, directory: "/".into(), env: Vec::new(), log: None, freezer: Freezer::Signals };
        let process = Arc::new(Spawner::start(None).unwrap().spawn(spec, |_| {}).await.unwrap());
        shared.freeze(&process);
        let _runtime = ask(&shared);
        shared.invoke(next("1"), || {}).unwrap();
        answer(&shared, "1");
        assert_eq!(rests(&mut calls), 1, "it was initialised, and there was an invocation");
        assert_ne!(state(&process), 'T');
        let _runtime = ask(&shared);
        process.confirm_suspended().await.unwrap();
        assert_eq!(state(&process), 'T');
        assert_eq!(rests(&mut calls), 1);
    }

    #[test]
    fn environment_does_not_rest_while_an_extension_has_to_be_told_of_the_invocation() {
        let (shared, mut calls, _events) = shared();
        let flusher = register(&shared, "flusher", &["INVOKE"]);
        let _runtime = ask(&shared);
        drop(ask_as(&shared, flusher));
        shared.invoke(next("1"), || {}).unwrap();
        answer(&shared, "1");
        let _runtime = ask(&shared);
        rests(&mut calls);
        assert_matches!(ask_as(&shared, flusher).try_recv(), Ok(ExtensionEvent::Invoke { .. }));
        assert_eq!(rests(&mut calls), 0);
        let _flusher = ask_as(&shared, flusher);
        assert_eq!(rests(&mut calls), 1);
    }

    #[test]
    fn extension_that_works_when_the_environment_ends_is_told_when_it_asks() {
        let (shared, mut calls, _events) = shared();
        let flusher = register(&shared, "flusher", &["INVOKE"]);
        let _runtime = ask(&shared);
        let _told = ask_as(&shared, flusher);
        shared.invoke(next("1"), || {}).unwrap();
        assert!(shared.stop(), "it was delivered to the waiting runtime");
        shared.lock().tell(0, ExtensionEvent::Shutdown { shutdown_reason: ShutdownReason::Timeout, deadline_ms: 7 });
        rests(&mut calls);
        assert_matches!(ask_as(&shared, flusher).try_recv(), Ok(ExtensionEvent::Shutdown { .. }));
        assert_eq!(rests(&mut calls), 0, "an environment that ends does not rest");
        let mut runtime = ask(&shared);
        assert_matches!(runtime.try_recv(), Err(oneshot::error::TryRecvError::Empty), "it waits in vain");
    }

    #[test]
    fn invocation_that_nobody_got_is_delivered_once_to_whoever_asks_next() {
        let (shared, _calls, _events) = shared();
        drop(ask(&shared));
        let deliveries = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&deliveries);
        let count = move || {
            counted.fetch_add(1, Ordering::Relaxed);
        };
        shared.invoke(next("1"), count).unwrap();
        assert_eq!(deliveries.load(Ordering::Relaxed), 0, "nobody was there");
        shared.close(|delivered| assert!(!delivered));
        shared.lock().service = Service::Everybody;
        assert_eq!(ask(&shared).blocking_recv().unwrap().id, InvocationId::new("1"));
        assert_eq!(deliveries.load(Ordering::Relaxed), 1);
        shared.close(|delivered| assert!(delivered));
    }

    #[test]
    fn asker_that_hangs_up_while_it_is_told_leaves_the_delivery_to_the_next() {
        let told = Arc::new(AtomicUsize::new(0));
        let (first, parked) = oneshot::channel();
        let parked = Mutex::new(Some(parked));
        let counted = Arc::clone(&told);
        let hang_up = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            parked.lock().unwrap().take();
        };
        let mut handover = Handover { next: next("1"), on_delivery: Box::new(hang_up), told_in_vain: false };
        handover.deliver(first);
        let (second, mut parked) = oneshot::channel();
        handover.deliver(second);
        assert_eq!(parked.try_recv().unwrap().id, InvocationId::new("1"));
        assert_eq!(told.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn flood_of_refused_calls_is_recorded_up_to_a_limit_that_is_told() {
        let (shared, _calls, mut events) = shared();
        for _ in 0..10 * RECORDED_REFUSALS {
            shared.record_refusal("GET /nowhere".to_owned(), StatusCode::NOT_FOUND, "");
        }
        let recorded: Vec<_> = std::iter::from_fn(|| events.try_recv().ok()).map(|event| event.kind).collect();
        assert_eq!(recorded.len(), RECORDED_REFUSALS as usize + 1);
        assert_matches!(recorded.last(), Some(EventKind::CallRefused { call, .. })
            if call == "GET /nowhere, and all further ones are not told");
    }

    #[test]
    fn nothing_is_recorded_of_an_environment_that_is_over() {
        let (shared, _calls, mut events) = shared();
        shared.close(drop);
        shared.record_refusal("GET /nowhere".to_owned(), StatusCode::NOT_FOUND, "");
        assert!(events.try_recv().is_err());
    }
}
