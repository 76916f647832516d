//! Events of events.k8s.io/v1 as upstream's scheduler records them: one that comes again begins a series, whose count
//! is written when it begins, every half an hour, and when nothing has come for six minutes.
//!
//! What is written when is decided in [`Known`], which is pure; the task beside it writes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::ObjectReference;
use api_types::events::v1::{Event, EventSeries};
use api_types::meta::v1::ObjectMeta;
use api_types::value::MicroTime;
use daemon::clock::SharedClock;
use daemon::logging::error_chain;
use daemon::shutdown::Shutdown;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{PAUSE, TRIES, WAITING, name};
use crate::api::Patch;
use crate::connection::Client;
use crate::error::Error;

/// A series ends when nothing has come for so long; looked at as often.
const FINISH: Duration = Duration::from_secs(6 * 60);
/// Series that go on are written so often, so that they do not expire.
const REFRESH: Duration = Duration::from_secs(30 * 60);
/// Writes under way at once.
const AT_ONCE: usize = 100;

/// What is said about an object.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// `Normal` or `Warning`.
    pub type_: &'a str,
    pub reason: &'a str,
    /// What was done, or tried: `Binding`.
    pub action: &'a str,
    pub note: &'a str,
}

/// Records events of one component. Clones share it.
#[derive(Clone, Debug)]
pub struct SeriesRecorder {
    sender: mpsc::Sender<Event>,
    controller: String,
    instance: String,
    clock: SharedClock,
}

impl SeriesRecorder {
    /// Events of `controller` (`default-scheduler`) on `host`, written until shutdown. Recorders from one sink share
    /// what is known of series.
    pub fn new(sink: &Sink, controller: &str, host: &str) -> Self {
        Self {
            sender: sink.sender.clone(),
            controller: controller.into(),
            instance: format!("{controller}-{host}"),
            clock: sink.clock.clone(),
        }
    }

    /// Records an event about `regarding`, in which `related` took part. Never waits.
    pub fn event(&self, regarding: &ObjectReference, related: Option<&ObjectReference>, said: Said<'_>) {
        let now = self.clock.now();
        let Said { type_, reason, action, note } = said;
        let namespace = match regarding.namespace.as_str() {
            "" => "default",
            own => own,
        };
        tracing::debug!(
            object = format!("{}/{}", regarding.namespace, regarding.name),
            kind = regarding.kind,
            api_version = regarding.api_version,
            type_,
            reason,
            action,
            note,
            "Event occurred"
        );
        let event = Event {
            metadata: ObjectMeta {
                name: name(&regarding.name, now),
                namespace: namespace.into(),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(now)),
            reporting_controller: self.controller.clone(),
            reporting_instance: self.instance.clone(),
            action: action.into(),
            reason: reason.into(),
            regarding: regarding.clone(),
            related: related.cloned().map(Box::new),
            note: note.into(),
            type_: type_.into(),
            ..Event::default()
        };
        if self.sender.try_send(event).is_err() {
            tracing::warn!(reason, object = regarding.name, "Unable to record event: too many waiting");
        }
    }
}

/// Where events of several recorders go.
#[derive(Clone, Debug)]
pub struct Sink {
    sender: mpsc::Sender<Event>,
    clock: SharedClock,
}

impl Sink {
    /// Writes through `client` until shutdown.
    pub fn new(client: Client, clock: SharedClock, shutdown: Shutdown) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        let writer = Writer { client, clock: clock.clone(), known: Arc::default() };
        tokio::spawn(async move {
            shutdown.unless(writer.run(receiver)).await;
        });
        Self { sender, clock }
    }
}

/// What makes two events one: all but the note and the time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key(Vec<String>);

impl Key {
    fn of(event: &Event) -> Self {
        let reference = |of: &ObjectReference| {
            [
                &of.kind,
                &of.namespace,
                &of.name,
                &of.uid,
                &of.api_version,
                &of.resource_version,
                &of.field_path,
            ]
            .map(Clone::clone)
        };
        let own = [
            &event.type_,
            &event.action,
            &event.reason,
            &event.reporting_controller,
            &event.reporting_instance,
        ];
        let mut key = own.map(Clone::clone).to_vec();
        key.extend(reference(&event.regarding));
        key.extend(reference(event.related.as_deref().unwrap_or(&ObjectReference::default())));
        Self(key)
    }
}

/// Events that were recorded of late.
#[derive(Debug, Default)]
struct Known(HashMap<Key, Event>);

impl Known {
    /// What is to be written of an event that came: itself, or the series that it begins; of one that goes on
    /// nothing yet.
    fn observe(&mut self, event: Event, now: Timestamp) -> Option<Event> {
        let Some(known) = self.0.get_mut(&Key::of(&event)) else {
            self.0.insert(Key::of(&event), event.clone());
            return Some(event);
        };
        let seen = Some(MicroTime(now));
        match &mut known.series {
            Some(series) => {
                series.count += 1;
                series.last_observed_time = seen;
                None
            }
            none => {
                *none = Some(Box::new(EventSeries { count: 2, last_observed_time: seen }));
                Some(known.clone())
            }
        }
    }

    /// The series that there are.
    fn series(&self) -> Vec<Event> {
        self.0.values().filter(|event| event.series.is_some()).cloned().collect()
    }

    /// Series that have ended, to be written a last time and then forgotten. Single events are forgotten here.
    fn ended(&mut self, now: Timestamp) -> Vec<Event> {
        let is_over = |time: Option<MicroTime>| {
            time.is_none_or(|time| {
                Duration::try_from(now.duration_since(time.0)).is_ok_and(|age| age > FINISH)
            })
        };
        self.0.retain(|_, event| event.series.is_some() || !is_over(event.event_time));
        let over =
            |event: &&Event| event.series.as_ref().is_some_and(|series| is_over(series.last_observed_time));
        self.0.values().filter(over).cloned().collect()
    }

