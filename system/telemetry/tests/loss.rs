//! How lost spans are reported. Alone in its process, because what a thread logs is recorded reliably only
//! where no other thread logs without a subscriber.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use onboarding_telemetry::export::ExportError;
use onboarding_telemetry::testing::{InMemoryExporter, telemetry};
use opentelemetry::Context;
use opentelemetry::trace::Tracer;

const BUDGET: Duration = Duration::from_secs(30);

/// Keeps what is logged.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn lost_batch_is_one_error_with_its_number_of_spans() {
    let log = Log::default();
    let sink = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || sink.clone()).finish();
    let _recording = tracing::subscriber::set_default(subscriber);
    let exporter = InMemoryExporter::default();
    let telemetry = telemetry(exporter.clone());
    for name in ["a", "b", "c"] {
        drop(telemetry.tracer().start_with_context(name, &Context::new()));
    }
    exporter.fail_next(ExportError::Refused { code: "Unimplemented".to_owned(), message: "no traces here".to_owned() });

    telemetry.flush(BUDGET).await.unwrap();
    telemetry.flush(BUDGET).await.unwrap();

    let lines = log.lines();
    let [line] = lines.as_slice() else { panic!("one line, not {lines:?}") };
    for part in ["ERROR", "spans=3", "Unimplemented", "no traces here"] {
        assert!(line.contains(part), "{part:?} is not in {line}");
    }
}
