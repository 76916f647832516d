//! The generated files parse in their formats and say what the settings say.

use super::*;
use crate::settings::tests::settings;

fn layout() -> Layout {
    Layout::new("/srv/c".into())
}

fn yaml(text: &str) -> serde_json::Value {
    serde_saphyr::from_str(text).unwrap()
}

#[test]
fn kubelet_and_proxy_configurations_are_yaml_with_our_ports() {
    let kubelet = yaml(&kubelet::config(&layout(), &settings()));
    assert_eq!(kubelet["port"], 10250);
    assert_eq!(kubelet["containerRuntimeEndpoint"], "unix:///srv/c/run/containerd.sock");
    assert_eq!(kubelet["authentication"]["anonymous"]["enabled"], false);
    assert_eq!(kubelet["clusterDNS"][0], "10.96.0.10");
    let proxy = yaml(&kube_proxy::config(&layout(), &settings()));
    assert_eq!(proxy["mode"], "nftables");
    assert_eq!(proxy["healthzBindAddress"], "0.0.0.0:10256");
}

#[test]
fn kubeconfigs_name_the_server_and_carry_the_pem() {
    let config = yaml(&kubeconfig::text(&settings(), "admin", b"CA", b"CERT", b"KEY"));
    assert_eq!(config["clusters"][0]["cluster"]["server"], "https://192.0.2.7:6443");
    assert_eq!(config["current-context"], "kubernetes-admin@kubernetes");
    assert_eq!(config["users"][0]["user"]["client-key-data"], "S0VZ");
}

#[test]
fn the_pod_network_is_the_nodes_range_on_its_own_bridge() {
    let list: serde_json::Value =
        serde_json::from_str(&cni::conflist(&layout(), &settings(), "10.244.0.0/24".parse().unwrap()))
            .unwrap();
    assert_eq!(list["plugins"][0]["bridge"], settings().bridge());
    assert_eq!(list["plugins"][0]["ipam"]["ranges"][0][0]["subnet"], "10.244.0.0/24");
}

#[test]
fn containerd_keeps_everything_in_the_clusters_folder() {
    let text = containerd::config(&layout(), "overlayfs", true);
    for line in text.lines().filter(|l| l.contains("= \"/")) {
        assert!(line.contains("\"/srv/c/") || line.contains("/usr/lib/cni"), "{line}");
    }
    assert!(text.contains("restrict_oom_score_adj = true"));
}

#[test]
fn unchanged_files_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.yaml");
    assert!(put(&file, "a", 0o644).unwrap());
    assert!(!put(&file, "a", 0o644).unwrap());
    assert!(put(&file, "b", 0o644).unwrap());
}
