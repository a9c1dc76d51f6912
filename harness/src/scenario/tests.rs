//! Scenarios, good and bad.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use verifier::event::{Cut, Patience};

use super::read::{SOAK, SOAK_FILE, parse};
use super::{EnvironmentChoice, Lambda, Load, Network, Scenario};
use crate::cloud::event_source::Scaling;
use crate::cloud::function::Cuts;
use crate::fault::FaultName;
use crate::input::{InputError, Source};
use crate::target::freezer::Freezer;

const SMALL: &str = "name = \"n\"\nsystem = \"../system/system.toml\"\n[load]\nrate = 100\nduration = \"60s\"\n";

fn read(text: &str) -> Result<Scenario, InputError> {
    parse(&Source::new(Path::new("scenarios/x.toml"), text))
}

fn error(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

#[test]
fn a_small_scenario_has_the_defaults() {
    let scenario = read(SMALL).unwrap();
    assert_eq!(scenario.system, Path::new("system/system.toml"));
    assert_eq!(scenario.load.schedule().count(), 6_000);
    assert_eq!(scenario.load.timeout, Duration::from_secs(10));
    assert_eq!(scenario.load.users(), 500);
    assert_eq!((scenario.lambda, scenario.network), (Lambda::default(), Network::default()));
    assert_eq!(scenario.excused_at_most, None);
    assert_eq!(scenario.patience, Patience::default());
    assert_eq!((scenario.seed, scenario.faults), (None, Vec::new()));
}

#[test]
fn users_follow_from_the_rate_within_limits() {
    let users = |rate, users| {
        let load = Load { rate, duration: Duration::from_secs(1), timeout: Duration::from_secs(1), users };
        load.users()
    };
    assert_eq!(users(0.1, None), 20);
    assert_eq!(users(50.0, None), 250);
    assert_eq!(users(5_000.0, None), 1_000);
    assert_eq!(users(5_000.0, Some(3)), 3);
}

#[test]
fn every_key_is_read() {
    let text = format!(
        "description = \"d\"\nseed = 7\nfaults = [\"strip-context\"]\n{SMALL}timeout = \"2s\"\nusers = 5\n\
         [lambda]\nrecycle_after = 50\n\
         [patience]\nlate_after = \"1s\"\nmissing_after = \"2s\"\nremembered_for = \"3s\"\nlate_start_after = \"4ms\"\nflush_budget = \"5ms\"\n"
    );
    let scenario = read(&text).unwrap();
    assert_eq!((scenario.seed, scenario.description.as_str()), (Some(7), "d"));
    assert_eq!(scenario.faults, [FaultName::StripContext]);
    assert_eq!((scenario.load.timeout, scenario.load.users()), (Duration::from_secs(2), 5));
    assert_eq!(scenario.lambda.recycle_after, Some(50));
    let seconds = Duration::from_secs;
    let patience = Patience {
        late_after: seconds(1),
        missing_after: seconds(2),
        remembered_for: seconds(3),
        late_start_after: Duration::from_millis(4),
        flush_budget: Duration::from_millis(5),
    };
    assert_eq!(scenario.patience, patience);
}

#[test]
fn an_unknown_fault_is_shown_with_those_there_are() {
    let expected = concat!(
        "scenarios/x.toml:1:11: unknown fault `strip-contxt`\n",
        "  |\n",
        "1 | faults = [\"strip-contxt\"]\n",
        "  |           ^^^^^^^^^^^^^^\n",
        "  = did you mean `strip-context`?\n",
        "  = possible: `strip-context`, `wrong-key`, `corrupt-body`",
    );
    assert_eq!(error(&format!("faults = [\"strip-contxt\"]\n{SMALL}")), expected);
}

#[test]
fn loads_that_cannot_be_are_refused() {
    let load = |from: &str, to: &str| error(&SMALL.replace(from, to));
    assert!(load("= 100", "= 0").contains(":4:8: a rate is in requests per second, above 0 and up to 100000, not 0"));
    assert!(load("= 100", "= nan").contains(":4:8: a rate is in requests per second"));
    assert!(load("60s", "0s").contains(":5:12: this must be longer than nothing"));
    assert!(load("60s", "1ms").contains(":5:12: the load holds 0 requests; a run has from 1 to 4294967295"));
    assert!(load("\"60s\"", "60").contains("expected a duration such as \"10s\" or \"500ms\""));
    assert!(load("60s", "60x").contains("`60x` is no duration: write it as \"10s\" or \"500ms\""));
    assert!(load("duration", "users = 0\nduration").contains(":5:9: the number of users is from 1 to 10000, not 0"));
}

#[test]
fn lambda_and_network_are_as_the_scenario_says() {
    let scenario = read(&format!(
        "{SMALL}[lambda]\nkill = 0.1\nfreezer = \"off\"\nfreeze_delay = \"5ms\"\nenvironments = \"least-recently-used\"\n\
         platform_delay = \"250ms\"\nidle_timeout = \"5m\"\n[lambda.scaling]\ntime_scale = 60.0\n\
         [network]\nlatency = \"20ms\"\ncut = \"black-hole\"\ncut_after = 3\n[allow]\nexcused = 7\n"
    ))
    .unwrap();
    let lambda = scenario.lambda;
    assert_eq!((lambda.kill, lambda.freezer, lambda.freeze_delay), (0.1, Freezer::Off, Duration::from_millis(5)));
    assert_eq!(lambda.choice, EnvironmentChoice::LeastRecentlyUsed);
    assert_eq!(lambda.platform_delay, Some(Duration::from_millis(250)));
    assert_eq!(lambda.idle_timeout, Some(Duration::from_secs(300)));
    assert_eq!(lambda.scaling, Some(Scaling { start: 5, per_minute: 300, time_scale: 60.0 }));
    let after = NonZeroU32::new(3).unwrap();
    let network = Network { latency: Duration::from_millis(20), cut: Some(Cuts { how: Cut::BlackHole, after }) };
    assert_eq!((scenario.network, scenario.excused_at_most), (network, Some(7)));
}

#[test]
fn errors_about_lambda_and_network_name_the_place_and_the_choices() {
    let with = |text: &str| error(&format!("{SMALL}{text}\n"));
    assert!(with("[lambda]\nkill = 1.5").contains(":7:8: a share is from 0 (none) to 1 (all), not 1.5"));
    assert!(with("[lambda]\nfreezer = \"ice\"").contains("`cgroup2`, `off`, `signals`"));
    assert!(with("[lambda.scaling]\ntime_scale = 0.0").contains(":7:14: a time scale is from 0.01 to 1000, not 0"));
    assert!(with("[network]\ncut = \"axe\"").contains("`black-hole`"));
    let message = with("[network]\ncut_after = 3");
    assert!(message.contains(":7:13: `cut` says how connections are cut, and is missing"), "{message}");
}

#[test]
fn a_span_cannot_be_missing_before_it_is_late() {
    let message = error(&format!("{SMALL}[patience]\nmissing_after = \"5s\"\n"));
    assert!(message.contains(":7:17: a span cannot be missing before it is late, which it is after 10s"), "{message}");
}

#[test]
fn the_shipped_scenarios_are_valid() {
    let soak = parse(&Source::new(Path::new(SOAK_FILE), SOAK)).unwrap();
    assert_eq!((soak.load.rate, soak.load.duration), (100.0, Duration::from_secs(60)));
    assert_eq!(soak.system, Path::new("system/system.toml"));
    let smoke = Scenario::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/smoke.toml")).unwrap();
    assert!(smoke.load.schedule().count() < 1_000);
}
