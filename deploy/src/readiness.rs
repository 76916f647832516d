//! Waiting until the cluster works: every daemon healthy, the node Ready. Tells each step as it
//! comes, a daemon that keeps stopping with the end of its log, and at a timeout what is missing.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use daemon::tls::{ClientMaterial, ClientTls, Pem};
use ipnet::Ipv4Net;

use crate::cluster::{Cluster, log_end};
use crate::probe;
use crate::progress::Progress;
use crate::supervisor::Status;

const PAUSE: Duration = Duration::from_millis(200);
/// After so many failures in a row the person at the terminal is told.
const WORRYING_FAILURES: u32 = 3;

/// One thing to wait for.
struct Step {
    daemon: &'static str,
    what: String,
    address: SocketAddr,
    secure: bool,
    path: String,
    met: fn(u16, &[u8]) -> Result<(), String>,
}

fn steps(cluster: &Cluster) -> Vec<Step> {
    let s = &cluster.settings;
    let healthy = |daemon, port, secure, path: &str| Step {
        daemon,
        what: format!("{daemon} is healthy"),
        address: (Ipv4Addr::LOCALHOST, port).into(),
        secure,
        path: path.into(),
        met: status_ok,
    };
    let control_plane = [
        healthy("kube-apiserver", s.ports.apiserver, true, "/readyz"),
        healthy("kube-controller-manager", s.ports.controller_manager, true, "/healthz"),
        healthy("kube-scheduler", s.ports.scheduler, true, "/healthz"),
    ];
    let node = [
        healthy("kubelet", s.ports.kubelet_health, false, "/healthz"),
        Step {
            daemon: "kubelet",
            what: format!("node {} is Ready", s.node_name),
            address: apiserver(cluster),
            secure: true,
            path: format!("/api/v1/nodes/{}", s.node_name),
            met: node_ready,
        },
        healthy("kube-proxy", s.ports.proxy_health, false, "/healthz"),
    ];
    match s.joined {
        Some(_) => node.into(),
        None => control_plane.into_iter().chain(node).collect(),
    }
}

/// Where the apiserver is asked.
pub fn apiserver(cluster: &Cluster) -> SocketAddr {
    match &cluster.settings.joined {
        Some(joined) => joined.apiserver,
        None => (Ipv4Addr::LOCALHOST, cluster.settings.ports.apiserver).into(),
    }
}

fn status_ok(status: u16, body: &[u8]) -> Result<(), String> {
    if status == 200 {
        return Ok(());
    }
    let body = String::from_utf8_lossy(body);
    let failed: Vec<&str> = body.lines().filter(|l| l.starts_with("[-]")).collect();
    Err(format!(
        "HTTP {status} {}",
        if failed.is_empty() { body.trim().to_owned() } else { failed.join(", ") }
    ))
}

fn node_ready(status: u16, body: &[u8]) -> Result<(), String> {
    if status == 404 {
        return Err("the node has not registered".into());
    }
    status_ok(status, body)?;
    let node: serde_json::Value = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
    match conditions.iter().find(|c| c["type"] == "Ready") {
        Some(ready) if ready["status"] == "True" => Ok(()),
        Some(ready) => Err(format!("{}: {}", ready["reason"], ready["message"])),
        None => Err("the node has no condition Ready yet".into()),
    }
}

/// Waits for all steps, for at most `patience`.
pub async fn wait(cluster: &Cluster, progress: &Progress, patience: Duration) -> anyhow::Result<()> {
    let tls = admin(cluster)?;
    let deadline = progress.elapsed() + patience;
    let mut told: Vec<String> = Vec::new();
    for step in steps(cluster) {
        loop {
            let answer = probe::get(step.address, step.secure.then_some(&*tls), &step.path).await;
            let missing = match answer {
                Ok((status, body)) => match (step.met)(status, &body) {
                    Ok(()) => break,
                    Err(missing) => missing,
                },
                Err(error) => format!("{error:#}"),
            };
            tell_failing(cluster, progress, &mut told);
            if progress.elapsed() > deadline {
                bail!(
                    "gave up after {} s waiting until {}: {missing}\nThe last lines of {}:\n{}",
                    patience.as_secs(),
                    step.what,
                    cluster.layout.log(step.daemon).display(),
                    log_end(cluster, step.daemon, 15),
                );
            }
            tokio::time::sleep(PAUSE).await;
        }
        progress.say(&step.what);
    }
    Ok(())
}

