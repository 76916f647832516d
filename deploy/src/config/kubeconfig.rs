//! kubeconfigs with everything inline, as kubeadm writes them: the file can be copied elsewhere.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::settings::Settings;

const CLUSTER: &str = "kubernetes";

/// A kubeconfig for `user`, in PEM.
pub fn text(settings: &Settings, user: &str, ca: &[u8], cert: &[u8], key: &[u8]) -> String {
    let user = if user == "admin" { "kubernetes-admin".to_owned() } else { format!("system:{user}") };
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: {CLUSTER}
  cluster:
    certificate-authority-data: {ca}
    server: https://{server}
contexts:
- name: {user}@{CLUSTER}
  context:
    cluster: {CLUSTER}
    user: {user}
current-context: {user}@{CLUSTER}
preferences: {{}}
users:
- name: {user}
  user:
    client-certificate-data: {cert}
    client-key-data: {key}
",
        ca = STANDARD.encode(ca),
        cert = STANDARD.encode(cert),
        key = STANDARD.encode(key),
        server = settings.apiserver(),
    )
}
