//! Watches: every event once and in order, bookmarks, resumption, and 410 for what is gone.

use crate::walk;
use anyhow::{Context as _, Result, ensure};
use ferrokube_tests::{Namespace, Proxy};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};

/// The events of a watch as (type, name, k), up to the end of `count` of them.
fn events(ns: &Namespace, proxy: &Proxy, query: &str, count: usize) -> Result<Vec<(String, String, String)>> {
    let path = format!("/api/v1/namespaces/{}/configmaps?watch=1&{query}", ns.name);
    let stream = proxy.send("GET", &path, &[("accept", "application/json")], b"")?;
    let mut found = Vec::new();
    for line in BufReader::new(stream).lines() {
        let line = line?;
        if !line.starts_with('{') {
            continue;
        }
        let event: Value = serde_json::from_str(&line).with_context(|| line.clone())?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let object = &event["object"];
        if object["metadata"]["name"] == "kube-root-ca.crt" {
            continue;
        }
        found.push((text(&event["type"]), text(&object["metadata"]["name"]), text(&object["data"]["k"])));
        if found.len() == count {
            break;
        }
    }
    Ok(found)
}

#[test]
fn every_event_comes_once_and_in_order() -> Result<()> {
    walk("watch", |ns| {
        let proxy = Proxy::start(ns.cluster())?;
        let start = ns
            .path("namespace/default", "{.metadata.resourceVersion}")
            .map(|_| ())
            .and_then(|()| list_revision(ns))?;
        let mut expected = Vec::new();
        for i in 0..10 {
            let name = format!("m{i}");
            ns.kubectl(&["create", "configmap", &name, "--from-literal=k=1"]).succeeds()?;
            ns.kubectl(&["patch", "configmap", &name, "-p", r#"{"data":{"k":"2"}}"#]).succeeds()?;
            ns.kubectl(&["delete", "configmap", &name]).succeeds()?;
            for (kind, value) in [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")] {
                expected.push((kind.to_owned(), name.clone(), value.to_owned()));
            }
        }
        let query = format!("resourceVersion={start}&timeoutSeconds=20");
        let found = events(ns, &proxy, &query, expected.len())?;
        ensure!(found == expected, "{found:?}");
        Ok(())
    })
}

#[test]
fn kubectl_shows_changes_as_they_come() -> Result<()> {
    walk("get-watch", |ns| {
        ns.kubectl(&["create", "configmap", "old"]).succeeds()?;
        let mut kubectl = ns
            .cluster()
            .kubectl_command(&["--namespace", &ns.name, "get", "configmaps", "-w", "--output-watch-events"])
            .stdout(std::process::Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(kubectl.stdout.take().context("its output")?).lines();
        // The event, the name and the count of keys, of this test's own objects.
        let mut next = || -> Result<String> {
            loop {
                let line = lines.next().context("the output ended")??;
                let words: Vec<&str> = line.split_whitespace().take(3).collect();
                if matches!(words[..], [_, "old" | "new", _]) {
                    return Ok(words.join(" "));
                }
            }
        };
        // What is there comes first; then the list is over, and a watch goes on from it.
        ensure!(next()? == "ADDED old 0");
        ns.kubectl(&["create", "configmap", "new", "--from-literal=k=1"]).succeeds()?;
        ensure!(next()? == "ADDED new 1");
        ns.kubectl(&["patch", "configmap", "new", "-p", r#"{"data":{"l":"2"}}"#]).succeeds()?;
        ensure!(next()? == "MODIFIED new 2");
        ns.kubectl(&["delete", "configmap", "new"]).succeeds()?;
        ensure!(next()? == "DELETED new 2");
        kubectl.kill()?;
        kubectl.wait()?;
        Ok(())
    })
}

fn list_revision(ns: &Namespace) -> Result<String> {
    let list: Value = serde_json::from_str(
        &ns.kubectl(&["get", "--raw", &format!("/api/v1/namespaces/{}/configmaps", ns.name)]).succeeds()?,
    )?;
    Ok(list["metadata"]["resourceVersion"].as_str().context("a revision")?.to_owned())
}

#[test]
fn a_watch_list_begins_with_what_exists_and_marks_its_end() -> Result<()> {
    walk("watchlist", |ns| {
        let proxy = Proxy::start(ns.cluster())?;
        ns.kubectl(&["create", "configmap", "a", "--from-literal=k=1"]).succeeds()?;
        let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=10";
        let found = events(ns, &proxy, query, 2)?;
        ensure!(found[0] == ("ADDED".to_owned(), "a".to_owned(), "1".to_owned()), "{found:?}");
        ensure!(found[1].0 == "BOOKMARK", "{found:?}");
        Ok(())
    })
}

#[test]
fn a_revision_that_was_never_or_is_no_more_is_told() -> Result<()> {
    walk("gone", |ns| {
        let proxy = Proxy::start(ns.cluster())?;
        let path = |query: &str| format!("/api/v1/namespaces/{}/configmaps?{query}", ns.name);
        let response = proxy.exchange("GET", &path("resourceVersion=x"), &[], b"")?;
        ensure!(response.code == 400 || response.code == 422, "{} {}", response.code, response.body);
        let response = proxy.exchange("GET", &path("limit=1&continue=rubbish"), &[], b"")?;
        ensure!(
            response.code == 400 && response.body.contains("continue key is not valid"),
            "{}",
            response.body
        );
        // Pages are all of one revision.
        for i in 0..5 {
            ns.kubectl(&["create", "configmap", &format!("p{i}")]).succeeds()?;
        }
        let first = proxy.exchange("GET", &path("limit=2"), &[], b"")?.json()?;
        let token = first["metadata"]["continue"].as_str().context("a token")?.to_owned();
        ns.kubectl(&["delete", "configmap", "p4"]).succeeds()?;
        let rest = proxy.exchange("GET", &path(&format!("limit=500&continue={token}")), &[], b"")?.json()?;
        ensure!(rest["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"], "{rest}");
        let names = |list: &Value| -> Vec<String> {
            let items = list["items"].as_array().cloned().unwrap_or_default();
            items.iter().map(|i| i["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
        };
        let all = [names(&first), names(&rest)].concat();
        ensure!(all.contains(&"p4".to_owned()) && all.len() == 6, "{all:?}");
        Ok(())
    })
}
