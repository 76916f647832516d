//! Readers: gets, and lists of everything.

use std::time::{Duration, Instant};

use ::client::{Call, Client};
use anyhow::{Result, ensure};
use http::Method;
use http_body_util::BodyExt as _;

use crate::clients::{Clients, PROTOBUF, protobuf, timed};
use crate::objects::{PODS, pod_path};

/// A way to list.
pub struct List {
    pub name: &'static str,
    accept: &'static str,
    query: &'static str,
}

pub const LISTS: &[List] = &[
    List { name: "protobuf, from the cache", accept: PROTOBUF, query: "?resourceVersion=0" },
    List { name: "JSON, consistent", accept: "application/json", query: "" },
];

/// No pod of these is smaller, in any encoding: a list that was cut is noticed.
const SMALLEST_POD: usize = 800;

/// Reads pods at random; how long each took.
pub async fn get(clients: &Clients, pods: usize, workers: usize, time: Duration) -> Result<Vec<Duration>> {
    let end = Instant::now() + time;
    clients
        .at_once(workers, |_, client| async move {
            let mut latencies = Vec::new();
            while Instant::now() < end {
                let call = protobuf(Method::GET, pod_path(fastrand::usize(..pods)), Vec::new());
                latencies.push(timed(&client, &call).await?.1);
            }
            Ok(latencies)
        })
        .await
}

/// Lists all pods, so many at once; bytes of one list.
pub async fn list(clients: &Clients, kind: &'static List, pods: usize, at_once: usize) -> Result<usize> {
    let all = clients
        .at_once(at_once, |_, client| async move { Ok(vec![bytes_of_list(&client, kind, pods).await?]) })
        .await?;
    Ok(all.into_iter().max().unwrap_or(0))
}

async fn bytes_of_list(client: &Client, kind: &List, pods: usize) -> Result<usize> {
    let call = Call { accept: kind.accept, ..Call::get(format!("{PODS}{}", kind.query)) };
    let mut body = client.stream(&call).await?.into_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame?.data_ref().map_or(0, |data| data.len());
    }
    ensure!(bytes >= pods * SMALLEST_POD, "a list of {pods} pods had {bytes} bytes");
    Ok(bytes)
}

/// Of one pod among others.
pub async fn bytes_of_pods(clients: &Clients, pods: usize) -> Result<usize> {
    Ok(bytes_of_list(clients.of(0), &LISTS[0], pods).await? / pods.max(1))
}

/// Returns once pods come from the server's cache.
pub async fn first_list(clients: &Clients) -> Result<()> {
    // Its connections ended with the former server.
    let call = Call::get(format!("{PODS}?limit=1&resourceVersion=0"));
    clients.another()?.send(&call).await?;
    Ok(())
}
