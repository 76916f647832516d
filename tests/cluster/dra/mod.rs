//! Devices of claims: a driver that the test runs beside the kubelet makes itself known and prepares what a
//! pod was given. The pods name their node; what a scheduler would allocate the test writes itself.

mod driver;

use anyhow::{Result, ensure};
use driver::Driver;
use ferrokube_tests::{BUSYBOX, Namespace, eventually};

const NAME: &str = "dra.tests.ferrokube";

const TEMPLATE: &str = "apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {name: devices}
spec:
  metadata: {labels: {made-of: devices}}
  spec:
    devices:
      requests: [{name: one, exactly: {deviceClassName: tests}}]
";

fn pod(name: &str, node: &str, command: &str) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  nodeName: {node}
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  resourceClaims: [{{name: dev, resourceClaimTemplateName: devices}}]
  containers:
  - name: main
    image: {BUSYBOX}
    imagePullPolicy: IfNotPresent
    command: [sh, -c, '{command}']
    resources: {{claims: [{{name: dev}}]}}
"
    )
}

/// Offered by the driver, if it did that by itself.
fn slice(name: &str, node: &str) -> String {
    format!(
        "apiVersion: resource.k8s.io/v1
kind: ResourceSlice
metadata: {{name: {name}}}
spec:
  driver: {NAME}
  nodeName: {node}
  pool: {{name: pool, generation: 1, resourceSliceCount: 1}}
  devices: [{{name: dev}}]
"
    )
}

/// Waits for the pod's claim and allocates the device to it; answers its name.
fn allocate(ns: &Namespace, pod: &str) -> Result<String> {
    let said = "{.status.resourceClaimStatuses[?(@.name==\"dev\")].resourceClaimName}";
    let what = format!("pod/{pod}");
    eventually("the claim is made", 60, || Ok(!ns.path(&what, said)?.is_empty()))?;
    let claim = ns.path(&what, said)?;
    ensure!(claim.starts_with(&format!("{pod}-dev-")), "{claim}");
    let what = format!("resourceclaim/{claim}");
    ensure!(ns.path(&what, "{.metadata.labels.made-of}")? == "devices");
    let keep = r#"{"metadata":{"finalizers":["resource.kubernetes.io/delete-protection"]}}"#;
    ns.kubectl(&["patch", &what, "--type=merge", "-p", keep]).succeeds()?;
    let result = format!(r#"{{"request":"one","driver":"{NAME}","pool":"pool","device":"dev"}}"#);
    let given = format!(r#"{{"status":{{"allocation":{{"devices":{{"results":[{result}]}}}}}}}}"#);
    ns.kubectl(&["patch", &what, "--subresource=status", "--type=merge", "-p", &given]).succeeds()?;
    ns.until(&what, "{.status.reservedFor[0].name}", pod, 30)?;
    Ok(claim)
}

fn is_gone(ns: &Namespace, claim: &str) -> Result<bool> {
    let left = ns.kubectl(&["get", "resourceclaim", claim, "--ignore-not-found", "-o", "name"]);
    Ok(left.succeeds()?.is_empty())
}

#[test]
fn a_drivers_devices_are_prepared_and_taken_back() -> Result<()> {
    crate::walk("dra", |ns| {
        let node = ns.cluster().node()?;
        let driver = Driver::start(&ns.cluster().dir().join("kubelet/root"), NAME)?;
        eventually("the driver is known", 60, || Ok(driver.was_accepted()))?;
        ns.apply(TEMPLATE)?;
        let offered = ns.name.clone();
        ns.apply(&slice(&offered, &node))?;

        ns.apply(&pod("runs", &node, "trap exit TERM; while :; do sleep 1; done"))?;
        let claim = allocate(ns, "runs")?;
        ns.until("pod/runs", "{.status.phase}", "Running", 120)?;
        let asked = driver.calls_of(&claim);
        ensure!(asked == ["prepare"], "{asked:?}");
        let health = "{.status.containerStatuses[0].allocatedResourcesStatus[0]['name','resources']}";
        let health = ns.path("pod/runs", health)?;
        ensure!(health.starts_with("claim:dev ") && health.contains("Unknown"), "{health}");
        ns.kubectl(&["delete", "pod", "runs", "--timeout=60s"]).succeeds()?;
        let asked = driver.calls_of(&claim);
        ensure!(asked == ["prepare", "unprepare"], "before the pod is gone: {asked:?}");
        eventually("the claim goes with its pod", 60, || is_gone(ns, &claim))?;

        // The claim of a pod that has ended is of no use to it any more.
        ns.apply(&pod("ends", &node, "true"))?;
        let claim = allocate(ns, "ends")?;
        ns.until("pod/ends", "{.status.phase}", "Succeeded", 120)?;
        let asked = driver.calls_of(&claim);
        ensure!(asked == ["prepare", "unprepare"], "{asked:?}");
        eventually("the claim is deleted", 60, || is_gone(ns, &claim))?;

        driver.stop();
        eventually("the slices of a driver that is away are deleted", 90, || {
            let left = ns.kubectl(&["get", "resourceslice", &offered, "--ignore-not-found", "-o", "name"]);
            Ok(left.succeeds()?.is_empty())
        })
    })
}
