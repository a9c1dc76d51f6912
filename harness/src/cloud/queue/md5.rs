//! SQS's checksums of bodies and attributes ("Calculating the MD5 message digest for message
//! attributes", SQS Developer Guide).

use std::collections::BTreeMap;

use md5::{Digest, Md5};

use super::message::{AttributeValue, MessageAttribute};

/// The checksum of a body, in lower-case hex.
pub(super) fn of_text(text: &str) -> String {
    hex(Md5::new_with_prefix(text))
}

/// The checksum of message attributes, in lower-case hex; none if there are no attributes.
pub(super) fn of_attributes(attributes: &BTreeMap<String, MessageAttribute>) -> Option<String> {
    if attributes.is_empty() {
        return None;
    }
    let mut digest = Md5::new();
    for (name, attribute) in attributes {
        add_attribute(&mut digest, name, &attribute.data_type, &attribute.value);
    }
    Some(hex(digest))
}

/// The checksum of system attributes that consist of this `AWSTraceHeader`.
pub(super) fn of_trace_header(value: &str) -> String {
    let mut digest = Md5::new();
    add_attribute(&mut digest, "AWSTraceHeader", "String", &AttributeValue::Text(value.to_owned()));
    hex(digest)
}

fn add_attribute(digest: &mut Md5, name: &str, data_type: &str, value: &AttributeValue) {
    add(digest, name.as_bytes());
    add(digest, data_type.as_bytes());
    let transport_type = match value {
        AttributeValue::Text(_) => 1,
        AttributeValue::Binary(_) => 2,
    };
    digest.update([transport_type]);
    add(digest, value.as_bytes());
}

/// Adds a part behind its length: four bytes, the highest first.
fn add(digest: &mut Md5, part: &[u8]) {
    // What is longer than the limits allow has been refused before anybody asks for its checksum.
    let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
    digest.update(length.to_be_bytes());
    digest.update(part);
}

fn hex(digest: Md5) -> String {
    let bytes: [u8; 16] = digest.finalize().into();
    format!("{:032x}", u128::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, MessageAttribute> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), MessageAttribute::text(*value))).collect()
    }

    // The expected values are answers of AWS, recorded in LocalStack's tests.

    #[test]
    fn body_checksum_is_that_of_aws() {
        assert_eq!(of_text("msg"), "6e2baaf3b97dbeef01c0043275f9a0e7");
    }

    #[test]
    fn text_attribute_checksums_are_those_of_aws() {
        let three = texts(&[("Help.Me", "Me"), ("Hello", "There"), ("General", "Kenobi")]);
        assert_eq!(of_attributes(&three).as_deref(), Some("4c360f3fdafd970e05fae2f149d997f5"));
        let one = texts(&[("Hello", "There")]);
        assert_eq!(of_attributes(&one).as_deref(), Some("a311262e065454b75da111d535b8dacd"));
    }

    #[test]
    fn binary_attribute_checksum_is_that_of_aws() {
        let value = b"traceparent\x1e00-774062d6c37081a5a0b9b5b88e30627c-2d2482211f6489da-01";
        let attribute =
            MessageAttribute { data_type: "Binary".to_owned(), value: AttributeValue::Binary(value.to_vec()) };
        let attributes = BTreeMap::from([("attr1".to_owned(), attribute)]);
        assert_eq!(of_attributes(&attributes).as_deref(), Some("8cbe4db156db8a94db8b801b7addb984"));
    }

    #[test]
    fn no_attributes_have_no_checksum() {
        assert_eq!(of_attributes(&BTreeMap::new()), None);
    }

    #[test]
    fn trace_header_is_hashed_as_the_attribute_that_it_is() {
        let header = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1";
        assert_eq!(Some(of_trace_header(header)), of_attributes(&texts(&[("AWSTraceHeader", header)])));
    }
}
