//! Many watches on one HTTP/2 connection: what the server writes together and puts off for a moment arrives
//! whole, once, and in order, at those that read slowly too.

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::harness::Cluster;

const WATCHES: usize = 40;
const UPDATES: usize = 150;
const PATH: &str = "/api/v1/namespaces/default/configmaps";

/// Versions of the events until the last one, which is told at the end.
async fn versions(mut body: Incoming, mut last: watch::Receiver<String>) -> Vec<String> {
    let (mut text, mut found): (Vec<u8>, Vec<String>) = (Vec::new(), Vec::new());
    while found.is_empty() || found.last() != Some(&*last.borrow_and_update()) {
        let frame = tokio::select! {
            frame = body.frame() => frame.expect("more events").expect("a frame"),
            told = last.changed() => {
                told.expect("the writer is there");
                continue;
            }
        };
        text.extend_from_slice(frame.data_ref().expect("data"));
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let event: Value = serde_json::from_slice(&text[..end]).expect("an event");
            text.drain(..=end);
            assert_eq!(event["type"], "MODIFIED");
            found
                .push(event["object"]["metadata"]["resourceVersion"].as_str().expect("a version").to_owned());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn everyone_hears_of_everything_once_and_in_order() {
    let Some(cluster) = Cluster::start().await else { return };
    let made = cluster.post(PATH, json!({"metadata": {"name": "fan"}})).await.json();
    let from = made["metadata"]["resourceVersion"].as_str().expect("a version").to_owned();
    let mut sender = cluster.second().await;
    let mut bodies = Vec::new();
    for _ in 0..WATCHES {
        let path = format!("{PATH}?watch=true&resourceVersion={from}&fieldSelector=metadata.name%3Dfan");
        let response = sender.send_request(Cluster::absolute("GET", &path, "")).await.expect("a watch");
        assert_eq!(response.status(), 200);
        bodies.push(response.into_body());
    }
    // Half of them begin to read only when all has happened.
    let (told, last) = watch::channel(String::new());
    let readers: Vec<_> = bodies
        .into_iter()
        .enumerate()
        .map(|(n, body)| {
            let mut last = last.clone();
            tokio::spawn(async move {
                if n % 2 == 0 {
                    let _ = last.wait_for(|last| !last.is_empty()).await;
                }
                versions(body, last).await
            })
        })
        .collect();

    let mut writer = cluster.second().await;
    let mut wanted = Vec::new();
    for update in 0..UPDATES {
        // Of all sizes: alone in a write, or together with others.
        let text = "x".repeat(update * 7919 % 9000);
        let object = json!({"metadata": {"name": "fan"}, "data": {"n": update.to_string(), "text": text}});
        let request = Cluster::absolute("PUT", &format!("{PATH}/fan"), &object.to_string());
        let response = writer.send_request(request).await.expect("an answer");
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        let written: Value = serde_json::from_slice(&body).expect("JSON");
        wanted.push(written["metadata"]["resourceVersion"].as_str().expect("a version").to_owned());
    }
    told.send_replace(wanted[UPDATES - 1].clone());
    for (n, reader) in readers.into_iter().enumerate() {
        let found = reader.await.expect("a reader");
        assert!(found == wanted, "watch {n}: {found:?}, not {wanted:?}");
    }
}
