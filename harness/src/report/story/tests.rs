//! Stories as text of a fixed width. What is expected here was written by hand.

use verifier::FindingCode;

use super::json::StoryJson;
use super::text::render;
use crate::story::Story;
use crate::story::tests::{Tale, consumer, killed, late_by_thaw};

/// A text without its colours.
fn plain(story: &Story, width: usize) -> String {
    anstream::adapter::strip_str(&render(story, width)).to_string()
}

#[track_caller]
fn assert_lines(text: &str, expected: &str) {
    let trimmed = |text: &str| text.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
    let (text, expected) = (trimmed(text), trimmed(expected));
    assert_eq!(text, expected, "\n{}\n", text.join("\n"));
}

fn healthy() -> Story {
    let mut tale = Tale::begun();
    tale.start_environment(0, "worker-1");
    tale.freeze(10_000, "worker-1");
    tale.accept(20_000, 1);
    tale.receive(24_100, 1, 1);
    tale.thaw(24_200, "worker-1");
    tale.invoke(24_300, "invocation-1", "worker-1", &[(1, 1)]);
    tale.export_from(24_800, "worker-1", vec![consumer(1, 1, 24_400, 24_700)]);
    tale.succeed(25_000, "invocation-1");
    tale.freeze(25_100, "worker-1");
    tale.delete(25_200, 1);
    tale.export_of_accepted(525_200, 20_000, 1);
    tale.ended(600_000).story(1)
}

#[test]
fn healthy_story_reads_from_top_to_bottom_at_80_columns() {
    assert_lines(
        // 3.7 ms in 28 columns: 7.6 for each millisecond.
        &plain(&healthy(), 80),
        "
PASS  request 7f3a9c2e-00000001: it became exactly one trace

  number    1 of run tale, scenario soak
  answer    202, accepted
  spans     3 in one trace

what happened, in ms since the request was sent
│ under way or awake  ┃ in an invocation  ░ frozen
    0.00  ┌   client      sends the request
    1.00  │   api         SERVER POST /onboard starts
    1.50  │   api         PRODUCER sqs.send starts
    2.00  │   onboarding  message message-1 queued, with traceparent
          │               00-00000000000000000000000000000002-0000000200000002-
          │               01
    2.50  │   api         PRODUCER sqs.send ends, 1.0 ms
    3.00  │   api         SERVER POST /onboard ends, 2.0 ms
    4.00  └   client      is told: 202, accepted
    4.10      onboarding  received, 1st time
    4.20   ┌  worker-1    thawed
    4.30   ┃  worker-1    invocation invocation-1 starts
    4.40   ┃  worker-1    CONSUMER sqs.process starts
    4.70   ┃  worker-1    CONSUMER sqs.process ends, 0.30 ms
    4.80   ┃  worker-1    export 0 stored: sqs.process
    5.00   ┃  worker-1    invocation invocation-1 succeeds
    5.10   ░  worker-1    frozen
    5.20   ░  onboarding  deleted: it is done
           ░  … 500 ms …
  505.20   ░  api         export 1 stored: sqs.send, POST /onboard

  spans                        start ms   lasts ms
  SERVER POST /onboard            +1.00       2.00  ███████████████·············
     api, came +505.20 from api in export 1, by request id
  └─ PRODUCER sqs.send            +1.50       1.00  ···████████·················
        api, came +505.20 from api in export 1, by trace id
     └─ CONSUMER sqs.process      +4.40       0.30  ·························███
           worker, came +4.80 from worker-1 in export 0, by trace id
",
    );
}

