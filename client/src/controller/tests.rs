//! The loop with a small controller, against a server: it must not act on what it cannot see yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use api_types::core::v1::{ConfigMap, Node, Secret};
use api_types::meta::v1::ObjectMeta;
use daemon::clock;
use daemon::shutdown::Shutdown;
use jiff::Timestamp;

use super::*;
use crate::events::Recorder;
use crate::fake_server::FakeServer;
use crate::informer::Whole;

/// Keeps as many children of a config map as it asks for.
struct Children;

struct View {
    parent: ConfigMap,
    children: usize,
}

impl Controller for Children {
    const NAME: &'static str = "children-controller";
    const QUEUE: &'static str = "children";
    type View = View;
    type Own = Never;

    fn wakes_on(&self) -> Vec<Wake> {
        vec![Wake::on::<Whole<ConfigMap>>(|change, _, keys| {
            let name = change.key.name.split('.').next().unwrap_or_default();
            keys.push(Key::new("ns", name));
        })]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<View> {
        let store = caches.store::<Whole<ConfigMap>>();
        let parent = store.get(key)?.0.clone();
        let prefix = format!("{}.", key.name);
        let children = store.in_namespace("ns").iter().filter(|(k, _)| k.name.starts_with(&prefix)).count();
        Some(View { parent, children })
    }

    fn plan(view: &View, _: Timestamp) -> Plan {
        let mut plan = Plan::nothing();
        let wanted: usize = view.parent.data["wanted"].parse().unwrap();
        let child = || {
            let metadata = ObjectMeta {
                namespace: "ns".into(),
                generate_name: format!("{}.", view.parent.metadata.name),
                ..Default::default()
            };
            Action::create(ConfigMap { metadata, ..Default::default() })
        };
        plan.step(Step::SlowStart((view.children..wanted).map(|_| child()).collect()));
        plan
    }
}

/// Waits until it holds, however long a busy machine takes; a test that hangs has failed.
async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn start(server: &FakeServer) -> (Running, Caches, Shutdown) {
    let (client, shutdown, clock) = (server.client(), Shutdown::new(), clock::System::shared());
    let caches = Caches::new(client.clone(), shutdown.clone());
    let hands = Hands::new(client, Recorder::discarding(clock.clone()), clock);
    let running = run(Children, &caches, hands, 3, shutdown.clone());
    caches.wait_synced().await;
    (running, caches, shutdown)
}

async fn parent(server: &FakeServer, name: &str, wanted: &str) -> ConfigMap {
    let metadata = ObjectMeta { namespace: "ns".into(), name: name.into(), ..Default::default() };
    let data = [("wanted".to_owned(), wanted.to_owned())].into();
    server.client().api().create(&ConfigMap { metadata, data, ..Default::default() }).await.unwrap()
}

#[tokio::test]
async fn writes_that_the_cache_does_not_show_are_waited_for() {
    let server = FakeServer::start().await;
    let (running, caches, shutdown) = start(&server).await;
    parent(&server, "p", "7").await;
    let store = caches.store::<Whole<ConfigMap>>();
    until(|| !store.is_empty()).await;
    server.hold_events();
    until(|| server.names().len() == 8).await;
    // The cache knows of the parent alone: a careless loop would make seven more, each time.
    for _ in 0..20 {
        running.queue.add(Key::new("ns", "p"));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(server.names().len(), 8);
    server.release();
    until(|| store.len() == 8 && running.queue.pending().is_empty()).await;
    assert_eq!(server.names().len(), 8);
    shutdown.trigger();
    running.ended().await;
}

#[tokio::test]
async fn failures_are_tried_again_until_they_pass() {
    let server = FakeServer::start().await;
    // The watch first, so that the refusals meet the controller's own writes.
    let (running, _, shutdown) = start(&server).await;
    until(|| server.seen().iter().filter(|s| s.contains("GET")).count() >= 2).await;
    server.hold_events();
    parent(&server, "p", "4").await;
    for _ in 0..3 {
        server.refuse(500, "");
    }
    server.release();
    until(|| server.names().len() == 5).await;
    let posts = server.seen().iter().filter(|s| s.contains("POST")).count();
    assert_eq!(posts, 1 + 3 + 4, "the parent, three refusals, four children");
    shutdown.trigger();
    running.ended().await;
}

#[tokio::test]
async fn a_panic_holds_up_no_other_key_and_its_own_not_for_ever() {
    let server = FakeServer::start().await;
    let (running, _, shutdown) = start(&server).await;
    let bad = ["a", "b", "c", "d"];
    // More than there are workers.
    for name in bad {
        parent(&server, name, "not a number").await;
    }
    until(|| bad.iter().all(|name| running.queue.failures(&Key::new("ns", *name)) > 0)).await;
    parent(&server, "p", "2").await;
    until(|| server.names().len() == bad.len() + 3).await;
    let client = server.client();
    let api = client.api::<ConfigMap>().namespace("ns");
    let mut mended = api.get("a").await.unwrap();
    mended.data.insert("wanted".into(), "1".into());
    api.update(&mended).await.unwrap();
    until(|| server.names().len() == bad.len() + 4).await;
    shutdown.trigger();
    running.ended().await;
}

/// The same, but for a first round that ends in a panic, after it wrote.
struct Careless(Arc<AtomicUsize>);

/// The view, and who counts the rounds.
struct Counting(View, Arc<AtomicUsize>);

impl Controller for Careless {
    const NAME: &'static str = "careless-controller";
    const QUEUE: &'static str = "careless";
    type View = Counting;
    type Own = Never;

    fn wakes_on(&self) -> Vec<Wake> {
        Children.wakes_on()
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<Counting> {
        Children.observe(key, caches).map(|view| Counting(view, self.0.clone()))
    }

    fn plan(view: &Counting, now: Timestamp) -> Plan {
        Children::plan(&view.0, now)
    }

    fn conclude(view: &Counting, _: &action::Outcome, _: Timestamp) -> Plan {
        assert!(view.1.fetch_add(1, Ordering::SeqCst) > 0, "the first round");
        Plan::nothing()
    }
}

#[tokio::test]
async fn what_a_round_wrote_that_panicked_is_not_written_again() {
    let server = FakeServer::start().await;
    let (client, shutdown, clock) = (server.client(), Shutdown::new(), clock::System::shared());
    let caches = Caches::new(client.clone(), shutdown.clone());
    let hands = Hands::new(client, Recorder::discarding(clock.clone()), clock);
    let rounds = Arc::new(AtomicUsize::new(0));
    let running = run(Careless(rounds.clone()), &caches, hands, 3, shutdown.clone());
    caches.wait_synced().await;
    let store = caches.store::<Whole<ConfigMap>>();
    until(|| server.seen().iter().filter(|s| s.contains("GET")).count() >= 2).await;
    server.hold_events();
    // Only the parent is seen.
    store.put(parent(&server, "p", "3").await);
    let key = Key::new("ns", "p");
    until(|| running.queue.failures(&key) > 0).await;
    assert_eq!((server.names().len(), rounds.load(Ordering::SeqCst)), (4, 1));
    for _ in 0..20 {
        running.queue.add(key.clone());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!((server.names().len(), rounds.load(Ordering::SeqCst)), (4, 1), "nothing is seen yet");
    server.release();
    until(|| store.len() == 4 && rounds.load(Ordering::SeqCst) > 1).await;
    assert_eq!(server.names().len(), 4);
    shutdown.trigger();
    running.ended().await;
}

/// Counts its rounds; looks at secrets, which it does not wake on.
struct Onlooker(Arc<AtomicUsize>);

impl Controller for Onlooker {
    const NAME: &'static str = "onlooker-controller";
    const QUEUE: &'static str = "onlooker";
    type View = ();
    type Own = Never;

    fn wakes_on(&self) -> Vec<Wake> {
        vec![Wake::on::<Whole<ConfigMap>>(|change, _, keys| keys.push(change.key.clone()))]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<()> {
        let secret = caches.store::<Whole<Secret>>().get(key);
        // A secret that is not seen is what it would act on.
        self.0.fetch_add(usize::from(secret.is_none()) + 1000, Ordering::SeqCst);
        None
    }

    fn plan(_: &(), _: Timestamp) -> Plan {
        Plan::nothing()
    }
}

#[tokio::test]
async fn only_stores_that_a_controller_looks_at_are_waited_for() {
    let (caches, shutdown, clock) = (Caches::detached(), Shutdown::new(), clock::System::shared());
    let elsewhere = caches.store::<Whole<Node>>();
    let scoped = caches.scoped();
    let config_maps = scoped.store::<Whole<ConfigMap>>();
    assert_eq!(scoped.unsynced(), ["configmaps"]);
    assert_eq!(caches.unsynced().len(), 2);
    config_maps.fill([]);
    assert!(scoped.is_synced() && !caches.is_synced() && !elsewhere.is_synced());

    let seen = Arc::new(AtomicUsize::new(0));
    let server = FakeServer::start().await;
    let hands = Hands::new(server.client(), Recorder::discarding(clock.clone()), clock);
    let running = run(Onlooker(seen.clone()), &caches, hands, 1, shutdown.clone());
    let metadata = ObjectMeta { namespace: "ns".into(), name: "a".into(), ..Default::default() };
    config_maps.put(ConfigMap { metadata: metadata.clone(), ..Default::default() });
    // The first round asks for secrets, and is of no account: they are not there yet.
    until(|| seen.load(Ordering::SeqCst) >= 1000).await;
    let secrets = caches.store::<Whole<Secret>>();
    secrets.fill([Secret { metadata, ..Default::default() }]);
    until(|| seen.load(Ordering::SeqCst) >= 2000).await;
    assert_eq!(seen.load(Ordering::SeqCst), 2001, "one blind round, one that saw the secret");
    shutdown.trigger();
    running.ended().await;
}
