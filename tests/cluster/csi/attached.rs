//! A driver whose volumes are attached before they are mounted. The test does what the attaching side does:
//! the node says that it uses the volume and mounts it only once it is told that it is attached; the driver
//! is given the secrets that the volume names; and what is on the volume grows with it.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use ferrokube_tests::{Namespace, eventually};

use super::driver::Driver;
use super::{is_known, pod, reads};

const NAME: &str = "csi-attached.tests.ferrokube";
const HANDLE: &str = "handle-2";

/// COMPAT: attachments have the name that external attachers and kubelets expect.
fn attachment(node: &str) -> Result<String> {
    let script = format!("printf %s '{HANDLE}{NAME}{node}' | sha256sum");
    let output = Command::new("sh").args(["-c", &script]).output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(format!("csi-{}", text.split(' ').next().context("no sum")?))
}

fn volume(ns: &Namespace) -> Result<String> {
    let volume = format!("{}-attached", ns.name);
    ns.apply(&format!(
        "apiVersion: v1
kind: Secret
metadata: {{name: driver}}
stringData: {{key: for the driver}}
---
apiVersion: v1
kind: PersistentVolume
metadata: {{name: {volume}}}
spec:
  accessModes: [ReadWriteOnce]
  capacity: {{storage: 1Gi}}
  persistentVolumeReclaimPolicy: Retain
  claimRef: {{namespace: {0}, name: attached}}
  csi:
    driver: {NAME}
    volumeHandle: {HANDLE}
    nodeStageSecretRef: {{namespace: {0}, name: driver}}
    nodePublishSecretRef: {{namespace: {0}, name: driver}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: attached}}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: ''
  resources: {{requests: {{storage: 1Gi}}}}
",
        ns.name
    ))?;
    ns.until("pvc/attached", "{.status.phase}", "Bound", 60)?;
    Ok(volume)
}

fn patch_status(ns: &Namespace, what: &str, status: &str) -> Result<()> {
    let patch = format!("{{\"status\": {status}}}");
    ns.kubectl(&["patch", what, "--subresource=status", "--type=merge", "-p", &patch]).succeeds()?;
    Ok(())
}

/// What an external attacher and the controllers do.
fn attach(ns: &Namespace, node: &str, volume: &str) -> Result<()> {
    let name = attachment(node)?;
    ns.apply(&format!(
        "apiVersion: storage.k8s.io/v1
kind: VolumeAttachment
metadata: {{name: {name}}}
spec: {{attacher: {NAME}, nodeName: {node}, source: {{persistentVolumeName: {volume}}}}}
"
    ))?;
    let status = "{\"attached\": true, \"attachmentMetadata\": {\"disk\": \"sdx\"}}";
    patch_status(ns, &format!("volumeattachment/{name}"), status)?;
    let listed = format!(
        "{{\"volumesAttached\": [{{\"name\": \"kubernetes.io/csi/{NAME}^{HANDLE}\", \"devicePath\": \"\"}}]}}"
    );
    patch_status(ns, &format!("node/{node}"), &listed)
}

fn uses(ns: &Namespace, node: &str) -> Result<bool> {
    let used = ns.path(&format!("node/{node}"), "{.status.volumesInUse[*]}")?;
    Ok(used.contains(&format!("kubernetes.io/csi/{NAME}^{HANDLE}")))
}

fn grow(ns: &Namespace, driver: &Driver, volume: &str) -> Result<()> {
    let larger = "{\"spec\": {\"capacity\": {\"storage\": \"2Gi\"}}}";
    ns.kubectl(&["patch", "pv", volume, "--type=merge", "-p", larger]).succeeds()?;
    patch_status(
        ns,
        "pvc/attached",
        "{\"allocatedResourceStatuses\": {\"storage\": \"NodeResizePending\"}}",
    )?;
    eventually("the claim has grown", 90, || {
        Ok(ns.path("pvc/attached", "{.status.capacity.storage}")? == "2Gi")
    })?;
    let told = driver.expanded().pop().context("the driver was not asked")?;
    ensure!(told.capacity_range.as_ref().is_some_and(|range| range.required_bytes == 2 << 30), "{told:?}");
    let left = ns.path("pvc/attached", "{.status.allocatedResourceStatuses}")?;
    ensure!(left.is_empty() || left == "{}", "the resize is not over: {left}");
    Ok(())
}

#[test]
fn a_volume_is_mounted_once_it_is_attached() -> Result<()> {
    crate::walk("csi-attached", |ns| {
        let node = ns.cluster().node()?;
        ns.apply(&format!(
            "apiVersion: storage.k8s.io/v1\nkind: CSIDriver\nmetadata: {{name: {NAME}}}\nspec: {{fsGroupPolicy: File}}\n"
        ))?;
        let driver = Driver::start(&ns.cluster().dir().join("kubelet/root"), NAME)?;
        eventually("the driver is known", 60, || is_known(ns, &node, NAME))?;
        let volume = volume(ns)?;
        ns.apply(&pod("attached", &node, "persistentVolumeClaim: {claimName: attached}"))?;
        eventually("the node says that it uses the volume", 60, || uses(ns, &node))?;
        ensure!(driver.calls().is_empty(), "it is not attached yet: {:?}", driver.calls());
        attach(ns, &node, &volume)?;
        reads(ns, "attached")?;

        let staged = driver.staged().pop().context("nothing was staged")?;
        let published = driver.published().pop().context("nothing was published")?;
        for (what, context, secrets) in [
            ("stage", &staged.publish_context, &staged.secrets),
            ("publish", &published.publish_context, &published.secrets),
        ] {
            ensure!(context.get("disk").is_some_and(|disk| disk == "sdx"), "{what}: {context:?}");
            ensure!(secrets.get("key").is_some_and(|key| key == "for the driver"), "{what}: no secret");
        }
        grow(ns, &driver, &volume)?;

        ns.kubectl(&["delete", "pod", "attached", "--timeout=60s"]).succeeds()?;
        eventually("the node no longer uses it", 60, || Ok(!uses(ns, &node)?))?;
        ensure!(driver.take_calls() == ["stage", "publish", "expand", "unpublish", "unstage"]);
        patch_status(ns, &format!("node/{node}"), "{\"volumesAttached\": []}")?;
        let name = attachment(&node)?;
        ns.kubectl(&["delete", "volumeattachment", &name, "--ignore-not-found"]).succeeds()?;
        driver.stop();
        ns.kubectl(&["delete", "pvc/attached", &format!("pv/{volume}"), "--timeout=60s"]).succeeds()?;
        ns.kubectl(&["delete", "csidriver", NAME]).succeeds()?;
        Ok(())
    })
}
