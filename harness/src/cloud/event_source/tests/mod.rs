//! A mapping from a queue of our own engine to a function that is played, in paused time.

mod batches;
mod concurrency;
mod environments;
mod failures;
mod throttling;
mod world;
