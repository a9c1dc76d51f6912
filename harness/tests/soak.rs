//! The whole harness, as its users run it: real processes, real builds, real signals.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is how it fails")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use harness::target::freezer::Freezer;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Runs share two cores: one at a time keeps each of them short.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// What no step of a test takes on any machine; one that does hangs.
const HANGS: Duration = Duration::from_secs(300);

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn repository() -> PathBuf {
    fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap()
}

/// The harness with these arguments, started where its users start it.
fn harness(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
    command.current_dir(repository()).args(arguments);
    command
}

/// A soak with these further arguments, its reports in `out`.
fn soak(out: &Path, arguments: &[&str]) -> Command {
    let mut command = harness(&["soak", "--out"]);
    command.arg(out).args(arguments);
    command
}

fn short_soak(out: &Path, arguments: &[&str]) -> Output {
    soak(out, &["--rate", "50", "--duration", "3s"]).args(arguments).output().unwrap()
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn summary(out: &Path) -> Value {
    json(&out.join("latest/summary.json"))
}

/// The code, cause and count of each finding that fails a run. Warnings come and go with the machine: where
/// answers take long, exporters send again what has arrived.
fn failures(summary: &Value) -> Vec<(String, String, u64)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of = |found: &Value| (text(&found["code"]), text(&found["cause"]), found["count"].as_u64().unwrap());
    let findings = summary["findings"].as_array().unwrap().iter();
    findings.filter(|found| found["severity"] == "failure").map(of).collect()
}

#[track_caller]
fn assert_code(output: &Output, code: i32) {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{stdout}\n{stderr}");
}

/// A manifest of the reference system, changed, in a folder of its own.
fn changed_system(folder: &Path, change: impl Fn(&str) -> String) -> PathBuf {
    let system = repository().join("system");
    fs::copy(system.join("contract.toml"), folder.join("contract.toml")).unwrap();
    let build = format!("\"cargo\", \"build\", \"--manifest-path\", {:?}", repository().join("Cargo.toml"));
    let manifest = fs::read_to_string(system.join("system.toml")).unwrap();
    let changed = change(&manifest.replace("\"cargo\", \"build\"", &build));
    assert_ne!(changed, manifest, "the manifest is still the one that this test changes");
    let file = folder.join("system.toml");
    fs::write(&file, changed).unwrap();
    file
}

/// A soak that goes on, and what is seen of it.
struct Going {
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
}

