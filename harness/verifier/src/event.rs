//! What happened in a run, and when: the journal's lines.
//!
//! One struct says when, one enum says what. The serialised form of [`Event`] is one line of the
//! journal; [`RunStarted`] carries the version of the form.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::contract::TraceContract;
use crate::id::{EnvironmentId, InvocationId, MessageId, RequestId, TraceId};
use crate::otlp::Payload;
use crate::time::{Timestamp, nanoseconds};

/// The version of the journal's form. It grows when a reader of the last one could misread the new one.
pub const JOURNAL_VERSION: u32 = 3;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub kind: EventKind,
}

/// What happened. The ledger's facts and the telemetry's; none is written by an SDK under test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// The run began. The first event of every journal.
    RunStarted(Box<RunStarted>),
    /// The run went on to its next phase.
    PhaseStarted {
        /// The phase.
        phase: Phase,
    },
    /// Time went on. The verifier knows no other clock.
    Ticked,
    /// The user asked for an early end: the load stops, what is in flight drains.
    Interrupted,
    /// The harness had to refuse evidence, so the run can prove nothing.
    EvidenceLost {
        /// What was refused, and by whom.
        what: String,
        /// How many pieces of it.
        count: u64,
    },
    /// What the harness and the system had used up until now.
    ResourcesSampled {
        /// The harness's own process.
        harness: ResourceUsage,
        /// All processes of the system, those that ended included.
        system: ResourceUsage,
    },
    /// Everything is over: nothing more will be seen. The last event of a complete journal.
    RunFinished,

    /// The load began.
    LoadStarted {
        /// How many requests the schedule holds.
        scheduled: u64,
        /// The arrival rate that was asked for, in requests per second.
        rate: f64,
    },
    /// A request was sent; its event's time is its actual start.
    RequestStarted {
        /// The request.
        request: RequestId,
        /// When the schedule wanted it to start.
        intended: Timestamp,
    },
    /// A request came to its end; its event's time is that of the whole answer.
    RequestFinished {
        /// The request.
        request: RequestId,
        /// When the schedule wanted it to start, from where its latency counts.
        intended: Timestamp,
        /// How it ended.
        outcome: RequestOutcome,
    },
    /// No request will be sent any more.
    LoadFinished {
        /// How many requests were sent.
        sent: u64,
    },

    /// A queue accepted a message.
    MessageSent {
        /// The queue's name.
        queue: String,
        /// The identifier that the queue gave it.
        message: MessageId,
        /// The request that it says it belongs to, where the manifest says that this can be seen.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<RequestId>,
        /// The trace context as the sender attached it.
        carrier: Carrier,
    },
    /// A queue refused a message.
    SendRefused {
        /// The queue's name.
        queue: String,
        /// The request that the message says it belongs to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<RequestId>,
        /// The SQS error code.
        code: String,
    },
    /// Somebody received a message. Not a delivery yet: that is [`EventKind::InvocationStarted`].
    MessageReceived {
        /// The message.
        message: MessageId,
        /// How often it had been received, this time included.
        receive_count: u32,
    },
    /// A message became visible again: its visibility time-out passed, or was set to zero.
    MessageReturned {
        /// The message.
        message: MessageId,
    },
    /// A message was deleted: it is done.
    MessageDeleted {
        /// The message.
        message: MessageId,
    },
    /// A message was moved to a dead-letter queue: it is done, in the other way.
    MessageDeadLettered {
        /// The message.
        message: MessageId,
        /// The dead-letter queue's name.
        queue: String,
    },

    /// A long-running process of the system was started.
    ServiceStarted {
        /// The service's name in the manifest.
        service: String,
        /// Its process id.
        pid: u32,
    },
    /// A service was asked to stop (SIGTERM).
    ServiceStopping {
        /// The service's name in the manifest.
        service: String,
    },
    /// A service's process ended.
    ServiceEnded {
        /// The service's name in the manifest.
        service: String,
        /// How it ended, and whether the harness had ordered that.
        end: ProcessEnd,
    },

    /// What the platform takes to get ready before it starts anything (image pull, micro-VM) was
    /// waited for. Modelled: it is no part of the Init phase, as on AWS.
    PlatformDelayed {
        /// The environment that was then started.
        environment: EnvironmentId,
        /// How long that took.
        #[serde(with = "nanoseconds")]
        delay: Duration,
    },
    /// The first process of an execution environment was started: the Init phase of a cold start begins.
    /// One that was reset is started again, within its next invocation.
    EnvironmentStarted {
        /// The environment.
        environment: EnvironmentId,
        /// The function's name in the manifest.
        function: String,
        /// Its process id: that of the runtime, or of the first extension that is a process of its own.
        pid: u32,
    },
    /// A runtime asked for its first invocation: the Init phase is over.
    EnvironmentInitialized {
        /// The environment.
        environment: EnvironmentId,
        /// From the start of the process to its first `/next`.
        #[serde(with = "nanoseconds")]
        init: Duration,
    },
    /// An environment was thawed, because there is something to do for it.
    EnvironmentThawed {
        /// The environment.
        environment: EnvironmentId,
    },
    /// All processes of an environment are confirmed to be stopped, and what they had sent to the
    /// endpoint by then has arrived there: an export that comes in after this one and before the next
    /// [`EventKind::EnvironmentThawed`] cannot be.
    EnvironmentFrozen {
        /// The environment.
        environment: EnvironmentId,
        /// What was going on between it and the endpoint when it asked for its next invocation.
        #[serde(default, skip_serializing_if = "OpenExchanges::is_empty")]
        open: OpenExchanges,
    },
    /// The processes of an environment ended, or were ended, and the environment is kept: its next
    /// invocation begins with an Init phase inside its own time-out.
    EnvironmentReset {
        /// The environment.
        environment: EnvironmentId,
        /// Why.
        reason: ResetReason,
        /// How its runtime ended, and whether the harness had ordered that.
        end: ProcessEnd,
    },
    /// A process of an environment left its process group, so that it cannot be frozen with it. It was
    /// killed.
    ProcessEscaped {
        /// The environment.
        environment: EnvironmentId,
        /// The process id.
        pid: u32,
        /// The process's name.
        name: String,
    },
    /// An extension registered itself with its environment.
    ExtensionRegistered {
        /// The environment.
        environment: EnvironmentId,
        /// Its name.
        extension: String,
        /// Whether it is a part of the runtime's process, and not one of its own.
        internal: bool,
        /// The events that it wants: `INVOKE`, `SHUTDOWN`.
        events: Vec<String>,
    },
    /// An environment was told to shut down: SIGTERM for its runtime, SHUTDOWN for its extensions. None
    /// without extensions is told anything.
    EnvironmentStopping {
        /// The environment.
        environment: EnvironmentId,
        /// `SPINDOWN`, `TIMEOUT` or `FAILURE`.
        reason: String,
    },
    /// A runtime or an extension made a call that its API refuses.
    CallRefused {
        /// The environment.
        environment: EnvironmentId,
        /// Method and path.
        call: String,
        /// The HTTP status of the answer.
        status: u16,
        /// Its `errorType`.
        error_type: String,
    },
    /// An invocation was refused because the function had no concurrency left. Its messages are tried
    /// again until their visibility time-out passes.
    InvocationThrottled {
        /// The function's name in the manifest.
        function: String,
        /// How many records its event had.
        records: u32,
    },
    /// An environment's process ended.
    EnvironmentEnded {
        /// The environment.
        environment: EnvironmentId,
        /// How it ended, and whether the harness had ordered that.
        end: ProcessEnd,
    },
    /// A runtime's `/next` was answered. Each of its records is a delivery.
    InvocationStarted {
        /// The invocation.
        invocation: InvocationId,
        /// Where it runs.
        environment: EnvironmentId,
        /// Whether it is the environment's first.
        cold: bool,
        /// The records, in the event's order.
        deliveries: Vec<Delivery>,
    },
    /// An invocation came to its end: the runtime answered *and* asked for the next one, or could not.
    InvocationFinished {
        /// The invocation.
        invocation: InvocationId,
        /// How it ended.
        outcome: InvocationOutcome,
    },

    /// An export reached the endpoint and was answered.
    ExportAnswered(Box<Export>),
    /// The endpoint refused something before it could be read as an export.
    ExportRefused {
        /// Who sent it.
        peer: Peer,
        /// What kind of refusal it was.
        refusal: RefusalKind,
        /// Why it was refused.
        why: String,
    },

    /// The harness did something to the system, on purpose.
    FaultInjected(Fault),
}

