//! What was recorded, in a compact form: 64 bytes a span, grouped by trace.

use std::collections::{BTreeSet, HashMap};

use crate::id::{SpanId, TraceId};
use crate::recorded::names::Names;
use crate::roles::{Part, RoleId};
use crate::rules::trace::{NameId, ProcessId, TraceLink, TraceSpan};

/// The spans of one trace.
#[derive(Debug, Clone, Default)]
pub(crate) struct RecordedTrace {
    pub(crate) spans: Vec<TraceSpan>,
    pub(crate) links: Vec<TraceLink>,
    /// Whether something is wrong with it by what a single span of it says.
    pub(crate) flawed: bool,
}

/// All traces.
#[derive(Debug, Clone, Default)]
pub(crate) struct Store {
    pub(crate) names: Names,
    pub(crate) traces: HashMap<TraceId, RecordedTrace>,
    /// The processes, by the fingerprints of what identifies them.
    processes: HashMap<u64, ProcessId>,
}

/// A span that others link to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Target {
    /// Its name, if it was recorded.
    pub(crate) name: Option<NameId>,
    /// The roles of the spans that link to it.
    pub(crate) linked_by: BTreeSet<RoleId>,
}

/// The spans that others link to.
pub(crate) type Targets = HashMap<(TraceId, SpanId), Target>;

impl Store {
    /// The process with this fingerprint.
    pub(crate) fn process(&mut self, fingerprint: u64) -> ProcessId {
        let next = ProcessId(u32::try_from(self.processes.len()).unwrap_or(u32::MAX));
        *self.processes.entry(fingerprint).or_insert(next)
    }

    /// What a span is to the contract.
    pub(crate) fn part(&self, span: &TraceSpan) -> Part {
        self.names.get(span.name).part
    }

    /// Brings the spans of every trace into an order that does not depend on how they came, and answers the
    /// traces in such an order.
    pub(crate) fn settle(&mut self) -> Vec<TraceId> {
        for trace in self.traces.values_mut() {
            trace.spans.sort_unstable_by_key(|span| (span.start, span.span_id, span.content, span.parent));
            trace.links.sort_unstable_by_key(|link| (link.from, link.trace_id, link.span_id));
        }
        let mut order: Vec<_> = self.traces.keys().copied().collect();
        order.sort_unstable();
        order
    }

    /// All that is linked to.
    pub(crate) fn targets(&self) -> Targets {
        let mut targets = Targets::new();
        for trace in self.traces.values().filter(|trace| !trace.links.is_empty()) {
            let roles = self.roles(trace);
            for link in &trace.links {
                let target = targets.entry((link.trace_id, link.span_id)).or_default();
                target.linked_by.extend(roles.get(&link.from));
            }
        }
        if !targets.is_empty() {
            self.find(&mut targets);
        }
        targets
    }

    /// The roles of a trace's spans.
    fn roles(&self, trace: &RecordedTrace) -> HashMap<SpanId, RoleId> {
        let role = |span: &TraceSpan| match self.part(span) {
            Part::Role(role) => Some((span.span_id, role)),
            _ => None,
        };
        trace.spans.iter().filter_map(role).collect()
    }

    /// Notes the names of those targets that were recorded.
    fn find(&self, targets: &mut Targets) {
        for (id, trace) in &self.traces {
            for span in &trace.spans {
                if let Some(target) = targets.get_mut(&(*id, span.span_id)) {
                    target.name = Some(span.name);
                }
            }
        }
    }
}
