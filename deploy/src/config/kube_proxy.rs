//! kube-proxy's KubeProxyConfiguration.

use crate::layout::Layout;
use crate::settings::Settings;

pub fn config(layout: &Layout, settings: &Settings) -> String {
    format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
bindAddress: 0.0.0.0
clientConnection:
  kubeconfig: {kubeconfig}
clusterCIDR: {pods}
healthzBindAddress: 0.0.0.0:{health}
hostnameOverride: {node}
metricsBindAddress: 127.0.0.1:{metrics}
",
        kubeconfig = layout.kubeconfig("kube-proxy").display(),
        pods = settings.pod_cidr,
        health = settings.ports.proxy_health,
        node = settings.node_name,
        metrics = settings.ports.proxy_metrics,
    )
}
