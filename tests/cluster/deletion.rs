//! Deletion: background, foreground, orphaning; finalizers; namespaces with all they hold.

use crate::{walk, web};
use anyhow::{Result, ensure};
use ferrokube_tests::eventually;

fn count(ns: &ferrokube_tests::Namespace, what: &str) -> Result<usize> {
    Ok(ns.kubectl(&["get", what, "-l", "app=web", "-o", "name"]).succeeds()?.lines().count())
}

#[test]
fn dependents_go_with_their_owner_or_stay() -> Result<()> {
    walk("cascade", |ns| {
        for (mode, left) in [("background", 0), ("foreground", 0), ("orphan", 1)] {
            ns.apply(&web("web", 1))?;
            ns.until("deployment/web", "{.status.readyReplicas}", "1", 90)?;
            ns.kubectl(&["delete", "deployment", "web", &format!("--cascade={mode}"), "--timeout=60s"])
                .says(&["deleted"])?;
            if mode == "foreground" {
                ensure!(count(ns, "rs")? == 0, "foreground deletion returns when the dependents are gone");
            }
            eventually(
                &format!("{mode}: {left} replica sets are left"),
                60,
                || Ok(count(ns, "rs")? == left),
            )?;
            eventually(&format!("{mode}: {left} pods are left"), 60, || Ok(count(ns, "pods")? == left))?;
        }
        let owners = ns
            .kubectl(&["get", "rs", "-l", "app=web", "-o", "jsonpath={.items[*].metadata.ownerReferences}"])
            .succeeds()?;
        ensure!(owners.is_empty(), "{owners}");
        Ok(())
    })
}

#[test]
fn a_finalizer_holds_an_object_back() -> Result<()> {
    walk("finalizer", |ns| {
        ns.apply(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: held, finalizers: [example.com/hold]}\n",
        )?;
        ns.kubectl(&["delete", "configmap", "held", "--wait=false"]).succeeds()?;
        ensure!(!ns.path("cm/held", "{.metadata.deletionTimestamp}")?.is_empty(), "marked");
        ns.kubectl(&[
            "patch",
            "cm",
            "held",
            "--type=json",
            "-p",
            r#"[{"op":"remove","path":"/metadata/finalizers"}]"#,
        ])
        .succeeds()?;
        ns.kubectl(&["get", "cm", "held"]).fails_with("NotFound")?;
        Ok(())
    })
}

#[test]
fn a_namespace_goes_with_everything_in_it() -> Result<()> {
    walk("ns", |ns| {
        let inner = format!("{}-inner", ns.name);
        let in_it = |args: &[&str]| ns.cluster().kubectl(&[&["-n", &inner], args].concat());
        ns.cluster().kubectl(&["create", "namespace", &inner]).succeeds()?;
        eventually("the default service account exists", 30, || {
            Ok(in_it(&["get", "sa", "default"]).status == 0)
        })?;
        ns.cluster().kubectl_with(&["-n", &inner, "apply", "-f", "-"], &web("web", 2)).succeeds()?;
        eventually("pods run", 90, || Ok(in_it(&["get", "deployment", "web"]).stdout.contains("2/2")))?;
        ns.cluster().kubectl(&["delete", "namespace", &inner, "--wait=false"]).succeeds()?;
        in_it(&["create", "configmap", "late"]).fails_with("because it is being terminated")?;
        eventually("the namespace is gone", 120, || {
            Ok(ns.cluster().kubectl(&["get", "namespace", &inner]).text().contains("NotFound"))
        })?;
        in_it(&["get", "pods"]).says(&[])?;
        Ok(())
    })
}