/// How a run was set up: all that is needed to judge it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunStarted {
    /// The version of the journal's form, [`JOURNAL_VERSION`].
    pub version: u32,
    /// The run's identifier, the name of its folder.
    pub run: String,
    /// The tag in the run's request ids.
    pub tag: u32,
    /// The seed of everything random in the run.
    pub seed: u64,
    /// The version of the harness.
    pub harness: String,
    /// The system's name in its manifest.
    pub system: String,
    /// The name of the service that requests are sent to.
    pub entry: String,
    /// The scenario's name.
    pub scenario: String,
    /// The faults that were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
    /// What a complete trace is.
    pub contract: TraceContract,
    /// Where a request's identity can be seen in spans.
    #[serde(default)]
    pub correlation: Correlation,
    /// How long things may take.
    pub patience: Patience,
    /// How many spans may be missing through kills that the scenario orders, and still be excused. If
    /// left out, any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excused_at_most: Option<u64>,
}

/// The names of the span attributes in which it can be seen what a span is for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Correlation {
    /// Those whose text holds the request id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub request: Vec<String>,
    /// Those whose text is a message's id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub message: Vec<String>,
    /// Those whose text is an invocation's id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub invocation: Vec<String>,
}

/// How long things may take before somebody draws a conclusion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patience {
    /// A span that arrives longer than this after its end is late.
    #[serde(with = "nanoseconds")]
    pub late_after: Duration,
    /// A span that has not come this long after its request's last ledger row is missing.
    #[serde(with = "nanoseconds")]
    pub missing_after: Duration,
    /// For how long a settled request is remembered, so that what comes late or twice is recognised.
    #[serde(with = "nanoseconds")]
    pub remembered_for: Duration,
    /// A request that starts longer than this after its intended instant is a late start.
    #[serde(with = "nanoseconds")]
    pub late_start_after: Duration,
    /// A function may take this long from the end of its last span to its request for the next invocation.
    #[serde(with = "nanoseconds", default = "flush_budget")]
    pub flush_budget: Duration,
}

