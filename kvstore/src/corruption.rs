//! `InitialCorruptCheck`: before a member serves anyone, it holds the hash of its keys against those of its
//! peers at the same revision. Peers that do not answer, are behind, or have compacted elsewhere say
//! nothing; one that differs keeps this member from serving.

use std::sync::Arc;
use std::time::Duration;

use etcd_protocol::etcdserverpb as pb;

use crate::error::Error;
use crate::mvcc;
use crate::raft::Shared;
use crate::raft::peers::{Lane, Peers};

/// How long a peer may take to hash its keys.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum CorruptionError {
    #[error("{0:x} found data inconsistency with peers")]
    Inconsistent(u64),
    #[error("cannot hash the keys")]
    Hash(#[source] Error),
}

/// The hash of the keys at a revision, the present one for zero. Takes a while: not for a thread of the
/// runtime.
pub fn hash(shared: &Shared, revision: i64) -> Result<pb::HashKvResponse, Error> {
    let view = shared.reader.view();
    let revision = if revision > 0 { revision } else { view.revision };
    if revision > view.revision {
        return Err(Error::FutureRevision);
    }
    if revision < view.compacted {
        return Err(Error::Compacted);
    }
    let hash = mvcc::hash(&view, revision, &shared.reader)?;
    Ok(pb::HashKvResponse { header: None, hash, compact_revision: view.compacted, hash_revision: revision })
}

/// Compares this member, which nobody can reach yet, with those that run.
///
/// # Errors
/// [`CorruptionError::Inconsistent`] in etcd's words, when one of them holds something else.
pub async fn check(own: u64, shared: &Arc<Shared>, peers: &Peers) -> Result<(), CorruptionError> {
    let members: Vec<(u64, String)> = {
        let machine = shared.machine.lock();
        let nodes = machine.membership.nodes();
        nodes.filter(|(id, _)| **id != own).map(|(id, node)| (*id, node.addr.clone())).collect()
    };
    let hashed = {
        let shared = shared.clone();
        tokio::task::spawn_blocking(move || hash(&shared, 0)).await
    };
    let here = match hashed {
        Ok(hashed) => hashed.map_err(CorruptionError::Hash)?,
        Err(error) => return Err(CorruptionError::Hash(Error::Internal(error.to_string()))),
    };
    tracing::info!(
        revision = here.hash_revision,
        compacted = here.compact_revision,
        hash = here.hash,
        "starting initial corruption check"
    );
    let asked = members.into_iter().map(|(id, addresses)| {
        let link = peers.note(id, &addresses);
        let request = pb::HashKvRequest { revision: here.hash_revision };
        async move {
            let answer =
                tokio::time::timeout(PATIENCE, async { link.client(Lane::Bulk).hash_kv(request).await });
            (link.label.clone(), answer.await)
        }
    });
    let mut differing = 0;
    for (peer, answer) in futures::future::join_all(asked).await {
        let there = match answer {
            Ok(Ok(answer)) => answer.into_inner(),
            Ok(Err(status)) => {
                tracing::warn!(peer, error = status.message(), "cannot fetch hash from remote peer");
                continue;
            }
            Err(_) => {
                tracing::warn!(peer, "cannot fetch hash from remote peer: no answer in time");
                continue;
            }
        };
        if there.compact_revision != here.compact_revision {
            tracing::warn!(
                peer,
                here = here.compact_revision,
                there = there.compact_revision,
                "found different compact revision values from remote peer: not compared"
            );
        } else if there.hash != here.hash {
            tracing::error!(
                peer,
                revision = here.hash_revision,
                here = here.hash,
                there = there.hash,
                "found different hash values from remote peer"
            );
            differing += 1;
        }
    }
    if differing > 0 {
        return Err(CorruptionError::Inconsistent(own));
    }
    tracing::info!("initial corruption checking passed; no corruption");
    Ok(())
}
