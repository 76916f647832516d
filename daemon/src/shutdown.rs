//! One signal that reaches every task: stop taking work, finish what is under way, return.
//! A [`Shutdown`] is cheap to clone. Children end with their parent and can be ended alone, so that
//! a server can drain before the loops that it depends on stop.

use tokio_util::sync::CancellationToken;

use crate::signals;

/// A request to stop, shared by all tasks of a process (or of a part of it).
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
}

impl Shutdown {
    /// One that only [`Shutdown::trigger`] fires.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that SIGTERM and SIGINT fire. A second signal ends the process at once with code 1, as
    /// upstream's daemons do.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn on_signals() -> std::io::Result<Self> {
        let shutdown = Self::new();
        signals::trigger_on_termination(shutdown.clone())?;
        Ok(shutdown)
    }

    /// Resolves when shutdown is requested; at once if it has been.
    pub async fn wait(&self) {
        self.token.cancelled().await;
    }

    /// Requests shutdown of this and its children. Repeating it does nothing.
    pub fn trigger(&self) {
        self.token.cancel();
    }

    pub fn is_triggered(&self) -> bool {
        self.token.is_cancelled()
    }

    /// One that fires with this and can be fired alone.
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token() }
    }

    /// The token underneath, for APIs that want one.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Runs `future` until it ends (`Some`) or shutdown is requested (`None`).
    pub fn unless<F: Future>(&self, future: F) -> impl Future<Output = Option<F::Output>> {
        // In a box: who waits keeps room for what it was given beside what it makes of it, at each level anew, and
        // loops that last as long as their daemon are what is given.
        self.token.run_until_cancelled(Box::pin(future))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_child_ends_with_its_parent_and_alone() {
        let parent = Shutdown::new();
        let (a, b) = (parent.child(), parent.child());
        a.trigger();
        a.wait().await;
        assert!(!parent.is_triggered() && !b.is_triggered());
        parent.trigger();
        b.wait().await;
        assert_eq!(b.unless(std::future::pending::<()>()).await, None);
    }
}
