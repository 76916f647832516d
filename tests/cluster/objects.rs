//! Objects through kubectl's verbs: create, read in all forms, change in all ways, delete.

use crate::walk;
use anyhow::{Result, ensure};
use ferrokube_tests::Cluster;
use std::fs;

#[test]
fn the_cluster_introduces_itself() -> Result<()> {
    let Some(cluster) = Cluster::of_this_run() else { return Ok(()) };
    let node = cluster.node()?;
    cluster.kubectl(&["get", "nodes", "-o", "wide"]).says(&[
        &node,
        "Ready",
        "v1.36",
        "INTERNAL-IP",
        "CONTAINER-RUNTIME",
        "containerd://",
    ])?;
    cluster.kubectl(&["version"]).says(&["Server Version: v1.36"])?;
    cluster.kubectl(&["cluster-info"]).says(&["Kubernetes control plane", "is running at"])?;
    cluster.kubectl(&["api-resources", "-o", "wide"]).says(&[
        "deployments",
        "deploy",
        "apps/v1",
        "configmaps",
    ])?;
    cluster.kubectl(&["api-versions"]).says(&["apps/v1", "rbac.authorization.k8s.io/v1", "v1"])?;
    // The words that upstream's conformance tests look for.
    cluster.kubectl(&["explain", "configmap"]).says(&["APIVersion defines"])?;
    cluster.kubectl(&["explain", "configmap.metadata"]).says(&["CreationTimestamp is a timestamp"])?;
    cluster.kubectl(&["explain", "deployment.spec.strategy", "--recursive"]).says(&[
        "GROUP:      apps",
        "FIELD: strategy <DeploymentStrategy>",
        "maxSurge",
    ])?;
    cluster.kubectl(&["get", "--raw", "/readyz?verbose"]).says(&["[+]etcd ok", "readyz check passed"])?;
    cluster.kubectl(&["describe", "node", &node]).says(&[
        "Conditions:",
        "KubeletReady",
        "Capacity:",
        "PodCIDR",
    ])?;
    Ok(())
}

