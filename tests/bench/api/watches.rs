//! Watchers: many of one namespace, where each change goes to all; many of a node's pods each, where a
//! change goes to one of them. The next change comes when the last has arrived everywhere, so that no
//! watcher is ever too slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ::client::{Call, Client};
use anyhow::{Context as _, Result, ensure};
use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::clients::{Clients, PROTOBUF, protobuf};
use crate::objects::{NAMESPACE, PODS, changed, node, pod_path, read_pod};
use crate::server::Server;

/// Watches that share a connection: servers allow at least so many.
const ON_A_CONNECTION: usize = 100;

/// Rounds of these updates are none that a pod may be in from former ones: then there would be no event.
const FIRST_ROUND: usize = 1 << 32;

/// What the watches cost.
pub struct Fan {
    pub bytes_each: f64,
    pub updates: u64,
    /// That arrived, at all watchers together.
    pub events: u64,
    /// Seconds, of all updates.
    pub cpu: f64,
}

/// What ending thousands of watches costs a server is over by then, and not the next workload's.
const AFTER_WATCHES: Duration = Duration::from_secs(3);

/// Watches that are open; ended when dropped.
struct Open {
    readers: JoinSet<Result<()>>,
    events: Arc<AtomicU64>,
}

impl Open {
    async fn new(clients: &Clients, paths: impl ExactSizeIterator<Item = String>) -> Result<Self> {
        let mut open = Self { readers: JoinSet::new(), events: Arc::default() };
        let mut client = clients.another()?;
        for (n, path) in paths.enumerate() {
            if n % ON_A_CONNECTION == 0 {
                client = clients.another()?;
            }
            let call = Call { accept: PROTOBUF, ..Call::get(path) };
            let body = client.stream(&call).await.with_context(|| format!("watch {n}"))?.into_body();
            open.readers.spawn(count(body, open.events.clone()));
        }
        Ok(open)
    }

    /// Ends them.
    async fn end(mut self) {
        self.readers.shutdown().await;
        tokio::time::sleep(AFTER_WATCHES).await;
    }

    /// Returns once so many events have arrived since the beginning.
    async fn arrived(&mut self, events: u64) -> Result<()> {
        let began = Instant::now();
        while self.events.load(Ordering::Relaxed) < events {
            if let Some(ended) = self.readers.try_join_next() {
                ended??;
                anyhow::bail!("a watch ended");
            }
            ensure!(began.elapsed() < Duration::from_secs(60), "events do not arrive");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }
}

/// Counts events: each is a frame, its length in four bytes before it.
async fn count(mut body: Incoming, events: Arc<AtomicU64>) -> Result<()> {
    let (mut head, mut left) = (Vec::with_capacity(4), 0_usize);
    while let Some(frame) = body.frame().await {
        let frame = frame?;
        let Some(mut data) = frame.data_ref().map(|data| &data[..]) else { continue };
        while !data.is_empty() {
            if left > 0 {
                let part = left.min(data.len());
                data = &data[part..];
                left -= part;
                if left == 0 {
                    events.fetch_add(1, Ordering::Relaxed);
                }
                continue;
            }
            head.push(data[0]);
            data = &data[1..];
            if let Ok(length) = <[u8; 4]>::try_from(head.as_slice()) {
                left = u32::from_be_bytes(length) as usize;
                head.clear();
            }
        }
    }
    Ok(())
}

/// The version to watch from.
async fn version(client: &Client, path: &str) -> Result<String> {
    let answer: Value = serde_json::from_slice(&client.send(&Call::get(path)).await?)?;
    Ok(answer["metadata"]["resourceVersion"].as_str().context("no resourceVersion")?.to_owned())
}

/// What one of the open watches takes of memory, a while after all are there.
async fn opened(
    server: &Server,
    clients: &Clients,
    paths: impl ExactSizeIterator<Item = String>,
) -> Result<(Open, f64)> {
    let watchers = paths.len();
    let span = server.span()?;
    let open = Open::new(clients, paths).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let cost = span.end(server)?;
    Ok((open, cost.resident.saturating_sub(cost.before) as f64 / watchers as f64))
}

/// Everyone hears of the same object.
pub async fn of_one_namespace(
    server: &Server,
    clients: &Clients,
    watchers: usize,
    time: Duration,
) -> Result<Fan> {
    let client = clients.of(0);
    let all = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
    let from = version(client, &all).await?;
    let watch = format!("{all}?watch=true&resourceVersion={from}&timeoutSeconds=3600");
    let (mut open, bytes_each) = opened(server, clients, std::iter::repeat_n(watch, watchers)).await?;

    let (span, end) = (server.span()?, Instant::now() + time);
    let mut updates = 0;
    while Instant::now() < end {
        let body =
            format!(r#"{{"metadata":{{"name":"fan"}},"data":{{"round":"{updates}","text":"{:900}"}}}}"#, "x");
        client.send(&Call::with_body(Method::PUT, format!("{all}/fan"), body)).await?;
        updates += 1;
        open.arrived(updates * watchers as u64).await?;
    }
    let cpu = span.end(server)?.cpu;
    open.end().await;
    Ok(Fan { bytes_each, updates, events: updates * watchers as u64, cpu })
}

/// Each hears of the pods of its node.
pub async fn of_nodes(
    server: &Server,
    clients: &Clients,
    nodes: usize,
    pods: usize,
    time: Duration,
) -> Result<Fan> {
    let client = clients.of(0);
    let from = version(client, &format!("{PODS}?limit=1")).await?;
    let paths = (0..nodes).map(|n| {
        let node = node(n);
        format!("/api/v1/pods?watch=true&resourceVersion={from}&timeoutSeconds=3600&fieldSelector=spec.nodeName%3D{node}")
    });
    let (mut open, bytes_each) = opened(server, clients, paths).await?;

    let (span, end) = (server.span()?, Instant::now() + time);
    let mut updates = 0;
    // As long as each node of a pod is watched.
    let watched = pods.min(nodes);
    while Instant::now() < end {
        let path = pod_path(updates as usize * 157 % watched);
        let now = read_pod(&client.send(&protobuf(Method::GET, &path, Vec::new())).await?)?;
        client.send(&protobuf(Method::PUT, path, changed(now, FIRST_ROUND + updates as usize))).await?;
        updates += 1;
        open.arrived(updates).await?;
    }
    let cpu = span.end(server)?.cpu;
    open.end().await;
    Ok(Fan { bytes_each, updates, events: updates, cpu })
}
