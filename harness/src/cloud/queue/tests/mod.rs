//! The queues as their users see them: in process with paused time, over HTTP with AWS's own SDK, and
//! as a proxy before another endpoint.

mod api;
mod engine;
mod external;
mod ledger;
mod protocol;
mod sdk;
mod table;
mod world;
