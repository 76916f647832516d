//! A second node: it joins, takes its share, is drained, is lost and comes back, and goes for good.
//!
//! Runs alone, after the other tests: they count on a cluster of one node.

mod devices;
#[path = "../cluster/dra/driver.rs"]
mod driver;

use std::path::Path;

use anyhow::{Result, ensure};
use ferrokube_tests::{BUSYBOX, Cluster, Namespace, eventually};

const AGENT: &str = r#"
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: agent
        image: IMAGE
        imagePullPolicy: IfNotPresent
        command: [sh, -c, "hostname > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"]
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: agent}
spec: {selector: {app: agent}, ports: [{port: 80, targetPort: 8080}]}
"#;

const WEB: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      topologySpreadConstraints:
      - maxSkew: 1
        topologyKey: kubernetes.io/hostname
        whenUnsatisfiable: ScheduleAnyway
        labelSelector: {matchLabels: {app: web}}
      tolerations:
      - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 0}
      - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 0}
      containers: [{name: web, image: IMAGE, imagePullPolicy: IfNotPresent, command: [sleep, "3600"]}]
"#;

#[test]
fn a_second_node_comes_works_fails_and_goes() -> Result<()> {
    let Some(cluster) = Cluster::of_this_run() else { return Ok(()) };
    let first = cluster.node()?;
    let worker = format!("{first}-worker-1");
    let up = cluster.kubeforge("up", &["--workers=1"]).succeeds()?;
    ensure!(up.contains(&format!("node {worker} is Ready")), "{up}");
    let ns = cluster.namespace("nodes")?;

    every_node_has_its_agent_and_reaches_the_other(&ns, &first, &worker)?;
    an_agent_is_rolled_back(&ns)?;
    devices::are_prepared_where_the_pods_are(&ns, &first, &worker)?;
    pods_are_spread_and_leave_a_drained_node(&ns, &first, &worker)?;
    pods_of_a_lost_node_are_replaced(&ns, &first, &worker)?;

    cluster.kubeforge("up", &["--workers=0"]).succeeds()?;
    ensure!(cluster.kubectl(&["get", "nodes", "-o", "name"]).succeeds()?.trim() == format!("node/{first}"));
    eventually("no pod is left on the node that is no more", 60, || Ok(nodes_of(&ns, "agent")? == [&*first]))
}

/// The nodes of the pods with this label that are not on their way out, in order.
fn nodes_of(ns: &Namespace, app: &str) -> Result<Vec<String>> {
    let pods = ns.get("pods")?;
    let pods = pods["items"].as_array().cloned().unwrap_or_default();
    let mut nodes: Vec<String> = pods
        .iter()
        .filter(|pod| pod["metadata"]["labels"]["app"] == app)
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .filter_map(|pod| pod["spec"]["nodeName"].as_str().map(str::to_owned))
        .collect();
    nodes.sort();
    Ok(nodes)
}

fn every_node_has_its_agent_and_reaches_the_other(ns: &Namespace, first: &str, worker: &str) -> Result<()> {
    ns.apply(&AGENT.replace("IMAGE", BUSYBOX))?;
    ns.kubectl(&["rollout", "status", "daemonset/agent", "--timeout=120s"]).succeeds()?;
    ensure!(nodes_of(ns, "agent")? == [first, worker], "{:?}", nodes_of(ns, "agent")?);
    let each = |path: &str| -> Result<Vec<String>> {
        let words = ns.kubectl(&["get", "pods", "-l", "app=agent", "-o", &format!("jsonpath={path}")]);
        Ok(words.succeeds()?.split(' ').map(str::to_owned).collect())
    };
    let (names, addresses) = (each("{.items[*].metadata.name}")?, each("{.items[*].status.podIP}")?);
    let ask = |from: &str, host: &str, port: &str| {
        let request = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {host} {port} | tail -1");
        Ok::<_, anyhow::Error>(
            ns.kubectl(&["exec", from, "--", "sh", "-c", &request]).stdout.trim().to_owned(),
        )
    };
    for from in &names {
        for (name, address) in names.iter().zip(&addresses) {
            ensure!(ask(from, address, "8080")? == *name, "{from} reaches {name} at {address}");
        }
        for name in &names {
            eventually(&format!("the Service leads {from} to {name}"), 60, || {
                Ok(ask(from, "agent", "80")? == *name)
            })?;
        }
        // Through the apiserver and the node's own kubelet.
        ns.kubectl(&["exec", from, "--", "hostname"]).says(&[from])?;
    }
    Ok(())
}

