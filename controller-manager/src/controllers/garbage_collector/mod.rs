//! garbage-collector-controller: deletes what belongs to owners that are gone, and carries out
//! foreground and orphaning deletion.
//!
//! `monitor.rs` follows the metadata of every deletable resource and keeps the graph of owners and
//! dependents (`graph.rs`), which says what to look at. A look (`examine.rs`) reads the object and its
//! owners anew, since the graph may be behind; what follows from them is decided in `plan.rs`.
//! Unlike the other controllers it works on objects of any kind, known or not, and so brings its own
//! loop over the shared queue.

mod examine;
mod graph;
mod monitor;
mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use client::queue::Queue;
use daemon::logging::error_chain;
use parking_lot::Mutex;

use crate::table::Start;
use examine::Examiner;
use graph::{Graph, Task};
use monitor::Monitors;

/// Starts following and collecting.
pub fn start(start: &Start) {
    let queue: Queue<Task> = Queue::new("garbage_collector_attempt_to_delete", start.clock.clone());
    let graph = Arc::new(Mutex::new(Graph::default()));
    let monitors = Monitors::new(start, graph.clone(), queue.clone());
    let examiner = Arc::new(Examiner::new(start, graph, monitors.kinds(), queue.clone()));
    let mut tasks = start.tasks.lock();
    let timer = queue.clone();
    tasks.spawn(async move { timer.run_timer().await });
    let (closing, shutdown) = (queue.clone(), start.shutdown.clone());
    tasks.spawn(async move {
        shutdown.wait().await;
        closing.close();
    });
    // Owners are looked up in the graph first: it must be complete before anything is decided.
    let synced = monitors.synced();
    for _ in 0..start.flags.concurrent_gc_syncs.max(1) {
        let (examiner, queue) = (examiner.clone(), queue.clone());
        let (mut synced, shutdown) = (synced.clone(), start.shutdown.clone());
        tasks.spawn(async move {
            let complete = async { synced.wait_for(|synced| *synced).await.is_ok() };
            if shutdown.unless(complete).await == Some(true) {
                work(&examiner, &queue).await;
            }
        });
    }
    let shutdown = start.shutdown.clone();
    tasks.spawn(async move {
        shutdown.clone().unless(monitors.run(shutdown)).await;
    });
}

async fn work(examiner: &Examiner, queue: &Queue<Task>) {
    while let Some(task) = queue.next().await {
        match examiner.perform(&task).await {
            Ok(()) => queue.forget(&task),
            Err(failure) => {
                if failure.source.is_conflict() {
                    tracing::debug!(controller = "garbage-collector-controller", key = ?task, "Conflict, trying again");
                } else {
                    tracing::warn!(
                        controller = "garbage-collector-controller",
                        key = ?task,
                        error = error_chain(&failure),
                        "Cannot process, trying again"
                    );
                }
                queue.retry(task.clone());
            }
        }
        queue.done(&task);
    }
}