impl Going {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stderr }
    }

    /// Waits until it says this on standard error.
    fn until(&mut self, text: &str) {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert_ne!(self.stderr.read_line(&mut line).unwrap(), 0, "it ended before it said {text:?}");
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// All processes that it has started, and those that they have started, by their ids and names.
    fn descendants(&self) -> Vec<(i32, String)> {
        let mut found: Vec<(i32, String)> = Vec::new();
        let mut parents = vec![i32::try_from(self.child.id()).unwrap()];
        while let Some(parent) = parents.pop() {
            let children: Vec<_> = processes().into_iter().filter(|process| process.parent == parent).collect();
            parents.extend(children.iter().map(|child| child.id));
            found.extend(children.into_iter().map(|child| (child.id, child.name)));
        }
        found
    }

    /// Waits for its end; what it says meanwhile is read away.
    fn end(mut self) -> Option<i32> {
        std::io::copy(&mut self.stderr, &mut std::io::sink()).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Process {
    id: i32,
    parent: i32,
    name: String,
}

/// Every process of the machine that has not ended.
fn processes() -> Vec<Process> {
    let ids =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<i32>().ok());
    ids.filter_map(process).collect()
}

fn process(id: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (before, after) = stat.rsplit_once(") ")?;
    let mut fields = after.split(' ');
    let (state, parent) = (fields.next()?, fields.next()?.parse().ok()?);
    let name = before.split_once('(')?.1.to_owned();
    (state != "Z").then_some(Process { id, parent, name })
}

/// Waits until none of these processes is left. A process id is not used again so soon.
#[track_caller]
fn assert_gone(descendants: &[(i32, String)]) {
    let began = Instant::now();
    loop {
        let left: Vec<_> =
            descendants.iter().filter(|(id, name)| process(*id).is_some_and(|process| process.name == *name)).collect();
        if left.is_empty() {
            return;
        }
        assert!(began.elapsed() < HANGS, "still there: {left:?}");
        std::thread::yield_now();
    }
}

#[test]
fn healthy_system_passes_and_its_journal_gives_the_same_verdict_again() {
    let _alone = alone();
    let out = tempfile::tempdir().unwrap();
    let output = short_soak(out.path(), &["--seed", "7"]);
    assert_code(&output, 0);
    assert!(String::from_utf8_lossy(&output.stdout).contains("PASS"), "{output:?}");

    let summary = summary(out.path());
    assert_eq!((&summary["verdict"], &summary["seed"]), (&"pass".into(), &7.into()));
    assert_eq!(failures(&summary), []);
    for (path, expected) in [
        ("/requests/scheduled", 150),
        ("/requests/sent", 150),
        ("/requests/accepted", 150),
        ("/traces/expected", 150),
        ("/traces/complete", 150),
        ("/spans/expected", 450),
        ("/spans/matched", 450),
        ("/spans/missing", 0),
        ("/spans/unexpected", 0),
        ("/lambda/invocations", 150),
    ] {
        assert_eq!(summary.pointer(path), Some(&expected.into()), "{path}");
    }
    let spans = |count: &str| summary["spans"][count].as_u64().unwrap();
    assert_eq!(spans("received") - spans("duplicated"), 450);
    let environments = summary.pointer("/lambda/environments").unwrap().as_u64().unwrap();
    assert!(environments > 1, "environments are recycled");

    let verified = harness(&["verify", "--json"]).arg(out.path().join("latest")).output().unwrap();
    assert_code(&verified, 0);
    assert_eq!(serde_json::from_slice::<Value>(&verified.stdout).unwrap(), summary);
    let story = harness(&["verify", "--request", "149"]).arg(out.path().join("latest")).output().unwrap();
    assert_code(&story, 0);
    let story = String::from_utf8_lossy(&story.stdout);
    assert!(story.contains("it became exactly one trace") && story.contains("CONSUMER sqs.process"), "{story}");
}

#[test]
fn no_file_of_a_run_holds_its_keys() {
    let _alone = alone();
    let out = tempfile::tempdir().unwrap();
    // The service tells its environment, keys and all.
    let system = changed_system(out.path(), |manifest| {
        let command = "[\"sh\", \"-c\", \"env; exec {cargo.target_dir}/onboarding-api\"]";
        manifest.replace("[\"{cargo.target_dir}/onboarding-api\"]", command)
    });
    assert_code(&short_soak(out.path(), &["--system", system.to_str().unwrap()]), 0);
    let log = fs::read_to_string(out.path().join("latest/logs/api.log")).unwrap();
    let value = |name: &str| log.lines().find_map(|line| line.strip_prefix(&format!("{name}="))).unwrap().to_owned();
    assert_eq!(value("CORALOGIX_API_KEY"), "***");
    assert_eq!(value("AWS_SECRET_ACCESS_KEY"), "***");
    assert_eq!(value("AWS_REGION"), "us-east-1");
}

#[test]
fn stripped_context_is_found_and_blamed_on_the_fault() {
    let _alone = alone();
    let out = tempfile::tempdir().unwrap();
    assert_code(&short_soak(out.path(), &["--fault", "strip-context"]), 10);
    let summary = summary(out.path());
    assert_eq!(failures(&summary), [("carrier-missing".to_owned(), "fault-strip-context".to_owned(), 150)]);
    assert_eq!(summary["findings"][0]["consequences"]["trace-fragmented"], 150);
}

#[test]
fn wrong_key_is_one_cause_with_every_missing_trace_under_it() {
    let _alone = alone();
    let out = tempfile::tempdir().unwrap();
    assert_code(&short_soak(out.path(), &["--fault", "wrong-key"]), 10);
    let summary = summary(out.path());
    let found = failures(&summary);
    assert!(!found.is_empty());
    for (code, cause, _) in &found {
        assert_eq!((code.as_str(), cause.as_str()), ("export-unauthenticated", "fault-wrong-key"), "{found:?}");
    }
    let missing: u64 = summary["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|found| found["consequences"]["trace-missing"].as_u64())
        .sum();
    assert_eq!(missing, 150);
}

#[test]
fn service_killed_in_mid_run_ends_it_with_what_is_known() {
    let _alone = alone();
    let out = tempfile::tempdir().unwrap();
    let mut going = Going::start(soak(out.path(), &["--duration", "10m"]));
    going.until("Loading");
    let api = going.descendants().into_iter().find(|(_, name)| name.starts_with("onboarding-api")).unwrap();
    kill(Pid::from_raw(api.0), Signal::SIGKILL).unwrap();
    assert_eq!(going.end(), Some(10));
    let summary = summary(out.path());
    let found = failures(&summary);
    assert_eq!(found, [("process-died".to_owned(), "process-ended".to_owned(), 1)], "{found:?}");
    assert!(summary["requests"]["sent"].as_u64() < summary["requests"]["scheduled"].as_u64());
    assert!(summary["traces"]["complete"].as_u64() > Some(0));
}

#[test]
fn function_that_exits_at_start_is_a_set_up_error_that_shows_its_output() {
    let _alone = alone();
    let out = tempfile::tempdir().unwrap();
    let system = changed_system(out.path(), |manifest| {
        let command = "[\"sh\", \"-c\", \"echo no configuration here; exit 7\"]";
        manifest.replace("[\"{cargo.target_dir}/onboarding-lambda\"]", command)
    });
    let output = short_soak(out.path(), &["--system", system.to_str().unwrap()]);
    assert_code(&output, 3);
    let stderr = String::from_utf8_lossy(&output.stderr);
    for part in ["worker", "exit code 7", "no configuration here"] {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
}

#[test]
fn function_whose_later_environments_die_at_start_is_found() {
    let _alone = alone();
    let out = tempfile::tempdir().unwrap();
    // The environment that is initialised ahead works; every later one does not start.
    let first = out.path().join("first");
    let system = changed_system(out.path(), |manifest| {
        let script =
            format!("mkdir {} 2>/dev/null || exit 7; exec {{cargo.target_dir}}/onboarding-lambda", first.display());
        let command = format!("[\"sh\", \"-c\", {script:?}]");
        manifest.replace("[\"{cargo.target_dir}/onboarding-lambda\"]", &command).replace("\"6s\"", "\"3s\"")
    });
    assert_code(&short_soak(out.path(), &["--system", system.to_str().unwrap()]), 10);
    let summary = summary(out.path());
    let found = failures(&summary);
    let causes: Vec<_> = found.iter().map(|(code, cause, _)| (code.as_str(), cause.as_str())).collect();
    assert_eq!(causes, [("process-died", "init-failed")], "{found:?}");
    assert!(summary["findings"][0]["consequences"]["span-missing"].as_u64() > Some(0));
}

#[test]
fn ctrl_c_ends_the_load_and_gives_the_verdict_on_what_was_done() {
    let _alone = alone();
    let out = tempfile::tempdir().unwrap();
    let mut going = Going::start(soak(out.path(), &["--duration", "10m"]));
    going.until("Loading");
    let descendants = going.descendants();
    assert!(descendants.iter().any(|(_, name)| name.starts_with("onboarding-lam")), "{descendants:?}");
    going.signal(Signal::SIGINT);
    assert_eq!(going.end(), Some(0));
    assert_gone(&descendants);
    let summary = summary(out.path());
    assert_eq!((&summary["verdict"], &summary["interrupted"]), (&"pass".into(), &true.into()));
    assert_eq!(summary["traces"]["complete"], summary["requests"]["sent"]);
    assert!(summary["requests"]["sent"].as_u64() > Some(0));
}

#[test]
fn second_ctrl_c_ends_everything_at_once() {
    let _alone = alone();
    let out = tempfile::tempdir().unwrap();
    let mut going = Going::start(soak(out.path(), &["--duration", "10m"]));
    going.until("Loading");
    let descendants = going.descendants();
    // The first one's effect is awaited: two signals at once can arrive as one.
    going.signal(Signal::SIGINT);
    going.until("Ending");
    going.signal(Signal::SIGINT);
    let code = going.end();
    assert!(matches!(code, Some(130 | 0)), "130, or the verdict if the run was over before: {code:?}");
    assert_gone(&descendants);
}

#[test]
fn nothing_is_left_behind_when_the_harness_itself_is_killed() {
    let _alone = alone();
    let out = tempfile::tempdir().unwrap();
    let mut going = Going::start(soak(out.path(), &["--duration", "10m"]));
    going.until("Loading");
    let descendants = going.descendants();
    going.signal(Signal::SIGKILL);
    assert_eq!(going.end(), None);
    assert_gone(&descendants);
    // What was seen until then can still be judged, and is no pass.
    let verified = harness(&["verify"]).arg(out.path().join("latest")).output().unwrap();
    assert_code(&verified, 5);
    assert!(String::from_utf8_lossy(&verified.stdout).contains("the run was cut off"), "{verified:?}");
}

#[test]
fn two_runs_at_once_do_not_disturb_each_other() {
    let _alone = alone();
    let out = tempfile::tempdir().unwrap();
    let runs: Vec<_> = (0..2)
        .map(|_| {
            soak(out.path(), &["--rate", "20", "--duration", "3s"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut run in runs {
        assert_eq!(run.wait().unwrap().code(), Some(0));
    }
    let folders =
        fs::read_dir(out.path()).unwrap().filter(|entry| entry.as_ref().unwrap().file_name() != "latest").count();
    assert_eq!(folders, 2);
}

/// Where a cgroup can be had, there is nothing to tell.
#[test]
fn freezer_that_cannot_be_had_is_a_set_up_error() {
    let Err(error) = Freezer::Cgroup2.check() else { return };
    let out = tempfile::tempdir().unwrap();
    let (scenario, reports) = (out.path().join("frozen.toml"), out.path().join("reports"));
    let system = format!("system = {:?}", repository().join("system/system.toml"));
    let text = fs::read_to_string(repository().join("scenarios/soak.toml")).unwrap();
    let text = text.replace("[lambda]", "[lambda]\nfreezer = \"cgroup2\"");
    let is_system = |line: &&str| line.starts_with("system ");
    fs::write(&scenario, text.replace(text.lines().find(is_system).unwrap(), &system)).unwrap();
    let output = harness(&["run"]).arg(&scenario).arg("--out").arg(&reports).output().unwrap();
    assert_code(&output, 3);
    assert!(String::from_utf8_lossy(&output.stderr).contains(&error.to_string()), "{output:?}");
    assert!(!reports.exists(), "nothing was made or started");
}

#[test]
fn wrong_input_is_told_with_what_is_possible() {
    let out = tempfile::tempdir().unwrap();
    let typo = out.path().join("typo.toml");
    let scenario = fs::read_to_string(repository().join("scenarios/soak.toml")).unwrap();
    fs::write(&typo, scenario.replace("recycle_after", "recycle_atfer")).unwrap();
    let typo = typo.to_str().unwrap();
    for (arguments, code, parts) in [
        (&["soak", "--fault", "nonsense"][..], 2, &["nonsense", "strip-context", "wrong-key"][..]),
        (&["soak", "--rte", "5"], 2, &["--rte", "--rate"]),
        (&["soak", "--rate", "0"], 2, &["above 0"]),
        (&["soak", "--system", "no/such.toml"], 2, &["no/such.toml"]),
        (&["soak", "--out", "/proc/nowhere"], 3, &["/proc/nowhere"]),
        (&["check", typo], 2, &["typo.toml:", "recycle_atfer", "recycle_after"]),
        (&["verify", "/proc"], 2, &["no journal and no recording here"]),
        (&["verify", "system/system.toml"], 2, &["system.toml: this is no recording", "a run's folder or journal"]),
        (&["check", "system/system.toml", "system/contract.toml", "scenarios/soak.toml"], 0, &[]),
        (&["--help"], 0, &[]),
    ] {
        let output = harness(arguments).output().unwrap();
        assert_code(&output, code);
        let stderr = String::from_utf8_lossy(&output.stderr);
        parts.iter().for_each(|part| assert!(stderr.contains(part), "{arguments:?}: {part}: {stderr}"));
    }
}
