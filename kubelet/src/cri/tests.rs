//! The CRI client, the configurations and the observed view against a containerd of the test's own.
//!
//! Needs root, containerd, runc, umoci, skopeo and a static busybox; says so and ends when one is missing.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use api_types::core::v1::{Container, Pod, TerminationMessagePolicy};

use super::observed::{self, ObservedPod, State};
use super::{Runtime, v1};
use crate::dns::PodDns;
use crate::sync_pod::container_config::{ImageUser, Inputs, ReadyMount, container_config};
use crate::sync_pod::sandbox_config::{Node, sandbox_config, users};
use crate::user_namespaces;

const IMAGE: &str = "localhost/test:1";
/// Long enough for a busy machine; nothing is asserted about time.
const PATIENCE: Duration = Duration::from_secs(120);

/// A containerd with its own root, state, socket and namespace of cgroups.
struct Containerd {
    dir: PathBuf,
    process: Child,
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().expect("the program was found before");
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn missing() -> Option<&'static str> {
    if !nix::unistd::geteuid().is_root() {
        return Some("root");
    }
    ["containerd", "ctr", "runc", "umoci", "skopeo", "busybox"].into_iter().find(|program| {
        let found =
            Command::new("sh").args(["-c", &format!("command -v {program}")]).stdout(Stdio::null()).status();
        !found.is_ok_and(|status| status.success())
    })
}

