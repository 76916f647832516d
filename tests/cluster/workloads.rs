//! The other workloads: StatefulSets, DaemonSets, Jobs, CronJobs, ReplicationControllers, and the
//! budgets and claims beside them.

use crate::walk;
use anyhow::{Result, ensure};
use ferrokube_tests::eventually;

/// A template of pods that do nothing, for a workload; `more` goes into the container.
fn idle(app: &str, more: &str) -> String {
    format!(
        r#"
    metadata: {{labels: {{app: {app}}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: idle
        image: docker.io/library/busybox:latest
        imagePullPolicy: IfNotPresent
        command: ["sh", "-c", "trap exit TERM; while :; do sleep 1; done"]
        {more}"#
    )
}

fn stateful_set(replicas: u32, round: u32) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db}}
spec:
  serviceName: db
  replicas: {replicas}
  selector: {{matchLabels: {{app: db}}}}
  template:{}"#,
        idle("db", &format!("env: [{{name: ROUND, value: \"{round}\"}}]"))
    )
}

#[test]
fn a_stateful_set_goes_in_order_and_keeps_names() -> Result<()> {
    walk("stateful", |ns| {
        ns.apply(&stateful_set(2, 1))?;
        ns.kubectl(&["rollout", "status", "statefulset/db", "--timeout=120s"]).succeeds()?;
        let created = |pod: &str| ns.path(pod, "{.metadata.creationTimestamp}");
        let ready = ns.path("pod/db-0", "{.status.conditions[?(@.type==\"Ready\")].lastTransitionTime}")?;
        ensure!(created("pod/db-1")? >= ready, "db-1 was made before db-0 was ready");
        ensure!(ns.path("pod/db-1", "{.spec.hostname}.{.spec.subdomain}")? == "db-1.db");

        let before = ns.path("pod/db-0", "{.metadata.uid}")?;
        ns.kubectl(&["delete", "pod", "db-0"]).succeeds()?;
        eventually("db-0 is back under its name", 90, || {
            let pod = ns.kubectl(&["get", "pod", "db-0", "-o", "jsonpath={.metadata.uid}"]);
            Ok(pod.succeeds().is_ok_and(|uid| uid != before))
        })?;
        ns.until("statefulset/db", "{.status.readyReplicas}", "2", 90)?;

        ns.apply(&stateful_set(2, 2))?;
        ns.kubectl(&["rollout", "status", "statefulset/db", "--timeout=120s"]).succeeds()?;
        ns.kubectl(&["rollout", "history", "statefulset/db"]).says(&["REVISION", "1", "2"])?;
        ns.kubectl(&["rollout", "undo", "statefulset/db"]).says(&["rolled back"])?;
        ns.until("statefulset/db", "{.spec.template.spec.containers[0].env[0].value}", "1", 20)?;
        ns.kubectl(&["rollout", "status", "statefulset/db", "--timeout=120s"]).succeeds()?;

        ns.kubectl(&["scale", "statefulset/db", "--replicas=1"]).succeeds()?;
        eventually("the highest number went", 60, || {
            Ok(ns.kubectl(&["get", "pods", "-o", "name"]).succeeds()?.trim() == "pod/db-0")
        })
    })
}

