//! When a node was last heard of, by our own clock.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::cached::NodeFacts;

/// The newest heartbeats, and when each was first seen here.
#[derive(Debug, Default)]
pub struct Heartbeats(HashMap<String, Heartbeat>);

#[derive(Debug)]
struct Heartbeat {
    /// Lease renewal and status heartbeat, as the node's own clock wrote them.
    said: (Option<Timestamp>, Option<Timestamp>),
    at: Timestamp,
}

/// What is known of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// When the newest heartbeat came.
    pub at: Timestamp,
    /// This controller had not met the node before.
    pub is_new: bool,
}

impl Heartbeats {
    /// Notes the heartbeats that the caches show.
    pub fn look(&mut self, name: &str, node: &NodeFacts, renewed: Option<Timestamp>, now: Timestamp) -> Seen {
        // Our own writes of Unknown leave the heartbeat times as they were.
        let status = node.conditions.iter().filter_map(|c| c.last_heartbeat_time).map(|t| t.0).max();
        let said = (renewed, status);
        match self.0.get_mut(name) {
            Some(known) => {
                if known.said != said {
                    *known = Heartbeat { said, at: now };
                }
                Seen { at: known.at, is_new: false }
            }
            None => {
                // A node that never spoke is counted from its creation.
                let at = if said == (None, None) { node.created } else { now };
                self.0.insert(name.to_owned(), Heartbeat { said, at });
                Seen { at, is_new: true }
            }
        }
    }

    /// Whether the node was known.
    pub fn forget(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }
}