#[test]
fn a_config_map_lives_through_all_verbs() -> Result<()> {
    walk("objects", |ns| {
        ns.kubectl(&["create", "configmap", "one", "--from-literal=a=1", "--dry-run=server"])
            .says(&["configmap/one created (server dry run)"])?;
        ns.kubectl(&["get", "configmap", "one"]).fails_with("configmaps \"one\" not found")?;
        ns.kubectl(&["create", "configmap", "one", "--from-literal=a=1"]).succeeds()?;
        ns.kubectl(&["create", "configmap", "one"]).fails_with("configmaps \"one\" already exists")?;
        ns.kubectl(&["label", "configmap", "one", "tier=front", "x=1"]).succeeds()?;
        ns.kubectl(&["annotate", "configmap", "one", "note=yes"]).succeeds()?;
        ns.kubectl(&["patch", "configmap", "one", "-p", r#"{"data":{"b":"2"}}"#]).says(&["patched"])?;
        ns.kubectl(&["patch", "configmap", "one", "--type=merge", "-p", r#"{"data":{"a":null}}"#])
            .succeeds()?;
        ns.kubectl(&[
            "patch",
            "configmap",
            "one",
            "--type=json",
            "-p",
            r#"[{"op":"add","path":"/data/c","value":"3"}]"#,
        ])
        .succeeds()?;
        let object = ns.get("configmap/one")?;
        ensure!(object["data"] == serde_json::json!({"b": "2", "c": "3"}), "{object}");
        ns.kubectl(&["create", "configmap", "two", "--from-literal=a=1"]).succeeds()?;
        ns.kubectl(&["label", "configmap", "two", "tier=back"]).succeeds()?;
        for (selector, names) in [
            ("tier=front", "configmap/one\n"),
            ("tier!=front,tier", "configmap/two\n"),
            ("tier in (front,back),x", "configmap/one\n"),
            ("tier notin (front),!x,tier", "configmap/two\n"),
        ] {
            let found = ns.kubectl(&["get", "configmap", "-l", selector, "-o", "name"]).succeeds()?;
            ensure!(found == names, "{selector}: {found}");
        }
        let found =
            ns.kubectl(&["get", "cm", "--field-selector", "metadata.name=two", "-o", "name"]).succeeds()?;
        ensure!(found == "configmap/two\n", "{found}");
        ns.kubectl(&["get", "cm", "--field-selector", "data.a=1"]).fails_with(
            "\"data.a\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
        )?;
        ns.kubectl(&["get", "cm", "one", "-o", "custom-columns=N:.metadata.name,B:.data.b"])
            .says(&["one", "2"])?;
        ns.kubectl(&["get", "cm", "-o", "yaml"]).says(&["kind: List", "kind: ConfigMap"])?;
        ns.kubectl(&["get", "cm", "one"]).says(&["NAME", "DATA", "AGE"])?;
        ns.kubectl(&["describe", "cm", "one"]).says(&["Name:         one", "tier=front", "b:\n----\n2"])?;
        ns.kubectl(&["delete", "cm", "one", "two"]).says(&["configmap \"one\" deleted"])?;
        ns.kubectl(&["get", "cm", "one"]).fails_with("NotFound")?;
        Ok(())
    })
}

#[test]
fn apply_works_in_its_three_forms() -> Result<()> {
    walk("apply", |ns| {
        let manifest = |value: &str| {
            format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata: {{k: \"{value}\", other: x}}\n"
            )
        };
        ensure!(ns.apply(&manifest("1"))? == "configmap/a created\n", "first");
        ensure!(ns.apply(&manifest("1"))? == "configmap/a unchanged\n", "again");
        ensure!(ns.apply(&manifest("2"))? == "configmap/a configured\n", "changed");
        let diff = ns.kubectl_with(&["diff", "-f", "-"], &manifest("3"));
        ensure!(diff.status == 1 && diff.stdout.contains("+  k: \"3\""), "{}", diff.text());

        let server = |manager: &str, value: &str, more: &[&str]| {
            let args = [&["apply", "--server-side", "--field-manager", manager, "-f", "-"], more].concat();
            let text =
                format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: s}}\ndata: {{k: \"{value}\"}}\n");
            ns.kubectl_with(&args, &text)
        };
        server("ann", "1", &[]).says(&["configmap/s serverside-applied"])?;
        server("bob", "2", &[]).fails_with("Apply failed with 1 conflict: conflict with \"ann\": .data.k")?;
        server("bob", "2", &["--force-conflicts"]).succeeds()?;
        ensure!(ns.path("cm/s", "{.data.k}")? == "2", "forced");
        ns.kubectl(&["get", "cm", "s", "-o", "yaml", "--show-managed-fields"])
            .says(&["manager: bob", "f:k: {}"])?;

        let dir = tempfile::tempdir()?;
        fs::write(dir.path().join("cm.yaml"), manifest("9"))?;
        fs::write(
            dir.path().join("kustomization.yaml"),
            "resources: [cm.yaml]\nnamePrefix: kust-\nlabels: [{pairs: {by: kustomize}}]\n",
        )?;
        let folder = dir.path().to_string_lossy().into_owned();
        ns.kubectl(&["apply", "-k", &folder]).says(&["configmap/kust-a created"])?;
        ns.kubectl(&["get", "cm", "-l", "by=kustomize", "-o", "name"]).says(&["configmap/kust-a"])?;
        Ok(())
    })
}

#[test]
fn edit_writes_what_the_editor_left() -> Result<()> {
    walk("edit", |ns| {
        ns.kubectl(&["create", "configmap", "e", "--from-literal=k=old"]).succeeds()?;
        let mut edit = ns.cluster().kubectl_command(&["-n", &ns.name, "edit", "configmap", "e"]);
        edit.env("KUBE_EDITOR", "sed -i s/old/new/");
        let output = edit.output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        ensure!(ns.path("cm/e", "{.data.k}")? == "new", "edited");
        Ok(())
    })
}
