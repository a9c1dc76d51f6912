//! The trace contract: what a complete trace of one request looks like, as data.
//!
//! # How it is written
//! ```toml
//! name     = "onboarding"
//! foreign  = "count"                                # spans of no request: counted, or "forbid"
//! sampling = 0.1                                    # the sampled fraction; left out: every trace
//!
//! [severity]                                        # what findings weigh: "failure", "warning", "info"
//! span-late = "failure"
//!
//! [resource]                                        # what every resource says
//! "cx.application.name" = { present = true }
//!
//! [span.consumer]                                   # one table for each role
//! service      = "worker"                           # the `service.name`
//! name         = "process jobs"                     # or { pattern = "process .*" }
//! kind         = "consumer"                         # internal, server, client, producer, consumer
//! parent       = "producer"                         # a role; left out: a root
//! link         = "producer"                         # a role, beside the parent or in its place
//! per          = "delivery"                         # what there is one for, see below
//! queue        = "jobs"                             # of this queue alone
//! function     = "worker"                           # of this function alone
//! status       = "outcome"                          # or "no_error"; left out: any
//! max_duration = "2s"
//!
//! [span.consumer.attributes]
//! "messaging.system"     = "aws_sqs"                # this value; numbers, true and false as well
//! "messaging.message.id" = { present = true }       # any but the empty text
//! "customer.id"          = { pattern = "[0-9a-f-]+" }
//!
//! [span.consumer.resource]                          # beside what every resource says
//! "faas.name" = "worker"
//!
//! [extra.canary]                                    # a span that may be there and need not
//! service = "worker"
//! name    = "canary"
//! per     = "environment"
//! at_most = 1
//! ```
//! Patterns are regular expressions (crate `regex`) for the whole text. A span has the role whose service and
//! exact name are its own; else the first role whose pattern fits its name, those nearer to a root before others
//! and then by the roles' names; else the first extra.
//!
//! # What can refer to what
//! A reference must lead to one span. So a parent is for the same as its child, or for something that this is a
//! part of; and a link leads to the span whose context a message carries.
//!
//! | `per` | one for each | the `parent` is per | the `link` is per | `queue` | `function` |
//! |---|---|---|---|---|---|
//! | `request` | accepted request | request | - | - | - |
//! | `message` | message in a queue | request, message | - | yes | - |
//! | `delivery` | record that a function was given | request, message, delivery, invocation | request, message | yes | yes |
//! | `invocation` | invocation, whatever its records | request, message, invocation | request, message | - | yes |
//! | `environment` | execution environment | environment | - | - | yes |
//!
//! - A span per delivery whose parent (or link) is per message belongs to the very message that was delivered; below
//!   a span per delivery it belongs to the same delivery, and below one per invocation to the invocation that was
//!   given the record.
//! - A span per invocation is made from several messages. As a child of a span per message it has one of those that
//!   its records carry as its parent; by a link it has one link *for each* of its records.
//! - A span per environment is in no request's trace. Nothing but another one per environment can be below it.
//!
//! | module | what it is |
//! |---|---|
//! | `model` | a contract as it is used, and as it stands in a journal |
//! | `validate` | what is wrong with a contract that can be read |

mod model;
mod validate;

pub use model::{ExtraSpan, ForeignSpans, NameRule, Per, SpanContract, StatusRule, TraceContract, ValueRule};
pub use validate::{ContractError, Relation};
