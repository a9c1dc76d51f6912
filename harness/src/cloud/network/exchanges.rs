//! The requests of one connection, and which of them were open when the environment was frozen.

use std::collections::{BTreeMap, BTreeSet};

/// The requests of one connection, by their HTTP/2 streams.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    /// Those whose answers have not reached the function.
    open: BTreeMap<u32, Request>,
    /// The last stream that has begun; clients number them upwards (RFC 9113, section 5.1.1).
    last: Option<u32>,
    /// Whether the client has finished the set-up of HTTP/2.
    set_up: bool,
    /// Whether the function expects no answers any more.
    given_up: bool,
    /// Those that were open at the mark or began after it; nothing without a mark.
    at_mark: Option<BTreeSet<u32>>,
}

/// How far a request has come.
#[derive(Debug, Default)]
struct Request {
    /// Everything of it has been read.
    whole: bool,
    /// The endpoint has answered.
    answered: bool,
}

impl Exchanges {
    pub(super) fn set_up(&mut self) {
        self.set_up = true;
    }

    pub(super) fn begun(&mut self, stream: u32) {
        // Trailers look like a request that begins.
        if self.last.is_some_and(|last| stream <= last) {
            return;
        }
        self.last = Some(stream);
        self.open.insert(stream, Request::default());
        if let Some(at_mark) = self.at_mark.as_mut().filter(|_| !self.given_up) {
            at_mark.insert(stream);
        }
    }

    pub(super) fn whole(&mut self, stream: u32) {
        if let Some(request) = self.open.get_mut(&stream) {
            request.whole = true;
        }
    }

    pub(super) fn answered(&mut self, stream: u32) {
        if let Some(request) = self.open.get_mut(&stream) {
            request.answered = true;
        }
    }

    /// The answer is the function's.
    pub(super) fn delivered(&mut self, stream: u32) {
        self.open.remove(&stream);
    }

    /// The function has given the request up, and had done so when it was frozen.
    pub(super) fn cancelled(&mut self, stream: u32) {
        self.open.remove(&stream);
        if let Some(at_mark) = &mut self.at_mark {
            at_mark.remove(&stream);
        }
    }

    /// The function knows that no answer will come, now or later.
    pub(super) fn give_up(&mut self) {
        self.given_up = true;
        if let Some(at_mark) = &mut self.at_mark {
            at_mark.clear();
        }
    }

    /// The environment is at rest from now on.
    pub(super) fn mark(&mut self) {
        let open = self.open.keys().copied().filter(|_| !self.given_up);
        self.at_mark = Some(open.collect());
    }

    /// How many requests were open at the mark, or began after it. The mark is used up.
    pub(super) fn take_open(&mut self) -> usize {
        self.at_mark.take().unwrap_or_default().len()
    }

    /// Whether the endpoint has all of a request that it has not answered.
    pub(super) fn await_an_answer(&self) -> bool {
        self.open.values().any(|request| request.whole && !request.answered)
    }

    /// Whether a request has ever begun.
    pub(super) fn have_begun(&self) -> bool {
        self.last.is_some()
    }

    /// Whether no request has begun, and the client had not got so far that one could.
    pub(super) fn are_being_set_up(&self) -> bool {
        !self.have_begun() && !self.set_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_is_open_until_its_answer_is_delivered() {
        let mut exchanges = Exchanges::default();
        exchanges.begun(1);
        exchanges.whole(1);
        assert!(exchanges.await_an_answer());
        exchanges.answered(1);
        assert!(!exchanges.await_an_answer());
        exchanges.mark();
        exchanges.delivered(1);
        assert_eq!(exchanges.take_open(), 1);

        exchanges.mark();
        assert_eq!(exchanges.take_open(), 0);
    }

    #[test]
    fn request_that_begins_after_the_mark_was_on_its_way() {
        let mut exchanges = Exchanges::default();
        exchanges.mark();
        exchanges.begun(1);
        exchanges.answered(1);
        exchanges.delivered(1);
        assert_eq!(exchanges.take_open(), 1);
    }

    #[test]
    fn request_that_the_function_gave_up_is_not_open() {
        let mut exchanges = Exchanges::default();
        exchanges.begun(1);
        exchanges.begun(3);
        exchanges.mark();
        exchanges.cancelled(1);
        assert_eq!(exchanges.take_open(), 1);
    }

    #[test]
    fn nothing_is_open_for_a_function_that_knows_its_connection_has_ended() {
        let mut exchanges = Exchanges::default();
        exchanges.begun(1);
        exchanges.mark();
        exchanges.give_up();
        exchanges.begun(3);
        assert_eq!(exchanges.take_open(), 0);

        exchanges.whole(3);
        exchanges.mark();
        assert_eq!(exchanges.take_open(), 0);
        assert!(exchanges.await_an_answer(), "it is recorded all the same");
    }

    #[test]
    fn trailers_do_not_open_a_request_again() {
        let mut exchanges = Exchanges::default();
        exchanges.begun(1);
        exchanges.delivered(1);
        exchanges.begun(1);
        exchanges.mark();
        assert_eq!(exchanges.take_open(), 0);
    }

    #[test]
    fn connection_is_being_set_up_until_its_settings_are_acknowledged_or_a_request_begins() {
        let mut idle = Exchanges::default();
        assert!(idle.are_being_set_up());
        idle.set_up();
        assert!(!idle.are_being_set_up());

        let mut used = Exchanges::default();
        used.begun(1);
        assert!(!used.are_being_set_up());
    }
}
