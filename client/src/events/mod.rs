//! Events about objects, as `kubectl describe` shows them: core/v1, correlated as upstream's
//! recorder does (`correlator.rs`), written in the background so that no caller waits. Who says what was done to an
//! object writes events.k8s.io/v1 and series of them (`series.rs`).
//!
//! An event is news and not state: when the server is away for long or a queue is full, it is lost.

mod correlator;
pub mod series;

pub use correlator::{Correlator, Write};
pub use series::SeriesRecorder;

use std::collections::BTreeMap;
use std::time::Duration;

use api_types::core::v1::{Event, EventSource, ObjectReference};
use api_types::kind::Object;
use api_types::meta::v1::ObjectMeta;
use api_types::value::Time;
use daemon::clock::SharedClock;
use daemon::go_words;
use daemon::logging::error_chain;
use daemon::shutdown::Shutdown;
use tokio::sync::mpsc;

use crate::api::Patch;
use crate::connection::Client;
use crate::error::Error;

/// Events that wait to be written; more are dropped (upstream's number).
const WAITING: usize = 1000;
/// How often and how long apart a write is tried.
const TRIES: u32 = 12;
const PAUSE: Duration = Duration::from_secs(10);

/// `Normal`.
pub const NORMAL: &str = "Normal";
/// `Warning`.
pub const WARNING: &str = "Warning";

/// Records events of one component. Clones share it.
#[derive(Clone, Debug)]
pub struct Recorder {
    sender: Option<mpsc::Sender<Event>>,
    component: String,
    host: String,
    clock: SharedClock,
}

impl Recorder {
    /// Events from `component` (`kubelet`), on `host` where that is part of the news (else empty),
    /// written through `client` until shutdown.
    pub fn new(client: Client, component: &str, host: &str, clock: SharedClock, shutdown: Shutdown) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        let writer = Writer { client, clock: clock.clone(), correlator: Correlator::default() };
        tokio::spawn(async move {
            shutdown.unless(writer.run(receiver)).await;
        });
        Self { sender: Some(sender), component: component.into(), host: host.into(), clock }
    }

    /// One that forgets everything: for tests and tools.
    pub fn discarding(clock: SharedClock) -> Self {
        Self { sender: None, component: String::new(), host: String::new(), clock }
    }

    /// Records an event about `regarding`. Never waits.
    pub fn event(&self, regarding: &ObjectReference, type_: &str, reason: &str, message: &str) {
        self.annotated(regarding, type_, reason, message, BTreeMap::new());
    }

    /// Records an event that carries annotations. Never waits.
    pub fn annotated(
        &self,
        regarding: &ObjectReference,
        type_: &str,
        reason: &str,
        message: &str,
        annotations: BTreeMap<String, String>,
    ) {
        let now = self.clock.now();
        let event = Event {
            metadata: ObjectMeta {
                name: name(&regarding.name, now),
                // Events about cluster-wide objects live in default.
                namespace: if regarding.namespace.is_empty() {
                    "default".into()
                } else {
                    regarding.namespace.clone()
                },
                annotations,
                ..ObjectMeta::default()
            },
            involved_object: regarding.clone(),
            reason: reason.into(),
            message: go_words::worded(message).into_owned(),
            source: EventSource { component: self.component.clone(), host: self.host.clone() },
            first_timestamp: Some(Time::whole(now)),
            last_timestamp: Some(Time::whole(now)),
            count: 1,
            type_: type_.into(),
            reporting_component: self.component.clone(),
            reporting_instance: self.host.clone(),
            ..Event::default()
        };
        tracing::debug!(
            object = format!("{}/{}", regarding.namespace, regarding.name),
            kind = regarding.kind,
            reason,
            message,
            "Event occurred"
        );
        if let Some(sender) = &self.sender
            && sender.try_send(event).is_err()
        {
            tracing::warn!(reason, object = regarding.name, "Unable to record event: too many waiting");
        }
    }

    /// `Normal` event.
    pub fn normal(&self, regarding: &ObjectReference, reason: &str, message: &str) {
        self.event(regarding, NORMAL, reason, message);
    }

    /// `Warning` event.
    pub fn warning(&self, regarding: &ObjectReference, reason: &str, message: &str) {
        self.event(regarding, WARNING, reason, message);
    }
}

/// A reference to an object, as events name it.
pub fn reference(object: &dyn Object) -> ObjectReference {
    let (kind, meta) = (object.kind(), object.meta());
    ObjectReference {
        kind: kind.kind.into(),
        api_version: kind.api_version.into(),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        ..ObjectReference::default()
    }
}

/// `web.17a3…`: the object's name and the nanoseconds of now; where that is no name, a random one.
pub(crate) fn name(object: &str, now: jiff::Timestamp) -> String {
    let name = format!("{object}.{:x}", now.as_nanosecond());
    if api_types::names::dns1123_subdomain(&name).is_empty() {
        return name;
    }
    uuid::Uuid::new_v4().to_string()
}

struct Writer {
    client: Client,
    clock: SharedClock,
    correlator: Correlator,
}

impl Writer {
    async fn run(mut self, mut events: mpsc::Receiver<Event>) {
        while let Some(event) = events.recv().await {
            let Some(write) = self.correlator.observe(event, self.clock.now()) else { continue };
            self.write(write).await;
        }
    }

    async fn write(&mut self, write: Write) {
        for attempt in 1..=TRIES {
            let outcome = match &write {
                Write::Create(event) => self.create(event).await,
                Write::Repeat(event) => match self.repeat(event).await {
                    // It expired meanwhile.
                    Err(error) if error.is_not_found() => self.create(event).await,
                    outcome => outcome,
                },
            };
            match outcome {
                Ok(stored) => return self.correlator.stored(&stored),
                // The server's refusals stay refusals; only its absence passes.
                Err(error) if attempt == TRIES || error.status().is_some() => {
                    let reason = match &write {
                        Write::Create(event) | Write::Repeat(event) => &event.reason,
                    };
                    tracing::warn!(reason, error = error_chain(&error), "Unable to write event");
                    return;
                }
                // The first pause differs from client to client, so that they do not all come at once.
                Err(_) if attempt == 1 => self.clock.sleep(PAUSE.mul_f64(fastrand::f64())).await,
                Err(_) => self.clock.sleep(PAUSE).await,
            }
        }
    }

    async fn create(&self, event: &Event) -> Result<Event, Error> {
        self.client.api().create(event).await
    }

    async fn repeat(&self, event: &Event) -> Result<Event, Error> {
        let patch = serde_json::json!({
            "count": event.count,
            "lastTimestamp": event.last_timestamp.map(|t| t.to_string()),
            "message": event.message,
        });
        let api = self.client.api::<Event>().namespace(event.metadata.namespace.clone());
        api.patch(&event.metadata.name, &Patch::Strategic(patch)).await
    }
}
