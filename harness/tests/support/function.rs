//! Functions for tests.

use std::path::Path;
use std::time::Duration;

use harness::cloud::function::{Account, FunctionSpec, INIT_TIMEOUT, Platform, Recycling};

/// A function that runs this command in a folder and writes its logs there.
pub(crate) fn spec(command: Vec<String>, folder: &Path) -> FunctionSpec {
    FunctionSpec {
        name: "worker".to_owned(),
        command,
        directory: folder.to_owned(),
        env: Vec::new(),
        timeout: Duration::from_secs(30),
        init_timeout: INIT_TIMEOUT,
        memory_mb: 512,
        recycling: Recycling::Never,
        platform: Platform::default(),
        extensions: Vec::new(),
        account: Account {
            id: "123456789012".to_owned(),
            region: "eu-west-1".to_owned(),
            access_key_id: "key".to_owned(),
            secret_access_key: "secret".to_owned(),
        },
        logs: folder.to_owned(),
    }
}