#[test]
fn a_daemon_set_has_a_pod_on_the_node() -> Result<()> {
    walk("daemon", |ns| {
        let set = |round: u32| {
            format!(
                "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {{name: agent}}\nspec:\n  \
                 selector: {{matchLabels: {{app: agent}}}}\n  template:{}",
                idle("agent", &format!("env: [{{name: ROUND, value: \"{round}\"}}]"))
            )
        };
        ns.apply(&set(1))?;
        ns.kubectl(&["rollout", "status", "daemonset/agent", "--timeout=120s"]).succeeds()?;
        ensure!(ns.path("pods", "{.items[0].spec.nodeName}")? == ns.cluster().node()?);
        ns.apply(&set(2))?;
        ns.kubectl(&["rollout", "status", "daemonset/agent", "--timeout=120s"]).succeeds()?;
        ns.kubectl(&["rollout", "undo", "daemonset/agent", "--to-revision=1"]).says(&["rolled back"])?;
        ns.kubectl(&["rollout", "status", "daemonset/agent", "--timeout=120s"]).succeeds()?;
        ns.until("daemonset/agent", "{.status.updatedNumberScheduled}", "1", 60)?;
        ensure!(ns.path("pods", "{.items[0].spec.containers[0].env[0].value}")? == "1");
        let patch = r#"{"spec":{"template":{"spec":{"nodeSelector":{"no-such":"node"}}}}}"#;
        ns.kubectl(&["patch", "daemonset/agent", "-p", patch]).succeeds()?;
        ns.until("daemonset/agent", "{.status.desiredNumberScheduled}", "0", 60)?;
        eventually("no pod is left", 60, || {
            Ok(ns.kubectl(&["get", "pods", "-o", "name"]).succeeds()?.is_empty())
        })
    })
}

fn job(name: &str, spec: &str, command: &str) -> String {
    format!(
        r#"
apiVersion: batch/v1
kind: Job
metadata: {{name: {name}}}
spec:
  {spec}
  template:
    spec:
      restartPolicy: Never
      containers:
      - name: work
        image: docker.io/library/busybox:latest
        imagePullPolicy: IfNotPresent
        command: ["sh", "-c", "{command}"]"#
    )
}

#[test]
fn jobs_complete_or_fail_and_are_counted() -> Result<()> {
    walk("jobs", |ns| {
        let spec = "completions: 3\n  parallelism: 2\n  completionMode: Indexed";
        ns.apply(&job("indexed", spec, "echo index $JOB_COMPLETION_INDEX"))?;
        ns.kubectl(&["wait", "job/indexed", "--for=condition=Complete", "--timeout=120s"]).succeeds()?;
        ensure!(ns.path("job/indexed", "{.status.succeeded} {.status.completedIndexes}")? == "3 0-2");
        let logs = ns.kubectl(&["logs", "-l", "batch.kubernetes.io/job-completion-index=2"]).succeeds()?;
        ensure!(logs.contains("index 2"), "{logs}");
        let left = ns.path("pods", "{.items[*].metadata.finalizers}")?;
        ensure!(left.is_empty(), "pods that are counted are free: {left}");

        ns.apply(&job("broken", "backoffLimit: 0", "exit 3"))?;
        ns.kubectl(&["wait", "job/broken", "--for=condition=Failed", "--timeout=120s"]).succeeds()?;
        ns.kubectl(&["describe", "job", "broken"])
            .says(&["BackoffLimitExceeded", "Job has reached the specified backoff limit"])?;

        ns.apply(&job("brief", "ttlSecondsAfterFinished: 1", "true"))?;
        eventually("a finished job goes after its time", 120, || {
            Ok(ns.kubectl(&["get", "job", "brief"]).succeeds().is_err())
        })
    })
}

