//! What a server tells of itself and of its peers: pages for people and monitors, ComponentStatus; and the tokens by
//! which nodes join.

use serde_json::{Value, json};

use crate::harness::{Answer, Cluster};

async fn accepting(cluster: &Cluster, path: &str, accept: &str) -> Answer {
    cluster.send_with("GET", path, ("accept", accept), "").await
}

fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

#[tokio::test]
async fn pages_of_the_process() {
    let Some(cluster) = Cluster::start().await else { return };
    let page = accepting(&cluster, "/statusz", "*/*").await;
    assert_eq!(
        (page.code, &page.headers["content-type"]),
        (200, &"text/plain; charset=utf-8".parse().unwrap())
    );
    assert!(text(&page).starts_with("\napiserver statusz\nWarning: "), "{}", text(&page));
    let object = "application/json;v=v1beta1;g=config.k8s.io;as=Flagz";
    let flags = accepting(&cluster, "/flagz", object).await;
    assert_eq!(flags.headers["content-type"], "application/json;g=config.k8s.io;v=v1beta1;as=Flagz");
    assert_eq!(flags.json()["flags"]["service-cluster-ip-range"], "10.96.0.0/24");
    assert_eq!(flags.json()["flags"]["authorization-mode"], "[Node,RBAC]");
    assert_eq!(accepting(&cluster, "/statusz", "application/json").await.code, 406);

    let slis = text(&cluster.get("/metrics/slis").await);
    assert!(slis.contains("kubernetes_healthcheck{name=\"etcd\",type=\"readyz\"} 1"), "{slis}");
    assert!(slis.contains("process_start_time_seconds ") && !slis.contains("process_open_fds"), "{slis}");
    let metrics = text(&cluster.get("/metrics").await);
    let own = "apiserver_request_sli_duration_seconds_count{component=\"apiserver\",";
    assert!(metrics.contains(own), "{metrics}");
}

#[tokio::test]
async fn components_are_asked_when_somebody_reads_them() {
    let Some(cluster) = Cluster::start().await else { return };
    let path = "/api/v1/componentstatuses";
    let list = cluster.get(path).await;
    assert_eq!(list.headers["warning"], "299 - \"v1 ComponentStatus is deprecated in v1.19+\"");
    let list = list.json();
    assert_eq!((&list["kind"], &list["metadata"]), (&json!("ComponentStatusList"), &json!({})));
    let names: Vec<&Value> =
        list["items"].as_array().unwrap().iter().map(|i| &i["metadata"]["name"]).collect();
    assert_eq!(names, ["scheduler", "controller-manager", "etcd-0"]);
    let store = cluster.get(&format!("{path}/etcd-0")).await.json();
    assert_eq!(store["conditions"], json!([{"type": "Healthy", "status": "True", "message": "ok"}]));
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let table = accepting(&cluster, &format!("{path}/etcd-0"), table).await.json();
    assert_eq!(table["rows"][0]["cells"], json!(["etcd-0", "Healthy", "ok", ""]));
    let selected = cluster.get(&format!("{path}?fieldSelector=metadata.name%3Detcd-0")).await.json();
    assert_eq!(selected["items"].as_array().map(Vec::len), Some(1));
    let none = cluster.get(&format!("{path}/etcd-9")).await;
    assert_eq!((none.code, &none.json()["message"]), (404, &json!("componentstatus \"etcd-9\" not found")));
    assert_eq!(cluster.post(path, json!({"metadata": {"name": "x"}})).await.code, 405);
}

