//! Permissions on a queue (SQS API, `AddPermission`): statements in its policy. They are kept and handed
//! out; callers are not identified, so that nothing is allowed or denied by them.

use serde_json::{Value, json};

use super::error::{ErrorKind, SqsError};

/// What may be allowed to other accounts (SQS API, `AddPermission`).
const ACTIONS: [&str; 9] = [
    "*",
    "ChangeMessageVisibility",
    "DeleteMessage",
    "GetQueueAttributes",
    "GetQueueUrl",
    "ListDeadLetterSourceQueues",
    "PurgeQueue",
    "ReceiveMessage",
    "SendMessage",
];
const MAX_ACTIONS: usize = 7;

/// A permission: which accounts may do what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Permission {
    /// `Label`, by which it is removed again.
    pub(super) label: String,
    /// `AWSAccountIds`.
    pub(super) accounts: Vec<String>,
    /// `Actions`, such as `SendMessage`.
    pub(super) actions: Vec<String>,
}

/// The policy of the queue with this ARN, with a permission added.
pub(super) fn add(policy: Option<&str>, arn: &str, permission: &Permission) -> Result<String, SqsError> {
    check(permission)?;
    let mut policy = read(policy, arn)?;
    let statements = statements(&mut policy)?;
    if statements.iter().any(|statement| is_labelled(statement, &permission.label)) {
        return Err(SqsError::invalid_value("Label", &permission.label, "Already exists."));
    }
    statements.push(statement(arn, permission));
    Ok(policy.to_string())
}

/// The policy without the permission that has this label.
pub(super) fn remove(policy: Option<&str>, arn: &str, label: &str) -> Result<String, SqsError> {
    let mut policy = read(policy, arn)?;
    let statements = statements(&mut policy)?;
    let before = statements.len();
    statements.retain(|statement| !is_labelled(statement, label));
    if statements.len() == before {
        return Err(SqsError::invalid_value("Label", label, "can't find label on existing policy."));
    }
    Ok(policy.to_string())
}

fn check(permission: &Permission) -> Result<(), SqsError> {
    if permission.accounts.is_empty() {
        return Err(SqsError::invalid_value("PrincipalId", "[]", "Unable to verify."));
    }
    let count = permission.actions.len();
    if count == 0 {
        return Err(SqsError::missing("Actions"));
    }
    if count > MAX_ACTIONS {
        let message = format!("{count} Actions were found, maximum allowed is {MAX_ACTIONS}.");
        return Err(SqsError::new(ErrorKind::OverLimit, message));
    }
    match permission.actions.iter().find(|action| !ACTIONS.contains(&action.as_str())) {
        Some(action) => {
            let reason = "Only the queue owner is allowed to invoke this action.";
            Err(SqsError::invalid_value("ActionName", format!("SQS:{action}"), reason))
        }
        None => Ok(()),
    }
}

fn read(policy: Option<&str>, arn: &str) -> Result<Value, SqsError> {
    match policy {
        None | Some("") => {
            Ok(json!({ "Version": "2008-10-17", "Id": format!("{arn}/SQSDefaultPolicy"), "Statement": [] }))
        }
        Some(text) => serde_json::from_str(text).map_err(|_| unreadable()),
    }
}

fn statements(policy: &mut Value) -> Result<&mut Vec<Value>, SqsError> {
    policy.get_mut("Statement").and_then(Value::as_array_mut).ok_or_else(unreadable)
}

fn is_labelled(statement: &Value, label: &str) -> bool {
    statement["Sid"] == label
}

fn statement(arn: &str, permission: &Permission) -> Value {
    let principals = permission.accounts.iter().map(|account| format!("arn:aws:iam::{account}:root"));
    let actions = permission.actions.iter().map(|action| format!("SQS:{action}"));
    json!({
        "Sid": permission.label,
        "Effect": "Allow",
        "Principal": { "AWS": one_or_many(principals.collect()) },
        "Action": one_or_many(actions.collect()),
        "Resource": arn,
    })
}

/// AWS writes a list of one as its element.
fn one_or_many(mut texts: Vec<String>) -> Value {
    if texts.len() == 1 { json!(texts.remove(0)) } else { json!(texts) }
}

fn unreadable() -> SqsError {
    SqsError::new(ErrorKind::InvalidAttributeValue, "The queue's policy is not one that a permission can be added to.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permission(accounts: &[&str], actions: &[&str]) -> Permission {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Permission { label: "label".to_owned(), accounts: owned(accounts), actions: owned(actions) }
    }

    #[test]
    fn permission_is_a_statement_until_it_is_removed() {
        let sending = permission(&["111111111111"], &["SendMessage"]);
        let policy = add(None, "arn:q", &sending).unwrap();
        let read: Value = serde_json::from_str(&policy).unwrap();
        let expected = json!({
            "Sid": "label",
            "Effect": "Allow",
            "Principal": { "AWS": "arn:aws:iam::111111111111:root" },
            "Action": "SQS:SendMessage",
            "Resource": "arn:q",
        });
        assert_eq!(read["Statement"], json!([expected]));
        assert!(add(Some(&policy), "arn:q", &sending).is_err(), "the label is there already");
        let empty: Value = serde_json::from_str(&remove(Some(&policy), "arn:q", "label").unwrap()).unwrap();
        assert_eq!(empty["Statement"], json!([]));
        assert!(remove(None, "arn:q", "label").is_err());
    }

    #[test]
    fn permissions_against_the_rules_are_refused() {
        for (accounts, actions, expected) in [
            (&[][..], &["SendMessage"][..], ErrorKind::InvalidParameterValue),
            (&["1"], &[], ErrorKind::MissingParameter),
            (&["1"], &["CreateQueue"], ErrorKind::InvalidParameterValue),
            (&["1"], &["SendMessage"; 8], ErrorKind::OverLimit),
        ] {
            assert_eq!(add(None, "arn:q", &permission(accounts, actions)).unwrap_err().kind, expected, "{actions:?}");
        }
        assert!(add(Some("no policy"), "arn:q", &permission(&["1"], &["*"])).is_err());
    }
}
