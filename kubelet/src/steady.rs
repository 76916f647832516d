//! A clock that nobody sets: it shows the node's time of when the kubelet started, and what has passed since.
//!
//! Whatever the kubelet itself began is timed by it, so that a node's clock that is put right, by seconds or by
//! years, neither keeps a container from being started again nor a condition of the node from going away. Times of
//! others (the runtime's, the API's, certificates') are the node's and are compared with that.

use std::sync::LazyLock;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

static START: LazyLock<(Timestamp, Instant)> = LazyLock::new(|| (Timestamp::now(), Instant::now()));

/// The time by this clock.
pub fn now() -> Timestamp {
    let (began, since) = *START;
    began + SignedDuration::try_from(since.elapsed()).unwrap_or(SignedDuration::MAX)
}

/// When something happened by this clock, that others say happened at `at`, where `wall` is the node's time now.
/// What they say is still to come happens now.
pub fn of(at: Timestamp, wall: Timestamp, now: Timestamp) -> Timestamp {
    now.checked_sub(wall.duration_since(at).max(SignedDuration::ZERO)).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_and_what_is_to_come_is_now() {
        let first = now();
        assert!(now() >= first);
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(of(at(95), at(100), at(1000)), at(995));
        assert_eq!(of(at(3600), at(100), at(1000)), at(1000));
    }
}
