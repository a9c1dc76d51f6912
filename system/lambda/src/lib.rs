//! The onboarding worker: a Lambda function that handles the messages of an SQS queue.
//!
//! | module | what it is |
//! |---|---|
//! | [`worker`] | an invocation: its records, then the flush, on every path |
//! | [`record`] | a record: its CONSUMER span and whether it succeeded |
//! | [`onboarding`] | the work itself |
//! | [`function`] | what the environment says of the function, and the Init phase |
//!
//! The environment is frozen as soon as an invocation has been answered, and may never be thawed. So
//! nothing is left to a timer or a task: each invocation ends its spans and awaits their export before
//! it returns.

pub mod function;
pub mod onboarding;
pub mod record;
pub mod worker;
