//! Writers: creates and guarded updates of pods.

use std::ops::Range;
use std::time::{Duration, Instant};

use ::client::Call;
use anyhow::{Context as _, Result};
use http::Method;
use serde_json::json;

use crate::PARALLEL;
use crate::clients::{Clients, protobuf, timed};
use crate::objects::{self, NAMESPACE, PODS, changed, pod, pod_path, read_pod};

/// The namespace, and the account that its pods run under: no controller makes it here.
pub async fn prepare(clients: &Clients) -> Result<()> {
    let post = |path: String, name: &str| {
        Call::post(path, serde_json::to_vec(&json!({"metadata": {"name": name}})).unwrap_or_default())
    };
    let client = clients.of(0);
    client.send(&post("/api/v1/namespaces".to_owned(), NAMESPACE)).await?;
    client.send(&post(format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts"), "default")).await?;
    client.send(&post(format!("/api/v1/namespaces/{NAMESPACE}/configmaps"), "fan")).await?;
    Ok(())
}

/// Creates the pods of these numbers; how long each took.
pub async fn create(clients: &Clients, numbers: Range<usize>) -> Result<Vec<Duration>> {
    clients
        .at_once(PARALLEL, |worker, client| {
            let mine = numbers.clone().skip(worker).step_by(PARALLEL);
            async move {
                let mut latencies = Vec::new();
                for n in mine {
                    let call = protobuf(Method::POST, PODS, pod(n)?);
                    latencies.push(timed(&client, &call).await.with_context(|| format!("pod {n}"))?.1);
                }
                Ok(latencies)
            }
        })
        .await
}

/// Writes a pod over and over, each worker its own, each time as the last answer had it.
pub async fn update(clients: &Clients, pods: usize, workers: usize, time: Duration) -> Result<Vec<Duration>> {
    let end = Instant::now() + time;
    clients
        .at_once(workers, |worker, client| async move {
            let path = pod_path(worker * 157 % pods);
            let first = client.send(&protobuf(Method::GET, &path, Vec::new())).await?;
            let mut now = read_pod(&first)?;
            let mut latencies = Vec::new();
            while Instant::now() < end {
                let call = protobuf(Method::PUT, &path, changed(now, latencies.len()));
                let (answer, took) = timed(&client, &call).await?;
                now = objects::read_pod(&answer)?;
                latencies.push(took);
            }
            Ok(latencies)
        })
        .await
}
