//! Secrets, told by their shape. This is asked of every attribute, so it looks at few of its bytes.

/// The least that follows the prefix of a Coralogix key.
const CORALOGIX_TAIL: usize = 8;
/// What Coralogix keys begin with: `cxtp_` that may send data, `cxup_` that is a person's or a team's.
const CORALOGIX_PREFIX: usize = 5;
/// The least length of the mark that stands in the place of a secret.
const MARK: usize = 8;
/// The length of an AWS access key id.
const ACCESS_KEY_ID: usize = 20;
/// The length of an AWS secret access key.
const SECRET_ACCESS_KEY: usize = 40;

/// What a value holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secret {
    /// An API key of Coralogix.
    CoralogixKey,
    /// An AWS access key id: `AKIA` or `ASIA` and 16 more.
    AwsAccessKeyId,
    /// An AWS secret access key, by the name of its attribute.
    AwsSecretAccessKey,
    /// Something that was masked before it was written down.
    Masked,
}

impl Secret {
    /// What it is, in words.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::CoralogixKey => "a Coralogix API key",
            Self::AwsAccessKeyId => "an AWS access key id",
            Self::AwsSecretAccessKey => "an AWS secret access key",
            Self::Masked => "a secret (masked here)",
        }
    }

    /// The secret that an attribute is or holds, if its shape tells of one.
    pub(crate) fn find(key: &str, value: &[u8]) -> Option<Self> {
        if holds_mark(value) {
            Some(Self::Masked)
        } else if holds_coralogix_key(value) {
            Some(Self::CoralogixKey)
        } else if holds_access_key_id(value) {
            Some(Self::AwsAccessKeyId)
        } else {
            is_secret_access_key(key, value).then_some(Self::AwsSecretAccessKey)
        }
    }
}

/// The mark of a masked secret ([`crate::otlp::is_masked`]). Every eighth byte of it is one of it.
fn holds_mark(value: &[u8]) -> bool {
    let is_run = |at: usize| {
        let is_star = |byte: &&u8| **byte == b'*';
        let before = value[..at].iter().rev().take_while(is_star).count();
        before + value[at..].iter().take_while(is_star).count() >= MARK
    };
    (MARK - 1..value.len()).step_by(MARK).any(|at| value[at] == b'*' && is_run(at))
}

/// `cxtp_` or `cxup_` with a tail of letters, digits, `-` and `_`. Looks at every fifth byte where no letter
/// of the prefix stands (Horspool's search).
fn holds_coralogix_key(value: &[u8]) -> bool {
    let mut last = CORALOGIX_PREFIX - 1;
    while last + CORALOGIX_TAIL < value.len() {
        last += match value[last] {
            b'_' if begins_coralogix_key(&value[last + 1 - CORALOGIX_PREFIX..]) => return true,
            b'p' => 1,
            b't' | b'u' => 2,
            b'x' => 3,
            b'c' => 4,
            _ => CORALOGIX_PREFIX,
        };
    }
    false
}

fn begins_coralogix_key(value: &[u8]) -> bool {
    let (prefix, rest) = value.split_at(CORALOGIX_PREFIX);
    let is_of_key = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    matches!(prefix, b"cxtp_" | b"cxup_") && rest.iter().take_while(|byte| is_of_key(byte)).count() >= CORALOGIX_TAIL
}

/// `AKIA` or `ASIA` and 16 more capital letters or digits, standing by themselves. Such a run covers one of
/// every twenty bytes, so the others need no look unless that one fits.
fn holds_access_key_id(value: &[u8]) -> bool {
    let mut at = ACCESS_KEY_ID - 1;
    while at < value.len() {
        if is_of_access_key_id(value[at]) {
            let before = value[..at].iter().rev().take_while(|byte| is_of_access_key_id(**byte)).count();
            let after = value[at..].iter().take_while(|byte| is_of_access_key_id(**byte)).count();
            let (start, end) = (at - before, at + after);
            if is_access_key_id(&value[start..end]) && stands_alone(value, start, end) {
                return true;
            }
            at = end;
        }
        at += ACCESS_KEY_ID;
    }
    false
}

