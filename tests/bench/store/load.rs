//! The workloads. Each client is a task that sends one request after the other; eight connections carry
//! them all.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use etcd_protocol::etcdserverpb as pb;
use etcd_protocol::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use etcd_protocol::etcdserverpb::request_op::Request as Op;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::SMALL;
use crate::server::Server;

type Kv = pb::kv_client::KvClient<Channel>;

const CONNECTIONS: usize = 8;
/// Keys that timed writes go to, by all clients together.
const KEYS: u64 = 10_000;
/// Puts in a transaction while filling: below etcd's limit of 128.
const FILL: u64 = 100;
/// Watches on one stream, and changes that are fanned out in a second.
const WATCHES_PER_STREAM: usize = 100;
const CHANGES_PER_SECOND: u64 = 20;

/// What a workload did.
pub struct Done {
    pub operations: u64,
    pub took: Duration,
    /// Microseconds, sorted.
    pub latencies: Vec<u32>,
}

pub struct Load {
    channels: Vec<Channel>,
    clients: usize,
}

impl Load {
    pub fn new(server: &Server, clients: usize) -> Result<Self> {
        let channels = (0..CONNECTIONS.min(clients.max(1))).map(|n| server.channel(n));
        Ok(Self { channels: channels.collect::<Result<_>>()?, clients })
    }

    fn kv(&self, n: usize) -> Kv {
        Kv::new(self.channels[n % self.channels.len()].clone()).max_decoding_message_size(usize::MAX)
    }

    /// Runs `work` again and again in every client until time is over; it says how much it did.
    async fn timed<F, R>(
        self,
        time: Duration,
        work: impl Fn(Kv, u64) -> F + Clone + Send + 'static,
    ) -> Result<Done>
    where
        F: FnMut(u64) -> R + Send + 'static,
        R: Future<Output = Result<u64>> + Send,
    {
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for n in 0..self.clients {
            let mut work = work.clone()(self.kv(n), n as u64);
            tasks.spawn(async move {
                let (mut latencies, mut done, mut round) = (Vec::new(), 0, 0);
                while start.elapsed() < time {
                    let sent = Instant::now();
                    done += work(round).await?;
                    round += 1;
                    latencies.push(sent.elapsed().as_micros() as u32);
                }
                anyhow::Ok((done, latencies))
            });
        }
        finish(start, tasks).await
    }

    pub async fn put(self, time: Duration) -> Result<Done> {
        let clients = self.clients as u64;
        self.timed(time, move |kv, n| {
            move |round| {
                let mut kv = kv.clone();
                let key = key((n + round * clients) % KEYS);
                async move {
                    kv.put(pb::PutRequest { key, value: value(SMALL, round), ..Default::default() }).await?;
                    Ok(1)
                }
            }
        })
        .await
    }

    /// What the apiserver does to change an object that it has read: put it if its revision is still the
    /// same, else read it. Every client has a key of its own.
    pub async fn guarded(self, time: Duration) -> Result<Done> {
        self.timed(time, move |kv, n| {
            let revision = Arc::new(AtomicU64::new(0));
            move |round| {
                let (mut kv, revision, key) =
                    (kv.clone(), revision.clone(), Bytes::from(format!("/guarded/{n:06}")));
                async move {
                    let known = revision.load(Ordering::Relaxed) as i64;
                    let answer = kv.txn(guarded(key, value(SMALL, round), known)).await?.into_inner();
                    let found = answer.responses.first().and_then(|op| op.response.as_ref());
                    let now = match found {
                        Some(pb::response_op::Response::ResponseRange(range)) => {
                            range.kvs.first().map_or(0, |kv| kv.mod_revision)
                        }
                        _ => answer.header.map_or(0, |header| header.revision),
                    };
                    revision.store(now as u64, Ordering::Relaxed);
                    Ok(1)
                }
            }
        })
        .await
    }

    /// Puts every key once.
    pub async fn fill(self, keys: u64, bytes: usize) -> Result<Done> {
        let start = Instant::now();
        let next = Arc::new(AtomicU64::new(0));
        // A request stays below the limit of 1.5 MB.
        let step = FILL.min((1 << 20) / bytes as u64);
        let mut tasks = JoinSet::new();
        for n in 0..self.clients {
            let (mut kv, next) = (self.kv(n), next.clone());
            tasks.spawn(async move {
                let (mut done, mut latencies) = (0, Vec::new());
                loop {
                    let first = next.fetch_add(step, Ordering::Relaxed);
                    if first >= keys {
                        return anyhow::Ok((done, latencies));
                    }
                    let puts = (first..(first + step).min(keys)).map(|n| {
                        let put =
                            pb::PutRequest { key: key(n), value: value(bytes, n), ..Default::default() };
                        pb::RequestOp { request: Some(Op::RequestPut(put)) }
                    });
                    let success: Vec<_> = puts.collect();
                    done += success.len() as u64;
                    let sent = Instant::now();
                    kv.txn(pb::TxnRequest { success, ..Default::default() }).await?;
                    latencies.push(sent.elapsed().as_micros() as u32);
                }
            });
        }
        finish(start, tasks).await
    }

