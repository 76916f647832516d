//! Volumes of a storage driver: a driver that the test runs beside the kubelet makes itself known, serves
//! an inline volume and a claim that two pods share, and goes. Another one wants its volumes attached
//! ([`attached`]).

mod attached;
mod driver;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use driver::Driver;
use ferrokube_tests::{BUSYBOX, Namespace, eventually};

const NAME: &str = "csi.tests.ferrokube";

fn pod(name: &str, node: &str, volume: &str) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 1
  securityContext: {{fsGroup: 1234}}
  containers:
  - name: main
    image: {BUSYBOX}
    imagePullPolicy: IfNotPresent
    command: [sh, -c, 'cat /data/file; stat -c %g /data/file; trap exit TERM; while :; do sleep 1; done']
    volumeMounts: [{{name: data, mountPath: /data}}]
  volumes:
  - name: data
    {volume}
"
    )
}

/// The node says that it has the driver.
fn is_known(ns: &Namespace, node: &str, driver: &str) -> Result<bool> {
    let drivers = ns.path(&format!("csinode/{node}"), "{.spec.drivers[*].name}")?;
    Ok(drivers.split(' ').any(|name| name == driver))
}

fn reads(ns: &Namespace, name: &str) -> Result<()> {
    ns.until(&format!("pod/{name}"), "{.status.phase}", "Running", 120)?;
    eventually("the container has read its volume", 30, || {
        let said = ns.kubectl(&["logs", name]).stdout;
        Ok(said == "from the driver\n1234\n")
    })
}

fn inline(ns: &Namespace, driver: &Driver, node: &str) -> Result<()> {
    ns.apply(&pod("inline", node, &format!("csi: {{driver: {NAME}, volumeAttributes: {{size: small}}}}")))?;
    reads(ns, "inline")?;
    let told = driver.published().pop().context("nothing was published")?;
    ensure!(told.volume_id.starts_with("csi-"), "{told:?}");
    ensure!(told.volume_context.get("size").is_some_and(|size| size == "small"), "{told:?}");
    let name = told.volume_context.get("csi.storage.k8s.io/pod.name");
    ensure!(name.is_some_and(|name| name == "inline"), "{told:?}");
    ensure!(told.staging_target_path.is_empty(), "an inline volume is not staged: {told:?}");
    ns.kubectl(&["delete", "pod", "inline", "--timeout=60s"]).succeeds()?;
    eventually("it is unpublished", 60, || Ok(driver.calls().contains(&"unpublish".to_owned())))?;
    ensure!(driver.take_calls() == ["publish", "unpublish"]);
    Ok(())
}

fn claimed(ns: &Namespace, driver: &Driver, node: &str) -> Result<()> {
    let volume = format!("{}-data", ns.name);
    ns.apply(&format!(
        "apiVersion: v1
kind: PersistentVolume
metadata: {{name: {volume}}}
spec:
  accessModes: [ReadWriteOnce]
  capacity: {{storage: 1Gi}}
  persistentVolumeReclaimPolicy: Retain
  claimRef: {{namespace: {0}, name: data}}
  csi: {{driver: {NAME}, volumeHandle: handle-1, volumeAttributes: {{a: b}}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: data}}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: ''
  resources: {{requests: {{storage: 1Gi}}}}
",
        ns.name
    ))?;
    ns.until("pvc/data", "{.status.phase}", "Bound", 60)?;
    for name in ["first", "second"] {
        ns.apply(&pod(name, node, "persistentVolumeClaim: {claimName: data}"))?;
        reads(ns, name)?;
    }
    let calls = driver.take_calls();
    ensure!(calls == ["stage", "publish", "publish"], "{calls:?}");
    ensure!(
        driver
            .published()
            .iter()
            .all(|told| told.volume_id != "handle-1" || !told.staging_target_path.is_empty())
    );
    ns.kubectl(&["delete", "pod", "first", "second", "--timeout=60s"]).succeeds()?;
    eventually("it is unstaged", 60, || Ok(driver.calls().len() == 3))?;
    let calls = driver.take_calls();
    ensure!(calls == ["unpublish", "unpublish", "unstage"], "{calls:?}");
    ns.kubectl(&["delete", "pvc/data", &format!("pv/{volume}"), "--timeout=60s"]).succeeds()?;
    Ok(())
}

#[test]
fn a_drivers_volumes_come_and_go() -> Result<()> {
    crate::walk("csi", |ns| {
        let node = ns.cluster().node()?;
        ns.apply(&format!(
            "apiVersion: storage.k8s.io/v1
kind: CSIDriver
metadata: {{name: {NAME}}}
spec: {{attachRequired: false, podInfoOnMount: true, fsGroupPolicy: File, volumeLifecycleModes: [Persistent, Ephemeral]}}
"
        ))?;
        let root = ns.cluster().dir().join("kubelet/root");
        let driver = Driver::start(&root, NAME)?;
        eventually("the driver is known", 60, || is_known(ns, &node, NAME))?;
        ensure!(driver.was_accepted(), "the driver was not told that it is registered");
        inline(ns, &driver, &node)?;
        claimed(ns, &driver, &node)?;
        ensure!(driver.mounts()?.is_empty(), "{:?}", driver.mounts()?);
        driver.stop();
        eventually("the driver is gone", 60, || Ok(!is_known(ns, &node, NAME)?))?;
        // Time for a second look, which must not bring it back.
        std::thread::sleep(Duration::from_millis(100));
        ns.kubectl(&["delete", "csidriver", NAME]).succeeds()?;
        Ok(())
    })
}
