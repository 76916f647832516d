//! The reflector against scripted sources: what the store shows, and what is asked next.

use std::collections::VecDeque;
use std::sync::Arc;

use api_types::core::v1::ConfigMap;
use api_types::meta::v1::{ListMeta, ListOptions, ObjectMeta, Status, StatusReason};
use daemon::clock;
use daemon::shutdown::Shutdown;
use futures::stream::{self, BoxStream};
use futures::{FutureExt as _, StreamExt as _};
use parking_lot::Mutex;

use super::*;
use crate::error::Error;
use crate::watch::WatchEvent;

fn map(name: &str, version: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            namespace: "ns".into(),
            name: name.into(),
            uid: format!("uid-{name}"),
            resource_version: version.into(),
            ..Default::default()
        },
        ..Default::default()
    }
}

fn gone() -> Status {
    Status { reason: StatusReason::Expired, code: 410, ..Default::default() }
}

enum Answer {
    List(&'static str, &'static str, Vec<ConfigMap>),
    Events(Vec<WatchEvent<ConfigMap>>),
    Gone,
}

/// Gives out its answers in order; then hangs, and says so.
#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<Answer>>,
    asked: Arc<Mutex<Vec<String>>>,
    done: Arc<tokio::sync::Notify>,
}

impl Script {
    async fn next(&self, asked: String) -> Answer {
        self.asked.lock().push(asked);
        let next = self.answers.lock().pop_front();
        match next {
            Some(answer) => answer,
            None => {
                self.done.notify_one();
                std::future::pending().await
            }
        }
    }
}

impl Source<ConfigMap> for Script {
    type Events = BoxStream<'static, Result<WatchEvent<ConfigMap>, Error>>;

    async fn list(
        &self,
        options: &ListOptions,
        each: impl FnMut(ConfigMap) + Send,
    ) -> Result<ListMeta, Error> {
        let asked = format!("list rv={} continue={}", options.resource_version, options.continue_);
        match self.next(asked).await {
            Answer::List(revision, token, items) => {
                items.into_iter().for_each(each);
                let (resource_version, continue_) = (revision.into(), token.into());
                Ok(ListMeta { resource_version, continue_, ..Default::default() })
            }
            Answer::Gone => Err(Error::Status(Box::new(gone()))),
            Answer::Events(_) => panic!("a list was not expected"),
        }
    }

    async fn watch(&self, options: &ListOptions) -> Result<Self::Events, Error> {
        match self.next(format!("watch rv={}", options.resource_version)).await {
            Answer::Events(events) => Ok(stream::iter(events.into_iter().map(Ok)).boxed()),
            Answer::Gone => Err(Error::Status(Box::new(gone()))),
            Answer::List(..) => panic!("a watch was not expected"),
        }
    }
}

/// Runs the script to its end: what was asked, and the store.
async fn run(answers: Vec<Answer>) -> (Vec<String>, Arc<Store<Whole<ConfigMap>>>, Vec<String>) {
    let script = Script { answers: Mutex::new(answers.into()), ..Default::default() };
    let (asked, done) = (script.asked.clone(), script.done.clone());
    let store = Arc::new(Store::<Whole<ConfigMap>>::default());
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = told.clone();
    store.subscribe(move |change| {
        let sign = match (change.old, change.new) {
            (None, _) => '+',
            (_, None) => '-',
            _ => '~',
        };
        tell.lock().push(format!("{sign}{}", change.key.name));
    });
    let reflector = Reflector::new(
        script,
        store.clone(),
        ListOptions::default(),
        Whole::project,
        "configmaps".into(),
        clock::System::shared(),
    );
    let shutdown = Shutdown::new();
    let running = tokio::spawn(reflector.run(shutdown.clone()));
    done.notified().await;
    shutdown.trigger();
    running.await.unwrap();
    let asked = asked.lock().clone();
    let told = told.lock().clone();
    (asked, store, told)
}

