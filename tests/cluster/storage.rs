//! Pods that bring claims: local volumes, volumes that a provisioner makes for a pod's node, pods that
//! wait until their claim can be served.
//!
//! Volumes and classes belong to no namespace, so each test names them after its own. Volumes lie in
//! folders of the machine that the tests run on, which is the node too.

use std::path::PathBuf;

use crate::walk;
use anyhow::{Context as _, Result};
use ferrokube_tests::{Namespace, eventually};

/// A folder for volumes, removed when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn of(ns: &Namespace, name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("{}-{name}", ns.name));
        std::fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Volumes and classes, deleted when the test ends.
struct ClusterWide<'a> {
    ns: &'a Namespace,
    names: Vec<String>,
}

impl Drop for ClusterWide<'_> {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = self.ns.kubectl(&["delete", name, "--ignore-not-found", "--wait=false"]);
        }
    }
}

fn class(name: &str, provisioner: &str, mode: &str) -> String {
    format!(
        r#"
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {{name: {name}}}
provisioner: {provisioner}
volumeBindingMode: {mode}
---"#
    )
}

/// A volume in a folder that only the node `host` reaches.
fn local_volume(name: &str, class: &str, mode: &str, host: &str, folder: &Folder) -> String {
    format!(
        r#"
apiVersion: v1
kind: PersistentVolume
metadata: {{name: {name}}}
spec:
  capacity: {{storage: 1Gi}}
  accessModes: [{mode}]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: {class}
  local: {{path: {}}}
  nodeAffinity:
    required:
      nodeSelectorTerms:
      - matchExpressions: [{{key: kubernetes.io/hostname, operator: In, values: [{host}]}}]
---"#,
        folder.0.display()
    )
}

fn claim(name: &str, class: &str, mode: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: {name}}}
spec:
  storageClassName: {class}
  accessModes: [{mode}]
  resources: {{requests: {{storage: 100Mi}}}}
---"#
    )
}

/// A container that notes each of its starts in the claim's volume.
const NOTES: &str = r#"
      terminationGracePeriodSeconds: 1
      containers:
      - name: notes
        image: docker.io/library/busybox:latest
        imagePullPolicy: IfNotPresent
        command: ["sh", "-c", "hostname >> /data/starts; trap exit TERM; while :; do sleep 1; done"]
        volumeMounts: [{name: data, mountPath: /data}]"#;

fn pod(name: &str, claim: &str) -> String {
    let container = NOTES.replace("\n    ", "\n");
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:{container}
  volumes: [{{name: data, persistentVolumeClaim: {{claimName: {claim}}}}}]
---"#
    )
}

fn starts(ns: &Namespace, pod: &str) -> Result<Vec<String>> {
    let text = ns.kubectl(&["exec", pod, "--", "cat", "/data/starts"]).succeeds()?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Waits until the scheduler says `text` of the pod.
fn refused(ns: &Namespace, pod: &str, text: &str) -> Result<()> {
    let path = "{.status.conditions[?(@.type==\"PodScheduled\")].message}";
    eventually(&format!("{pod} is refused: {text}"), 60, || Ok(ns.path(pod, path)?.contains(text)))
        .with_context(|| ns.kubectl(&["describe", pod]).text())
}

/// Waits until an event about an object has the reason.
fn told(ns: &Namespace, name: &str, reason: &str) -> Result<()> {
    let field = format!("involvedObject.name={name},reason={reason}");
    eventually(&format!("{name} has the event {reason}"), 60, || {
        Ok(!ns.kubectl(&["get", "events", "--field-selector", &field, "-o", "name"]).succeeds()?.is_empty())
    })
}

#[test]
fn a_stateful_set_keeps_its_data_on_local_volumes() -> Result<()> {
    walk("local", |ns| {
        let (class_name, host) = (ns.name.as_str(), ns.cluster().node()?);
        let folders = [Folder::of(ns, "a")?, Folder::of(ns, "b")?];
        let names = [format!("{class_name}-a"), format!("{class_name}-b")];
        let mut owned = ClusterWide { ns, names: names.iter().map(|n| format!("pv/{n}")).collect() };
        owned.names.push(format!("storageclass/{class_name}"));
        let mut given = class(class_name, "kubernetes.io/no-provisioner", "WaitForFirstConsumer");
        for (name, folder) in names.iter().zip(&folders) {
            given += &local_volume(name, class_name, "ReadWriteOnce", &host, folder);
        }
        ns.apply(&given)?;
        ns.apply(&format!(
            r#"
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db}}
spec:
  serviceName: db
  replicas: 2
  selector: {{matchLabels: {{app: db}}}}
  template:
    metadata: {{labels: {{app: db}}}}
    spec:{NOTES}
  volumeClaimTemplates:
  - metadata: {{name: data}}
    spec:
      storageClassName: {class_name}
      accessModes: [ReadWriteOnce]
      resources: {{requests: {{storage: 100Mi}}}}"#
        ))?;
        ns.kubectl(&["rollout", "status", "statefulset/db", "--timeout=120s"]).succeeds()?;
        let volume = |claim: &str| ns.path(claim, "{.spec.volumeName}");
        let (first, second) = (volume("pvc/data-db-0")?, volume("pvc/data-db-1")?);
        anyhow::ensure!(first != second && names.contains(&first) && names.contains(&second));
        anyhow::ensure!(starts(ns, "db-0")? == ["db-0"] && starts(ns, "db-1")? == ["db-1"]);

        ns.kubectl(&["delete", "pod", "db-0", "db-1"]).succeeds()?;
        eventually("both pods run again on their data", 120, || {
            let twice = |pod: &str| starts(ns, pod).is_ok_and(|starts| starts == [pod, pod]);
            Ok(twice("db-0") && twice("db-1"))
        })?;
        anyhow::ensure!(volume("pvc/data-db-0")? == first, "the claim changed its volume");

        // There is no third volume.
        ns.kubectl(&["scale", "statefulset/db", "--replicas=3"]).succeeds()?;
        let message = "1 node(s) didn't find available persistent volumes to bind";
        eventually("there is db-2", 60, || Ok(ns.kubectl(&["get", "pod", "db-2"]).status == 0))?;
        refused(ns, "pod/db-2", message)?;
        // A folder that comes is taken at once.
        let late = Folder::of(ns, "c")?;
        let name = format!("{class_name}-c");
        owned.names.push(format!("pv/{name}"));
        ns.apply(&local_volume(&name, class_name, "ReadWriteOnce", &host, &late))?;
        ns.until("pod/db-2", "{.status.phase}", "Running", 60)
    })
}

