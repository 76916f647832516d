//! Cluster DNS: the objects that run cluster-dns. Names and labels are those by which people and
//! their tools know a cluster's DNS (`kube-system/kube-dns`, `k8s-app: kube-dns`).

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};
use serde_json::{Value, json};
use tokio::net::UdpSocket;

use crate::settings::Settings;

/// The program, its image and what belongs to it.
pub const NAME: &str = "cluster-dns";
pub const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/kube-system/deployments/cluster-dns";

const METRICS_PORT: u16 = 9153;
/// How long an answer is waited for: it comes from this machine.
const PATIENCE: Duration = Duration::from_millis(500);

/// Whether a client on this node gets the API's own Service by name from cluster DNS.
pub async fn answers(settings: &Settings) -> bool {
    let name = format!("kubernetes.default.svc.{}.", settings.cluster_domain);
    match tokio::time::timeout(PATIENCE, lookup(settings.dns_ip(), &name)).await {
        Ok(Ok(found)) => found.contains(&settings.kubernetes_service_ip()),
        Ok(Err(error)) => {
            tracing::debug!(%error, "cluster DNS does not answer");
            false
        }
        Err(_) => false,
    }
}

/// The addresses of `name`. Each lookup has a socket of its own: to the kernel it is a new flow, which
/// goes where the Service's rules point now.
async fn lookup(server: IpAddr, name: &str) -> anyhow::Result<Vec<IpAddr>> {
    let kind = if server.is_ipv4() { RecordType::A } else { RecordType::AAAA };
    let mut query = Message::query();
    query.add_query(Query::query(Name::from_ascii(name)?, kind));
    let socket = UdpSocket::bind(match server {
        IpAddr::V4(_) => "0.0.0.0:0",
        IpAddr::V6(_) => "[::]:0",
    })
    .await?;
    socket.connect((server, 53)).await?;
    socket.send(&query.to_vec()?).await?;
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer).await?;
    let answer = Message::from_vec(&answer[..length]).context("not a DNS message")?;
    ensure!(answer.metadata.id == query.metadata.id, "an answer to another question");
    Ok(answer.answers.iter().filter_map(|record| record.data.ip_addr()).collect())
}

/// The objects with their paths in the API, in the order in which they are needed.
pub fn objects(settings: &Settings, image: &str) -> Vec<(String, Value)> {
    let labels = json!({ "k8s-app": "kube-dns" });
    let account = json!({ "kind": "ServiceAccount", "name": NAME, "namespace": "kube-system" });
    let role = format!("system:{NAME}");
    let core = "/api/v1/namespaces/kube-system";
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    vec![
        (
            format!("{core}/serviceaccounts/{NAME}"),
            json!({
                "apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": { "name": NAME, "namespace": "kube-system" },
            }),
        ),
        (
            format!("{rbac}/clusterroles/{role}"),
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                "metadata": { "name": role },
                "rules": [
                    { "apiGroups": [""], "resources": ["services", "namespaces"], "verbs": ["list", "watch"] },
                    { "apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"] },
                ],
            }),
        ),
        (
            format!("{rbac}/clusterrolebindings/{role}"),
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                "metadata": { "name": role },
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
                "subjects": [account],
            }),
        ),
        (
            format!("{core}/services/kube-dns"),
            json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {
                    "name": "kube-dns", "namespace": "kube-system",
                    "labels": { "k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true" },
                    "annotations": { "prometheus.io/scrape": "true", "prometheus.io/port": METRICS_PORT.to_string() },
                },
                "spec": {
                    "selector": labels,
                    "clusterIP": settings.dns_ip(),
                    "ports": [
                        { "name": "dns", "port": 53, "protocol": "UDP", "targetPort": "dns" },
                        { "name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": "dns-tcp" },
                        { "name": "metrics", "port": METRICS_PORT, "protocol": "TCP", "targetPort": "metrics" },
                    ],
                },
            }),
        ),
        (DEPLOYMENT.to_owned(), deployment(settings, image, &labels)),
    ]
}

fn deployment(settings: &Settings, image: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": NAME, "namespace": "kube-system", "labels": labels },
        "spec": {
            "replicas": 1,
            "selector": { "matchLabels": labels },
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } },
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "serviceAccountName": NAME,
                    "priorityClassName": "system-cluster-critical",
                    // Its own name servers are the node's: the cluster's would be itself.
                    "dnsPolicy": "Default",
                    "tolerations": [
                        { "key": "CriticalAddonsOnly", "operator": "Exists" },
                        { "key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule" },
                    ],
                    "containers": [{
                        "name": NAME,
                        "image": image,
                        "imagePullPolicy": "IfNotPresent",
                        "args": [format!("--cluster-domain={}", settings.cluster_domain)],
                        "resources": { "requests": { "cpu": "50m", "memory": "20Mi" }, "limits": { "memory": "170Mi" } },
                        "ports": [
                            { "name": "dns", "containerPort": 53, "protocol": "UDP" },
                            { "name": "dns-tcp", "containerPort": 53, "protocol": "TCP" },
                            { "name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP" },
                        ],
                        "livenessProbe": {
                            "httpGet": { "path": "/livez", "port": "metrics" },
                            "initialDelaySeconds": 60, "timeoutSeconds": 5, "failureThreshold": 5,
                        },
                        "readinessProbe": {
                            "httpGet": { "path": "/readyz", "port": "metrics" },
                            "periodSeconds": 1,
                        },
                        "securityContext": {
                            "allowPrivilegeEscalation": false,
                            "readOnlyRootFilesystem": true,
                            "capabilities": { "drop": ["ALL"], "add": ["NET_BIND_SERVICE"] },
                        },
                    }],
                },
            },
        },
    })
}
