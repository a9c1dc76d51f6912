//! The way between an execution environment and the endpoint: its latency, what can happen to it while
//! the environment is frozen, and what was going on when it was.
//!
//! ```text
//! function ──socket──▶ pump ──lane up──▶ stream ──▶ TLS, HTTP/2, intake
//!          ◀──socket── pump ◀─lane down── stream ◀──
//! ```
//!
//! There is no second connection. The environment's listener accepts the function's own, and two lanes
//! of timed bytes stand between its socket and the endpoint: what goes in comes out in its order, each
//! byte after the latency. A lane is as long as a window of TCP; then its sender waits.
//!
//! # What is open, without clocks
//! A network has one lock. Every step that moves bytes and what is known of them is one critical section,
//! the system call included: a connection is accepted *and* listed, bytes are read from the kernel *and*
//! put into the lane, an answer is written to the function's socket *and* its request is closed. So at any
//! moment a byte is in exactly one known place, and [`Network::mark`], which takes the lock, sees all
//! places at one instant.
//!
//! Where a request stands is read off its HTTP/2 frames, between TLS and the HTTP library
//! ([`mock_coralogix::StreamObserver`]). It begins when its HEADERS are read, and its answer is the bytes
//! up to the flush after the frame with END_STREAM: bytes that the endpoint has written are not sent
//! before it flushes, so no byte of an answer leaves before it is known whose it is. HTTP/2's own traffic
//! (SETTINGS, PING, WINDOW_UPDATE) begins nothing.
//!
//! - *No false alarm.* A function that has awaited its export has read the answer. So the critical section
//!   that wrote it, and closed the request, was over before the function asked for its next invocation.
//! - *No miss.* An unanswered request is at the endpoint, begun and not closed; or its answer is in the
//!   lane, and not closed; or it begins between the mark and the end of [`Network::drained`], for all that
//!   the function had written is read by then. The process is stopped, so what is in the kernel only gets
//!   less: first the function's own send queue is seen to be empty, then the accept queue and the receive
//!   queues, then the lanes, and last that the endpoint has come back for more frames and found none:
//!   it has then read every frame that has come. (That it waits for bytes does not say so, for TLS asks
//!   for more before it hands on what it has.)
//! - *The journal's order.* The endpoint tells its observer of an export before it answers, and `drained`
//!   waits for the answer of every request that is whole: the export is recorded before the freeze.
//!
//! What the function has given up is not open: a request that it has reset, a connection that it has
//! closed, or one whose end it has been told. What goes into a black hole is seen by nobody.
//!
//! | module | what it is |
//! |---|---|
//! | `way` | the network itself: marks, drains, cuts |
//! | `link` | one connection: its lanes and its requests |
//! | `lane` | bytes on their way in one direction |
//! | `exchanges` | the requests of one connection |
//! | `stream` | the endpoint's end of a connection |
//! | `pump` | what moves bytes between a socket and its lanes |
//! | `kernel` | what the kernel still holds |

mod exchanges;
mod kernel;
mod lane;
mod link;
mod pump;
mod stream;
mod way;

pub use stream::EndpointStream;
pub use way::{Conditions, Network};
