//! Watches of objects that come and go quickly, under many writers: every watcher hears of every change once and
//! in order, whatever its encoding, its selector, and however often it comes back; what it knows at the end is what
//! a list says. `CHURN` in the environment is the number of objects of each writer.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::codec::protobuf;
use api_types::core::v1::Pod;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::harness::Cluster;

const PODS: &str = "/api/v1/namespaces/default/pods";
const WRITERS: usize = 8;
/// Comes last, and every watcher sees it.
const END: &str = "zz-end";

/// What a watcher was told.
#[derive(Clone, Debug, PartialEq)]
struct Event {
    change: String,
    name: String,
    revision: u64,
    /// Whether it matches the selectors that watchers use.
    on: bool,
    node: String,
}

/// What a watch asks for.
#[derive(Clone, Copy)]
struct Wish {
    query: &'static str,
    protobuf: bool,
    /// Seconds after which it comes back for what follows.
    comes_back: u32,
}

/// Writes on a connection of its own; the answer has to be of that code.
struct Client(hyper::client::conn::http2::SendRequest<http_body_util::Full<bytes::Bytes>>);

impl Client {
    async fn send(&mut self, method: &str, path: &str, ty: &str, body: &str, code: u16) -> Value {
        let mut request = Cluster::absolute(method, path, body);
        request.headers_mut().insert("content-type", ty.parse().expect("a type"));
        let response = self.0.send_request(request).await.expect("an answer");
        let status = response.status();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(status, code, "{method} {path}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).expect("JSON")
    }

    async fn patch(&mut self, path: &str, body: Value) {
        self.send("PATCH", path, "application/merge-patch+json", &body.to_string(), 200).await;
    }
}

fn pod(name: &str, on: bool, node: &str, finalizers: Value) -> String {
    json!({"metadata": {"name": name, "labels": {"on": on.to_string()}, "finalizers": finalizers},
        "spec": {"nodeName": node, "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": "i"}]}})
    .to_string()
}

/// Makes objects, has them begin and stop to match, and deletes most of them, with a finalizer and without, and
/// some under a name that was there before.
async fn write(mut client: Client, writer: usize, objects: usize) {
    let json = "application/json";
    for n in 0..objects {
        let name = if n % 4 == 3 { format!("w{writer}-again") } else { format!("w{writer}-{n}") };
        let (path, held) = (format!("{PODS}/{name}"), n % 3 != 0);
        let finalizers = if held { json!(["example.com/held"]) } else { json!([]) };
        let made = pod(&name, n % 2 == 0, &format!("n{}", n % 3), finalizers);
        client.send("POST", PODS, json, &made, 201).await;
        client.patch(&path, json!({"metadata": {"labels": {"on": (n % 2 != 0).to_string()}}})).await;
        if n % 5 == 0 {
            client.patch(&path, json!({"metadata": {"labels": {"on": (n % 2 == 0).to_string()}}})).await;
        }
        if n % 7 == 0 && n % 4 != 3 {
            continue;
        }
        let options = r#"{"gracePeriodSeconds":0}"#;
        client.send("DELETE", &path, json, options, 200).await;
        if held {
            client.patch(&path, json!({"metadata": {"finalizers": null}})).await;
        }
    }
}

/// The next event in what has arrived, taken out of it.
fn next(buffer: &mut Vec<u8>, wish: Wish) -> Option<(String, Pod)> {
    if !wish.protobuf {
        let end = buffer.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = buffer.drain(..=end).collect();
        let event: Value = serde_json::from_slice(&line).expect("an event");
        let object = event["object"].to_string();
        assert_ne!(event["type"], "ERROR", "{object}");
        let pod = api_types::codec::json::from_slice(object.as_bytes()).expect("a pod");
        return Some((event["type"].as_str().expect("a type").to_owned(), pod));
    }
    let length = u32::from_be_bytes(buffer.get(..4)?.try_into().expect("four")) as usize;
    if buffer.len() < 4 + length {
        return None;
    }
    let frame: Vec<u8> = buffer.drain(..4 + length).skip(4).collect();
    let (mut change, mut pod) = (String::new(), Pod::default());
    let mut fields = protobuf::Reader::new(&frame);
    while let Some((number, wire)) = fields.next().expect("a message") {
        match number {
            1 => change = wire.text().expect("text").to_owned(),
            _ => {
                let (_, raw) = protobuf::Reader::new(wire.bytes().expect("an extension"))
                    .next()
                    .expect("a message")
                    .expect("a field");
                let envelope = protobuf::open_envelope(raw.bytes().expect("bytes")).expect("an envelope");
                pod = protobuf::from_slice(envelope.raw).expect("a pod");
            }
        }
    }
    assert_ne!(change, "ERROR");
    Some((change, pod))
}