/// Ample for an export over a new connection.
const fn flush_budget() -> Duration {
    Duration::from_secs(1)
}

impl Default for Patience {
    /// For an OpenTelemetry SDK with its defaults: a batch delay of 5 s and an export time-out of 10 s.
    fn default() -> Self {
        Self {
            late_after: Duration::from_secs(10),
            missing_after: Duration::from_secs(20),
            remembered_for: Duration::from_secs(60),
            late_start_after: Duration::from_millis(50),
            flush_budget: flush_budget(),
        }
    }
}

/// The parts of a run, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Everything is started, and one environment of each function is initialised ahead of its use.
    WarmUp,
    /// Requests are sent.
    Load,
    /// Nothing is sent; what is in flight comes to its end.
    Drain,
    /// The processes are stopped in the way in which production stops their kind.
    Stop,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WarmUp => "warm-up",
            Self::Load => "load",
            Self::Drain => "drain",
            Self::Stop => "stop",
        })
    }
}

/// What processes had used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ResourceUsage {
    /// User and system CPU time.
    #[serde(with = "nanoseconds")]
    pub cpu: Duration,
    /// Resident memory now, in bytes; of all living processes together.
    pub rss: u64,
}

/// How a request ended, as its sender saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestOutcome {
    /// It was answered.
    Answered {
        /// The HTTP status.
        status: u16,
        /// Whether this status promises a trace.
        accepted: bool,
        /// The trace id in the answer, where the manifest says that it can be seen.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trace_id: Option<TraceId>,
    },
    /// It was not answered: whether the system handled it is open.
    Unanswered {
        /// What the client said.
        error: String,
    },
}

/// The trace context that a message carries, exactly as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Carrier {
    /// The message attribute `traceparent` (W3C Trace Context § 3.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The message attribute `tracestate` (W3C Trace Context § 3.3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<String>,
    /// The message system attribute `AWSTraceHeader`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xray: Option<String>,
}

/// What is going on between an environment and the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OpenExchanges {
    /// Exports that were sent, or on their way, and whose answers had not come back.
    pub exports: u32,
    /// Connections that were being set up and had carried no export yet.
    pub connections: u32,
}

impl OpenExchanges {
    /// Whether nothing is going on.
    pub const fn is_empty(&self) -> bool {
        self.exports == 0 && self.connections == 0
    }
}

/// Why an environment was reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResetReason {
    /// Its Init phase took too long.
    InitTimedOut,
    /// Its runtime ended, or reported an error, before it asked for its first invocation.
    InitFailed,
    /// Its invocation took too long.
    TimedOut,
    /// Its runtime ended by itself.
    Exited,
    /// It used more memory than the function has.
    OutOfMemory,
    /// One of its extensions ended or reported an error.
    ExtensionFailed,
}

/// One record of an invocation's event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The message that was delivered.
    pub message: MessageId,
    /// How often it had been received, this time included (SQS `ApproximateReceiveCount`).
    pub receive_count: u32,
}

/// How an invocation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvocationOutcome {
    /// The runtime posted a response.
    Succeeded {
        /// The messages that the response reports as failed (`batchItemFailures`).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        failed: Vec<MessageId>,
    },
    /// The runtime posted an error.
    Failed {
        /// Its `errorType`.
        error_type: String,
        /// Its `errorMessage`.
        error_message: String,
    },
    /// The function's time-out passed first.
    TimedOut,
    /// The environment's process ended first.
    EnvironmentDied,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessEnd {
    /// Its exit code, if it exited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The signal that killed it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Whether the harness had ordered its end.
    pub ordered: bool,
    /// The last lines that it printed, if its end was not ordered or its time was over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<String>,
}

