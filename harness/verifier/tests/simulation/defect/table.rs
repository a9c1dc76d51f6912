//! All defects, each with what it must be told as.

use verifier::finding::Cause;
use verifier::{Event, FindingCode};

use super::super::dice::Dice;
use super::super::journal::Journal;
use super::{carrier, content, export, linkage, presence};

/// How a defect is planted; answers whether the journal offers a place for it.
type Plant = fn(&mut Vec<Event>, &Journal, &mut Dice) -> Option<()>;

/// Defines the defects once: name, what it is, the finding that it must be, and what plants it.
macro_rules! defects {
    ($($name:ident $what:literal $code:ident $cause:ident $plant:path)*) => {
        /// One way to spoil a healthy run.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub(crate) enum Defect {
            $(#[doc = $what] $name,)*
        }

        impl Defect {
            /// All of them.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name),*];

            /// What it must be told as.
            pub(crate) const fn finding(self) -> (FindingCode, Cause) {
                match self {
                    $(Self::$name => (FindingCode::$code, Cause::$cause),)*
                }
            }

            const fn planter(self) -> Plant {
                match self {
                    $(Self::$name => $plant,)*
                }
            }
        }
    };
}

defects! {
    LostInMidLife "A function's span is not flushed, and its process goes on." SpanMissing NotFlushed presence::lose_in_mid_life
    LostAtTheEnd "The spans of a process's last invocation are not flushed." TailLoss LeftInBatch presence::lose_at_the_end
    LostAtColdStart "The spans of a process's first invocation are not flushed." ColdStartLoss ColdStart presence::lose_at_cold_start
    LostByService "A service drops one span of a request." SpanMissing NotExported presence::lose_by_service
    LostInBurst "A service drops many spans in a row." BurstLoss QueueOverflow presence::lose_in_burst
    LostAtStop "A service drops its last spans." TailLoss LeftInBatch presence::lose_at_stop
    LostTrace "Nothing of a request comes." TraceMissing NothingExported presence::lose_trace
    HeldUntilThaw "A function's spans leave it only after its next thaw." LateByThaw SentAfterThaw presence::hold_until_thaw
    Late "A service's export comes late." SpanLate Delayed presence::come_late
    Repeated "An export comes twice." SpanDuplicated ExporterRetry presence::repeat
    TwiceInRole "There are two spans where one should be." SpanUnexpected MoreThanFacts presence::double
    WithoutRole "There is a span that the contract does not name." SpanUnexpected NoSuchRole presence::add_nameless
    OfNoRequest "A service makes a span for nobody." SpanUnexpected NoSuchRequest presence::add_for_nobody
    Foreign "Somebody else's span comes, which the contract forbids." SpanForeign ForbiddenForeigner presence::add_foreign
    SampledOut "A trace is not sampled, and its carriers say so." Unsampled SampledOut presence::sample_out

    OpenAtFreeze "An export is open when its environment is frozen." ExportOpenAtFreeze FlushNotAwaited export::leave_open
    SlowFlush "A function takes long to ask for its next invocation." FlushSlow SlowFlush export::slow_down
    Unauthenticated "An export is sent without a valid key." ExportUnauthenticated KeyRefused export::refuse_key
    FinallyRefused "An export is refused and not sent again." ExportRejected RetriesUsedUp export::refuse
    PartlyRejected "A part of an export is rejected." ExportRejected PartialSuccess export::reject_a_part
    TooLarge "An export is too large." ExportRejected ExportTooLarge export::grow_too_large
    Died "A service ends by itself." ProcessDied ProcessEnded export::die
    IgnoredStop "A service outlives its stop time-out." StopIgnored KilledAfterStop export::ignore_stop

    BelowGrandparent "A span hangs below its grandparent." ParentWrong OtherParent linkage::hang_higher
    WithoutParent "A span in its trace has no parent." ParentWrong NoParent linkage::cut_off
    BelowItself "A span is its own parent." SelfParent OwnSpan linkage::hang_below_itself
    InCircle "A span hangs below its own child." ParentCycle Cycle linkage::close_circle
    BelowNobody "A span hangs below one that nobody made." PhantomParent GatewayAsParent linkage::hang_below_nobody
    BelowAnotherRequest "A span hangs below another request's." ParentCrossRequest OtherRequest linkage::hang_below_another_request
    NotExtracted "A consumer begins a trace of its own." TraceFragmented ContextNotExtracted linkage::do_not_extract
    XrayTaken "A consumer takes the X-Ray header for its context." TraceFragmented XrayAsParent linkage::take_xray
    NotAttached "A producer begins a trace of its own." TraceFragmented ContextNotAttached linkage::do_not_attach
    TraceShared "Two requests share one trace." TraceIdCollision TraceReused linkage::share_trace
    NotLinked "A span lacks its links." LinkMissing NotLinked linkage::drop_links
    LinkedToNobody "A span links to one that nobody made." LinkDangling LinkToNobody linkage::link_to_nobody
    SaidLocal "A remote parent is said to be local." RemoteFlagMissing ParentSaidLocal linkage::say_local
    StartedEarly "A child starts before its parent." ClockDisordered ClockSkew linkage::start_early

    NotInjected "A message carries nothing." CarrierMissing ContextNotInjected carrier::do_not_inject
    Malformed "What a message carries is no traceparent." CarrierMalformed CarrierInvalid carrier::malform
    InjectedOutside "A message carries its producer's parent." CarrierMismatch InjectedOutsideProducer carrier::inject_outside
    Conflicting "The two headers of a message differ." CarriersConflict CarriersDiffer carrier::conflict

    IdsReused "Two spans have the same ids." SpanConflict IdsReused content::reuse_ids
    IdZero "A span id is all zero." IdInvalid IdMalformed content::zero_id
    OtherKind "A span is of another kind." KindWrong Instrumentation content::change_kind
    OtherName "A span has another name." NameWrong OtherName content::rename
    OtherStatus "A status does not tell what happened." StatusWrong OutcomeDiffers content::change_status
    AttributeUnset "An attribute is not there." AttributeMissing NotSet content::unset_attribute
    AttributeOther "An attribute has another value." AttributeWrong OtherValue content::change_attribute
    ResourceUnset "A resource lacks an attribute." ResourceMissing ResourceUnset content::unset_resource
    Dropped "Attributes were dropped." AttributesDropped SdkLimits content::drop_attributes
    Secret "An attribute holds a key." SecretExposed KeyInAttribute content::expose_secret
    EndedEarly "A span ends before it starts." DurationNegative EndBeforeStart content::end_before_start
    NeverSet "A time was never set." TimeEpoch TimeUnset content::unset_time
    InFuture "A span ends in the future." TimeFuture ClockAhead content::end_in_future
    TooLong "A span lasts longer than it may." DurationExceeded TooLong content::last_too_long
    AcrossFreeze "A span is ended after the next thaw." SpanAcrossFreeze EndedAfterThaw content::last_across_freeze
}

impl Defect {
    /// Spoils a healthy journal. Answers whether it offers a place for that.
    pub(crate) fn plant(self, events: &mut Vec<Event>, dice: &mut Dice) -> bool {
        let journal = Journal::read(events);
        self.planter()(events, &journal, dice).is_some()
    }
}
