//! Queues: an SQS engine of our own, the tap that records what passes, and the API in front of both.

pub mod message;

pub use message::{AttributeValue, MessageAttribute, ReceivedMessage};
