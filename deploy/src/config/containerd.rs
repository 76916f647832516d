//! containerd's configuration: a containerd of the cluster's own, beside any that the machine runs.

use crate::host::cni::PLUGINS;
use crate::image::PAUSE_IMAGE;
use crate::layout::Layout;

/// `restricted`: this process may not lower oom_score_adj (no CAP_SYS_RESOURCE), and runc would fail to.
pub fn config(layout: &Layout, snapshotter: &str, restricted: bool) -> String {
    let socket = layout.containerd_socket();
    format!(
        r#"# Written by kubeforge; changes are overwritten by the next `kubeforge cluster up`.
version = 2
root = "{root}"
state = "{state}"
# What a container runtime for pods does not need.
disabled_plugins = [
  "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]

[grpc]
  address = "{socket}"

[ttrpc]
  address = "{socket}.ttrpc"

[plugins."io.containerd.internal.v1.opt"]
  path = "{opt}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = {restricted}
  # Beside the state and not in /run/netns, so that unmounting the folder finds them.
  netns_mounts_under_state_dir = true
  disable_tcp_service = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  max_container_log_line_size = 16384

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
    default_runtime_name = "runc"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{PLUGINS}"
    conf_dir = "{cni}"
"#,
        root = layout.path("containerd/root").display(),
        state = layout.path("run/containerd").display(),
        socket = socket.display(),
        opt = layout.path("containerd/opt").display(),
        cni = layout.cni_conf_dir().display(),
    )
}