/// Follows until the last object, from a revision on.
async fn follow(cluster: Arc<Cluster>, wish: Wish, from: u64) -> Vec<Event> {
    let mut client = cluster.second().await;
    let (mut found, mut at): (Vec<Event>, u64) = (Vec::new(), from);
    loop {
        let seconds =
            if wish.comes_back > 0 { format!("&timeoutSeconds={}", wish.comes_back) } else { String::new() };
        let path =
            format!("{PODS}?watch=true&allowWatchBookmarks=true&resourceVersion={at}{seconds}{}", wish.query);
        let mut request = Cluster::absolute("GET", &path, "");
        if wish.protobuf {
            let accept = "application/vnd.kubernetes.protobuf;stream=watch";
            request.headers_mut().insert("accept", accept.parse().expect("a type"));
        }
        let response = client.send_request(request).await.expect("a watch");
        assert_eq!(response.status(), 200);
        let mut body: Incoming = response.into_body();
        let mut buffer = Vec::new();
        while let Some(frame) = body.frame().await {
            buffer.extend_from_slice(frame.expect("a frame").data_ref().expect("data"));
            while let Some((change, pod)) = next(&mut buffer, wish) {
                let revision: u64 = pod.metadata.resource_version.parse().expect("a revision");
                if change == "BOOKMARK" {
                    assert!(revision >= at, "a bookmark goes back, from {at} to {revision}");
                    at = revision;
                    continue;
                }
                assert!(revision > at, "{change} {} of {revision} after {at}", pod.metadata.name);
                at = revision;
                let name = pod.metadata.name;
                let last = name == END && change == "ADDED";
                let on = pod.metadata.labels.get("on").is_some_and(|value| value == "true");
                found.push(Event { change, name, revision, on, node: pod.spec.node_name });
                if last {
                    return found;
                }
            }
        }
        assert!(buffer.is_empty(), "a watch ends between events");
    }
}

/// What somebody who sees all says that a watcher with a selector sees.
fn selected(all: &[Event], matches: impl Fn(&Event) -> bool) -> Vec<(String, String, u64)> {
    let mut there: BTreeMap<&str, ()> = BTreeMap::new();
    let mut told = Vec::new();
    for event in all {
        let was = there.contains_key(&*event.name);
        let is = event.change != "DELETED" && matches(event);
        let change = match (was, is) {
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
            (false, false) => continue,
        };
        if is {
            there.insert(&event.name, ());
        } else {
            there.remove(&*event.name);
        }
        told.push((change.to_owned(), event.name.clone(), event.revision));
    }
    told
}

fn plain(all: &[Event]) -> Vec<(String, String, u64)> {
    all.iter().map(|event| (event.change.clone(), event.name.clone(), event.revision)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_come_and_go_quickly_are_told_to_everybody() {
    let objects = std::env::var("CHURN").ok().and_then(|text| text.parse().ok()).unwrap_or(30);
    let Some(cluster) = Cluster::start().await else { return };
    let cluster = Arc::new(cluster);
    let account = json!({"metadata": {"name": "default"}});
    assert_eq!(cluster.post("/api/v1/namespaces/default/serviceaccounts", account).await.code, 201);
    let list = cluster.get(PODS).await.json();
    let from: u64 = list["metadata"]["resourceVersion"].as_str().expect("text").parse().expect("a revision");

    let wishes: Vec<Wish> = ["", "&labelSelector=on%3Dtrue", "&fieldSelector=spec.nodeName%3Dn1"]
        .into_iter()
        .flat_map(|query| {
            [(false, 0), (true, 0), (false, 1), (true, 3)].map(|(protobuf, comes_back)| Wish {
                query,
                protobuf,
                comes_back,
            })
        })
        .collect();
    let watchers: Vec<_> =
        wishes.iter().map(|wish| tokio::spawn(follow(cluster.clone(), *wish, from))).collect();
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let client = Client(cluster.second().await);
        writers.push(tokio::spawn(write(client, writer, objects)));
    }
    for writer in writers {
        writer.await.expect("a writer");
    }
    let mut client = Client(cluster.second().await);
    client.send("POST", PODS, "application/json", &pod(END, true, "n1", json!([])), 201).await;

    let mut told = Vec::new();
    for watcher in watchers {
        told.push(watcher.await.expect("a watcher"));
    }
    let all = &told[0];
    // What is told of an object makes sense: it comes, changes, and goes.
    assert_eq!(selected(all, |_| true), plain(all));
    let deleted = all.iter().filter(|event| event.change == "DELETED").count();
    let kept = (0..objects).filter(|n| n % 7 == 0 && n % 4 != 3).count();
    assert_eq!(deleted, WRITERS * (objects - kept));
    let expected = [plain(all), selected(all, |event| event.on), selected(all, |event| event.node == "n1")];
    for (place, found) in told.iter().enumerate() {
        let wish = wishes[place];
        assert!(
            plain(found) == expected[place / 4],
            "{} protobuf {} comes back {}: {:#?}",
            wish.query,
            wish.protobuf,
            wish.comes_back,
            plain(found).iter().zip(&expected[place / 4]).find(|(found, expected)| found != expected)
        );
    }
    // And what is left is what a list says.
    let mut left: BTreeMap<String, u64> = BTreeMap::new();
    for event in all {
        match event.change.as_str() {
            "DELETED" => left.remove(&event.name),
            _ => left.insert(event.name.clone(), event.revision),
        };
    }
    let list = cluster.get(PODS).await.json();
    let listed: BTreeMap<String, u64> = list["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|item| {
            let text = |name: &str| item["metadata"][name].as_str().expect("text").to_owned();
            (text("name"), text("resourceVersion").parse().expect("a revision"))
        })
        .collect();
    assert_eq!(left, listed);
}
