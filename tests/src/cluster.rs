//! The running cluster, and a namespace of it for each test.

use crate::kubectl::{Outcome, eventually, run};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// The image of all test pods: kubeforge loads it, no registry is asked.
pub const BUSYBOX: &str = "docker.io/library/busybox:1.35";

/// A cluster that kubeforge runs.
#[derive(Debug, Clone)]
pub struct Cluster {
    dir: PathBuf,
}

impl Cluster {
    /// The cluster of this test run; `None`, said aloud, when there is none.
    pub fn of_this_run() -> Option<Self> {
        let Some(dir) = std::env::var_os("FERROKUBE_CLUSTER_DIR") else {
            println!("skipped: FERROKUBE_CLUSTER_DIR is not set (make test sets it)");
            return None;
        };
        Some(Self { dir: dir.into() })
    }

    /// The folder that kubeforge keeps the cluster in.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn kubeconfig(&self) -> PathBuf {
        self.dir.join("admin.conf")
    }

    /// Runs kubectl as the cluster's administrator.
    pub fn kubectl(&self, args: &[&str]) -> Outcome {
        self.kubectl_with(args, "")
    }

    /// As `kubectl`, with a text on its standard input.
    pub fn kubectl_with(&self, args: &[&str], input: &str) -> Outcome {
        let mut command = Command::new("kubectl");
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(args);
        run(command, input)
    }

    /// kubectl as a process of its own, for streams that the test ends.
    pub fn kubectl_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(args);
        command
    }

    /// Runs `kubeforge cluster COMMAND --dir … ARGS`.
    pub fn kubeforge(&self, command: &str, args: &[&str]) -> Outcome {
        let program = std::env::var_os("FERROKUBE_KUBEFORGE").unwrap_or_else(|| "kubeforge".into());
        let mut forge = Command::new(program);
        forge.args(["cluster", command, "--dir"]).arg(&self.dir).args(args);
        run(forge, "")
    }

    /// The only node's name.
    pub fn node(&self) -> Result<String> {
        let nodes = self.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]).succeeds()?;
        ensure!(!nodes.is_empty(), "the cluster has no node");
        Ok(nodes)
    }

    /// A fresh namespace, deleted when the test ends.
    pub fn namespace(&self, purpose: &str) -> Result<Namespace> {
        let stamp = SystemTime::now().duration_since(UNIX_EPOCH).context("a clock before 1970")?.as_micros();
        let name = format!("t-{purpose}-{}", stamp % 100_000_000);
        self.kubectl(&["create", "namespace", &name]).succeeds()?;
        let namespace = Namespace { cluster: self.clone(), name };
        // Pods are refused until the controller has made the default service account.
        eventually("the default service account exists", 60, || {
            Ok(namespace.kubectl(&["get", "serviceaccount", "default"]).status == 0)
        })?;
        Ok(namespace)
    }
}

/// A namespace that a test works in.
#[derive(Debug)]
pub struct Namespace {
    cluster: Cluster,
    pub name: String,
}

impl Namespace {
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Runs kubectl in the namespace.
    pub fn kubectl(&self, args: &[&str]) -> Outcome {
        self.kubectl_with(args, "")
    }

    /// As `kubectl`, with a text on its standard input.
    pub fn kubectl_with(&self, args: &[&str], input: &str) -> Outcome {
        self.cluster.kubectl_with(&[&["-n", &self.name], args].concat(), input)
    }

    /// `kubectl apply -f -`.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        self.kubectl_with(&["apply", "-f", "-"], manifest).succeeds()
    }

    /// An object as JSON.
    pub fn get(&self, what: &str) -> Result<Value> {
        let text = self.kubectl(&["get", what, "-o", "json"]).succeeds()?;
        serde_json::from_str(&text).with_context(|| format!("kubectl get {what} -o json"))
    }

    /// One jsonpath of an object.
    pub fn path(&self, what: &str, path: &str) -> Result<String> {
        self.kubectl(&["get", what, "-o", &format!("jsonpath={path}")]).succeeds()
    }

    /// Waits until a jsonpath of an object has a value.
    pub fn until(&self, what: &str, path: &str, value: &str, seconds: u64) -> Result<()> {
        eventually(&format!("{what} {path} is {value:?}"), seconds, || {
            Ok(self.path(what, path).is_ok_and(|found| found == value))
        })
        .with_context(|| self.kubectl(&["describe", what]).text())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // A failed test leaves its objects to be looked at only for as long as the cluster lives.
        let _: Outcome = self.cluster.kubectl(&["delete", "namespace", &self.name, "--wait=false"]);
    }
}
