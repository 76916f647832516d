//! The objects of the load: pods as a Deployment makes them, spread over nodes by their number.

use anyhow::{Context as _, Result};
use api_types::codec::{json, protobuf};
use api_types::core::v1::Pod;
use serde_json::json;

pub const NAMESPACE: &str = "bench";
pub const PODS: &str = "/api/v1/namespaces/bench/pods";

/// Nodes that pods are bound to; none of them is there.
const NODES: usize = 5000;

pub fn node(n: usize) -> String {
    format!("node-{:04}", n % NODES)
}

pub fn pod_path(n: usize) -> String {
    format!("{PODS}/{}", pod_name(n))
}

fn pod_name(n: usize) -> String {
    format!("web-5d4f8c7b9d-{n:06}")
}

/// The body of its POST, protobuf.
pub fn pod(n: usize) -> Result<Vec<u8>> {
    let container = |name: &str, port: u16| {
        json!({
            "name": name,
            "image": format!("registry.example.com/team/{name}:v1.27.3"),
            "ports": [{"name": "http", "containerPort": port, "protocol": "TCP"}],
            "env": [
                {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "LOG_LEVEL", "value": "info"},
                {"name": "DATABASE_URL", "value": "postgres://web@db.bench.svc.cluster.local:5432/web"},
            ],
            "resources": {
                "requests": {"cpu": "100m", "memory": "128Mi"},
                "limits": {"cpu": "500m", "memory": "256Mi"},
            },
            "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 5},
            "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "initialDelaySeconds": 10},
            "volumeMounts": [{"name": "config", "mountPath": "/etc/web"}],
        })
    };
    let pod = json!({
        "metadata": {
            "name": pod_name(n),
            "namespace": NAMESPACE,
            "labels": {"app": "web", "pod-template-hash": "5d4f8c7b9d", "tier": "front"},
            "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "8080"},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d4f8c7b9d",
                "uid": "2f1c9e0a-6d0c-4b57-9b3e-0d1f3c5a7e91", "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": {
            "nodeName": node(n),
            "containers": [container("web", 8080), container("proxy", 9090)],
            "volumes": [{"name": "config", "configMap": {"name": "web"}}],
        },
    });
    let pod: Pod = json::from_slice(&serde_json::to_vec(&pod)?)?;
    Ok(protobuf::to_envelope(&pod))
}

pub fn read_pod(answer: &[u8]) -> Result<Pod> {
    let envelope = protobuf::open_envelope(answer)?;
    protobuf::from_slice(envelope.raw).context("a pod")
}

/// The body of its PUT: the pod of the last answer with another annotation, guarded by its version.
pub fn changed(mut pod: Pod, round: usize) -> Vec<u8> {
    pod.metadata.annotations.insert("bench/round".to_owned(), round.to_string());
    protobuf::to_envelope(&pod)
}
