//! Exports as they come: whose spans they hold.

use std::sync::Arc;

use crate::accounts::AccountId;
use crate::assemble::{ClaimedBy, MatchedBy, SeenSpan};
use crate::contract::{ForeignSpans, Per};
use crate::event::{Export, ExportAnswer, Peer};
use crate::finding::{Cause, Example, Filing, FindingCode, FindingKey, Severity};
use crate::id::{RequestId, TraceId};
use crate::ledger::MessageRecord;
use crate::otlp::{ResourceRef, SpanRef};
use crate::roles::{Part, RoleId};
use crate::rules::request::late_by_thaw_evidence;
use crate::rules::span::{Named, Said};
use crate::settled::{SpanPlace, late_flaw};
use crate::tally::{PlaceState, TraceState};
use crate::time::Timestamp;
use crate::verifier::Verifier;

/// How many findings about resources are told apart, so that each is told once: far more than processes have.
const TOLD: usize = 1_024;

/// Who made the spans of a resource.
struct Sender<'a> {
    resource: ResourceRef<'a>,
    service: Arc<str>,
    peer: Arc<Peer>,
    received: Timestamp,
    /// Why the endpoint did not store the span that is taken in.
    refusal: Option<Cause>,
    /// Whether something that fails a run is wrong with the resource.
    flawed: bool,
    /// The roles that the resource was looked at for, and whether it lacks what they ask for.
    roles: Vec<(RoleId, bool)>,
}

impl Verifier {
    /// Takes an export's spans in.
    pub(crate) fn take_export(&mut self, export: &Export, received: Timestamp) {
        self.processes.answered(&export.peer, &export.answer);
        self.tell_rejection(export);
        let peer = Arc::new(export.peer.clone());
        let mut place = 0;
        for resource in export.payload.resources() {
            let mut sender = self.sender(&resource, &peer, received);
            for span in resource.spans() {
                sender.refusal =
                    if export.answer.stores(place) { None } else { self.processes.refusal_cause(&export.answer) };
                self.take_span(&span, &mut sender);
                place += 1;
            }
        }
    }

