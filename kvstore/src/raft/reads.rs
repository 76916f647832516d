//! Linearizable reads without a write: the leader makes sure that it still leads and says how far the log
//! is committed; the reading member waits until it has applied that much. Reads that come while one
//! round is under way share the next.

use std::sync::Arc;
use std::time::Duration;

use openraft::ReadPolicy;
use openraft::errors::RaftError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::Shared;
use super::peers::Lane;
use super::standing::Standing;
use super::wire::Nothing;
use crate::error::Error;
use crate::metrics;

type Waiting = oneshot::Sender<Result<(), Error>>;

#[derive(Clone)]
pub struct Reads {
    standing: Standing,
    waiting: mpsc::UnboundedSender<Waiting>,
}

impl Reads {
    /// Starts the task that makes the rounds; it ends with the last clone of this.
    pub fn start(standing: Standing, shared: Arc<Shared>, timeout: Duration) -> Self {
        let (waiting, receiver) = mpsc::unbounded_channel();
        tokio::spawn(rounds(standing.clone(), shared, timeout, receiver));
        Self { standing, waiting }
    }

    /// Waits until everything acknowledged before now can be read here.
    pub async fn barrier(&self) -> Result<(), Error> {
        // The only voter knows without asking: an answer is sent only once its change can be read.
        if self.standing.votes_alone() {
            return Ok(());
        }
        let (done, answer) = oneshot::channel();
        self.waiting.send(done).map_err(|_| Error::Stopped)?;
        answer.await.unwrap_or(Err(Error::Stopped))
    }
}

async fn rounds(
    standing: Standing,
    shared: Arc<Shared>,
    timeout: Duration,
    mut waiting: mpsc::UnboundedReceiver<Waiting>,
) {
    let mut readers = Vec::new();
    while waiting.recv_many(&mut readers, usize::MAX).await > 0 {
        let result = round(&standing, &shared, Instant::now() + timeout).await;
        if result.is_err() {
            metrics::get().read_indexes_failed.inc();
        }
        for reader in readers.drain(..) {
            // Gone: its client has given up.
            reader.send(result.clone()).ok();
        }
    }
}

async fn round(standing: &Standing, shared: &Shared, deadline: Instant) -> Result<(), Error> {
    loop {
        let seat = standing.await_leader(deadline).await?;
        let index = if seat.leader == standing.id() {
            let asked = standing.raft.get_read_linearizer(ReadPolicy::ReadIndex);
            match tokio::time::timeout_at(deadline, asked).await {
                Ok(Ok(read)) => Some(read.read_log_id().index()),
                Ok(Err(RaftError::Fatal(_))) => return Err(Error::Stopped),
                Ok(Err(RaftError::APIError(_))) | Err(_) => None,
            }
        } else if let Some(link) = standing.peers.link_to(seat.leader) {
            // A leader that is gone does not answer: look again for who leads.
            let asked = tokio::time::timeout(standing.election, async {
                link.client(Lane::Urgent).read_index(Nothing {}).await
            });
            asked.await.ok().and_then(Result::ok).map(|reply| reply.into_inner().index)
        } else {
            None
        };
        match index {
            Some(index) => return shared.await_applied(index, deadline).await,
            None if standing.pause(seat, deadline).await => {}
            None => return Err(Error::Timeout),
        }
    }
}