#[tokio::test]
async fn pages_are_shown_together_and_watched_from_their_revision() {
    let (asked, store, told) = run(vec![
        Answer::List("7", "more", vec![map("a", "1")]),
        Answer::List("7", "", vec![map("b", "2")]),
        Answer::Events(vec![
            WatchEvent::Modified(map("a", "8")),
            WatchEvent::Deleted(map("b", "9")),
            WatchEvent::Bookmark(map("", "12")),
        ]),
    ])
    .await;
    assert_eq!(asked, ["list rv=0 continue=", "list rv= continue=more", "watch rv=7", "watch rv=12"]);
    assert_eq!(told, ["+a", "+b", "~a", "-b"]);
    assert_eq!((store.len(), store.revision()), (1, 12));
}

#[tokio::test]
async fn an_expired_watch_lists_anew_and_tells_only_what_changed() {
    let (asked, store, told) = run(vec![
        Answer::List("7", "", vec![map("a", "1"), map("b", "2")]),
        Answer::Events(vec![WatchEvent::Error(Box::new(gone()))]),
        Answer::List("20", "", vec![map("a", "1"), map("c", "19")]),
    ])
    .await;
    assert_eq!(asked, ["list rv=0 continue=", "watch rv=7", "list rv= continue=", "watch rv=20"]);
    assert_eq!(told, ["+a", "+b", "+c", "-b"]);
    assert!(store.is_synced());
}

#[tokio::test]
async fn an_expired_token_starts_the_list_over() {
    let (asked, store, _) = run(vec![
        Answer::List("7", "more", vec![map("a", "1")]),
        Answer::Gone,
        Answer::List("9", "", vec![map("b", "2")]),
    ])
    .await;
    assert_eq!(asked, ["list rv=0 continue=", "list rv= continue=more", "list rv= continue=", "watch rv=9"]);
    assert_eq!(store.all().len(), 1);
}

#[test]
fn errors_pause_and_go_on_where_they_were() {
    let watch = State::Watch { from: "7".into() };
    let (paused, _) = watch.next(Outcome::Failed { revision: Some("9".into()) }, 1);
    assert_eq!(paused, State::Pause { attempt: 1, then: Box::new(State::Watch { from: "9".into() }) });
    assert_eq!(paused.next(Outcome::Rested, 1).0, State::Watch { from: "9".into() });
    let (again, step) = State::Watch { from: "7".into() }.next(Outcome::Expired, 2);
    assert!(matches!(again, State::Pause { .. }), "a second 410 in a row waits");
    assert_eq!(step, Step::Discard);
}

#[test]
fn pauses_double_up_to_the_longest() {
    assert_eq!(reflector::pause(1, 0.0).as_millis(), 800);
    assert_eq!(reflector::pause(3, 0.5).as_millis(), 4800);
    assert_eq!(reflector::pause(40, 0.0).as_secs(), 30);
}

struct ByLabel(String);

impl Projection for ByLabel {
    type Source = ConfigMap;
    fn project(source: ConfigMap) -> Option<Self> {
        Some(Self(source.metadata.labels.get("app")?.clone()))
    }
    fn indexes() -> &'static [Index<Self>] {
        &[Index { name: "app", values: |_, this, out| out.push(this.0.clone()) }]
    }
}

#[test]
fn indexes_follow_changes() {
    let store = Store::<ByLabel>::default();
    let put = |name: &str, app: &str| {
        let mut object = map(name, "1");
        object.metadata.labels.insert("app".into(), app.into());
        store.put(object);
    };
    let names = |app: &str| -> Vec<String> {
        store.by_index("app", app).into_iter().map(|(k, _)| k.name.into()).collect()
    };
    put("a", "web");
    put("b", "web");
    assert_eq!(names("web"), ["a", "b"]);
    put("a", "db");
    assert_eq!((names("web"), names("db")), (vec!["b".to_owned()], vec!["a".to_owned()]));
    store.put(map("b", "2"));
    assert!(names("web").is_empty(), "what is not projected any more leaves");
    assert_eq!(store.len(), 1);
}

#[test]
fn waiting_for_a_revision_ends_when_it_is_seen() {
    let store = Store::<Whole<ConfigMap>>::default();
    assert_eq!(store.wait_revision(5).now_or_never(), None);
    store.put(map("a", "5"));
    assert_eq!(store.wait_revision(5).now_or_never(), Some(()));
}
