//! Requests on an open-model schedule.
