//! PrioritySort: pods of higher priority first, among equals those that have waited longer.

use std::time::Duration;

use crate::framework::{Plugin, QueueSort, SortKey};
use crate::pod::PodView;

pub struct PrioritySort;

impl Plugin for PrioritySort {
    fn name(&self) -> &'static str {
        "PrioritySort"
    }
}

impl QueueSort for PrioritySort {
    fn key(&self, pod: &PodView, since: Duration) -> SortKey {
        (-i64::from(pod.priority), since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    #[test]
    fn priority_comes_before_waiting_time() {
        let key = |priority, since| {
            PrioritySort.key(&pod("a").priority(priority).view(), Duration::from_secs(since))
        };
        assert!(key(10, 9) < key(0, 1));
        assert!(key(0, 1) < key(0, 2));
        assert!(key(0, 2) < key(-5, 1));
    }
}
