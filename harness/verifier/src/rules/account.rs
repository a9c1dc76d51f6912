//! Judges an invocation or an environment: the spans that there are one of for each.

use crate::accounts::{Account, AccountId};
use crate::assemble::{Assembly, SeenSpan};
use crate::contract::Per;
use crate::finding::{Cause, FindingCode, FindingKey};
use crate::id::{RequestId, SpanId, TraceId};
use crate::ledger::DeliveryEnd;
use crate::processes::Processes;
use crate::roles::{Role, RoleId, Roles};
use crate::settled::Settled;
use crate::stalls::Stalls;
use crate::tally::PlaceState;
use crate::violation::{Place, Violation};

/// An account with all that is needed to judge it.
pub(crate) struct AccountCase<'a> {
    pub(crate) id: &'a AccountId,
    pub(crate) account: &'a Account,
    pub(crate) roles: &'a Roles,
    pub(crate) processes: &'a Processes,
    pub(crate) assembly: &'a Assembly,
    pub(crate) settled: &'a Settled,
    pub(crate) stalls: &'a Stalls,
    /// How many more spans the scenario excuses.
    pub(crate) excuses_left: u64,
}

/// What became of the place of each role.
pub(crate) struct AccountVerdict {
    pub(crate) places: Vec<(RoleId, PlaceState)>,
    pub(crate) found: Vec<Violation>,
    /// The spans that nothing asks for.
    pub(crate) surplus: u64,
}

