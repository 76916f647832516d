//! Devices on both nodes: each pod's claim gets a device of the node that the pod comes to, which that node's driver
//! prepares and takes back, and no other; also when the kubelet is killed in between.

use anyhow::{Context as _, Result, ensure};
use ferrokube_tests::{BUSYBOX, Namespace, eventually};

use crate::driver::Driver;

const NAME: &str = "dra.nodes.ferrokube";

const CLAIMS: &str = r#"
apiVersion: resource.k8s.io/v1
kind: DeviceClass
metadata: {name: nodes-tests}
spec: {selectors: [{cel: {expression: 'device.driver == "dra.nodes.ferrokube"'}}]}
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {name: device}
spec: {spec: {devices: {requests: [{name: one, exactly: {deviceClassName: nodes-tests}}]}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: users}
spec:
  replicas: 4
  selector: {matchLabels: {app: users}}
  template:
    metadata: {labels: {app: users}}
    spec:
      terminationGracePeriodSeconds: 1
      resourceClaims: [{name: device, resourceClaimTemplateName: device}]
      containers:
      - name: main
        image: IMAGE
        imagePullPolicy: IfNotPresent
        command: [sh, -c, "trap exit TERM; while :; do sleep 1; done"]
        resources: {claims: [{name: device}]}
"#;

/// Two devices of a node, as its driver would offer them.
fn slice(node: &str) -> String {
    format!(
        "apiVersion: resource.k8s.io/v1
kind: ResourceSlice
metadata: {{name: tests-{node}}}
spec:
  driver: {NAME}
  nodeName: {node}
  pool: {{name: {node}, generation: 1, resourceSliceCount: 1}}
  devices: [{{name: a}}, {{name: b}}]
---
"
    )
}

/// The nodes and claims of the pods that run.
fn users(ns: &Namespace) -> Result<Vec<(String, String)>> {
    let pods = ns.get("pods")?;
    let pods = pods["items"].as_array().cloned().unwrap_or_default();
    let running = pods
        .iter()
        .filter(|pod| pod["metadata"]["labels"]["app"] == "users" && pod["status"]["phase"] == "Running");
    let claim = |pod: &serde_json::Value| {
        let node = pod["spec"]["nodeName"].as_str()?.to_owned();
        let claim = pod["status"]["resourceClaimStatuses"][0]["resourceClaimName"].as_str()?.to_owned();
        Some((node, claim))
    };
    Ok(running.filter_map(claim).collect())
}

/// See the module.
pub fn are_prepared_where_the_pods_are(ns: &Namespace, first: &str, worker: &str) -> Result<()> {
    let cluster = ns.cluster();
    let root = |folder: &str| cluster.dir().join(folder).join("kubelet/root");
    let drivers =
        [(first, Driver::start(&root(""), NAME)?), (worker, Driver::start(&root("worker-1"), NAME)?)];
    for (node, driver) in &drivers {
        eventually(&format!("the driver on {node} is known"), 60, || Ok(driver.was_accepted()))?;
    }
    ns.apply(&CLAIMS.replace("IMAGE", BUSYBOX))?;
    let mut pods = Vec::new();
    eventually("all have a device", 180, || {
        // A kubelet that has only just started deletes what was offered before.
        ns.apply(&format!("{}{}", slice(first), slice(worker)))?;
        pods = users(ns)?;
        Ok(pods.len() == 4)
    })?;
    let claims = || ns.kubectl(&["get", "resourceclaims", "-o", "name"]).succeeds();
    for (node, driver) in &drivers {
        let here = pods.iter().filter(|(of, _)| of == node).count();
        ensure!(here == 2, "{node} has two devices: {pods:?}");
        for (of, claim) in &pods {
            let asked = driver.calls_of(claim);
            let expected: &[&str] = if of == node { &["prepare"] } else { &[] };
            ensure!(asked == expected, "{claim} of {of} on {node}: {asked:?}");
        }
    }
    cluster.kubeforge("kill", &["kubelet"]).succeeds()?;
    ns.kubectl(&["delete", "deployment", "users", "--cascade=foreground", "--timeout=120s"]).succeeds()?;
    eventually("their claims go", 60, || Ok(claims()?.is_empty()))?;
    for (of, claim) in &pods {
        let (_, driver) = drivers.iter().find(|(node, _)| node == of).context("a node of ours")?;
        let asked = driver.calls_of(claim);
        ensure!(asked == ["prepare", "unprepare"], "{claim} of {of}: {asked:?}");
    }
    drivers.into_iter().for_each(|(_, driver)| driver.stop());
    ns.kubectl(&["delete", "deviceclass", "nodes-tests"]).succeeds().map(drop)
}