/// The node's role, which a kubelet may not give itself: what `kubectl get nodes` shows.
const ROLE: &str = "node-role.kubernetes.io/control-plane";

/// Labels the node as the one that runs the control plane.
pub async fn label_node(cluster: &Cluster) -> anyhow::Result<()> {
    let path = format!("/api/v1/nodes/{}", cluster.settings.node_name);
    let patch = serde_json::json!({ "metadata": { "labels": { ROLE: "" } } });
    let (status, body) =
        probe::merge_patch(apiserver(cluster), Some(&*admin(cluster)?), &path, &patch).await?;
    status_ok(status, &body).map_err(|e| anyhow::anyhow!("cannot label the node: {e}"))
}

/// The part of the pod addresses that the controller manager gives the node, once it has registered.
pub async fn pod_cidr(cluster: &Cluster, progress: &Progress, patience: Duration) -> anyhow::Result<Ipv4Net> {
    let (tls, name) = (admin(cluster)?, &cluster.settings.node_name);
    let deadline = progress.elapsed() + patience;
    let mut told = Vec::new();
    loop {
        let answer = probe::get(apiserver(cluster), Some(&*tls), &format!("/api/v1/nodes/{name}")).await;
        if let Ok((200, body)) = &answer {
            let node: serde_json::Value = serde_json::from_slice(body)?;
            if let Some(pods) = node["spec"]["podCIDR"].as_str() {
                return pods.parse().with_context(|| format!("node {name} has pod addresses {pods}"));
            }
        }
        tell_failing(cluster, progress, &mut told);
        if progress.elapsed() > deadline {
            bail!(
                "gave up after {} s: node {name} has registered and got no pod addresses, or has not registered.\n\
                 The last lines of {}:\n{}",
                patience.as_secs(),
                cluster.layout.log("kubelet").display(),
                log_end(cluster, "kubelet", 15),
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn tell_failing(cluster: &Cluster, progress: &Progress, told: &mut Vec<String>) {
    for daemon in Status::read(&cluster.layout).daemons {
        if daemon.failures >= WORRYING_FAILURES && !told.contains(&daemon.name) {
            progress.say(format_args!(
                "{} keeps stopping ({}). The last lines of its log:\n{}",
                daemon.name,
                daemon.last_exit.unwrap_or_default(),
                log_end(cluster, &daemon.name, 8)
            ));
            told.push(daemon.name);
        }
    }
}

/// The administrator's certificate, which is in the cluster's folder and not in a worker's.
pub fn admin(cluster: &Cluster) -> anyhow::Result<Arc<ClientTls>> {
    let layout = &cluster.control_plane();
    Ok(ClientTls::load(ClientMaterial {
        ca: Some(Pem::File(layout.cert("ca"))),
        cert: Some(Pem::File(layout.cert("admin"))),
        key: Some(Pem::File(layout.key("admin"))),
        ..ClientMaterial::default()
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_ready_when_its_condition_says_so() {
        let node = |status: &str| {
            format!(
                r#"{{"status":{{"conditions":[{{"type":"Ready","status":"{status}","reason":"R","message":"M"}}]}}}}"#
            )
        };
        assert_eq!(node_ready(200, node("True").as_bytes()), Ok(()));
        assert_eq!(node_ready(200, node("False").as_bytes()), Err("\"R\": \"M\"".into()));
        assert!(node_ready(200, b"{}").is_err());
        assert!(node_ready(404, b"").unwrap_err().contains("not registered"));
    }

    #[test]
    fn an_unhealthy_answer_names_the_failing_checks() {
        let body = b"[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed\n";
        assert_eq!(status_ok(500, body), Err("HTTP 500 [-]etcd failed: reason withheld".into()));
        assert_eq!(status_ok(200, b"ok"), Ok(()));
    }
}