const fn is_of_access_key_id(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

fn is_access_key_id(run: &[u8]) -> bool {
    run.len() == ACCESS_KEY_ID && (run.starts_with(b"AKIA") || run.starts_with(b"ASIA"))
}

/// Whether no lower-case letter stands directly before or after: then it is a part of something longer.
fn stands_alone(value: &[u8], start: usize, end: usize) -> bool {
    let neighbours = [start.checked_sub(1), Some(end)].map(|at| at.and_then(|at| value.get(at)));
    !neighbours.into_iter().flatten().any(u8::is_ascii_lowercase)
}

/// Forty characters of base64 under a key that speaks of a secret.
fn is_secret_access_key(key: &str, value: &[u8]) -> bool {
    let is_of_key = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    value.len() == SECRET_ACCESS_KEY && value.iter().all(is_of_key) && names_a_secret(key)
}

fn names_a_secret(key: &str) -> bool {
    key.as_bytes().windows(b"secret".len()).any(|part| part.eq_ignore_ascii_case(b"secret"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(key: &str, value: &str) -> Option<Secret> {
        Secret::find(key, value.as_bytes())
    }

    #[test]
    fn coralogix_key_is_found_wherever_it_stands() {
        for value in ["cxtp_very-secret", "Bearer cxup_0123456789abcdef", "{\"k\":\"cxtp_0123456789\"}"] {
            for before in 0..12 {
                let value = format!("{}{value}", "p".repeat(before));
                assert_eq!(found("header", &value), Some(Secret::CoralogixKey), "{value}");
            }
        }
    }

    #[test]
    fn prefix_of_a_coralogix_key_needs_a_tail_of_eight() {
        assert_eq!(found("k", "cxtp_01234567"), Some(Secret::CoralogixKey));
        for value in ["cxtp_0123456", "cxtp_0123456 789", "cxtp_", "cxt", "", "cxap_0123456789", "xcxtp-0123456789"] {
            assert_eq!(found("k", value), None, "{value}");
        }
    }

    #[test]
    fn access_key_id_is_found_wherever_it_stands() {
        for value in ["AKIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE"] {
            for before in 0..45 {
                let value = format!("{}{value}/20261122/eu-west-1", "=".repeat(before));
                assert_eq!(found("aws.auth", &value), Some(Secret::AwsAccessKeyId), "{value}");
            }
        }
    }

    #[test]
    fn access_key_id_is_found_directly_behind_something_like_it() {
        for before in 1..45 {
            let value = format!("{},AKIAIOSFODNN7EXAMPLE", "0".repeat(before));
            assert_eq!(found("k", &value), Some(Secret::AwsAccessKeyId), "{value}");
        }
    }

    #[test]
    fn access_key_id_has_twenty_characters_and_stands_by_itself() {
        for value in [
            "AKIAIOSFODNN7EXAMPL",
            "AKIAIOSFODNN7EXAMPLES",
            "AKIAIOSFODNN7EXAMPLe",
            "aAKIAIOSFODNN7EXAMPLE",
            "ABIAIOSFODNN7EXAMPLE",
        ] {
            assert_eq!(found("k", value), None, "{value}");
        }
    }

    #[test]
    fn secret_access_key_is_told_by_its_attributes_name() {
        let value = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        assert_eq!(found("process.env.AWS_SECRET_ACCESS_KEY", value), Some(Secret::AwsSecretAccessKey));
        assert_eq!(found("aws.secretAccessKey", value), Some(Secret::AwsSecretAccessKey));
        assert_eq!(found("vcs.ref.head.revision", value), None);
        assert_eq!(found("aws.secretAccessKey", &value[1..]), None);
    }

    #[test]
    fn everyday_values_hold_no_secret() {
        for value in [
            "https://sqs.eu-west-1.amazonaws.com/000000000000/onboarding",
            "7f3a9c2e-0000002a",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
            "POST /onboard",
        ] {
            assert_eq!(found("aws.secret", value), None, "{value}");
        }
    }
}