fn an_agent_is_rolled_back(ns: &Namespace) -> Result<()> {
    let image = |ns: &Namespace| ns.path("daemonset/agent", "{.spec.template.spec.containers[0].image}");
    let before = image(ns)?;
    ns.kubectl(&["set", "image", "daemonset/agent", "agent=registry.invalid/none:1"]).succeeds()?;
    eventually("one node at a time is updated", 60, || {
        Ok(ns.path("daemonset/agent", "{.status.updatedNumberScheduled} {.status.numberUnavailable}")?
            == "1 1")
    })?;
    ns.kubectl(&["rollout", "undo", "daemonset/agent"]).says(&["rolled back"])?;
    ns.kubectl(&["rollout", "status", "daemonset/agent", "--timeout=120s"]).succeeds()?;
    ensure!(image(ns)? == before, "{}", image(ns)?);
    let restarts = ns.kubectl(&[
        "get",
        "pods",
        "-l",
        "app=agent",
        "-o",
        "jsonpath={.items[*].status.containerStatuses[*].restartCount}",
    ]);
    ensure!(restarts.succeeds()?.trim() == "0 0", "an agent was restarted");
    Ok(())
}

fn pods_are_spread_and_leave_a_drained_node(ns: &Namespace, first: &str, worker: &str) -> Result<()> {
    ns.apply(&WEB.replace("IMAGE", BUSYBOX))?;
    ns.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"]).succeeds()?;
    ensure!(nodes_of(ns, "web")? == [first, worker], "{:?}", nodes_of(ns, "web")?);
    ns.kubectl(&["drain", worker, "--ignore-daemonsets", "--pod-selector=app=web", "--timeout=60s"])
        .says(&["evicting pod", "drained"])?;
    eventually("both are on the first node", 60, || Ok(nodes_of(ns, "web")? == [first, first]))?;
    ns.kubectl(&["uncordon", worker]).succeeds()?;
    ns.kubectl(&["scale", "deployment/web", "--replicas=0"]).succeeds()?;
    eventually("all pods of before are gone", 60, || Ok(nodes_of(ns, "web")?.is_empty()))?;
    ns.kubectl(&["scale", "deployment/web", "--replicas=2"]).succeeds()?;
    ns.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"]).succeeds()?;
    eventually("they are spread again", 60, || Ok(nodes_of(ns, "web")? == [first, worker]))
}

fn pods_of_a_lost_node_are_replaced(ns: &Namespace, first: &str, worker: &str) -> Result<()> {
    let cluster = ns.cluster();
    let folder = cluster.dir().join("worker-1");
    kubeforge_at(&folder, "down")?;
    // The node's lease must be older than --node-monitor-grace-period.
    eventually("the node is known to be lost", 120, || {
        let ready = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
        Ok(cluster.kubectl(&["get", "node", worker, "-o", ready]).succeeds()? == "Unknown")
    })?;
    eventually("its pod is replaced on the first node", 60, || Ok(nodes_of(ns, "web")? == [first, first]))?;
    eventually("the Service leads only to what is reached", 60, || {
        let ready = "jsonpath={.items[*].endpoints[?(@.conditions.ready==true)].nodeName}";
        let slices = ["get", "endpointslices", "-l", "kubernetes.io/service-name=agent", "-o", ready];
        Ok(ns.kubectl(&slices).succeeds()? == first)
    })?;
    cluster.kubeforge("up", &[]).succeeds()?;
    ns.kubectl(&["rollout", "status", "daemonset/agent", "--timeout=120s"]).succeeds()?;
    eventually("what it ran is gone, but for its agent", 60, || {
        let pods = ns.get("pods")?;
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        let there: Vec<_> = pods.iter().filter(|pod| pod["spec"]["nodeName"] == worker).collect();
        Ok(there.len() == 1 && there[0]["metadata"]["labels"]["app"] == "agent")
    })
}

/// `kubeforge cluster COMMAND` for one node.
fn kubeforge_at(folder: &Path, command: &str) -> Result<()> {
    let program = std::env::var_os("FERROKUBE_KUBEFORGE").unwrap_or_else(|| "kubeforge".into());
    let status =
        std::process::Command::new(program).args(["cluster", command, "--dir"]).arg(folder).status()?;
    ensure!(status.success(), "kubeforge cluster {command} --dir {}: {status}", folder.display());
    Ok(())
}