    /// Reads `limit` keys from somewhere in the middle.
    pub async fn range(self, time: Duration, limit: u64, keys: u64) -> Result<Done> {
        self.timed(time, move |kv, n| {
            move |round| {
                let mut kv = kv.clone();
                let first = (n * 7919 + round * 104_729) % keys.saturating_sub(limit).max(1);
                async move {
                    let request = pb::RangeRequest {
                        key: key(first),
                        range_end: key(first + limit),
                        ..Default::default()
                    };
                    kv.range(request).await?;
                    Ok(1)
                }
            }
        })
        .await
    }

    /// Changes one key at a steady pace under many watchers. An operation is an event that arrived; its
    /// latency is from before the put.
    pub async fn fan_out(self, time: Duration, watchers: usize) -> Result<Done> {
        let changes = CHANGES_PER_SECOND * time.as_secs();
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        let ready = Arc::new(tokio::sync::Semaphore::new(0));
        let streams = watchers.div_ceil(WATCHES_PER_STREAM);
        let channels: Vec<Channel> = {
            // More connections than streams help nobody.
            self.channels.iter().cycle().take(streams).cloned().collect()
        };
        for (n, channel) in channels.into_iter().enumerate() {
            let here = (watchers - n * WATCHES_PER_STREAM).min(WATCHES_PER_STREAM);
            let ready = ready.clone();
            tasks.spawn(async move { listen(channel, here, changes, began, &ready).await });
        }
        ready.acquire_many(streams as u32).await?.forget();
        let start = Instant::now();
        let mut kv = self.kv(0);
        let mut pace = tokio::time::interval(Duration::from_micros(1_000_000 / CHANGES_PER_SECOND));
        for _ in 0..changes {
            pace.tick().await;
            let sent = began.elapsed().as_micros() as u64;
            let value = [&sent.to_be_bytes()[..], &[b'x'; SMALL]].concat().into();
            kv.put(pb::PutRequest { key: "/watched".into(), value, ..Default::default() }).await?;
        }
        finish(start, tasks).await
    }
}

async fn listen(
    channel: Channel,
    watches: usize,
    changes: u64,
    began: Instant,
    ready: &tokio::sync::Semaphore,
) -> Result<(u64, Vec<u32>)> {
    let (requests, receiver) = tokio::sync::mpsc::channel(watches);
    for _ in 0..watches {
        let create = pb::WatchCreateRequest { key: "/watched".into(), ..Default::default() };
        let union = pb::watch_request::RequestUnion::CreateRequest(create);
        requests.send(pb::WatchRequest { request_union: Some(union) }).await?;
    }
    let mut client = pb::watch_client::WatchClient::new(channel);
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut answers = client.watch(stream).await?.into_inner();
    let (mut created, mut events, mut latencies) = (0, 0, Vec::new());
    while events < changes * watches as u64 {
        let answer = answers.message().await?.context("the stream has ended")?;
        if answer.created {
            created += 1;
            if created == watches {
                ready.add_permits(1);
            }
        }
        let now = began.elapsed().as_micros() as u64;
        for event in answer.events {
            let value = event.kv.context("an event has a key")?.value;
            let sent = u64::from_be_bytes(value[..8].try_into()?);
            latencies.push((now - sent) as u32);
            events += 1;
        }
    }
    Ok((events, latencies))
}

async fn finish(start: Instant, mut tasks: JoinSet<Result<(u64, Vec<u32>)>>) -> Result<Done> {
    let mut done = Done { operations: 0, took: Duration::ZERO, latencies: Vec::new() };
    while let Some(result) = tasks.join_next().await {
        let (operations, latencies) = result??;
        done.operations += operations;
        done.latencies.extend(latencies);
    }
    done.took = start.elapsed();
    done.latencies.sort_unstable();
    Ok(done)
}

fn key(n: u64) -> Bytes {
    format!("/registry/things/default/thing-{n:09}").into()
}

/// Bytes that do not compress to nothing.
fn value(length: usize, n: u64) -> Bytes {
    let mut rng = fastrand::Rng::with_seed(n);
    let mut bytes = vec![0; length];
    rng.fill(&mut bytes);
    bytes.into()
}

fn guarded(key: Bytes, value: Bytes, revision: i64) -> pb::TxnRequest {
    let op = |request| pb::RequestOp { request: Some(request) };
    pb::TxnRequest {
        compare: vec![pb::Compare {
            key: key.clone(),
            target: CompareTarget::Mod.into(),
            result: CompareResult::Equal.into(),
            target_union: Some(TargetUnion::ModRevision(revision)),
            ..Default::default()
        }],
        success: vec![op(Op::RequestPut(pb::PutRequest { key: key.clone(), value, ..Default::default() }))],
        failure: vec![op(Op::RequestRange(pb::RangeRequest { key, ..Default::default() }))],
    }
}
