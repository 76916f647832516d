//! The watch stream: takes requests, wakes with the store's revision, sends what the stream's watchers
//! are due. A client that does not read holds up its own stream only: its watchers are cursors, nothing
//! queues up for them.

use std::pin::Pin;

use etcd_protocol::etcdserverpb as pb;
use etcd_protocol::etcdserverpb::watch_request::RequestUnion;
use futures::{Stream, StreamExt as _, stream};
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::caller::Credentials;
use super::{Context, FRAME_OVERHEAD, gate};
use crate::error::Error;
use crate::metrics;
use crate::mvcc::KeyRange;
use crate::watch::watchers::{Delivery, Watchers};

pub struct Watch(pub Context);

/// Batches of answers that wait for the connection at most.
const BUFFER: usize = 4;
/// Answers of a batch: what leaves together costs the connection one frame and one turn.
const BATCH: usize = 128;
/// COMPAT: the id in answers that concern no watcher or all of them.
const NO_WATCHER: i64 = -1;

type Answer = Result<pb::WatchResponse, Status>;

#[tonic::async_trait]
impl pb::watch_server::Watch for Watch {
    type WatchStream = Pin<Box<dyn Stream<Item = Answer> + Send>>;

    async fn watch(
        &self,
        request: Request<Streaming<pb::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let require_leader = gate::requires_leader(request.metadata().as_ref());
        let (answers, receiver) = mpsc::channel(BUFFER);
        let credentials = Credentials::of(&request);
        let stream = WatchStream {
            require_leader,
            context: self.0.clone(),
            credentials,
            watchers: Watchers::default(),
            answers,
        };
        tokio::spawn(stream.run(request.into_inner()));
        let answers = ReceiverStream::new(receiver).flat_map(|batch: Vec<Answer>| stream::iter(batch));
        Ok(Response::new(Box::pin(answers)))
    }
}

struct WatchStream {
    require_leader: bool,
    context: Context,
    credentials: Credentials,
    watchers: Watchers,
    answers: mpsc::Sender<Vec<Answer>>,
}

/// The client is gone, or told that it has to go.
struct Ended;

impl WatchStream {
    async fn run(mut self, requests: Streaming<pb::WatchRequest>) {
        metrics::get().watch_streams.inc();
        // However it ended: nobody is left to be told.
        self.serve(requests).await.err();
        metrics::get().watch_streams.dec();
        metrics::get().watchers.sub(self.watchers.len() as i64);
    }

    async fn serve(&mut self, mut requests: Streaming<pb::WatchRequest>) -> Result<(), Ended> {
        let mut current = self.context.shared.events.subscribe();
        let interval = self.context.progress_interval;
        let mut progress: Option<Interval> = None;
        let shutdown = self.context.shutdown.clone();
        let context = self.context.clone();
        let mut leaderless = std::pin::pin!(gate::leaderless(&context, self.require_leader));
        loop {
            tokio::select! {
                request = requests.message() => match request {
                    Ok(Some(request)) => {
                        self.handle(request).await?;
                        if progress.is_none() && self.watchers.wants_progress() {
                            let mut ticks = tokio::time::interval_at(Instant::now() + interval, interval);
                            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                            progress = Some(ticks);
                        }
                    }
                    Ok(None) | Err(_) => return Ok(()),
                },
                changed = current.changed() => {
                    changed.map_err(|_| Ended)?;
                    self.deliver().await?;
                }
                () = tick(&mut progress) => {
                    for id in self.watchers.idle() {
                        self.send(pb::WatchResponse { watch_id: id, ..self.answer() }).await?;
                    }
                }
                () = self.answers.closed() => return Err(Ended),
                () = &mut leaderless => {
                    return self.refuse(Error::NoLeader).await;
                }
                () = shutdown.wait() => {
                    return self.refuse(Error::Stopped).await;
                }
            }
        }
    }

