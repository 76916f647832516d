//! Cluster DNS: the objects that run cluster-dns. Names and labels are those by which people and
//! their tools know a cluster's DNS (`kube-system/kube-dns`, `k8s-app: kube-dns`).

use serde_json::{Value, json};

use crate::settings::Settings;

/// The program, its image and what belongs to it.
pub const NAME: &str = "cluster-dns";
pub const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/kube-system/deployments/cluster-dns";

const METRICS_PORT: u16 = 9153;

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
