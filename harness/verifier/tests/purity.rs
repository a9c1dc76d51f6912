//! The core is told, it never asks: no I/O, no clock, no runtime.

use std::fs;
use std::path::Path;

/// What code that is pure cannot name.
const FORBIDDEN: &[&str] = &[
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::thread",
    "std::env",
    "tokio",
    "Instant::now",
    "SystemTime",
];

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn no_module_names_the_outside_world() {
    let files: Vec<_> = fs::read_dir(package().join("src")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() > 10, "the sources are where this test looks: {files:?}");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for forbidden in FORBIDDEN {
            assert!(!text.contains(forbidden), "{} names {forbidden}", file.display());
        }
    }
}

#[test]
fn nothing_but_serde_and_thiserror_is_linked() {
    let manifest = fs::read_to_string(package().join("Cargo.toml")).unwrap();
    let (_, dependencies) = manifest.split_once("[dependencies]\n").unwrap();
    let dependencies: Vec<_> = dependencies.lines().take_while(|line| !line.is_empty()).collect();
    assert_eq!(dependencies, ["serde.workspace = true", "thiserror.workspace = true"]);
}
