//! An exporter that stays in the process.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use opentelemetry_sdk::trace::SpanData;

use crate::config::{Config, Profile};
use crate::export::{ExportError, Exporter};
use crate::service::Service;
use crate::telemetry::Telemetry;

/// Telemetry of a function that hands its spans to `exporter`. Of the environment, only the resource
/// is read.
pub fn telemetry(exporter: InMemoryExporter) -> Telemetry {
    telemetry_with(exporter, &[])
}

/// The same with some variables of the environment as they are given here.
///
/// # Panics
/// A variable is unusable.
pub fn telemetry_with(exporter: InMemoryExporter, variables: &[(&str, &str)]) -> Telemetry {
    let service = Service { name: "service", version: "1", application: "application", attributes: Vec::new() };
    let defaults = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"), ("CORALOGIX_API_KEY", "key")];
    let find = |name: &str| variables.iter().chain(&defaults).find(|(key, _)| *key == name);
    let config = Config::from_variables(&Profile::FUNCTION, |name| find(name).map(|(_, value)| (*value).to_owned()));
    Telemetry::with_exporter(config.expect("the variables are usable"), &service, exporter)
}

/// Keeps what is exported, and fails or is slow when it is told to. Clones share what they keep.
#[derive(Debug, Clone, Default)]
pub struct InMemoryExporter(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The batches that were taken.
    exports: Vec<Vec<SpanData>>,
    /// What happens to the next exports, in their order.
    plans: VecDeque<Plan>,
    /// How many exports were attempted.
    attempts: usize,
}

/// What happens to an export that does not simply succeed.
#[derive(Debug)]
enum Plan {
    Fail(ExportError),
    /// The spans are taken at once, and the answer comes later.
    Answer(Duration),
    /// The spans do not arrive.
    Swallow,
}

/// Each plan is for the next export, or for the one after those that have a plan already.
impl InMemoryExporter {
    /// Lets the next export fail.
    pub fn fail_next(&self, error: ExportError) {
        self.lock().plans.push_back(Plan::Fail(error));
    }

    /// Takes the next export at once, and answers it after `delay`.
    pub fn answer_next_after(&self, delay: Duration) {
        self.lock().plans.push_back(Plan::Answer(delay));
    }

    /// Neither takes nor answers the next export.
    pub fn swallow_next(&self) {
        self.lock().plans.push_back(Plan::Swallow);
    }

    /// The spans that were taken, in the order in which they came.
    pub fn spans(&self) -> Vec<SpanData> {
        self.lock().exports.concat()
    }

    /// How many spans each export brought that was taken.
    pub fn export_sizes(&self) -> Vec<usize> {
        self.lock().exports.iter().map(Vec::len).collect()
    }

    /// How many exports were attempted, failed ones included.
    pub fn attempts(&self) -> usize {
        self.lock().attempts
    }

    /// Takes `spans`, unless there is another plan.
    fn take(&self, spans: Vec<SpanData>) -> Option<Plan> {
        let mut state = self.lock();
        state.attempts += 1;
        let plan = state.plans.pop_front();
        if matches!(plan, None | Some(Plan::Answer(_))) {
            state.exports.push(spans);
        }
        plan
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Exporter for InMemoryExporter {
    fn export(&self, spans: Vec<SpanData>) -> BoxFuture<'_, Result<(), ExportError>> {
        let plan = self.take(spans);
        Box::pin(async {
            match plan {
                None => Ok(()),
                Some(Plan::Fail(error)) => Err(error),
                Some(Plan::Answer(delay)) => {
                    tokio::time::sleep(delay).await;
                    Ok(())
                }
                Some(Plan::Swallow) => std::future::pending().await,
            }
        })
    }
}
