//! The core is told, it never asks: no I/O, no clock, no runtime.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is how it fails")]

use std::fs;
use std::path::{Path, PathBuf};

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

/// The files of a folder and of those in it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn no_module_names_the_outside_world() {
    let files = files(&package().join("src"));
    assert!(files.len() > 10, "the sources are where this test looks: {files:?}");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for forbidden in FORBIDDEN {
            assert!(!text.contains(forbidden), "{} names {forbidden}", file.display());
        }
    }
}

/// What may be linked: crates that compute and do nothing else. `base64` and `serde_json` write values as text,
/// `bytes` shares an export's bytes, `regex` is what contracts are written in, `xxhash-rust` tells spans apart.
const LINKED: [&str; 7] = ["base64", "bytes", "regex", "serde", "serde_json", "thiserror", "xxhash-rust"];

#[test]
fn nothing_is_linked_that_could_reach_the_outside_world() {
    let manifest = fs::read_to_string(package().join("Cargo.toml")).unwrap();
    let (_, dependencies) = manifest.split_once("[dependencies]\n").unwrap();
    let dependencies: Vec<_> = dependencies.lines().take_while(|line| !line.is_empty()).collect();
    assert_eq!(dependencies, LINKED.map(|name| format!("{name}.workspace = true")));
}
