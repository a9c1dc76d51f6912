//! Keeps secrets out of files: an API key that a process prints is no less a secret there.

use std::fmt;
use std::sync::Arc;

use memchr::memmem;
use verifier::otlp::Payload;

/// What stands in a secret's place.
const MASK: &str = "***";

/// Replaces secrets in what is written. Cheap to clone.
#[derive(Clone, Default)]
pub struct Mask(Arc<[String]>);

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mask({} secrets)", self.0.len())
    }
}

impl Mask {
    /// Masks these secrets.
    pub fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        Self(secrets.into_iter().filter(|secret| !secret.is_empty()).collect())
    }

    /// A text without secrets.
    pub fn text(&self, text: String) -> String {
        self.0.iter().fold(text, |text, secret| if text.contains(secret) { text.replace(secret, MASK) } else { text })
    }

    /// An export without secrets. What stands in their place is as long as they were, so that the message
    /// stays one, and says that there was a secret ([`verifier::otlp::is_masked`]).
    pub fn payload(&self, payload: Payload) -> Payload {
        let mut masked: Option<Vec<u8>> = None;
        for secret in self.0.iter() {
            // Always in what came: a secret may be a part of another one.
            for at in memmem::find_iter(payload.bytes(), secret.as_bytes()) {
                let bytes = masked.get_or_insert_with(|| payload.bytes().to_vec());
                bytes[at..at + secret.len()].fill(b'*');
            }
        }
        masked.map_or(payload, |bytes| Payload::new(bytes.into()))
    }

    /// Masks a stream of bytes that comes in pieces.
    pub fn stream(&self) -> MaskedStream {
        MaskedStream { mask: self.clone(), held: Vec::new() }
    }

    /// How many of the last bytes may be the beginning of a secret.
    fn begun(&self, bytes: &[u8]) -> usize {
        let begins = |secret: &String, length: usize| secret.as_bytes().starts_with(&bytes[bytes.len() - length..]);
        let longest =
            |secret: &String| (1..secret.len().min(bytes.len() + 1)).rev().find(|length| begins(secret, *length));
        self.0.iter().filter_map(longest).max().unwrap_or(0)
    }

    fn bytes(&self, bytes: Vec<u8>) -> Vec<u8> {
        self.0.iter().fold(bytes, |bytes, secret| replaced(bytes, secret.as_bytes()))
    }
}

/// A stream of bytes without secrets: what may be the beginning of one is held back.
#[derive(Debug)]
pub struct MaskedStream {
    mask: Mask,
    held: Vec<u8>,
}

impl MaskedStream {
    /// Takes bytes in; gives out what is certain to hold no secret.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend(bytes);
        let mut ready = self.mask.bytes(std::mem::take(&mut self.held));
        self.held = ready.split_off(ready.len() - self.mask.begun(&ready));
        ready
    }

    /// The rest, when nothing more comes.
    pub fn finish(self) -> Vec<u8> {
        self.held
    }
}

fn replaced(bytes: Vec<u8>, secret: &[u8]) -> Vec<u8> {
    let Some(at) = bytes.windows(secret.len()).position(|part| part == secret) else { return bytes };
    let rest = replaced(bytes[at + secret.len()..].to_vec(), secret);
    [&bytes[..at], MASK.as_bytes(), &rest].concat()
}

#[cfg(test)]
mod tests {
    use verifier::span::{Attribute, Resource, ResourceSpans};

    use super::*;

    fn mask() -> Mask {
        Mask::new(["s3cr3t".to_owned(), String::new(), "other".to_owned()])
    }

    #[test]
    fn secrets_are_masked_in_text() {
        assert_eq!(mask().text("s3cr3t and other, s3cr3t".to_owned()), "*** and ***, ***");
        assert_eq!(mask().text("nothing".to_owned()), "nothing");
        assert!(!format!("{:?}", mask()).contains("s3cr3t"));
    }

    /// An export of one span with an attribute.
    fn export(value: &str) -> Payload {
        let attributes = vec![Attribute { key: "key".to_owned(), value: value.to_owned() }];
        let resource = Resource { attributes };
        Payload::of(&[ResourceSpans { resource, spans: Vec::new() }])
    }

    fn value(payload: &Payload) -> String {
        payload.resources().next().unwrap().attribute("key").unwrap().into_owned()
    }

    #[test]
    fn secrets_in_an_export_are_masked_in_their_length_and_leave_it_well_formed() {
        let mask = Mask::new(["a-long-s3cr3t".to_owned(), "other".to_owned()]);
        let masked = mask.payload(export("Bearer a-long-s3cr3t, a-long-s3cr3t and other"));
        assert_eq!(masked.validate(), Ok(()));
        assert_eq!(value(&masked), "Bearer *************, ************* and *****");
        assert!(verifier::otlp::is_masked(&value(&masked)));
    }

    #[test]
    fn export_without_secrets_is_not_copied() {
        let payload = export("nothing");
        let before = payload.bytes().as_ptr();
        let after = mask().payload(payload);
        assert_eq!(after.bytes().as_ptr(), before);
        assert!(!verifier::otlp::is_masked(&value(&after)));
    }

    #[test]
    fn secret_that_holds_another_one_is_masked_whole_whichever_is_looked_for_first() {
        for secrets in [["inner", "the-inner-one"], ["the-inner-one", "inner"]] {
            let masked = Mask::new(secrets.map(str::to_owned)).payload(export("the-inner-one"));
            assert_eq!(value(&masked), "*************");
        }
    }

    #[test]
    fn secret_that_looks_like_its_mask_is_found_once() {
        assert_eq!(value(&Mask::new(["****".to_owned()]).payload(export("a ****"))), "a ****");
    }

    #[test]
    fn secrets_are_masked_wherever_a_stream_is_cut() {
        let text = b"a s3cr3t, s3s3cr3t, an other s3cr3 othe";
        for cut in 0..text.len() {
            for second in cut..text.len() {
                let mut stream = mask().stream();
                let mut masked = stream.push(&text[..cut]);
                masked.extend(stream.push(&text[cut..second]));
                masked.extend(stream.push(&text[second..]));
                masked.extend(stream.finish());
                assert_eq!(String::from_utf8(masked).unwrap(), "a ***, s3***, an *** s3cr3 othe");
            }
        }
    }
}
