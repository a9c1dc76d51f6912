//! Receipt handles: which receive of which message of which queue.

use std::fmt;
use std::str::FromStr;

use super::error::{ErrorKind, SqsError};

/// A receipt handle. Opaque to consumers, who get it as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Receipt {
    /// The queue's tag; no two queues have the same, those with the same name included.
    pub(super) queue: String,
    /// The message's serial number in its queue.
    pub(super) serial: u64,
    /// How often the message had been received, this time included: tells old handles from the newest.
    pub(super) receive_count: u32,
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:x}-{:x}", self.queue, self.serial, self.receive_count)
    }
}

impl FromStr for Receipt {
    type Err = SqsError;

    fn from_str(handle: &str) -> Result<Self, SqsError> {
        read(handle).ok_or_else(|| invalid(handle))
    }
}

fn read(handle: &str) -> Option<Receipt> {
    let mut parts = handle.split('-');
    let (queue, serial, receive_count) = (parts.next()?, parts.next()?, parts.next()?);
    let receipt = Receipt {
        queue: queue.to_owned(),
        serial: u64::from_str_radix(serial, 16).ok()?,
        receive_count: u32::from_str_radix(receive_count, 16).ok()?,
    };
    // Written again, it is the same: so nothing came behind it, and no digit had another form.
    (receipt.to_string() == handle).then_some(receipt)
}

/// SQS's answer to text that is not a receipt handle of the queue.
pub(super) fn invalid(handle: &str) -> SqsError {
    SqsError::new(
        ErrorKind::ReceiptHandleIsInvalid,
        format!("The input receipt handle {handle:?} is not a valid receipt handle."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipt_handle_is_read_as_it_was_written() {
        let receipt = Receipt { queue: "5f3a".to_owned(), serial: 42, receive_count: 3 };
        assert_eq!(receipt.to_string().parse(), Ok(receipt));
    }

    #[test]
    fn anything_else_is_not_a_receipt_handle() {
        for handle in ["", "garbage", "5f3a-2a", "5f3a-2a-3-", "5f3a-2a-03", "5f3a-2A-3", "5f3a--2a-3", "5f3a-+2a-3"] {
            let error = handle.parse::<Receipt>().unwrap_err();
            assert_eq!(error.kind, ErrorKind::ReceiptHandleIsInvalid, "{handle}");
        }
    }
}
