//! The arrows between the packages: what is tested is what a customer would deploy.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is how it fails")]

use std::fs;
use std::path::Path;

/// The names of everything that a package links, for tests included.
fn dependencies(package: &str) -> Vec<String> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(package).join("Cargo.toml");
    let manifest: toml::Table = fs::read_to_string(manifest).unwrap().parse().unwrap();
    let tables = ["dependencies", "dev-dependencies", "build-dependencies"];
    let names = tables.iter().filter_map(|table| manifest.get(*table)?.as_table()).flat_map(toml::Table::keys);
    names.cloned().collect()
}

#[test]
fn system_knows_nothing_of_the_harness() {
    for package in ["system/api", "system/lambda", "system/telemetry"] {
        let dependencies = dependencies(package);
        assert!(!dependencies.is_empty(), "{package} has dependencies");
        for ours in ["harness", "mock-coralogix", "verifier"] {
            assert!(!dependencies.contains(&ours.to_owned()), "{package} links {ours}");
        }
    }
}

#[test]
fn harness_knows_nothing_of_the_system() {
    for package in ["harness", "mock-coralogix", "harness/verifier"] {
        let dependencies = dependencies(package);
        let of_the_system = dependencies.iter().find(|name| name.starts_with("onboarding-"));
        assert_eq!(of_the_system, None, "{package} links the system");
    }
}

#[test]
fn function_links_no_aws_sdk() {
    let dependencies = dependencies("system/lambda");
    assert_eq!(dependencies.iter().find(|name| name.starts_with("aws-")), None);
}
