//! A cluster that is taken down and started again: its objects are there, its pods are started anew, and
//! what the API says of them is what they are.
//!
//! Runs alone, after the other tests: it takes the cluster away under them.

use anyhow::{Result, ensure};
use ferrokube_tests::{BUSYBOX, Cluster, eventually};

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
      containers:
      - name: web
        image: IMAGE
        imagePullPolicy: IfNotPresent
        command: [httpd, -f, -p, "8080"]
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: kept}
data: {word: kept}
"#;

#[test]
fn a_cluster_started_again_is_what_it_was() -> Result<()> {
    let Some(cluster) = Cluster::of_this_run() else { return Ok(()) };
    let ns = cluster.namespace("again")?;
    ns.apply(&WEB.replace("IMAGE", BUSYBOX))?;
    ns.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"]).succeeds()?;
    let addresses = || ns.path("pods", "{.items[*].status.podIP}");
    let names = || ns.path("pods", "{.items[*].metadata.name}");
    let (pods, before) = (names()?, addresses()?);

    // Pods that nothing ended would be found running: they are to start anew, at other addresses.
    cluster.kubeforge("down", &[]).succeeds()?;
    let up = cluster.kubeforge("up", &[]).succeeds()?;
    // Said after an answer, or not at all.
    ensure!(up.contains("cluster-dns answers at"), "{up}");

    ensure!(names()? == pods, "the same pods: {} and not {pods}", names()?);
    ensure!(ns.path("configmap/kept", "{.data.word}")? == "kept");
    ns.until("deployment/web", "{.status.readyReplicas}", "2", 60)?;
    eventually("each pod has the address that the API tells", 60, || {
        for pod in pods.split(' ') {
            let own = ns.kubectl(&["exec", pod, "--", "hostname", "-i"]).succeeds()?;
            if own.trim() != ns.path(&format!("pod/{pod}"), "{.status.podIP}")? {
                return Ok(false);
            }
        }
        Ok(true)
    })?;
    ensure!(addresses()? != before, "no pod was started anew: {before}");
    let restarts = ns.path("pods", "{.items[*].status.containerStatuses[*].restartCount}")?;
    ensure!(restarts == "1 1", "{restarts}");
    let mut told: Vec<String> = addresses()?.split(' ').map(str::to_owned).collect();
    told.sort();
    eventually("the Service's endpoints are the pods", 30, || {
        let slices = ["get", "endpointslices", "-l", "kubernetes.io/service-name=web", "-o"];
        let path = "jsonpath={.items[*].endpoints[?(@.conditions.ready==true)].addresses[0]}";
        let found = ns.kubectl(&[&slices[..], &[path]].concat()).succeeds()?;
        let mut found: Vec<String> = found.split(' ').map(str::to_owned).collect();
        found.sort();
        Ok(found == told)
    })
}
