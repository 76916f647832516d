//! The client against a server: verbs, HTTP/2, retries, reconnection.

use api_types::core::v1::ConfigMap;
use api_types::meta::v1::{ListOptions, ObjectMeta};
use futures::StreamExt as _;

use crate::api::Deleted;
use crate::fake_server::FakeServer;
use crate::{Client, DeleteOptions, WatchEvent};

fn map(name: &str) -> ConfigMap {
    let metadata = ObjectMeta { namespace: "ns".into(), name: name.into(), ..Default::default() };
    ConfigMap { metadata, ..Default::default() }
}

async fn server() -> (FakeServer, Client) {
    let server = FakeServer::start().await;
    let client = server.client();
    (server, client)
}

#[tokio::test]
async fn objects_are_written_read_watched_and_deleted_over_http_2() {
    let (server, client) = server().await;
    let api = client.api::<ConfigMap>().namespace("ns");
    let list = api.list(&ListOptions::default()).await.unwrap();
    let options = ListOptions { resource_version: list.metadata.resource_version, ..Default::default() };
    let mut events = api.watch(&options).await.unwrap();

    let mut stored = api.create(&map("a")).await.unwrap();
    assert!(api.create(&map("a")).await.unwrap_err().is_already_exists());
    stored.data.insert("k".into(), "v".into());
    let updated = api.update(&stored).await.unwrap();
    assert!(api.update(&stored).await.unwrap_err().is_conflict(), "it was stale");
    assert_eq!(api.get("a").await.unwrap(), updated);
    assert_eq!(api.delete("a", &DeleteOptions::default()).await.unwrap(), Deleted::Gone);
    assert_eq!(api.find("a").await.unwrap(), None);

    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(match events.next().await.unwrap().unwrap() {
            WatchEvent::Added(o) => format!("+{}", o.data.len()),
            WatchEvent::Modified(o) => format!("~{}", o.data.len()),
            WatchEvent::Deleted(o) => format!("-{}", o.data.len()),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(told, ["+0", "~1", "-1"]);
    assert!(server.seen().iter().all(|s| s.starts_with("HTTP/2.0 ")), "{:?}", server.seen());
}

#[tokio::test]
async fn refusals_that_say_when_are_tried_again_and_others_are_not() {
    let (server, client) = server().await;
    let api = client.api::<ConfigMap>().namespace("ns");
    server.refuse(429, "0");
    server.refuse(503, "0");
    api.create(&map("a")).await.unwrap();
    assert_eq!(server.seen().len(), 3);
    let host = client.server().trim_start_matches("https://").trim_start_matches("http://").to_owned();
    let text = String::from_utf8(daemon::metrics::global().text()).unwrap();
    for (name, labels, count) in [
        ("requests_total", "code=\"429\",", 1),
        ("requests_total", "code=\"201\",", 1),
        ("request_retries_total", "code=\"503\",", 1),
        ("request_duration_seconds_count", "", 1),
    ] {
        let verb = if name == "requests_total" { "method" } else { "verb" };
        let line = format!("rest_client_{name}{{{labels}host=\"{host}\",{verb}=\"POST\"}} {count}");
        assert!(text.contains(&line), "{line} missing in\n{text}");
    }
    assert!(api.get("b").await.unwrap_err().is_not_found());
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn a_broken_connection_is_made_anew() {
    let (server, client) = server().await;
    let api = client.api::<ConfigMap>().namespace("ns");
    api.create(&map("a")).await.unwrap();
    server.drop_connections();
    assert!(api.get("a").await.is_ok());
}

#[tokio::test]
async fn nobody_there_is_told_as_such() {
    let config = crate::Config { qps: 0.0, ..crate::Config::new("http://127.0.0.1:1") };
    let error = Client::new(config).unwrap().api::<ConfigMap>().namespace("ns").get("a").await.unwrap_err();
    assert!(matches!(error, crate::Error::Connect { .. }), "{error:?}");
}

#[tokio::test]
async fn watches_wait_for_no_turn() {
    let server = FakeServer::start().await;
    let client = Client::new(server.config().with_limits(0.0001, 1)).unwrap();
    let api = client.api::<ConfigMap>().namespace("ns");
    let list = api.list(&ListOptions::default()).await.unwrap();
    let options = ListOptions { resource_version: list.metadata.resource_version, ..Default::default() };
    // The next turn is hours away.
    let soon = std::time::Duration::from_secs(60);
    assert!(tokio::time::timeout(soon, api.watch(&options)).await.unwrap().is_ok());
    let before = server.seen().len();
    let moment = std::time::Duration::from_millis(50);
    assert!(tokio::time::timeout(moment, api.get("a")).await.is_err());
    assert_eq!(server.seen().len(), before, "it was not even sent");
}

#[tokio::test]
async fn others_have_their_own_limits_over_the_same_connections() {
    let server = FakeServer::start().await;
    let client = Client::new(server.config().with_limits(0.0001, 1)).unwrap();
    let free = client.limited(0.0, 0);
    for name in ["a", "b"] {
        free.api::<ConfigMap>().namespace("ns").create(&map(name)).await.unwrap();
    }
    // The one turn of the first has not been used up.
    assert!(client.api::<ConfigMap>().namespace("ns").get("a").await.is_ok());
}
