//! Watches that go on through everything: when a stream breaks, the next one resumes after the last
//! revision that was seen for certain.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use etcd_protocol::etcdserverpb as pb;
use etcd_protocol::etcdserverpb::watch_request::RequestUnion;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::history::{Seen, Session, Watch};
use crate::traffic::Shared;

/// How often the store is asked how far a watch has come.
const PROGRESS: Duration = Duration::from_millis(250);

/// Watches until `end` (once it is known) has been seen.
pub async fn watch(
    shared: Arc<Shared>,
    n: usize,
    channels: Vec<Channel>,
    request: pb::WatchCreateRequest,
    end: Arc<AtomicI64>,
) -> Watch {
    let mut next = request.start_revision;
    let mut watch = Watch { request, sessions: Vec::new() };
    let mut turn = n;
    loop {
        let channel = channels[turn % channels.len()].clone();
        turn += 1;
        let mut session = Session { from: next, seen: Vec::new() };
        let reached = |next: i64| next > end.load(Ordering::Relaxed);
        // However it ended: what it has seen counts, and the next one goes on from there.
        run(&shared, &watch.request, channel, &mut session, &mut next, |next| {
            shared.watched[n].store(next, Ordering::Relaxed);
            reached(next)
        })
        .await
        .err();
        if !session.seen.is_empty() {
            watch.sessions.push(session);
        }
        if reached(next) {
            return watch;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// One stream, until it breaks or `done` says so.
async fn run(
    shared: &Shared,
    request: &pb::WatchCreateRequest,
    channel: Channel,
    session: &mut Session,
    next: &mut i64,
    done: impl Fn(i64) -> bool,
) -> Result<(), tonic::Status> {
    let (requests, receiver) = mpsc::channel(4);
    let ask = |union| pb::WatchRequest { request_union: Some(union) };
    let create = pb::WatchCreateRequest { start_revision: *next, ..request.clone() };
    let gone = |_| tonic::Status::unavailable("the stream is gone");
    requests.send(ask(RequestUnion::CreateRequest(create))).await.map_err(gone)?;
    let mut client = pb::watch_client::WatchClient::new(channel).max_decoding_message_size(usize::MAX);
    let mut answers: Streaming<pb::WatchResponse> =
        client.watch(ReceiverStream::new(receiver)).await?.into_inner();
    let mut progress = tokio::time::interval(PROGRESS);
    // Parts of a revision that is not complete yet.
    let mut parts: Vec<Seen> = Vec::new();
    while !done(*next) {
        tokio::select! {
            answer = answers.message() => {
                let Some(answer) = answer? else { return Ok(()) };
                if answer.canceled {
                    return Err(tonic::Status::aborted(answer.cancel_reason));
                }
                let revision = answer.header.map_or(0, |header| header.revision);
                if answer.created {
                    continue;
                }
                let bookmark = answer.events.is_empty();
                let last = answer.events.last().and_then(|event| event.kv.as_ref()).map(|kv| kv.mod_revision);
                let (at, fragment) = (shared.recorder.now(), answer.fragment);
                parts.push(Seen { at, revision, events: answer.events, fragment });
                if fragment {
                    continue;
                }
                session.seen.append(&mut parts);
                let after = if bookmark { revision } else { last.unwrap_or(0) } + 1;
                *next = (*next).max(after);
            }
            _ = progress.tick(), if shared.bookmarks => {
                // A full queue means that the store is not listening: it is asked again later.
                requests.try_send(ask(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}))).ok();
            }
        }
    }
    Ok(())
}
