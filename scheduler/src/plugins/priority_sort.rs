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
