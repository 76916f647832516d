//! The kubelet's KubeletConfiguration.
//!
//! The disk is the machine's own and not the cluster's: how full others have made it is no reason to
//! evict, or to remove images that were loaded by hand. Memory is watched as by default. Nothing here uses iptables, and
//! `down` leaves nothing behind: the kubelet makes no chains.

use crate::layout::Layout;
use crate::settings::Settings;

pub fn config(layout: &Layout, settings: &Settings) -> String {
    format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 0.0.0.0
port: {port}
healthzBindAddress: 127.0.0.1
healthzPort: {health}
authentication:
  anonymous:
    enabled: false
  webhook:
    enabled: true
  x509:
    clientCAFile: {ca}
authorization:
  mode: Webhook
tlsCertFile: {cert}
tlsPrivateKeyFile: {key}
cgroupDriver: cgroupfs
cgroupRoot: {cgroup}
clusterDNS:
- {dns}
clusterDomain: {domain}
containerRuntimeEndpoint: unix://{socket}
evictionHard:
  memory.available: 100Mi
  nodefs.available: 0%
  nodefs.inodesFree: 0%
  imagefs.available: 0%
  imagefs.inodesFree: 0%
failCgroupV1: false
failSwapOn: false
imageGCHighThresholdPercent: 100
makeIPTablesUtilChains: false
podLogsDir: {logs}
",
        port = settings.ports.kubelet,
        health = settings.ports.kubelet_health,
        ca = layout.cert("ca").display(),
        cert = layout.cert("kubelet").display(),
        key = layout.key("kubelet").display(),
        cgroup = settings.cgroup_root(),
        dns = settings.dns_ip(),
        domain = settings.cluster_domain,
        socket = layout.containerd_socket().display(),
        logs = layout.path("kubelet/pod-logs").display(),
    )
}