#[test]
fn a_volume_is_made_for_the_node_of_its_pod() -> Result<()> {
    walk("made", |ns| {
        let (class_name, host) = (ns.name.as_str(), ns.cluster().node()?);
        let volume = format!("{class_name}-made");
        let names = vec![format!("pv/{volume}"), format!("storageclass/{class_name}")];
        let _owned = ClusterWide { ns, names };
        ns.apply(&class(class_name, "example.com/folders", "WaitForFirstConsumer"))?;
        ns.apply(&claim("data", class_name, "ReadWriteOnce"))?;
        told(ns, "data", "WaitForFirstConsumer")?;
        anyhow::ensure!(ns.path("pvc/data", "{.status.phase}")? == "Pending");

        ns.apply(&pod("writer", "data"))?;
        let annotation = |name: &str| format!("{{.metadata.annotations.volume\\.kubernetes\\.io/{name}}}");
        ns.until("pvc/data", &annotation("selected-node"), &host, 60)?;
        ns.until("pvc/data", &annotation("storage-provisioner"), "example.com/folders", 60)?;
        told(ns, "data", "ExternalProvisioning")?;
        anyhow::ensure!(
            ns.path("pod/writer", "{.spec.nodeName}")?.is_empty(),
            "it is bound without a volume"
        );

        // What a provisioner does once it sees the annotations.
        let folder = Folder::of(ns, "made")?;
        let made = |folder: &Folder| -> Result<String> {
            Ok(format!(
                r#"
apiVersion: v1
kind: PersistentVolume
metadata:
  name: {volume}
  annotations: {{pv.kubernetes.io/provisioned-by: example.com/folders}}
spec:
  capacity: {{storage: 100Mi}}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Delete
  storageClassName: {class_name}
  hostPath: {{path: {}, type: DirectoryOrCreate}}
  claimRef: {{kind: PersistentVolumeClaim, apiVersion: v1, namespace: {}, name: data, uid: {}}}
  nodeAffinity:
    required:
      nodeSelectorTerms:
      - matchExpressions: [{{key: kubernetes.io/hostname, operator: In, values: [{host}]}}]
"#,
                folder.0.display(),
                ns.name,
                ns.path("pvc/data", "{.metadata.uid}")?
            ))
        };
        ns.apply(&made(&folder)?)?;
        ns.until("pod/writer", "{.status.phase}", "Running", 60)?;
        anyhow::ensure!(
            ns.path("pvc/data", "{.spec.volumeName} {.status.phase}")? == format!("{volume} Bound")
        );
        ns.kubectl(&["delete", "pod", "writer"]).succeeds()?;
        ns.apply(&pod("reader", "data"))?;
        ns.until("pod/reader", "{.status.phase}", "Running", 60)?;
        eventually("the data of the first pod is there", 30, || {
            Ok(starts(ns, "reader").is_ok_and(|starts| starts == ["writer", "reader"]))
        })?;
        ns.kubectl(&["delete", "pod/reader", "pvc/data", "--timeout=60s"]).succeeds()?;
        ns.until(&format!("pv/{volume}"), "{.status.phase}", "Released", 30)
    })
}

#[test]
fn a_pod_waits_for_its_claim_and_is_told_why() -> Result<()> {
    walk("waits", |ns| {
        let (class_name, host) = (ns.name.as_str(), ns.cluster().node()?);
        let volume = format!("{class_name}-v");
        let names = vec![format!("pv/{volume}"), format!("storageclass/{class_name}")];
        let _owned = ClusterWide { ns, names };
        ns.apply(&class(class_name, "kubernetes.io/no-provisioner", "Immediate"))?;
        ns.apply(&pod("first", "data"))?;
        refused(ns, "pod/first", "0/1 nodes are available: persistentvolumeclaim \"data\" not found.")?;
        ns.apply(&claim("data", class_name, "ReadWriteOncePod"))?;
        refused(
            ns,
            "pod/first",
            "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.",
        )?;
        let folder = Folder::of(ns, "v")?;
        ns.apply(&local_volume(&volume, class_name, "ReadWriteOncePod", &host, &folder))?;
        ns.until("pod/first", "{.status.phase}", "Running", 60)?;

        ns.apply(&pod("second", "data"))?;
        let taken = "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod";
        refused(ns, "pod/second", taken)?;
        ns.kubectl(&["delete", "pod", "first"]).succeeds()?;
        ns.until("pod/second", "{.status.phase}", "Running", 60)
    })
}