    async fn handle(&mut self, request: pb::WatchRequest) -> Result<(), Ended> {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => {
                let refusal = self.refusal(&create).await;
                let revision = self.context.shared.reader.view().revision;
                let created = match refusal {
                    None => self.watchers.create(create, revision).map_err(|error| error.to_string()),
                    Some(reason) => Err(reason),
                };
                let answer = match created {
                    Ok(id) => {
                        metrics::get().watchers.inc();
                        pb::WatchResponse { watch_id: id, created: true, ..self.answer_at(revision) }
                    }
                    Err(reason) => refused(self.answer_at(revision), reason),
                };
                self.send(answer).await?;
                self.deliver().await
            }
            Some(RequestUnion::CancelRequest(cancel)) => {
                if self.watchers.cancel(cancel.watch_id) {
                    metrics::get().watchers.dec();
                    let answer = self.answer();
                    self.send(pb::WatchResponse { watch_id: cancel.watch_id, canceled: true, ..answer })
                        .await?;
                }
                Ok(())
            }
            Some(RequestUnion::ProgressRequest(_)) => {
                self.deliver().await?;
                let answer = self.answer();
                let revision = answer.header.map_or(0, |header| header.revision);
                // Something came in between: whoever asks will ask again, as with etcd.
                if self.watchers.is_empty() || !self.watchers.synced(revision) {
                    return Ok(());
                }
                self.send(pb::WatchResponse { watch_id: NO_WATCHER, ..answer }).await
            }
            // COMPAT: a request of no kind is passed over.
            None => Ok(()),
        }
    }

    /// Why the client may not watch what it asks for.
    ///
    /// COMPAT: the reason is the text of the whole gRPC error; a bad start comes before rights.
    async fn refusal(&self, create: &pb::WatchCreateRequest) -> Option<String> {
        if create.start_revision < 0 {
            return None;
        }
        let caller = match self.context.identify(&self.credentials).await {
            Ok(caller) => caller.unwrap_or_default(),
            Err(error) => return Some(full_text(&error)),
        };
        let key: &[u8] = if create.key.is_empty() { b"\0" } else { &create.key };
        let permitted = self.context.shared.auth.load().read(&caller, KeyRange::new(key, &create.range_end));
        permitted.err().map(|error| full_text(&error))
    }

    /// Sends everything there is, up to the latest revision.
    async fn deliver(&mut self) -> Result<(), Ended> {
        loop {
            let shared = &self.context.shared;
            if self.watchers.synced(shared.reader.view().revision) {
                return Ok(());
            }
            let deliveries = match self.watchers.advance(&shared.events, &shared.reader) {
                Ok(deliveries) => deliveries,
                Err(error) => {
                    self.refuse(error).await?;
                    return Err(Ended);
                }
            };
            let mut batch = Vec::new();
            for delivery in deliveries {
                self.add_delivery(delivery, &mut batch);
                if batch.len() >= BATCH {
                    self.answers.send(std::mem::take(&mut batch)).await.map_err(|_| Ended)?;
                }
            }
            if !batch.is_empty() {
                self.answers.send(batch).await.map_err(|_| Ended)?;
            }
        }
    }

    fn add_delivery(&self, delivery: Delivery, batch: &mut Vec<Answer>) {
        match delivery {
            Delivery::Events { id, revision, events, fragment } => {
                metrics::get().events.inc_by(events.len() as u64);
                let answer = pb::WatchResponse { watch_id: id, events, ..self.answer_at(revision) };
                if fragment {
                    let parts = fragments(answer, self.context.max_request_bytes + FRAME_OVERHEAD);
                    batch.extend(parts.into_iter().map(Ok));
                } else {
                    batch.push(Ok(answer));
                }
            }
            Delivery::Compacted { id, compacted } => {
                metrics::get().watchers.dec();
                let answer = self.answer();
                let answer =
                    pb::WatchResponse { watch_id: id, canceled: true, compact_revision: compacted, ..answer };
                batch.push(Ok(answer));
            }
        }
    }

    fn answer(&self) -> pb::WatchResponse {
        self.answer_at(self.context.shared.reader.view().revision)
    }

    fn answer_at(&self, revision: i64) -> pb::WatchResponse {
        pb::WatchResponse { header: self.context.header(revision), ..Default::default() }
    }

    async fn send(&self, answer: pb::WatchResponse) -> Result<(), Ended> {
        self.answers.send(vec![Ok(answer)]).await.map_err(|_| Ended)
    }

    /// Tells the client why its stream ends.
    async fn refuse(&self, error: Error) -> Result<(), Ended> {
        self.answers.send(vec![Err(error.into())]).await.map_err(|_| Ended)
    }
}

/// An error as Go's gRPC writes it.
fn full_text(error: &Error) -> String {
    format!("rpc error: code = {:?} desc = {error}", error.code())
}

fn refused(answer: pb::WatchResponse, reason: String) -> pb::WatchResponse {
    pb::WatchResponse { watch_id: NO_WATCHER, created: true, canceled: true, cancel_reason: reason, ..answer }
}

async fn tick(progress: &mut Option<Interval>) {
    match progress {
        Some(ticks) => {
            ticks.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// Splits an answer so that each part stays below `limit` bytes, if its events allow.
fn fragments(mut answer: pb::WatchResponse, limit: usize) -> Vec<pb::WatchResponse> {
    if answer.encoded_len() < limit || answer.events.len() < 2 {
        return vec![answer];
    }
    let events = std::mem::take(&mut answer.events);
    let base = answer.encoded_len();
    let mut parts = vec![answer.clone()];
    let mut bytes = base;
    for event in events {
        // Tag and length of the event within the answer.
        let size = event.encoded_len() + 6;
        let part = parts.last_mut().expect("it starts with one");
        if !part.events.is_empty() && bytes + size >= limit {
            part.fragment = true;
            parts.push(pb::WatchResponse { events: vec![event], ..answer.clone() });
            bytes = base + size;
        } else {
            part.events.push(event);
            bytes += size;
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use etcd_protocol::mvccpb::{Event, KeyValue};

    use super::*;

    #[test]
    fn fragments_carry_every_event_in_order() {
        let event = |n: u8| Event {
            kv: Some(KeyValue { key: vec![n].into(), value: vec![0; 1000].into(), ..Default::default() }),
            ..Default::default()
        };
        let answer =
            pb::WatchResponse { watch_id: 3, events: (0..10).map(event).collect(), ..Default::default() };
        assert_eq!(fragments(answer.clone(), 1 << 20), std::slice::from_ref(&answer));
        let parts = fragments(answer.clone(), 2500);
        assert!(parts.iter().all(|part| part.watch_id == 3 && part.encoded_len() < 2500));
        let (last, others) = parts.split_last().unwrap();
        assert!(!last.fragment && others.iter().all(|part| part.fragment));
        let events: Vec<_> = parts.iter().flat_map(|part| part.events.clone()).collect();
        assert_eq!(events, answer.events);
        assert_eq!(fragments(answer, 10).len(), 10);
    }
}
