//! The environment variables that Lambda sets ("Using Lambda environment variables" in the developer
//! guide), for a custom runtime (`provided.al2023`). There are no others: nothing is inherited.
//!
//! Not set for a custom runtime: `AWS_EXECUTION_ENV`, and `_X_AMZN_TRACE_ID`, which its client sets
//! for each invocation by itself.

use std::time::SystemTime;

use uuid::Uuid;

use super::function::{Account, FunctionSpec, Initialization, Place};

/// Names that a function's own variables cannot have, because Lambda sets them.
pub const RESERVED_VARIABLES: [&str; 21] = [
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_MAX_CONCURRENCY",
    "AWS_LAMBDA_METADATA_API",
    "AWS_LAMBDA_METADATA_TOKEN",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
];

/// What of Lambda's variables extensions do not get, besides those that begin with `_` ("Using the
/// Lambda Extensions API", "Environment variables").
const RUNTIME_ONLY: [&str; 7] = [
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_XRAY_CONTEXT_MISSING",
    "AWS_XRAY_DAEMON_ADDRESS",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
];

/// Whether Lambda sets this variable itself.
pub fn is_reserved(name: &str) -> bool {
    RESERVED_VARIABLES.contains(&name)
}

/// All variables of a runtime. Of variables that are set twice, the last counts.
pub(super) fn of_runtime(
    spec: &FunctionSpec,
    place: &Place<'_>,
    own: impl Iterator<Item = (String, String)>,
) -> Vec<(String, String)> {
    unreserved().chain(own.filter(|(name, _)| !is_reserved(name))).chain(reserved(spec, place)).collect()
}

/// All variables of an extension.
pub(super) fn of_extension(
    spec: &FunctionSpec,
    place: &Place<'_>,
    own: impl Iterator<Item = (String, String)>,
) -> Vec<(String, String)> {
    let is_for_extensions = |name: &str| !name.starts_with('_') && !RUNTIME_ONLY.contains(&name);
    of_runtime(spec, place, own).into_iter().filter(|(name, _)| is_for_extensions(name)).collect()
}

fn reserved(spec: &FunctionSpec, place: &Place<'_>) -> impl Iterator<Item = (String, String)> {
    let Account { region, access_key_id, secret_access_key, .. } = &spec.account;
    let initialization = match place.initialization {
        Initialization::OnDemand => "on-demand",
        Initialization::Provisioned => "provisioned-concurrency",
    };
    let variables = [
        ("_HANDLER", spec.handler().to_owned()),
        ("AWS_ACCESS_KEY_ID", access_key_id.clone()),
        ("AWS_DEFAULT_REGION", region.clone()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", spec.memory_mb.to_string()),
        ("AWS_LAMBDA_FUNCTION_NAME", spec.name.clone()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", initialization.to_owned()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{}", spec.name)),
        ("AWS_LAMBDA_LOG_STREAM_NAME", place.log_stream.to_owned()),
        ("AWS_LAMBDA_RUNTIME_API", place.api.to_string()),
        ("AWS_REGION", region.clone()),
        ("AWS_SECRET_ACCESS_KEY", secret_access_key.clone()),
        ("AWS_SESSION_TOKEN", "local".to_owned()),
        ("LAMBDA_RUNTIME_DIR", "/var/runtime".to_owned()),
        // /var/task on AWS: wherever it is, it is the folder with the function's code.
        ("LAMBDA_TASK_ROOT", spec.directory.display().to_string()),
    ];
    variables.into_iter().map(|(name, value)| (name.to_owned(), value))
}

/// The other variables that Lambda sets, which a function's own overrule.
fn unreserved() -> impl Iterator<Item = (String, String)> {
    let variables = [
        ("AWS_LAMBDA_LOG_FORMAT", "Text"),
        ("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR"),
        ("AWS_XRAY_DAEMON_ADDRESS", "169.254.79.129:2000"),
        ("_AWS_XRAY_DAEMON_ADDRESS", "169.254.79.129"),
        ("_AWS_XRAY_DAEMON_PORT", "2000"),
        ("LANG", "en_US.UTF-8"),
        ("LD_LIBRARY_PATH", "/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib"),
        ("PATH", "/usr/local/bin:/usr/bin/:/bin:/opt/bin"),
        ("TZ", ":UTC"),
    ];
    variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// `YYYY/MM/DD/[$LATEST]` and 32 hex digits.
pub(super) fn log_stream_name(now: SystemTime) -> String {
    let now = humantime::format_rfc3339_seconds(now).to_string();
    let day = now.split('T').next().unwrap_or_default().replace('-', "/");
    format!("{day}/[$LATEST]{}", Uuid::new_v4().simple())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use verifier::EnvironmentId;

    use super::*;
    use crate::cloud::function::tests::{place, spec, wired};

    type Variables = Vec<(String, String)>;
    type Of<'a> = fn(&FunctionSpec, &Place<'_>, std::vec::IntoIter<(String, String)>) -> Variables;

    fn variables(of: Of<'_>, own: &[(&str, &str)]) -> Variables {
        let own: Variables = own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        of(&spec(), &place(&EnvironmentId::new("worker-1"), &wired(&[])), own.into_iter())
    }

    fn value<'a>(variables: &'a Variables, name: &str) -> Option<&'a str> {
        let mut values = variables.iter().rev().filter(|(set, _)| set == name).map(|(_, value)| value.as_str());
        values.next()
    }

    const OWN: [(&str, &str); 6] = [
        ("AWS_REGION", "moon-1"),
        ("TZ", "CET"),
        ("COLOUR", "blue"),
        ("COLOUR", "red"),
        ("_PRIVATE", "yes"),
        ("AWS_LAMBDA_RUNTIME_API", "elsewhere"),
    ];

    #[test]
    fn reserved_variables_are_lambdas_and_others_the_functions() {
        let variables = variables(of_runtime, &OWN);
        assert_eq!(value(&variables, "AWS_REGION"), Some("eu-west-1"));
        assert_eq!(value(&variables, "AWS_LAMBDA_RUNTIME_API"), Some("127.0.0.1:9001"));
        assert_eq!(value(&variables, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE"), Some("512"));
        assert_eq!(value(&variables, "AWS_LAMBDA_LOG_STREAM_NAME"), Some("2026/01/02/[$LATEST]0123"));
        assert_eq!(value(&variables, "TZ"), Some("CET"));
        assert_eq!(value(&variables, "COLOUR"), Some("red"));
        assert_eq!(value(&variables, "HOME"), None);
    }

    #[test]
    fn extension_gets_the_functions_variables_without_what_is_for_its_runtime() {
        let variables = variables(of_extension, &OWN);
        assert_eq!(value(&variables, "AWS_LAMBDA_RUNTIME_API"), Some("127.0.0.1:9001"));
        assert_eq!(value(&variables, "COLOUR"), Some("red"));
        for name in RUNTIME_ONLY.into_iter().chain(["_HANDLER", "_AWS_XRAY_DAEMON_PORT", "_PRIVATE"]) {
            assert_eq!(value(&variables, name), None, "{name}");
        }
    }

    #[test]
    fn log_stream_name_begins_with_the_day() {
        let name = log_stream_name(SystemTime::UNIX_EPOCH + Duration::from_secs(86_400));
        let (day, instance) = name.split_once("/[$LATEST]").unwrap();
        assert_eq!((day, instance.len()), ("1970/01/02", 32));
    }
}