impl AccountCase<'_> {
    const fn per(&self) -> Per {
        match self.id {
            AccountId::Invocation(_) => Per::Invocation,
            AccountId::Environment(_) => Per::Environment,
        }
    }

    /// The roles that it must have a span in; those that it has one in, if there need be none.
    fn asked_for(&self) -> impl Iterator<Item = RoleId> {
        let host = &self.account.host;
        let own = self.roles.per(self.per()).filter(|role| host.is_of(self.roles.get(*role).span.function.as_deref()));
        own.filter(|role| self.account.asks || self.account.spans_in(*role).next().is_some())
    }

    /// Whether every span is there.
    pub(crate) fn is_complete(&self) -> bool {
        self.asked_for().all(|role| self.account.spans_in(role).next().is_some())
    }

    /// Judges it.
    pub(crate) fn judge(&self) -> AccountVerdict {
        let mut verdict = AccountVerdict { places: Vec::new(), found: Vec::new(), surplus: 0 };
        let mut excuses_left = self.excuses_left;
        for role in self.asked_for() {
            let mut spans = self.account.spans_in(role);
            let state = match spans.next() {
                Some(span) => {
                    verdict.found.extend(self.span(role, span));
                    PlaceState::Matched
                }
                None if self.account.is_excusable() && excuses_left > 0 => {
                    excuses_left -= 1;
                    PlaceState::Excused
                }
                None => {
                    verdict.found.push(self.missing(role));
                    PlaceState::Missing
                }
            };
            verdict.places.push((role, state));
            for extra in spans {
                verdict.surplus += 1;
                verdict.found.push(self.surplus(role, extra));
            }
        }
        verdict
    }

    /// What is wrong with the span in a role.
    fn span(&self, id: RoleId, span: &SeenSpan) -> Vec<Violation> {
        let role = self.roles.get(id);
        let kind = (span.kind != role.span.kind).then(|| {
            let evidence = format!("its kind is {}, the contract names {}", span.kind, role.span.kind);
            violation(FindingCode::KindWrong, Cause::Instrumentation, role, evidence)
        });
        let thawed = self.account.host.thawed_before(&span.peer, span.cycle);
        let late = (thawed && self.per() == Per::Invocation).then(|| self.late_by_thaw(span));
        [kind, late, self.parent(role, span), self.links(role, span)].into_iter().flatten().collect()
    }

    fn late_by_thaw(&self, span: &SeenSpan) -> Violation {
        let FindingKey { code, cause, subject } = self.account.host.late_by_thaw();
        let roots = self.account.host.flush_not_awaited().into_iter().collect();
        let evidence = super::request::late_by_thaw_evidence(span, &self.account.host);
        self.doubted(Violation { code, cause, subject, roots, place: Place::Trace, evidence })
    }

    fn missing(&self, role: RoleId) -> Violation {
        let (cause, roots) = self.missing_cause();
        let role = self.roles.get(role);
        let evidence = format!("no span {:?} of {}: {}", role.span.name.as_str(), role.span.service, self.in_words());
        self.doubted(Violation { roots, ..violation(FindingCode::SpanMissing, cause, role, evidence) })
    }

    fn in_words(&self) -> String {
        let environment = &self.account.host.environment;
        match self.id {
            AccountId::Invocation(id) => {
                format!("invocation {id} of {} messages ran in {environment}", self.account.records.len())
            }
            AccountId::Environment(_) => format!("environment {environment} was initialised"),
        }
    }

    fn missing_cause(&self) -> (Cause, Vec<FindingKey>) {
        let host = &self.account.host;
        let death = self.processes.death_of_host(host).cloned();
        match (&death, self.account.end) {
            (Some(_), None | Some(DeliveryEnd::EnvironmentDied)) => {
                (Cause::EnvironmentDied, death.into_iter().collect())
            }
            (_, Some(DeliveryEnd::TimedOut)) => (Cause::InvocationTimedOut, Vec::new()),
            (_, Some(DeliveryEnd::EnvironmentDied)) if self.account.killed => (Cause::ExcusesUsedUp, Vec::new()),
            (_, Some(DeliveryEnd::EnvironmentDied)) => (Cause::EnvironmentDied, Vec::new()),
            _ => (host.obstacle().unwrap_or(Cause::NotFlushed), host.explanations().collect()),
        }
    }

    fn surplus(&self, role: RoleId, span: &SeenSpan) -> Violation {
        let evidence = format!("span {} {:?} of {} came from {}", span.span_id, span.name, span.service, span.peer);
        violation(FindingCode::SpanUnexpected, Cause::MoreThanFacts, self.roles.get(role), evidence)
    }

    /// The parent: a span that one of the messages carries, or another of the invocation's.
    fn parent(&self, role: &Role, span: &SeenSpan) -> Option<Violation> {
        let carried = self.account.records.iter().filter_map(|record| record.carried);
        let is_in_a_trace = || carried.clone().any(|(trace, _)| trace == span.trace_id);
        let (code, cause, evidence) = match (role.parent, span.parent) {
            (None, None) => return None,
            (None, Some(id)) => self.parent_of_root(span, id)?,
            (Some(_), None) if is_in_a_trace() || self.lacks_carriers() => {
                (FindingCode::ParentWrong, Cause::NoParent, "it has no parent".to_owned())
            }
            (Some(_), None) => {
                let evidence = format!("it is in trace {}, which no message of its invocation carries", span.trace_id);
                (FindingCode::TraceFragmented, Cause::ContextNotExtracted, evidence)
            }
            (Some(expected), Some(id)) => {
                let is_carried = carried.clone().any(|carried| carried == (span.trace_id, id));
                let of_account = self.account.spans_in(expected).any(|above| above.key() == (span.trace_id, id));
                if is_carried || of_account {
                    return None;
                }
                self.parent_of_nobody(span, id)
            }
        };
        Some(violation(code, cause, role, evidence))
    }

    fn parent_of_root(&self, span: &SeenSpan, id: SpanId) -> Option<(FindingCode, Cause, String)> {
        // What is its own parent is told by the rule for that.
        (id != span.span_id).then(|| match self.assembly.request_of(span.trace_id) {
            Some(_) => {
                (FindingCode::ParentWrong, Cause::ParentOfRoot, format!("its parent is {id}, the contract names none"))
            }
            None => self.parent_of_nobody(span, id),
        })
    }

    fn parent_of_nobody(&self, span: &SeenSpan, id: SpanId) -> (FindingCode, Cause, String) {
        let is_own = |request| self.account.records.iter().any(|record| record.request == Some(request));
        match self.assembly.request_of(span.trace_id) {
            Some(request) if !is_own(request) => {
                let evidence = format!("it is in trace {}, that of request {request}", span.trace_id);
                (FindingCode::ParentCrossRequest, Cause::OtherRequest, evidence)
            }
            Some(request) if self.has_span(request, (span.trace_id, id)) => {
                let evidence = format!("its parent is {id}, another span of request {request}");
                (FindingCode::ParentWrong, Cause::OtherParent, evidence)
            }
            _ => {
                let evidence = format!("its parent is {id}, which no process issued and no message carries");
                (FindingCode::PhantomParent, Cause::GatewayAsParent, evidence)
            }
        }
    }

    /// Whether a span is one of a request's, whether or not that has been judged.
    fn has_span(&self, request: RequestId, key: (TraceId, SpanId)) -> bool {
        let is_open = self.assembly.spans_of(request).iter().any(|known| known.span.stored && known.span.key() == key);
        let tombstone = || self.settled.requests.get(&request);
        is_open || tombstone().is_some_and(|tombstone| tombstone.content_of(key).is_some())
    }

    fn lacks_carriers(&self) -> bool {
        self.account.records.iter().all(|record| record.carried.is_none())
    }

    /// `link-missing` and `link-dangling`: one link for each message that carries a context.
    fn links(&self, role: &Role, span: &SeenSpan) -> Option<Violation> {
        role.link?;
        let carried: Vec<_> = self.account.records.iter().filter_map(|record| record.carried).collect();
        let nobodys = |link: &&(TraceId, SpanId)| !carried.contains(link) && self.assembly.request_of(link.0).is_none();
        if let Some((trace, id)) = span.links.iter().find(nobodys) {
            let evidence = format!("it links to span {id} of trace {trace}, which is nobody's");
            return Some(violation(FindingCode::LinkDangling, Cause::LinkToNobody, role, evidence));
        }
        let missing = carried.iter().filter(|carried| !span.links.contains(carried)).count();
        let evidence = || format!("{missing} of {} messages of its invocation have no link", carried.len());
        (missing > 0).then(|| violation(FindingCode::LinkMissing, Cause::NotLinked, role, evidence()))
    }

    fn doubted(&self, violation: Violation) -> Violation {
        let Account { began, ended, .. } = self.account;
        let stalled = self.stalls.are_doubtful(*began, ended.unwrap_or(*began));
        match violation.is_of_time() && stalled {
            true => Violation { cause: Cause::MachineStalled, roots: Vec::new(), ..violation },
            false => violation,
        }
    }
}

fn violation(code: FindingCode, cause: Cause, role: &Role, evidence: String) -> Violation {
    Violation { code, cause, subject: role.name.clone(), roots: Vec::new(), place: Place::Trace, evidence }
}
