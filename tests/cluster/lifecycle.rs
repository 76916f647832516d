//! Pods from start to end: environment, volumes, exit, restarts with back-off, readiness, hooks.

use crate::{walk, web};
use anyhow::{Result, ensure};
use ferrokube_tests::{BUSYBOX, Namespace, eventually};

fn run(ns: &Namespace, name: &str, restart: &str, script: &str) -> Result<String> {
    let restart = format!("--restart={restart}");
    ns.kubectl(&[
        "run",
        name,
        "--image",
        BUSYBOX,
        "--image-pull-policy=IfNotPresent",
        &restart,
        "--command",
        "--",
        "sh",
        "-c",
        script,
    ])
    .succeeds()
}

#[test]
fn a_pod_sees_its_environment_and_volumes() -> Result<()> {
    walk("env", |ns| {
        ns.apply(&web("web", 1))?;
        ns.until("deployment/web", "{.status.readyReplicas}", "1", 90)?;
        let env = ns.kubectl(&["exec", "deploy/web", "--", "env"]).succeeds()?;
        let pod = ns.path("pods", "{.items[0].metadata.name}")?;
        for line in [
            format!("POD_NAME={pod}"),
            "PASSWORD=swordfish".into(),
            "PAGE_mode=0644".into(),
            "KUBERNETES_SERVICE_HOST=".into(),
        ] {
            ensure!(env.contains(&line), "{line} is missing in\n{env}");
        }
        ensure!(
            env.contains("GREETING=hi $(POD_NAME)"),
            "a reference to a later variable stays as it is:\n{env}"
        );
        ns.kubectl(&["exec", "deploy/web", "--", "cat", "/www/index.html"])
            .says(&["hello from a config map"])?;
        ns.kubectl(&["exec", "deploy/web", "--", "sh", "-c", "echo x > /scratch/f && cat /scratch/f"])
            .says(&["x"])?;
        ns.kubectl(&["exec", "deploy/web", "--", "hostname"]).says(&[&pod])?;
        // A changed ConfigMap reaches the file.
        ns.kubectl(&["patch", "cm", "web-page", "-p", r#"{"data":{"index.html":"second edition\n"}}"#])
            .succeeds()?;
        eventually("the file follows the config map", 120, || {
            Ok(ns
                .kubectl(&["exec", "deploy/web", "--", "cat", "/www/index.html"])
                .stdout
                .contains("second edition"))
        })?;
        ns.kubectl(&["describe", "pod", &pod]).says(&[
            "Status:           Running",
            "containerd://",
            "PodReadyToStartContainers   True",
            "QoS Class:                   BestEffort",
            "Scheduled",
            "Pulled",
            "Created",
            "Started",
        ])?;
        Ok(())
    })
}

#[test]
fn pods_end_as_their_containers_do() -> Result<()> {
    walk("exit", |ns| {
        run(ns, "good", "Never", "exit 0")?;
        run(ns, "bad", "Never", "echo last words > /dev/termination-log; exit 3")?;
        ns.until("pod/good", "{.status.phase}", "Succeeded", 60)?;
        ns.until("pod/bad", "{.status.phase}", "Failed", 60)?;
        let ended = ns.get("pod/bad")?["status"]["containerStatuses"][0]["state"]["terminated"].clone();
        ensure!(
            ended["exitCode"] == 3 && ended["reason"] == "Error" && ended["message"] == "last words\n",
            "{ended}"
        );
        ns.kubectl(&["get", "pods"]).says(&["Completed", "Error"])?;
        Ok(())
    })
}

#[test]
fn a_failing_container_backs_off() -> Result<()> {
    walk("backoff", |ns| {
        run(ns, "crash", "Always", "exit 1")?;
        ns.until("pod/crash", "{.status.containerStatuses[0].state.waiting.reason}", "CrashLoopBackOff", 90)?;
        ns.kubectl(&["get", "pod", "crash"]).says(&["CrashLoopBackOff"])?;
        ns.kubectl(&["describe", "pod", "crash"])
            .says(&["Back-off restarting failed container", "Last State:     Terminated"])?;
        ns.kubectl(&["run", "missing", "--image=example.invalid/none:1", "--restart=Never"]).succeeds()?;
        eventually("the pull fails", 90, || {
            let reason = ns.path("pod/missing", "{.status.containerStatuses[0].state.waiting.reason}")?;
            Ok(reason == "ErrImagePull" || reason == "ImagePullBackOff")
        })
    })
}

#[test]
fn a_killed_container_is_started_again() -> Result<()> {
    walk("restart", |ns| {
        run(ns, "once", "Always", "trap 'exit 0' TERM; while true; do sleep 0.1; done")?;
        ns.until("pod/once", "{.status.phase}", "Running", 60)?;
        ns.kubectl(&["exec", "once", "--", "kill", "1"]).succeeds()?;
        ns.until("pod/once", "{.status.containerStatuses[0].restartCount}", "1", 60)?;
        ns.until("pod/once", "{.status.containerStatuses[0].ready}", "true", 60)
    })
}

#[test]
fn init_containers_run_first_and_in_order() -> Result<()> {
    walk("init", |ns| {
        ns.apply(
            r#"
apiVersion: v1
kind: Pod
metadata: {name: stages}
spec:
  restartPolicy: Never
  volumes: [{name: work, emptyDir: {}}]
  initContainers:
  - {name: one, image: "docker.io/library/busybox:latest", imagePullPolicy: IfNotPresent, command: [sh, -c, "echo one >> /stage/log"], volumeMounts: [{name: work, mountPath: /stage}]}
  - {name: two, image: "docker.io/library/busybox:latest", imagePullPolicy: IfNotPresent, command: [sh, -c, "echo two >> /stage/log"], volumeMounts: [{name: work, mountPath: /stage}]}
  containers:
  - {name: main, image: "docker.io/library/busybox:latest", imagePullPolicy: IfNotPresent, command: [cat, /stage/log], volumeMounts: [{name: work, mountPath: /stage}]}
"#,
        )?;
        ns.until("pod/stages", "{.status.phase}", "Succeeded", 90)?;
        let log = ns.kubectl(&["logs", "stages", "-c", "main"]).succeeds()?;
        ensure!(log == "one\ntwo\n", "{log}");
        Ok(())
    })
}

#[test]
fn an_unready_pod_leaves_its_service() -> Result<()> {
    walk("ready", |ns| {
        ns.apply(&web("web", 1))?;
        ns.kubectl(&["expose", "deployment", "web", "--port=80", "--target-port=http"]).succeeds()?;
        let ready = || ns.path("endpoints/web", "{.subsets[*].addresses[*].ip}");
        eventually("the pod is an endpoint", 90, || Ok(!ready()?.is_empty()))?;
        let pod = ns.path("pods", "{.items[0].metadata.name}")?;
        ns.kubectl(&["exec", &pod, "--", "kill", "-STOP", "1"]).succeeds().ok();
        // PID 1 ignores SIGSTOP from inside its namespace: take away what the probe asks for.
        ns.kubectl(&[
            "patch",
            "cm",
            "web-page",
            "--type=json",
            "-p",
            r#"[{"op":"remove","path":"/data/index.html"}]"#,
        ])
        .succeeds()?;
        eventually("the pod is no endpoint", 120, || Ok(ready()?.is_empty()))?;
        ns.until(&format!("pod/{pod}"), "{.status.conditions[?(@.type==\"Ready\")].status}", "False", 30)?;
        ns.kubectl(&["describe", "pod", &pod])
            .says(&["Readiness probe failed: HTTP probe failed with statuscode: 404"])?;
        Ok(())
    })
}
