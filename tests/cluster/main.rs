//! The walk of a user through a running cluster: real daemons, real containers, stock kubectl.
//!
//! Each file is one part of the walk, each test has a namespace of its own. A test asks what a
//! user would see; it never looks into a daemon.

mod access;
mod bodies;
mod controllers;
mod csi;
mod deletion;
mod dra;
mod lifecycle;
mod networking;
mod objects;
mod rollout;
mod storage;
mod streams;
mod watching;
mod workloads;

use anyhow::Result;
use ferrokube_tests::{Cluster, Namespace};

/// Runs a part of the walk in a namespace, or says that it is skipped.
fn walk(purpose: &str, steps: impl FnOnce(&Namespace) -> Result<()>) -> Result<()> {
    let Some(cluster) = Cluster::of_this_run() else { return Ok(()) };
    steps(&cluster.namespace(purpose)?)
}

/// A Deployment of busybox web servers: an index page from a ConfigMap, a Secret and other values
/// in the environment, an emptyDir, probes.
fn web(name: &str, replicas: u32) -> String {
    format!(
        r#"
apiVersion: v1
kind: ConfigMap
metadata: {{name: {name}-page}}
data: {{index.html: "hello from a config map\n", mode: "0644"}}
---
apiVersion: v1
kind: Secret
metadata: {{name: {name}-secret}}
stringData: {{password: swordfish}}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  labels: {{app: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: docker.io/library/busybox:latest
        imagePullPolicy: IfNotPresent
        command: ["httpd", "-f", "-p", "8080", "-h", "/www"]
        ports: [{{containerPort: 8080, name: http}}]
        env:
        - {{name: GREETING, value: "hi $(POD_NAME)"}}
        - name: POD_NAME
          valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}
        - name: PASSWORD
          valueFrom: {{secretKeyRef: {{name: {name}-secret, key: password}}}}
        envFrom:
        - configMapRef: {{name: {name}-page}}
          prefix: PAGE_
        readinessProbe:
          httpGet: {{path: /index.html, port: http}}
          periodSeconds: 1
        volumeMounts:
        - {{name: page, mountPath: /www}}
        - {{name: scratch, mountPath: /scratch}}
      volumes:
      - name: page
        configMap: {{name: {name}-page}}
      - name: scratch
        emptyDir: {{}}
"#
    )
}