    fn forget(&mut self, event: &Event) {
        self.0.remove(&Key::of(event));
    }
}

struct Writer {
    client: Client,
    clock: SharedClock,
    known: Arc<Mutex<Known>>,
}

/// What came of a write.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    /// Nobody answered, or the event came to be between two looks: worth another try.
    Again,
}

impl Writer {
    async fn run(self, mut events: mpsc::Receiver<Event>) {
        let mut writes = FuturesUnordered::new();
        let (mut finish, mut refresh) = (self.clock.sleep(FINISH), self.clock.sleep(REFRESH));
        loop {
            tokio::select! {
                event = events.recv(), if writes.len() < AT_ONCE => {
                    let Some(event) = event else { return };
                    let write = self.known.lock().observe(event, self.clock.now());
                    writes.extend(write.map(|event| self.write(event)));
                }
                Some(()) = writes.next() => {}
                () = &mut finish => {
                    let ended = self.known.lock().ended(self.clock.now());
                    for event in ended {
                        if self.attempt(&event).await == Outcome::Done {
                            self.known.lock().forget(&event);
                        }
                    }
                    finish = self.clock.sleep(FINISH);
                }
                () = &mut refresh => {
                    let series = self.known.lock().series();
                    for event in series {
                        self.attempt(&event).await;
                    }
                    refresh = self.clock.sleep(REFRESH);
                }
            }
        }
    }

    async fn write(&self, event: Event) {
        for _ in 0..TRIES {
            if self.attempt(&event).await == Outcome::Done {
                return;
            }
            self.clock.sleep(PAUSE.mul_f64(1.0 + fastrand::f64() / 4.0)).await;
        }
        tracing::error!(reason = event.reason, "Unable to write event (retry limit exceeded!)");
    }

    async fn attempt(&self, event: &Event) -> Outcome {
        let api = self.client.api::<Event>().namespace(event.metadata.namespace.clone());
        let written = match &event.series {
            None => api.create(event).await,
            Some(series) => {
                let time = series.last_observed_time.map(|time| time.to_string());
                let patch = serde_json::json!({"series": {"count": series.count, "lastObservedTime": time}});
                match api.patch(&event.metadata.name, &Patch::Strategic(patch)).await {
                    Err(error) if error.is_not_found() => api.create(event).await,
                    other => other,
                }
            }
        };
        match written {
            Ok(_) => Outcome::Done,
            // It is not written yet and was when it was to be made: both came in a very short time.
            Err(error) if error.is_already_exists() && event.series.is_some() => Outcome::Again,
            Err(error) if error.is_already_exists() => {
                tracing::debug!(reason = event.reason, "Server rejected event (will not retry!)");
                Outcome::Done
            }
            Err(error) => self.failed(event, &error),
        }
    }

    fn failed(&self, event: &Event, error: &Error) -> Outcome {
        let (reason, why) = (&event.reason, error_chain(error));
        if error.status().is_some() {
            tracing::error!(reason, error = why, "Server rejected event (will not retry!)");
            return Outcome::Done;
        }
        tracing::error!(reason, error = why, "Unable to write event (may retry after sleeping)");
        Outcome::Again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    fn event(note: &str, seconds: i64) -> Event {
        Event {
            metadata: ObjectMeta { name: format!("web.{seconds}"), ..ObjectMeta::default() },
            regarding: ObjectReference { kind: "Pod".into(), name: "web".into(), ..Default::default() },
            reason: "FailedScheduling".into(),
            note: note.into(),
            event_time: Some(MicroTime(at(seconds))),
            ..Event::default()
        }
    }

    fn told(write: Option<Event>) -> (String, i32) {
        let told = |event: Event| (event.metadata.name, event.series.map_or(1, |series| series.count));
        write.map_or(("nothing".into(), 0), told)
    }

    #[test]
    fn the_second_begins_a_series_and_those_after_it_are_counted() {
        let mut known = Known::default();
        assert_eq!(told(known.observe(event("a", 0), at(0))), ("web.0".into(), 1));
        assert_eq!(told(known.observe(event("b", 1), at(1))), ("web.0".into(), 2));
        assert_eq!(told(known.observe(event("a", 2), at(2))), ("nothing".into(), 0));
        let series: Vec<(String, i32)> = known.series().into_iter().map(|event| told(Some(event))).collect();
        assert_eq!(series, [("web.0".into(), 3)]);
        let other = Event { related: Some(Box::default()), action: "Binding".into(), ..event("a", 3) };
        assert_eq!(told(known.observe(other, at(3))), ("web.3".into(), 1));
    }

    #[test]
    fn what_does_not_come_again_is_forgotten() {
        let mut known = Known::default();
        known.observe(event("a", 0), at(0));
        assert_eq!(known.ended(at(360)), []);
        assert_eq!(known.0.len(), 1);
        assert_eq!(known.ended(at(361)), []);
        assert_eq!(known.0.len(), 0);

        known.observe(event("a", 400), at(400));
        known.observe(event("a", 500), at(500));
        assert_eq!(known.ended(at(860)), [], "the series goes on");
        let ended = known.ended(at(861));
        assert_eq!(ended.len(), 1);
        known.forget(&ended[0]);
        assert_eq!(told(known.observe(event("a", 900), at(900))), ("web.900".into(), 1));
    }
}
