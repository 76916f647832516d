//! Watches: one log of recent events (`event_log`) that every watcher reads with its own cursor, and the
//! watchers of one stream (`watchers`), which decide what each of them is sent.

pub mod event_log;
pub mod watchers;
