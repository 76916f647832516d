//! How long a request waited for others: webhooks of admission and its turn in flow control. What is left
//! of its time is the server's own doing, and what `apiserver_request_sli_duration_seconds` tells.
//!
//! The sum belongs to the task that answers the request; waiting in another task is not seen.

use std::cell::Cell;
use std::time::{Duration, Instant};

use futures::FutureExt as _;

tokio::task_local! {
    static WAITED: Cell<Duration>;
}

/// Does the work of one request; answers how much of it was waiting.
pub fn counted<F: Future>(work: F) -> impl Future<Output = (F::Output, Duration)> {
    // No `async fn`, here and below: that would keep room for the work, and once more for it as an argument.
    WAITED.scope(Cell::default(), work.map(|output| (output, WAITED.with(Cell::get))))
}

/// Waits for another.
pub fn waiting<F: Future>(other: F) -> impl Future<Output = F::Output> {
    let began = Instant::now();
    other.inspect(move |_| {
        // Outside of a request nobody counts.
        let _ = WAITED.try_with(|sum| sum.set(sum.get() + began.elapsed()));
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_others_take_is_added_up() {
        let pause = Duration::from_millis(2);
        let work = async {
            tokio::time::sleep(pause).await;
            waiting(tokio::time::sleep(pause)).await;
            waiting(async { 7 }).await
        };
        let (answer, waited) = counted(work).await;
        assert_eq!(answer, 7);
        assert!(waited >= pause);
        let (_, waited) = counted(async { tokio::time::sleep(pause).await }).await;
        assert_eq!(waited, Duration::ZERO, "its own time is none of it");
        assert_eq!(waiting(async { 7 }).await, 7, "nobody counts here");
    }
}
