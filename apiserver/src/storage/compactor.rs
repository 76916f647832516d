//! Compacts the store's history, as upstream does: every interval, the revision of the round before.
//!
//! Several apiservers agree through the version of the key `compact_rev_key`: only the one whose
//! guarded write wins compacts.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use daemon::shutdown::Shutdown;
use etcd_protocol::etcdserverpb::{
    Compare, PutRequest, RangeRequest, RequestOp, TxnRequest, compare, request_op, response_op,
};

use super::Kv;
use super::kv::KvError;

const KEY: &[u8] = b"compact_rev_key";

/// Runs until shutdown; a zero interval never compacts.
pub async fn run(kv: Arc<Kv>, interval: Duration, shutdown: Shutdown) {
    if interval.is_zero() {
        return;
    }
    let (mut version, mut revision) = (0, 0);
    loop {
        if shutdown.unless(tokio::time::sleep(interval)).await.is_none() {
            return;
        }
        match round(&kv, version, revision).await {
            Ok(next) => (version, revision) = next,
            Err(error) => tracing::warn!(%error, "Compaction of the store failed"),
        }
    }
}

/// One round; the version and revision to remember for the next.
async fn round(kv: &Kv, version: i64, revision: i64) -> Result<(i64, i64), KvError> {
    let key = Bytes::from_static(KEY);
    let request = TxnRequest {
        compare: vec![Compare {
            result: compare::CompareResult::Equal.into(),
            target: compare::CompareTarget::Version.into(),
            key: key.clone(),
            target_union: Some(compare::TargetUnion::Version(version)),
            ..Compare::default()
        }],
        success: vec![RequestOp {
            request: Some(request_op::Request::RequestPut(PutRequest {
                key: key.clone(),
                value: revision.to_string().into(),
                ..PutRequest::default()
            })),
        }],
        failure: vec![RequestOp {
            request: Some(request_op::Request::RequestRange(RangeRequest { key, ..RangeRequest::default() })),
        }],
    };
    let answer = kv.txn(request).await?;
    let present = answer.header.map_or(0, |h| h.revision);
    if !answer.succeeded {
        // Someone else compacted in this interval: join their count.
        let found = answer.responses.into_iter().next().and_then(|op| match op.response {
            Some(response_op::Response::ResponseRange(range)) => range.kvs.into_iter().next(),
            _ => None,
        });
        let Some(found) = found else { return Ok((0, present)) };
        let text = String::from_utf8_lossy(&found.value);
        kv.note_compacted(text.parse().unwrap_or_default());
        return Ok((found.version, present));
    }
    if revision > 0 {
        kv.compact(revision).await?;
        kv.note_compacted(revision);
        tracing::info!(revision, "Compacted the store");
    }
    Ok((version + 1, present))
}
