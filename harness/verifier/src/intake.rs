//! Exports as they come: whose spans they hold.

use std::sync::Arc;

use crate::accounts::AccountId;
use crate::assemble::{ClaimedBy, MatchedBy, SeenSpan};
use crate::contract::{ForeignSpans, Per};
use crate::event::{Correlation, Export, ExportAnswer, Peer};
use crate::finding::{Cause, Example, Filing, FindingCode, FindingKey, Severity};
use crate::id::{InvocationId, MessageId, RequestId, TraceId};
use crate::ledger::MessageRecord;
use crate::otlp::SpanRef;
use crate::roles::Part;
use crate::rules::request::late_by_thaw_evidence;
use crate::settled::{SpanPlace, late_flaw};
use crate::tally::{PlaceState, TraceState};
use crate::time::Timestamp;
use crate::verifier::Verifier;

/// What a span says in its attributes of what it is for.
#[derive(Debug, Clone, Default)]
struct Named {
    request: Option<RequestId>,
    message: Option<MessageId>,
    invocation: Option<InvocationId>,
}

impl Named {
    fn by(span: &SpanRef<'_>, correlation: &Correlation, run: u32) -> Self {
        let mut named = Self::default();
        for attribute in span.attributes() {
            let is = |keys: &[String]| keys.iter().any(|key| key == attribute.key);
            if named.request.is_none() && is(&correlation.request) {
                named.request = RequestId::find_in(&attribute.value.text()).filter(|request| request.run() == run);
            } else if is(&correlation.message) {
                named.message = Some(MessageId::new(attribute.value.text()));
            } else if is(&correlation.invocation) {
                named.invocation = Some(InvocationId::new(attribute.value.text()));
            }
        }
        named
    }
}

impl Verifier {
    /// Takes an export's spans in.
    pub(crate) fn take_export(&mut self, export: &Export, received: Timestamp) {
        self.processes.answered(&export.peer, &export.answer);
        self.tell_rejection(export);
        let peer = Arc::new(export.peer.clone());
        let mut place = 0;
        for resource in export.payload.resources() {
            let service: Arc<str> = self.names.intern(&resource.service_name().unwrap_or_default());
            if !service.is_empty() {
                self.processes.learn(&service, &export.peer);
            }
            for span in resource.spans() {
                let refusal =
                    if export.answer.stores(place) { None } else { self.processes.refusal_cause(&export.answer) };
                let named = Named::by(&span, &self.setup.correlation, self.setup.tag);
                let seen = self.seen(&span, &service, &peer, (received, refusal, &named));
                self.take_span(seen, &named);
                place += 1;
            }
        }
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

    fn seen(
        &mut self,
        span: &SpanRef<'_>,
        service: &Arc<str>,
        peer: &Arc<Peer>,
        (received, refusal, named): (Timestamp, Option<Cause>, &Named),
    ) -> SeenSpan {
        SeenSpan {
            trace_id: span.trace_id(),
            span_id: span.span_id(),
            parent: span.parent(),
            part: self.setup.roles.part(service, span.name),
            service: Arc::clone(service),
            name: self.names.intern(span.name),
            kind: span.kind,
            flags: span.flags,
            failed: span.status.is_error(),
            links: span.links().map(|link| link.target()).collect(),
            peer: Arc::clone(peer),
            cycle: self.processes.cycle_of(peer),
            start: span.start,
            end: span.end,
            received,
            stored: refusal.is_none(),
            refusal,
            flawed: false,
            content: xxhash_rust::xxh3::xxh3_64(span.raw),
            names: named.request,
        }
    }

    fn take_span(&mut self, span: SeenSpan, named: &Named) {
        self.tally.spans.exported += 1;
        match span.stored {
            true => self.tally.spans.received += 1,
            false => self.tally.spans.rejected += 1,
        }
        if let Some(account) = self.account_of(&span, named) {
            self.take_into_account(&account, span);
            return;
        }
        match self.owner_of(&span, named) {
            Some((request, matched_by)) => self.assign(request, span, matched_by),
            None if span.stored => self.keep(span),
            None => {}
        }
    }

    /// Keeps a span whose request is not known yet.
    fn keep(&mut self, span: SeenSpan) {
        match self.assembly.kept_twin(&span).map(|twin| twin.content) {
            Some(content) => self.came_again(None, &span, content),
            None => self.assembly.keep(span),
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

    fn take_into_account(&mut self, id: &AccountId, span: SeenSpan) {
        let Some(account) = self.accounts.get_mut(id) else { return };
        if let Some(twin) = account.spans.iter().find(|known| known.stored && known.key() == span.key()) {
            let content = twin.content;
            if span.stored {
                self.came_again(None, &span, content);
            }
            return;
        }
        if account.judged.is_some() && span.stored {
            self.came_after_the_account(id, span);
            return;
        }
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

    fn assign(&mut self, request: RequestId, span: SeenSpan, matched_by: MatchedBy) {
        if self.ledger.request(request).is_none() {
            self.assign_settled(request, span);
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
            self.assign(request, span, key);
        }
        if self.assembly.request_of(trace) == Some(request) {
            self.ledger.adopt(request, trace);
        }
    }

    /// A span of a request that was settled before, or never sent.
    fn assign_settled(&mut self, request: RequestId, span: SeenSpan) {
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
        let seen = self.extras.entry((extra, Arc::clone(&span.peer))).or_default();
        *seen = seen.saturating_add(1);
        match *seen <= allowed {
            true => self.tally.spans.extra += 1,
            false => self.unexpected(None, Cause::MoreThanFacts, span),
        }
    }
}
