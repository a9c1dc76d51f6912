//! Bytes that are on their way in one direction of a connection.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::time::Instant;

/// How many bytes may be on their way before a sender has to wait, as for a window of TCP.
pub(super) const WINDOW: usize = 256 * 1024;

/// One direction: what goes in comes out in its order, each byte after the lane's latency.
#[derive(Debug)]
pub(super) struct Lane {
    latency: Duration,
    chunks: VecDeque<Chunk>,
    /// How many bytes are on their way.
    bytes: usize,
    /// When the sender's end of the direction arrives, if there is one.
    end: Option<Instant>,
}

/// Bytes that went in together.
#[derive(Debug)]
struct Chunk {
    due: Instant,
    bytes: Bytes,
    /// The streams whose answers end with the chunk.
    answers: Vec<u32>,
}

impl Lane {
    pub(super) fn new(latency: Duration) -> Self {
        Self { latency, chunks: VecDeque::new(), bytes: 0, end: None }
    }

    /// Whether more may go in. One chunk may go over the window.
    pub(super) fn has_room(&self) -> bool {
        self.bytes < WINDOW
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Sends bytes, and the answers that end with them.
    pub(super) fn push(&mut self, now: Instant, bytes: Bytes, answers: Vec<u32>) {
        self.bytes += bytes.len();
        self.chunks.push_back(Chunk { due: now + self.latency, bytes, answers });
    }

    /// Sends the end: nothing comes after it.
    pub(super) fn end(&mut self, now: Instant) {
        self.end.get_or_insert(now + self.latency);
    }

    /// Whether the end was sent.
    pub(super) fn is_ended(&self) -> bool {
        self.end.is_some()
    }

    /// When the next thing arrives, the end included.
    pub(super) fn due(&self) -> Option<Instant> {
        self.chunks.front().map(|chunk| chunk.due).or(self.end)
    }

    /// The next bytes, if they have arrived.
    pub(super) fn arrived(&self, now: Instant) -> Option<&Bytes> {
        self.chunks.front().filter(|chunk| chunk.due <= now).map(|chunk| &chunk.bytes)
    }

    /// Whether everything has arrived and was taken, and then the end.
    pub(super) fn end_arrived(&self, now: Instant) -> bool {
        self.is_empty() && self.end.is_some_and(|due| due <= now)
    }

    /// Takes so many of the bytes that have arrived, and tells which answers are whole by that.
    pub(super) fn take(&mut self, count: usize) -> Vec<u32> {
        let Some(chunk) = self.chunks.front_mut() else { return Vec::new() };
        chunk.bytes.advance(count);
        self.bytes -= count;
        if chunk.bytes.has_remaining() {
            return Vec::new();
        }
        self.chunks.pop_front().map(|chunk| chunk.answers).unwrap_or_default()
    }

    /// Lets all bytes arrive at once.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.chunks.iter_mut().for_each(|chunk| chunk.due = chunk.due.min(now));
    }

    /// Loses all bytes.
    pub(super) fn clear(&mut self) {
        self.chunks.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATENCY: Duration = Duration::from_millis(20);

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn bytes_arrive_after_the_latency_in_their_order() {
        let sent = Instant::now();
        let later = sent + Duration::from_millis(1);
        let mut lane = Lane::new(LATENCY);
        lane.push(sent, bytes("first"), Vec::new());
        lane.push(later, bytes("second"), Vec::new());
        lane.end(later);

        assert_eq!(lane.arrived(later), None);
        assert_eq!(lane.due(), Some(sent + LATENCY));
        assert_eq!(lane.arrived(sent + LATENCY), Some(&bytes("first")));
        lane.take(5);
        assert_eq!(lane.arrived(sent + LATENCY), None);
        assert!(!lane.end_arrived(later + LATENCY));
        lane.take(6);
        assert!(!lane.end_arrived(sent + LATENCY));
        assert!(lane.end_arrived(later + LATENCY));
    }

    #[test]
    fn answer_is_whole_with_the_last_byte_of_its_chunk() {
        let now = Instant::now();
        let mut lane = Lane::new(Duration::ZERO);
        lane.push(now, bytes("answer"), vec![1, 3]);
        assert!(lane.take(5).is_empty());
        assert_eq!(lane.arrived(now), Some(&bytes("r")));
        assert_eq!(lane.take(1), [1, 3]);
        assert!(lane.is_empty());
    }

    #[test]
    fn full_lane_has_room_again_when_bytes_are_taken() {
        let now = Instant::now();
        let mut lane = Lane::new(LATENCY);
        lane.push(now, Bytes::from(vec![0; WINDOW]), Vec::new());
        assert!(!lane.has_room());
        lane.take(1);
        assert!(lane.has_room());
    }
}
