//! The local cloud: queues that are as strict as SQS, and functions as Lambda runs them.

pub mod queue;