#[tokio::test]
async fn a_bootstrap_token_is_a_node_that_joins() {
    let Some(cluster) = Cluster::start_with(|_| vec!["--enable-bootstrap-token-auth=true".into()]).await
    else {
        return;
    };
    let secret = json!({
        "metadata": {"name": "bootstrap-token-abcdef"},
        "type": "bootstrap.kubernetes.io/token",
        "stringData": {
            "token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
            "auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token",
        },
    });
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let review = json!({"spec": {"token": "abcdef.0123456789abcdef"}});
    let before = cluster.post(reviews, review.clone()).await.json();
    assert_eq!(before["status"]["authenticated"], Value::Null, "{before}");
    assert_eq!(cluster.post("/api/v1/namespaces/kube-system/secrets", secret).await.code, 201);
    // The Secret is on its way to the cache.
    let found = loop {
        let found = cluster.post(reviews, review.clone()).await.json();
        if found["status"]["authenticated"] == true {
            break found;
        }
    };
    assert_eq!(found["status"]["user"]["username"], "system:bootstrap:abcdef");
    assert_eq!(
        found["status"]["user"]["groups"],
        json!([
            "system:bootstrappers",
            "system:bootstrappers:kubeadm:default-node-token",
            "system:authenticated"
        ])
    );
}

/// The checks that upstream's server has under the same flags, but for those of its own making (a loopback
/// certificate, leases of its identity).
const CHECKS: [&str; 32] = [
    "ping",
    "log",
    "etcd",
    "poststarthook/start-apiserver-admission-initializer",
    "poststarthook/generic-apiserver-start-informers",
    "poststarthook/priority-and-fairness-config-consumer",
    "poststarthook/priority-and-fairness-filter",
    "poststarthook/storage-object-count-tracker-hook",
    "poststarthook/start-apiextensions-informers",
    "poststarthook/start-apiextensions-controllers",
    "poststarthook/crd-informer-synced",
    "poststarthook/bootstrap-controller",
    "poststarthook/start-system-namespaces-controller",
    "poststarthook/start-cluster-authentication-info-controller",
    "poststarthook/storage-readiness",
    "poststarthook/start-legacy-token-tracking-controller",
    "poststarthook/start-kubernetes-service-cidr-controller",
    "poststarthook/start-service-ip-repair-controllers",
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
    "poststarthook/priority-and-fairness-config-producer",
    "poststarthook/start-kube-aggregator-informers",
    "poststarthook/apiservice-registration-controller",
    "poststarthook/apiservice-status-local-available-controller",
    "poststarthook/apiservice-status-remote-available-controller",
    "poststarthook/apiservice-discovery-controller",
    "poststarthook/kube-apiserver-autoregistration",
    "autoregister-completion",
    "poststarthook/apiservice-openapi-controller",
    "poststarthook/apiservice-openapiv3-controller",
    "etcd-readiness",
    "informer-sync",
];

#[tokio::test]
async fn health_is_told_under_upstreams_names() {
    let Some(cluster) = Cluster::start().await else { return };
    let with_shutdown: Vec<&str> = CHECKS.into_iter().chain(["shutdown"]).collect();
    for (endpoint, wanted) in
        [("livez", &CHECKS[..30]), ("healthz", &CHECKS[..30]), ("readyz", &with_shutdown[..])]
    {
        let answer = cluster.get(&format!("/{endpoint}?verbose=1")).await;
        let text = text(&answer);
        let mut lines: Vec<&str> = text.lines().collect();
        assert_eq!((answer.code, lines.pop()), (200, Some(&*format!("{endpoint} check passed"))), "{text}");
        let mut told: Vec<&str> =
            lines.iter().filter_map(|line| line.strip_prefix("[+]")?.strip_suffix(" ok")).collect();
        let mut wanted = wanted.to_vec();
        told.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(told, wanted, "{endpoint}: {text}");
        assert_eq!(told.len(), lines.len(), "{text}");
        for name in wanted {
            let one = cluster.get(&format!("/{endpoint}/{name}")).await;
            assert_eq!((one.code, &one.body[..]), (200, &b"ok"[..]), "{endpoint}/{name}");
        }
    }
    let path = "/livez?verbose&exclude=poststarthook%2Fbootstrap-controller&exclude=nope";
    let told = text(&cluster.get(path).await);
    assert!(told.contains("[+]poststarthook/bootstrap-controller excluded: ok\n"), "{told}");
    assert!(
        told.contains("warn: some health checks cannot be excluded: no matches for \"nope\"\n"),
        "{told}"
    );
    assert_eq!(cluster.get("/livez/shutdown").await.code, 404);
    assert_eq!(cluster.get("/readyz/poststarthook/nope").await.code, 404);
}