    /// Who made the spans of a resource, and what is wrong with what it says.
    fn sender<'a>(&mut self, resource: &ResourceRef<'a>, peer: &Arc<Peer>, received: Timestamp) -> Sender<'a> {
        let service = self.names.intern(&resource.service_name().unwrap_or_default());
        if !service.is_empty() {
            self.processes.learn(&service, peer);
        }
        let mut sender = Sender {
            resource: *resource,
            service,
            peer: Arc::clone(peer),
            received,
            refusal: None,
            flawed: false,
            roles: Vec::new(),
        };
        // What anybody sends to an open listener is no business of the run's.
        if **peer != Peer::Anyone {
            sender.flawed = self.judge_resource(&sender, None);
        }
        sender
    }

    /// Tells what is wrong with a resource, once for each process; answers whether that fails a run.
    fn judge_resource(&mut self, sender: &Sender<'_>, role: Option<RoleId>) -> bool {
        let said = self.setup.rules.resource(&sender.resource, role);
        let is_failure = |said: &Said| self.findings.severity_of(said.code) == Severity::Failure;
        let flawed = said.iter().any(is_failure);
        for Said { code, cause, evidence } in said {
            let key = FindingKey { code, cause, subject: self.processes.name_of(&sender.peer) };
            if self.told.len() < TOLD && self.told.insert((key.clone(), evidence.clone())) {
                self.findings.add(key, || Example { evidence: vec![evidence], ..Example::default() });
            }
        }
        flawed
    }

    /// Whether the resource of a span in a role is not what the contract asks for.
    fn is_resource_flawed(&mut self, sender: &mut Sender<'_>, role: Option<RoleId>) -> bool {
        let Some(role) = role else { return sender.flawed };
        if let Some((_, flawed)) = sender.roles.iter().find(|(known, _)| *known == role) {
            return sender.flawed || *flawed;
        }
        let flawed = self.judge_resource(sender, Some(role));
        sender.roles.push((role, flawed));
        sender.flawed || flawed
    }

    /// `export-unauthenticated`, and `export-rejected` where spans are lost at once: who gets a partial success
    /// may not send them again (OTLP, "Partial Success").
    fn tell_rejection(&mut self, export: &Export) {
        let Some(cause) = self.processes.refusal_cause(&export.answer) else { return };
        let key = self.processes.refusal(&export.peer, cause);
        let evidence = match &export.answer {
            ExportAnswer::Stored | ExportAnswer::Refused { .. } => return,
            ExportAnswer::PartialSuccess { rejected } if rejected.is_empty() => return,
            ExportAnswer::PartialSuccess { rejected } => {
                format!("of export {} of {}, {} spans were rejected", export.export, export.peer, rejected.len())
            }
            ExportAnswer::Unauthenticated => {
                format!("export {} of {} was answered UNAUTHENTICATED", export.export, export.peer)
            }
        };
        self.findings.add(key, || Example { evidence: vec![evidence], ..Example::default() });
    }

    fn take_span(&mut self, span: &SpanRef<'_>, sender: &mut Sender<'_>) {
        let part = self.setup.roles.part(&sender.service, span.name);
        let role = if let Part::Role(role) = part { Some(role) } else { None };
        let (named, mut said) = self.setup.rules.span(span, role, Some(sender.received));
        said.extend(self.span_across_freeze(span, sender));
        // What anybody sends to an open listener is no business of the run's.
        if part == Part::Foreign && *sender.peer == Peer::Anyone {
            said.clear();
        }
        // First, because it tells what is wrong with the resource, whatever is wrong with the span.
        let is_resource_flawed = self.is_resource_flawed(sender, role);
        let is_failure = |said: &Said| self.findings.severity_of(said.code) == Severity::Failure;
        let flawed = is_resource_flawed || said.iter().any(is_failure);
        let seen = SeenSpan {
            trace_id: span.trace_id(),
            span_id: span.span_id(),
            parent: span.parent(),
            part,
            service: Arc::clone(&sender.service),
            name: self.names.intern(span.name),
            kind: span.kind,
            flags: span.flags,
            failed: span.status.is_error(),
            links: span.links().map(|link| link.target()).collect(),
            peer: Arc::clone(&sender.peer),
            cycle: self.processes.cycle_of(&sender.peer),
            start: span.start,
            end: span.end,
            received: sender.received,
            stored: sender.refusal.is_none(),
            refusal: sender.refusal,
            flawed,
            content: xxhash_rust::xxh3::xxh3_64(span.raw),
            names: named.request,
        };
        self.take_seen(seen, &named, said);
    }

    /// `span-across-freeze`.
    fn span_across_freeze(&self, span: &SpanRef<'_>, sender: &Sender<'_>) -> Option<Said> {
        let frozen = self.processes.was_frozen_between(&sender.peer, span.start, span.end);
        let evidence =
            || format!("it lasted {:.1?}, and its environment was frozen in between", span.end.since(span.start));
        frozen.then(|| Said { code: FindingCode::SpanAcrossFreeze, cause: Cause::EndedAfterThaw, evidence: evidence() })
    }

    fn take_seen(&mut self, span: SeenSpan, named: &Named, said: Vec<Said>) {
        self.tally.spans.exported += 1;
        match span.stored {
            true => self.tally.spans.received += 1,
            false => self.tally.spans.rejected += 1,
        }
        if let Some(account) = self.account_of(&span, named) {
            self.take_into_account(&account, span, said);
            return;
        }
        match self.owner_of(&span, named) {
            Some((request, matched_by)) => self.assign(request, span, matched_by, said),
            None if span.stored => self.keep(span, said),
            None => {}
        }
    }

    /// Keeps a span whose request is not known yet.
    fn keep(&mut self, span: SeenSpan, said: Vec<Said>) {
        match self.assembly.kept_twin(&span).map(|twin| twin.content) {
            Some(content) => self.came_again(None, &span, content),
            None => {
                self.tell(None, &span, said);
                self.assembly.keep(span);
            }
        }
    }

    /// Files what is wrong with what a span says of itself.
    fn tell(&mut self, request: Option<RequestId>, span: &SeenSpan, said: Vec<Said>) {
        for Said { code, cause, evidence } in said {
            let evidence = format!("span {} {:?} of {}: {evidence}", span.span_id, span.name, span.service);
            self.add(self.about(code, cause, span), request, span, evidence);
        }
    }

    /// The invocation or environment that a span is for, if the contract has its role per such.
    fn account_of(&self, span: &SeenSpan, named: &Named) -> Option<AccountId> {
        let per = self.setup.roles.per_of(span.role()?);
        if !matches!(per, Per::Invocation | Per::Environment) {
            return None;
        }
        self.accounts.account_of(per, span, named.invocation.as_ref())
    }

    fn take_into_account(&mut self, id: &AccountId, span: SeenSpan, said: Vec<Said>) {
        let Some(account) = self.accounts.get_mut(id) else { return };
        if let Some(twin) = account.spans.iter().find(|known| known.stored && known.key() == span.key()) {
            let content = twin.content;
            if span.stored {
                self.came_again(None, &span, content);
            }
            return;
        }
        let is_late = account.judged.is_some();
        if span.stored {
            self.tell(None, &span, said);
        }
        if is_late && span.stored {
            self.came_after_the_account(id, span);
            return;
        }
        let Some(account) = self.accounts.get_mut(id) else { return };
        account.spans.push(span);
        self.judge_account_if_complete(id);
    }

    /// A span of an invocation or environment that was judged without it.
    fn came_after_the_account(&mut self, id: &AccountId, span: SeenSpan) {
        let Some(account) = self.accounts.get_mut(id) else { return };
        let missing = account.judged.get_or_insert_default();
        let Some(place) = missing.iter().position(|(role, _)| Some(*role) == span.role()) else {
            self.unexpected(None, Cause::MoreThanFacts, &span);
            return;
        };
        let (role, filing) = missing.remove(place);
        let (excused, host) = (filing.is_none(), account.host.clone());
        account.spans.push(span.clone());
        let per = self.setup.roles.per_of(role);
        let state = if excused { PlaceState::Excused } else { PlaceState::Missing };
        self.tally.fill_place(state, Some(per));
        if let Some(filing) = filing {
            self.findings.retract(&filing, None);
            let late = match host.thawed_before(&span.peer, span.cycle) && per == Per::Invocation {
                true => (host.late_by_thaw().into(), late_by_thaw_evidence(&span, &host)),
                false => {
                    let evidence = format!("span {} came after it was missed", span.span_id);
                    (self.about(FindingCode::SpanLate, Cause::Delayed, &span), evidence)
                }
            };
            self.add(late.0, None, &span, late.1);
        }
    }

    /// The request that a span belongs to, and the key that says so.
    fn owner_of(&self, span: &SeenSpan, named: &Named) -> Option<(RequestId, MatchedBy)> {
        let by_message = || self.ledger.owner_of(named.message.as_ref()?);
        let by_invocation = || self.ledger.request_of_invocation(named.invocation.as_ref()?);
        let by_link = || span.links.iter().find_map(|(trace, _)| self.assembly.request_of(*trace));
        let by_environment = || {
            let environment = span.environment()?;
            let of_trace = self.accounts.request_of_trace(environment, span.trace_id);
            of_trace.or_else(|| self.ledger.request_in(environment))
        };
        let keys: [(MatchedBy, &dyn Fn() -> Option<RequestId>); 6] = [
            (MatchedBy::RequestId, &|| span.names),
            (MatchedBy::MessageId, &by_message),
            (MatchedBy::InvocationId, &by_invocation),
            (MatchedBy::TraceId, &|| self.assembly.request_of(span.trace_id)),
            (MatchedBy::Link, &by_link),
            (MatchedBy::Environment, &by_environment),
        ];
        keys.into_iter().find_map(|(key, request)| Some((request()?, key)))
    }

    fn assign(&mut self, request: RequestId, span: SeenSpan, matched_by: MatchedBy, said: Vec<Said>) {
        if self.ledger.request(request).is_none() {
            self.assign_settled(request, span, said);
            return;
        }
        let again =
            self.assembly.spans_of(request).iter().map(|known| &known.span).filter(|known| known.key() == span.key());
        let known = again.map(|known| (known.stored, known.content)).max();
        match known {
            Some((true, content)) if span.stored => self.came_again(Some(request), &span, content),
            // Refused again, or refused after it was stored: it is known already.
            Some(_) if !span.stored => {}
            _ => {
                let trace = span.trace_id;
                if span.stored {
                    self.tell(Some(request), &span, said);
                }
                self.assembly.assign(request, span, matched_by);
                self.bind(trace, request, ClaimedBy::Span);
                self.settle_if_complete(request);
            }
        }
    }

    /// Learns the traces of a request whose record changed, and settles it if nothing is missing.
    pub(crate) fn bind_and_settle(&mut self, request: RequestId) {
        let Some(record) = self.ledger.request(request) else { return };
        let carried = record.messages.iter().filter_map(MessageRecord::traceparent).map(|parent| parent.trace_id);
        let traces: Vec<_> = carried.chain(record.answered_trace()).collect();
        traces.into_iter().for_each(|trace| self.bind(trace, request, ClaimedBy::Ledger));
        self.settle_if_complete(request);
    }

    /// Learns that a trace belongs to a request, and gives it what has waited for that.
    fn bind(&mut self, trace: TraceId, request: RequestId, by: ClaimedBy) {
        for span in self.assembly.bind(trace, request, by) {
            let key = if span.trace_id == trace { MatchedBy::TraceId } else { MatchedBy::Link };
            self.assign(request, span, key, Vec::new());
        }
        if self.assembly.request_of(trace) == Some(request) {
            self.ledger.adopt(request, trace);
        }
    }

    /// A span of a request that was settled before, or never sent.
    fn assign_settled(&mut self, request: RequestId, span: SeenSpan, said: Vec<Said>) {
        if !span.stored {
            return;
        }
        let Some(tombstone) = self.settled.requests.get_mut(&request) else {
            self.stray(span);
            return;
        };
        if let Some(content) = tombstone.content_of(span.key()) {
            self.came_again(Some(request), &span, content);
            return;
        }
        tombstone.spans.push((span.trace_id, span.span_id, span.content));
        self.tell(Some(request), &span, said);
        let Some(tombstone) = self.settled.requests.get_mut(&request) else { return };
        let before = tombstone.state();
        match tombstone.take_place(&span) {
            Some(place) => self.came_after_all(request, before, &place, &span),
            None if matches!(span.part, Part::Extra(_)) => self.tally.spans.extra += 1,
            None => {
                let cause = if span.role().is_some() { Cause::MoreThanFacts } else { Cause::NoSuchRole };
                self.unexpected(Some(request), cause, &span);
            }
        }
    }

    /// A span took its place when its request had been judged. If the place was not an open one, it is
    /// held against the contract all the same.
    fn came_after_all(&mut self, request: RequestId, before: TraceState, place: &SpanPlace, span: &SeenSpan) {
        self.tally.fill_place(place.state, place.row);
        if matches!(place.state, PlaceState::Open | PlaceState::Unsampled) {
            return;
        }
        let lateness = self.lateness(place, span);
        let is_flaw = |code| self.findings.severity_of(code) == Severity::Failure;
        let Some(tombstone) = self.settled.requests.get_mut(&request) else { return };
        let flaw = late_flaw(self.setup.roles.get(place.role), tombstone, span);
        let flawed = flaw.is_some() || lateness.as_ref().is_some_and(|(filing, _)| is_flaw(filing.key.code));
        tombstone.otherwise_complete &= !flawed && !span.flawed;
        let all_came = !tombstone.has(PlaceState::Missing);
        let refuted = if all_came { std::mem::take(&mut tombstone.incomplete) } else { Vec::new() };
        for filing in refuted.iter().chain(&place.missing) {
            self.findings.retract(filing, Some(request));
        }
        self.tally.traces.recount(before, tombstone.state());
        self.note_late_loss(request, place);
        if let Some((filing, evidence)) = lateness {
            self.add(filing, Some(request), span, evidence);
        }
        if let Some((code, cause)) = flaw {
            let evidence = format!("span {} came after its request was judged", span.span_id);
            self.add(self.about(code, cause, span), Some(request), span, evidence);
        }
    }

    /// `late-by-thaw` or `span-late`, of a span that came after its request was judged. It is late if it
    /// had been judged missing; one that was excused only beyond the limit.
    fn lateness(&self, place: &SpanPlace, span: &SeenSpan) -> Option<(Filing, String)> {
        let after = span.received.since(span.end);
        match place.host.as_ref().filter(|host| host.thawed_before(&span.peer, span.cycle)) {
            Some(host) => {
                let roots = host.flush_not_awaited().into_iter().collect();
                Some((Filing { key: host.late_by_thaw(), roots }, late_by_thaw_evidence(span, host)))
            }
            None if place.state == PlaceState::Excused && after <= self.setup.patience.late_after => None,
            None => {
                let evidence = format!("span {} came {after:.1?} after its end", span.span_id);
                Some((self.about(FindingCode::SpanLate, Cause::Delayed, span), evidence))
            }
        }
    }

    /// `span-duplicated`, or `span-conflict` if the other span with these ids says something else.
    fn came_again(&mut self, request: Option<RequestId>, span: &SeenSpan, content: u64) {
        self.tally.spans.duplicated += 1;
        let (code, cause) = match content == span.content {
            true => (FindingCode::SpanDuplicated, Cause::ExporterRetry),
            false => (FindingCode::SpanConflict, Cause::IdsReused),
        };
        let evidence = format!("span {} {:?} came again from {}", span.span_id, span.name, span.peer);
        let mut filing = self.about(code, cause, span);
        if code == FindingCode::SpanDuplicated && span.environment().is_some() {
            // An answer that nobody waited for is read after the next thaw, too late for the exporter.
            filing.roots.push(FindingKey::flush_not_awaited(self.processes.name_of(&span.peer)));
        }
        self.add(filing, request, span, evidence);
    }

    fn unexpected(&mut self, request: Option<RequestId>, cause: Cause, span: &SeenSpan) {
        self.tally.spans.unexpected += 1;
        let evidence = format!("span {} {:?} of {} came from {}", span.span_id, span.name, span.service, span.peer);
        self.add(self.about(FindingCode::SpanUnexpected, cause, span), request, span, evidence);
    }

    /// A case about a span's role.
    fn about(&self, code: FindingCode, cause: Cause, span: &SeenSpan) -> Filing {
        let subject = self.setup.roles.subject(span.role(), &span.service, &span.name);
        FindingKey { code, cause, subject }.into()
    }

    /// A finding about one span that came outside its request's settling.
    fn add(&mut self, filing: Filing, request: Option<RequestId>, span: &SeenSpan, evidence: String) {
        let trace = Some(span.trace_id);
        if let Some(watch) = &mut self.findings.watch {
            watch.mark(request, filing.key.code, span);
        }
        self.findings.add(filing, || Example { request, trace, evidence: vec![evidence], ..Example::default() });
    }

    /// A span whose request is neither open nor remembered.
    pub(crate) fn stray(&mut self, span: SeenSpan) {
        let was_sent = |request: RequestId| Some(request.number()) <= self.newest;
        let old = span.received.since(span.end) > self.setup.patience.remembered_for;
        let is_shared = || span.environment().is_some_and(|environment| self.ledger.is_shared(environment));
        if old || span.names.is_some_and(was_sent) {
            self.tally.spans.forgotten += 1;
        } else if let Part::Extra(extra) = span.part {
            self.stray_extra(extra, &span);
        } else if *span.peer == Peer::Anyone || self.load_began.is_none_or(|began| span.end < began) {
            // Before the first request, a service may well tell of its own start, and of health checks.
            self.foreign(&span);
        } else if is_shared() {
            self.tally.spans.unexpected += 1;
            let evidence = format!("span {} {:?} came from {}", span.span_id, span.name, span.peer);
            self.add(self.about(FindingCode::MatchAmbiguous, Cause::SharedInvocation, &span), None, &span, evidence);
        } else {
            self.unexpected(None, Cause::NoSuchRequest, &span);
        }
    }

    fn foreign(&mut self, span: &SeenSpan) {
        self.tally.spans.foreign += 1;
        if self.setup.foreign == ForeignSpans::Forbid {
            let evidence = format!("span {} {:?} of {} came from {}", span.span_id, span.name, span.service, span.peer);
            let subject = format!("{} {:?}", span.service, span.name);
            let key = FindingKey { code: FindingCode::SpanForeign, cause: Cause::ForbiddenForeigner, subject };
            self.add(key.into(), None, span, evidence);
        }
    }

    /// A span that the contract allows and that belongs to no request: so many for each environment.
    fn stray_extra(&mut self, extra: u16, span: &SeenSpan) {
        let allowed = self.setup.roles.extra(extra).at_most;
        let seen = self.extras.entry((extra, Arc::clone(&span.peer), span.cycle.process)).or_default();
        *seen = seen.saturating_add(1);
        match *seen <= allowed {
            true => self.tally.spans.extra += 1,
            false => self.unexpected(None, Cause::MoreThanFacts, span),
        }
    }
}