#[test]
fn a_cron_job_makes_jobs() -> Result<()> {
    walk("cron", |ns| {
        ns.apply(
            r#"
apiVersion: batch/v1
kind: CronJob
metadata: {name: tick}
spec:
  schedule: "* * * * *"
  timeZone: Europe/Berlin
  concurrencyPolicy: Forbid
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers:
          - name: tick
            image: docker.io/library/busybox:latest
            imagePullPolicy: IfNotPresent
            command: ["true"]
"#,
        )?;
        eventually("a job was made and has ended", 150, || {
            Ok(!ns.path("cronjob/tick", "{.status.lastSuccessfulTime}")?.is_empty())
        })?;
        ns.kubectl(&["describe", "cronjob", "tick"]).says(&[
            "SuccessfulCreate",
            "Created job tick-",
            "SawCompletedJob",
        ])?;
        ns.kubectl(&["patch", "cronjob/tick", "-p", r#"{"spec":{"suspend":true}}"#]).succeeds()?;
        ns.kubectl(&["create", "job", "now", "--from=cronjob/tick"]).succeeds()?;
        ns.kubectl(&["wait", "job/now", "--for=condition=Complete", "--timeout=60s"]).succeeds()?;
        Ok(())
    })
}

#[test]
fn a_replication_controller_heals_and_adopts() -> Result<()> {
    walk("rc", |ns| {
        ns.apply(&format!(
            "apiVersion: v1\nkind: ReplicationController\nmetadata: {{name: old}}\nspec:\n  replicas: 2\n  \
             selector: {{app: old}}\n  template:{}",
            idle("old", "")
        ))?;
        ns.until("rc/old", "{.status.readyReplicas}", "2", 90)?;
        let pod = ns.path("pods", "{.items[0].metadata.name}")?;
        ns.kubectl(&["label", "pod", &pod, "app=freed", "--overwrite"]).succeeds()?;
        ns.until("rc/old", "{.status.readyReplicas}", "2", 90)?;
        ensure!(ns.path(&format!("pod/{pod}"), "{.metadata.ownerReferences}")?.is_empty());
        ns.kubectl(&["label", "pod", &pod, "app=old", "--overwrite"]).succeeds()?;
        eventually("of three, one goes", 60, || {
            let rows = ns.kubectl(&["get", "pods", "-l", "app=old", "-o", "name"]).succeeds()?;
            Ok(rows.lines().count() == 2)
        })
    })
}

#[test]
fn a_budget_knows_what_may_be_disrupted() -> Result<()> {
    walk("budget", |ns| {
        ns.apply(&stateful_set(2, 1))?;
        ns.apply(
            "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: db}\nspec:\n  \
             maxUnavailable: 1\n  selector: {matchLabels: {app: db}}\n",
        )?;
        ns.kubectl(&["rollout", "status", "statefulset/db", "--timeout=120s"]).succeeds()?;
        ns.until("pdb/db", "{.status.disruptionsAllowed}", "1", 30)?;
        ensure!(ns.path("pdb/db", "{.status.expectedPods} {.status.desiredHealthy}")? == "2 1");
        ns.kubectl(&["patch", "pdb/db", "-p", r#"{"spec":{"maxUnavailable":0}}"#]).succeeds()?;
        ns.until("pdb/db", "{.status.disruptionsAllowed}", "0", 30)?;
        ns.until("pdb/db", "{.status.conditions[0].reason}", "InsufficientPods", 30)
    })
}

#[test]
fn a_claim_is_bound_and_protected() -> Result<()> {
    walk("claims", |ns| {
        // Volumes belong to no namespace: their name and class are this test's own.
        let class = format!("by-hand-{}", ns.path("serviceaccount/default", "{.metadata.uid}")?);
        ns.apply(&format!(
            r#"
apiVersion: v1
kind: PersistentVolume
metadata: {{name: {class}}}
spec:
  capacity: {{storage: 1Gi}}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: {class}
  hostPath: {{path: /tmp/{class}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: data}}
spec:
  storageClassName: {class}
  accessModes: [ReadWriteOnce]
  resources: {{requests: {{storage: 500Mi}}}}
"#
        ))?;
        ns.until("pvc/data", "{.status.phase}", "Bound", 30)?;
        let volume = format!("pv/{class}");
        ensure!(
            ns.path("pvc/data", "{.spec.volumeName} {.status.capacity.storage}")? == format!("{class} 1Gi")
        );
        ns.until(&volume, "{.status.phase}", "Bound", 30)?;
        ns.until("pvc/data", "{.metadata.finalizers[0]}", "kubernetes.io/pvc-protection", 30)?;
        ns.kubectl(&["delete", "pvc", "data", "--timeout=60s"]).succeeds()?;
        ns.until(&volume, "{.status.phase}", "Released", 30)?;
        ns.kubectl(&["delete", &volume, "--timeout=60s"]).succeeds()?;
        Ok(())
    })
}