impl Containerd {
    fn start() -> Self {
        let dir = std::env::temp_dir().join(format!("kubelet-cri-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("rootfs/bin")).unwrap();
        let shown = dir.display();
        let config = format!(
            "version = 2\nroot = \"{shown}/root\"\nstate = \"{shown}/state\"\n[grpc]\naddress = \"{shown}/sock\"\n\
             [plugins.\"io.containerd.grpc.v1.cri\"]\nrestrict_oom_score_adj = true\nsandbox_image = \"{IMAGE}\"\n\
             stream_server_port = \"0\"\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\nconf_dir = \"{shown}/cni\"\n"
        );
        std::fs::write(dir.join("config.toml"), config).unwrap();
        let log = std::fs::File::create(dir.join("log")).unwrap();
        let process = Command::new("containerd")
            .arg("-c")
            .arg(dir.join("config.toml"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let this = Self { dir, process };
        this.build_image();
        this
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).to_string_lossy().into_owned()
    }

    /// An image of busybox that, as a sandbox, sleeps.
    fn build_image(&self) {
        let found = Command::new("sh").args(["-c", "command -v busybox"]).output().unwrap();
        let busybox = String::from_utf8(found.stdout).unwrap();
        std::fs::copy(busybox.trim(), self.dir.join("rootfs/bin/busybox")).unwrap();
        for applet in ["sh", "sleep"] {
            std::os::unix::fs::symlink("busybox", self.dir.join("rootfs/bin").join(applet)).unwrap();
        }
        let (layout, image) = (self.path("oci"), format!("{}:i", self.path("oci")));
        run("umoci", &["init", "--layout", &layout]);
        run("umoci", &["new", "--image", &image]);
        run("umoci", &["insert", "--image", &image, &self.path("rootfs"), "/"]);
        let entry =
            ["--config.entrypoint", "/bin/sleep", "--config.cmd", "100000", "--config.env", "PATH=/bin"];
        run("umoci", &[&["config", "--image", &image], &entry[..]].concat());
        let archive = format!("oci-archive:{}:{IMAGE}", self.path("image.tar"));
        run("skopeo", &["copy", "-q", &format!("oci:{image}"), &archive]);
    }

    async fn runtime(&self) -> Runtime {
        let socket = self.path("sock");
        let runtime = Runtime::new(&format!("unix://{socket}"), Duration::from_secs(60)).unwrap();
        until("containerd answers", || async { runtime.version().await.is_ok() }).await;
        run("ctr", &["-a", &socket, "-n", "k8s.io", "images", "import", &self.path("image.tar")]);
        until("the image is there", || async {
            let spec = v1::ImageSpec { image: IMAGE.into(), ..Default::default() };
            runtime.image(spec).await.is_ok_and(|image| image.is_some())
        })
        .await;
        runtime
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        for point in crate::volume::mounts::below(&self.dir).unwrap_or_default() {
            let _ = crate::volume::mounts::unmount(&point);
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

async fn until<F: Future<Output = bool>>(what: &str, mut done: impl FnMut() -> F) {
    let began = Instant::now();
    while !done().await {
        assert!(began.elapsed() < PATIENCE, "gave up waiting until {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn pod() -> Pod {
    let mut pod = Pod::default();
    pod.metadata.name = "p".into();
    pod.metadata.namespace = "n".into();
    pod.metadata.uid = uuid::Uuid::new_v4().to_string();
    // No network plugin is configured: the node's network does.
    pod.spec.host_network = true;
    pod.spec.containers.push(Container {
        name: "c".into(),
        image: IMAGE.into(),
        command: ["sh", "-c", "echo hello $NAME; echo words > /dev/termination-log; exit 7"]
            .map(String::from)
            .into(),
        termination_message_path: "/dev/termination-log".into(),
        termination_message_policy: TerminationMessagePolicy::File,
        ..Default::default()
    });
    pod
}

async fn start(runtime: &Runtime, pod: &Pod, dir: &Path, restart_count: i32) -> (String, String) {
    let logs = dir.join("pods").to_string_lossy().into_owned();
    let names = crate::cgroup::Names::new("/kubelet-test", Default::default());
    let node = Node { cgroups: &names, cluster_domain: "", pod_logs: &logs };
    let config = sandbox_config(pod, 0, &PodDns::default(), &node, user_namespaces::of_node()).unwrap();
    std::fs::create_dir_all(format!("{}/c", config.log_directory)).unwrap();
    let words = dir.join("words");
    std::fs::write(&words, "").unwrap();
    let inputs = Inputs {
        restart_count,
        image_ref: IMAGE,
        image_user: ImageUser { uid: Some(0), ..Default::default() },
        environment: vec![("NAME".into(), "you".into())],
        mounts: vec![ReadyMount {
            container_path: "/dev/termination-log".into(),
            host_path: words.to_string_lossy().into_owned(),
            ..Default::default()
        }],
        devices: Vec::new(),
        annotations: Default::default(),
        named_devices: Vec::new(),
        resources: Default::default(),
        seccomp_root: "",
        seccomp_default: false,
        target: None,
        strict_groups: false,
        users: users(&config).cloned(),
    };
    let container = container_config(pod, &pod.spec.containers[0], inputs).unwrap();
    let sandbox = runtime.run_sandbox(config.clone(), "").await.unwrap();
    let id = runtime.create_container(&sandbox, container, config).await.unwrap();
    runtime.start_container(&id).await.unwrap();
    (sandbox, id)
}

async fn observe(runtime: &Runtime, pod: &Pod) -> ObservedPod {
    let mut observed = observed::read(runtime, &pod.metadata.uid).await.unwrap();
    crate::termination::fill(&mut observed);
    observed
}

#[tokio::test]
async fn a_container_runs_and_is_recognised_again() {
    if let Some(what) = missing() {
        eprintln!("SKIPPED: needs {what}");
        return;
    }
    let containerd = Containerd::start();
    let runtime = containerd.runtime().await;
    let pod = pod();
    let (sandbox, id) = start(&runtime, &pod, &containerd.dir, 3).await;
    until("the container has ended", || async {
        observe(&runtime, &pod).await.container("c").is_some_and(|seen| seen.state == State::Exited)
    })
    .await;
    let observed = observe(&runtime, &pod).await;
    let seen = observed.container("c").unwrap();
    // Everything that a kubelet must know after a restart is in the runtime.
    assert_eq!((seen.id.as_str(), seen.exit_code, seen.facts.restart_count), (id.as_str(), 7, 3));
    assert_eq!(seen.facts.hash, super::labels::container_hash("c", IMAGE));
    assert_eq!((seen.reason.as_str(), seen.message.as_str()), ("Error", "words\n"));
    assert!(observed.sandboxes[0].host_network && observed.sandboxes[0].ready);
    let log = std::fs::read_to_string(&seen.log_path).unwrap();
    assert!(log.ends_with("stdout F hello you\n"), "{log}");
    assert!(seen.log_path.ends_with("/c/3.log"), "{}", seen.log_path);

    let digests = observed::digests(&runtime).await.unwrap();
    assert_eq!(digests[&pod.metadata.uid].identity.name, "p");
    runtime.stop_sandbox(&sandbox).await.unwrap();
    runtime.stop_sandbox(&sandbox).await.unwrap();
    runtime.remove_sandbox(&sandbox).await.unwrap();
    assert_eq!(observe(&runtime, &pod).await, ObservedPod::default());
    assert!(runtime.container_status(&id).await.unwrap_err().is_not_found());
    let tree = crate::cgroup::tree::Tree::detect(-1);
    tree.remove("/kubelet-test").unwrap();
}