impl fmt::Display for ProcessEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "exit code {code}"),
            (None, Some(signal)) => write!(f, "signal {signal}"),
            (None, None) => f.write_str("an unknown end"),
        }
    }
}

/// Who sent an export. Known from the listener that it came in by, so no attribute need be trusted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Peer {
    /// A service of the system.
    Service(String),
    /// An execution environment of a function.
    Environment(EnvironmentId),
    /// Anybody: a listener that is open to all.
    Anyone,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(name) => write!(f, "service {name}"),
            Self::Environment(id) => write!(f, "environment {id}"),
            Self::Anyone => f.write_str("anyone"),
        }
    }
}

/// One OTLP export and the endpoint's answer. Its event's time is when it was received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// Its number at the endpoint, counted from 0.
    pub export: u64,
    /// Who sent it.
    pub peer: Peer,
    /// What the endpoint answered.
    pub answer: ExportAnswer,
    /// What it holds, as it came. What the answer rejects counts as lost; it is kept as evidence.
    pub payload: Payload,
}

/// Why something could not be read as an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// A connection failed before it carried any request.
    Connection,
    /// Something else than a trace export was asked for.
    NotTraces,
    /// The export is too large: its spans are lost.
    TooLarge,
    /// The export is no message of its type: its spans are lost.
    Unreadable,
    /// The export was cut off before it was whole; its sender knows.
    CutOff,
}

/// The endpoint's answer to an export.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExportAnswer {
    /// OK: all its spans are stored.
    Stored,
    /// OK with a partial success (OTLP, "Partial Success"): some of its spans are stored, and most clients take
    /// that for all of them.
    PartialSuccess {
        /// The places of the rejected spans, in the order in which they were sent, counted from 0, rising.
        rejected: Vec<u32>,
    },
    /// UNAUTHENTICATED: no key, or one that the endpoint does not know.
    Unauthenticated,
    /// Another error: nothing is stored. Whether the client may try again is for it to know.
    Refused {
        /// Which.
        code: GrpcCode,
    },
}

impl ExportAnswer {
    /// Whether the span at this place is stored.
    pub fn stores(&self, place: u32) -> bool {
        match self {
            Self::Stored => true,
            Self::PartialSuccess { rejected } => rejected.binary_search(&place).is_err(),
            Self::Unauthenticated | Self::Refused { .. } => false,
        }
    }
}

/// A status code of gRPC, as far as OTLP endpoints answer with it (gRPC, "Status codes").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum GrpcCode {
    /// 1
    Cancelled,
    /// 2
    Unknown,
    /// 3
    InvalidArgument,
    /// 4
    DeadlineExceeded,
    /// 7
    PermissionDenied,
    /// 8
    ResourceExhausted,
    /// 9
    FailedPrecondition,
    /// 10
    Aborted,
    /// 11
    OutOfRange,
    /// 12
    Unimplemented,
    /// 13
    Internal,
    /// 14
    Unavailable,
    /// 15
    DataLoss,
}

/// What the harness did to the system on purpose. So a planted defect is never blamed on its code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The queue dropped the trace context of a message.
    ContextStripped {
        /// The message.
        message: MessageId,
    },
    /// Every process was given an API key that the endpoint does not know.
    WrongKey,
    /// An environment was killed (SIGKILL) at a moment that the scenario chose. Recorded before the kill.
    EnvironmentKilled {
        /// The environment.
        environment: EnvironmentId,
        /// The invocation that it was in, if it was in any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        invocation: Option<InvocationId>,
    },
    /// The queue spoilt the body of a message, so that no handler can read it.
    BodyCorrupted {
        /// The message.
        message: MessageId,
    },
    /// The connections between a frozen environment and the endpoint were cut.
    ConnectionsCut {
        /// The environment.
        environment: EnvironmentId,
        /// How.
        cut: Cut,
    },
}

/// How a connection is cut while the process at its one end is frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cut {
    /// The endpoint's side closes it: FIN.
    Fin,
    /// It is reset: RST.
    Reset,
    /// Packets vanish and nobody is told, as when a NAT has forgotten the flow.
    BlackHole,
    /// The endpoint's side ends its own direction (FIN) and goes on reading.
    HalfClose,
}

impl Cut {
    /// All ways.
    pub const ALL: [Self; 4] = [Self::Fin, Self::Reset, Self::BlackHole, Self::HalfClose];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fin => "fin",
            Self::Reset => "reset",
            Self::BlackHole => "black-hole",
            Self::HalfClose => "half-close",
        }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
