//! Queues: an SQS engine of our own, the tap that records what passes, and the API in front of both.
//!
//! | module | what it is |
//! |---|---|
//! | [`queues`] | the way in for everybody: one set of queues behind the tap, local or external |
//! | [`server`] | AWS JSON 1.0 over HTTP in front of it, for the SDKs |
//! | `operations`, `wire` | one function per SQS operation, and the shapes of its call and its answer |
//! | `tap` | what passes, as ledger events |
//! | [`fault`] | what the queues can do to a message on purpose |
//! | `engine`, `store` | our engine: waiting and waking; and one queue's messages, told the time |
//! | `admin` | what is seldom asked for: tags, permissions, message move tasks |
//! | `tags`, `permissions`, `move_task` | what these are |
//! | `external`, `sightings` | somebody else's endpoint in the engine's place, and what it says of messages |
//! | [`endpoint`] | how to get there |
//! | `attributes`, `limits`, `md5`, `receipt` | queue attributes, what SQS refuses, checksums, receipt handles |
//! | [`error`], [`message`] | SQS's errors and messages |

mod admin;
mod attributes;
pub mod endpoint;
mod engine;
pub mod error;
mod external;
pub mod fault;
mod limits;
mod md5;
pub mod message;
mod move_task;
mod operations;
mod permissions;
pub mod queues;
mod receipt;
pub mod server;
mod sightings;
mod store;
mod tags;
mod tap;
#[cfg(test)]
mod tests;
mod wire;

pub use endpoint::ConnectError;
pub use error::SqsError;
pub use fault::{FaultGuard, MessageFault};
pub use message::{Draft, MessageAttribute, NewMessage, ReceivedMessage, SentMessage};
pub use queues::{Correlation, Depth, QueueSettings, Queues, QueuesConfig, ReceiveRequest};
pub use server::serve;