#[test]
fn spans_stand_in_one_line_each_at_200_columns() {
    let text = plain(&healthy(), 200);
    let tree = &text[text.rfind("  spans  ").unwrap()..];
    assert_lines(
        tree,
        &format!(
            "  spans                        start ms   lasts ms  {:60}  service  came, and is matched
  SERVER POST /onboard            +1.00       2.00  {}  api      +505.20 from api in export 1, by request id
  └─ PRODUCER sqs.send            +1.50       1.00  {}  api      +505.20 from api in export 1, by trace id
     └─ CONSUMER sqs.process      +4.40       0.30  {}  worker   +4.80 from worker-1 in export 0, by trace id",
            "",
            // 3.7 ms in 60 columns: 16.2 for each millisecond.
            "█".repeat(32) + &"·".repeat(28),
            "·".repeat(8) + &"█".repeat(16) + &"·".repeat(36),
            "·".repeat(55) + &"█".repeat(5),
        ),
    );
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    for story in [healthy(), late_by_thaw().story(1), killed().story(1)] {
        for width in [80, 100, 120, 200] {
            for line in plain(&story, width).lines() {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
    }
}

#[test]
fn what_is_wrong_is_said_first_and_marked_at_its_lines() {
    let text = plain(&late_by_thaw().story(1), 100);
    let (head, timeline) = text.split_once("what happened").unwrap();
    assert!(head.contains("FAIL  request 7f3a9c2e-00000001: 1 finding\n"), "{head}");
    assert!(
        head.contains("late-by-thaw  function worker\n  nothing was flushed in the span's own invocation"),
        "{head}"
    );
    let marked: Vec<_> = timeline.lines().filter(|line| line.contains("← late-by-thaw")).map(str::trim).collect();
    assert_eq!(marked, ["4.70   ┃  worker-1    CONSUMER sqs.process ends, 0.30 ms  ← late-by-thaw", "← late-by-thaw"]);
    for line in [
        "           ░  … 1.2 s …",
        " 1214.20   ┌  worker-1    thawed",
        " 1214.80   │  worker-1    export 1 stored: sqs.process and 1 other span",
    ] {
        assert!(timeline.lines().any(|drawn| drawn == line), "{line}: {timeline}");
    }
}

#[test]
fn kill_ends_its_lane_and_the_other_environment_has_its_own() {
    let text = plain(&killed().story(1), 100);
    for line in [
        "    4.50   ┃   worker-1    fault: killed (SIGKILL)",
        "    4.60   ┃   worker-1    invocation one ends with its environment",
        "    4.61   └   worker-1    ends: signal 9",
        "               … 6.0 s …",
        " 6004.10       onboarding  visible again",
        " 6004.30    ┃  worker-2    invocation two starts",
        "  CONSUMER sqs.process (worker, of worker-1)  excused: an ordered kill took it",
    ] {
        assert!(text.lines().any(|drawn| drawn == line), "{line}: {text}");
    }
    let verdict = "PASS  request 7f3a9c2e-00000001: it became exactly one trace, but for what an ordered kill took";
    assert!(text.contains(verdict), "{text}");
    // The six seconds in between take no room.
    assert!(text.contains("█"), "{text}");
    assert!(text.lines().any(|line| line.contains(" ~ ")), "{text}");
}

#[test]
fn json_has_the_same_with_the_ledgers_own_rows() {
    let story = late_by_thaw().story(1);
    let json: serde_json::Value = serde_json::from_str(&StoryJson::new(&story).to_json().unwrap()).unwrap();
    assert_eq!((&json["request"], &json["verdict"]), (&"7f3a9c2e-00000001".into(), &"fail".into()));
    assert_eq!(json["findings"][0]["code"], FindingCode::LateByThaw.as_str());
    assert_eq!(json["rows"].as_array().unwrap().len(), story.rows.len());
    let first = &json["rows"][0];
    assert_eq!((&first["at_ms"], &first["who"]), (&0.0.into(), &"client".into()));
    assert_eq!(first["event"]["request_started"]["request"], "7f3a9c2e-00000001");
    let late = &json["spans"][2];
    assert_eq!((&late["depth"], &late["codes"][0]), (&2.into(), &"late-by-thaw".into()));
    assert_eq!(late["received"][0]["at_ms"], 1214.8);
    assert_eq!(late["span"]["name"], "sqs.process");
}
