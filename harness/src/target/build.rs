//! Builds the system under test, as its manifest says.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use super::freezer::Freezer;
use super::process::ProcessSpec;
use super::service::printed;
use super::spawner::Spawner;
use crate::error::Error;
use crate::folder::RunFolder;
use crate::manifest::Manifest;
use crate::report::live::Live;
use crate::template::{Template, Values};

/// How often it is said how far a build is.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// The values that build commands know: what cargo built the harness with, for systems in Rust.
pub fn values() -> Values {
    let program = std::env::current_exe().unwrap_or_default();
    let target_dir = program.parent().unwrap_or(Path::new("."));
    // Cargo names the folder after the profile, but for the one that is called "dev".
    let folder = target_dir.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let profile = if folder == "debug" { "dev".to_owned() } else { folder };
    Values::new().with("cargo.profile", profile).with("cargo.target_dir", target_dir.to_string_lossy())
}

/// Builds every service and function that says how; the same command once.
///
/// # Errors
/// If a build fails: the last that it printed is part of the error.
pub async fn all(manifest: &Manifest, folder: &RunFolder, spawner: &Spawner, live: &Live) -> Result<(), Error> {
    let services = manifest.services.iter().map(|(name, service)| (name, &service.build));
    let functions = manifest.functions.iter().map(|(name, function)| (name, &function.build));
    let mut built = Vec::new();
    for (name, command) in services.chain(functions) {
        let Some(command) = command.as_ref().filter(|command| !built.contains(command)) else { continue };
        one(manifest, name, command, folder, spawner, live).await?;
        built.push(command);
    }
    Ok(())
}

async fn one(
    manifest: &Manifest,
    name: &str,
    command: &[Template],
    folder: &RunFolder,
    spawner: &Spawner,
    live: &Live,
) -> Result<(), Error> {
    let command =
        manifest.command_line(command, &values()).map_err(|error| Error::setup(format!("build of {name}"), error))?;
    let directory = command.folder.clone();
    let words = command.into_words();
    live.say("Building", &format!("{name}: {}", words.join(" ")));
    let log = folder.logs().join(format!("build-{name}.log"));
    let freezer = Freezer::default();
    let spec = ProcessSpec { command: words, directory, env: inherited(), log: Some(log), freezer };
    let failed = |error: &dyn std::fmt::Display| Error::setup(format!("the build of {name} failed"), error);
    let process = spawner.spawn(spec, |_| ()).await.map_err(|error| failed(&error))?;
    loop {
        match tokio::time::timeout(SAY_EVERY, process.ended()).await {
            Ok(end) if end.code == Some(0) => return Ok(()),
            Ok(end) => return Err(failed(&format!("{end}{}", printed(&end.output)))),
            Err(_) => live.say("", process.output().last().map_or("", |line| line.trim())),
        }
    }
}

/// The harness's own environment variables, but for those with which `cargo run` tells a program about
/// its package: a build that sees another package's would be done again.
fn inherited() -> Vec<(String, String)> {
    let readable = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    let of_a_package = |name: &str| {
        ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"].iter().any(|prefix| name.starts_with(prefix))
    };
    std::env::vars_os().filter_map(readable).filter(|(name, _)| !of_a_package(name)).collect()
}
