//! Which API keys are good.

use std::collections::BTreeSet;
use std::fmt;

use http::HeaderMap;
use http::header::AUTHORIZATION;

/// The API keys that an endpoint knows. Never shown, by `Debug` neither.
#[derive(Clone, PartialEq, Eq)]
pub enum ApiKeys {
    /// Any key is good, as long as there is one.
    Any,
    /// These are good.
    Only(BTreeSet<String>),
}

impl ApiKeys {
    /// These keys are good, and no others.
    pub fn only(keys: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::Only(keys.into_iter().map(Into::into).collect())
    }

    /// Judges a request by its header `authorization: Bearer <key>`.
    ///
    /// The scheme must be written exactly so: an endpoint for tests must not be more lenient than the
    /// real one.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Unauthorized> {
        let value = headers.get(AUTHORIZATION).ok_or(Unauthorized::Missing)?;
        let key = value.to_str().ok().and_then(|text| text.strip_prefix("Bearer ")).ok_or(Unauthorized::NotBearer)?;
        match self {
            _ if key.trim().is_empty() => Err(Unauthorized::EmptyKey),
            Self::Only(keys) if !keys.contains(key) => Err(Unauthorized::UnknownKey),
            Self::Any | Self::Only(_) => Ok(()),
        }
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("Any"),
            Self::Only(keys) => write!(f, "Only({} keys)", keys.len()),
        }
    }
}

/// Why a request is not authorized: the text of its UNAUTHENTICATED. Never holds what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unauthorized {
    #[error("no metadata \"authorization\"; expected \"authorization: Bearer <Send-Your-Data API key>\"")]
    Missing,
    #[error("metadata \"authorization\" does not start with \"Bearer \" (one space, not %20)")]
    NotBearer,
    #[error("metadata \"authorization\" holds an empty API key")]
    EmptyKey,
    #[error("unknown API key")]
    UnknownKey,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(keys: &ApiKeys, authorization: &'static str) -> Result<(), Unauthorized> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, http::HeaderValue::from_static(authorization));
        keys.check(&headers)
    }

    #[test]
    fn only_the_known_keys_are_good() {
        let keys = ApiKeys::only(["first", "second"]);
        assert_eq!(check(&keys, "Bearer first"), Ok(()));
        assert_eq!(check(&keys, "Bearer second"), Ok(()));
        assert_eq!(check(&keys, "Bearer third"), Err(Unauthorized::UnknownKey));
        assert_eq!(check(&keys, "Bearer firs"), Err(Unauthorized::UnknownKey));
    }

    #[test]
    fn any_key_is_good_but_none_is_not() {
        assert_eq!(check(&ApiKeys::Any, "Bearer whatever"), Ok(()));
        assert_eq!(check(&ApiKeys::Any, "Bearer "), Err(Unauthorized::EmptyKey));
        assert_eq!(check(&ApiKeys::Any, "Bearer    "), Err(Unauthorized::EmptyKey));
        assert_eq!(ApiKeys::Any.check(&HeaderMap::new()), Err(Unauthorized::Missing));
    }

    #[test]
    fn other_spellings_of_the_scheme_are_refused() {
        let keys = ApiKeys::only(["key"]);
        for text in ["key", "bearer key", "Bearer%20key", "Bearerkey", "Basic key", ""] {
            assert_eq!(check(&keys, text), Err(Unauthorized::NotBearer), "{text}");
        }
    }

    #[test]
    fn debug_output_does_not_hold_the_keys() {
        assert_eq!(format!("{:?}", ApiKeys::only(["secret"])), "Only(1 keys)");
    }
}
