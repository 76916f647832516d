//! One stored object as readers need it: its JSON beside the few facts that selectors ask for. A value is
//! decoded once, when it comes out of the store; what the cache keeps is packed (`packed`).
//!
//! Stored values carry no `metadata.resourceVersion`: it is the key's mod revision, spliced into the
//! bytes here, after the uid as Go's field order has it:
//! `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a",…,"uid":"…"[,"resourceVersion":"7"],…`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use api_types::codec::transcoder::{self, Template};
use api_types::codec::{json, protobuf};
use api_types::kind::{Object, Row};
use api_types::meta::v1::{ObjectMeta, PartialObjectMetadata};
use bytes::Bytes;
use memchr::memmem;
use parking_lot::Mutex;

use super::facts::Facts;
use super::packed::Packed;
use super::skim::{Keep, skim};

/// Neighbours that are looked at for being alike.
pub const NEAR: usize = 4;
/// Samples of theirs that are tried.
const SAMPLES: usize = 2;
/// Neighbours that stand alone before one of them becomes a sample.
const FAMILY: usize = 3;

/// A stored object at one revision.
#[derive(Debug)]
pub struct Entry {
    /// The key below the collection's prefix: `NAMESPACE/NAME` or `NAME`.
    pub key: Arc<str>,
    /// The revision of its last write.
    pub revision: i64,
    /// JSON with kind, apiVersion and resourceVersion.
    text: Packed,
    facts: Facts,
    /// Of a custom object, which may rest in any of its versions; empty otherwise.
    api_version: Box<str>,
    message: Message,
}

/// The object as a protobuf message, once a list has asked for it and for as long as others do.
#[derive(Debug, Default)]
pub struct Message {
    bytes: Mutex<Option<Arc<Packed>>>,
    /// Somebody has asked since `forget_message`.
    asked: AtomicBool,
}

/// Why a stored value cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("{0}")]
    Json(#[from] json::Error),
    #[error("{0}")]
    Protobuf(#[from] protobuf::Error),
    #[error("stored object is a {found}, expected {expected}")]
    Kind { found: String, expected: String },
}

impl Entry {
    /// Reads a stored value.
    ///
    /// # Errors
    /// When the value is no object of the row's kind.
    pub fn read(row: &'static Row, key: Arc<str>, value: &[u8], revision: i64) -> Result<Self, Unreadable> {
        if value.starts_with(protobuf::MAGIC) {
            return Self::from_protobuf(row, key, value, revision);
        }
        if row.custom.is_some() {
            let row = version_of(row, value);
            // The definition may have changed since: its defaults hold for what is stored, too.
            let mut object = decode(row, value)?;
            row.default(&mut *object);
            object.meta_mut().resource_version = revision.to_string();
            return Ok(Self::of(row, key, &*object, revision));
        }
        let facts = if (row.selectable_names)().is_empty() {
            // Labels and uid are all that is asked for: no need to read spec and status.
            let object: PartialObjectMetadata = json::from_slice(value)?;
            facts(row, &object.metadata, &[])
        } else {
            let object = match skim(value, |name| deciding(row, name)) {
                Some(few) => decode(row, &few)?,
                None => decode(row, value)?,
            };
            facts_of(row, &*object)
        };
        let bytes = match spliced(row, value, revision) {
            Some(bytes) => bytes,
            None => {
                let mut object = decode(row, value)?;
                object.meta_mut().resource_version = revision.to_string();
                kept(json::to_vec(&*object))
            }
        };
        Ok(Self::made(key, revision, bytes, facts))
    }

    fn from_protobuf(row: &Row, key: Arc<str>, value: &[u8], revision: i64) -> Result<Self, Unreadable> {
        let envelope = protobuf::open_envelope(value)?;
        if envelope.kind != row.kind.kind || envelope.api_version != row.kind.api_version {
            return Err(Unreadable::Kind {
                found: format!("{} {}", envelope.api_version, envelope.kind),
                expected: format!("{} {}", row.kind.api_version, row.kind.kind),
            });
        }
        let mut object = (row.new)();
        protobuf::read(object.as_dyn_struct_mut(), envelope.raw)?;
        object.meta_mut().resource_version = revision.to_string();
        Ok(Self::of(row, key, &*object, revision))
    }

    /// An entry of an object at hand, whose resourceVersion is set.
    pub fn of(row: &Row, key: Arc<str>, object: &dyn Object, revision: i64) -> Self {
        let made = Self::made(key, revision, kept(json::to_vec(object)), facts_of(row, object));
        match row.custom {
            Some(_) => Self { api_version: object.kind().api_version.into(), ..made },
            None => made,
        }
    }

    fn made(key: Arc<str>, revision: i64, text: Bytes, facts: Facts) -> Self {
        let text = Packed::plain(text);
        Self { key, revision, text, facts, api_version: Box::default(), message: Message::default() }
    }

    /// An entry of an object of which `value` is what goes into the store: not encoded a second time.
    pub fn written(row: &Row, key: Arc<str>, object: &dyn Object, value: &[u8], revision: i64) -> Self {
        match spliced(row, value, revision).filter(|_| row.custom.is_none()) {
            Some(bytes) => Self::made(key, revision, bytes, facts_of(row, object)),
            None => Self::of(row, key, object, revision),
        }
    }

    /// The same in less room, for as long as it may last; `near` are entries that may be like it, the likeliest
    /// first.
    #[must_use]
    pub fn packed(self, near: &[Arc<Self>]) -> Self {
        let text = packed(self.text.open(), near.iter().map(|entry| &entry.text));
        Self { text, ..self }
    }

    /// Whether writing `value` would leave the object as it is; `None` where that cannot be told from the text.
    pub fn is_of(&self, row: &Row, value: &[u8]) -> Option<bool> {
        spliced(row, value, self.revision).map(|bytes| bytes == *self.text.read())
    }

    /// Whether `value` is as long as that of this entry, or it cannot be told.
    pub fn may_be_of(&self, value: &[u8]) -> bool {
        let with_revision = value.len() + REVISION.len() + self.revision.to_string().len() + 1;
        with_revision == self.text.len() || self.text.len() == value.len()
    }

    /// How long its JSON is.
    pub fn size(&self) -> usize {
        self.text.len()
    }

    /// JSON with kind, apiVersion and resourceVersion.
    pub fn json(&self) -> Bytes {
        self.text.open()
    }

    /// The same, behind what is in `out`.
    pub fn append_json(&self, out: &mut Vec<u8>) {
        self.text.append_to(out);
    }

    /// The object as a protobuf message, without an envelope. It is kept for a while: lists are read again and
    /// again, and what changes is another entry. `near` are entries that may be like it.
    ///
    /// # Errors
    /// Never for bytes that `read` made of the row's kind.
    pub fn message(&self, row: &Row, near: &[Arc<Self>]) -> Result<Bytes, json::Error> {
        if let Some(message) = self.kept_message() {
            return Ok(message);
        }
        let message = kept(self.made_message(row)?);
        self.message.asked.store(true, Ordering::Relaxed);
        let near: Vec<_> = near.iter().filter_map(|entry| entry.message.bytes.lock().clone()).collect();
        let kept = packed(message.clone(), near.iter().map(|message| &**message));
        self.message.bytes.lock().get_or_insert_with(|| Arc::new(kept));
        Ok(message)
    }

    /// The same, made anew, and kept by nobody.
    ///
    /// # Errors
    /// As `message`.
    pub fn made_message(&self, row: &Row) -> Result<Vec<u8>, json::Error> {
        let text = self.text.read();
        let made = if row.custom.is_none() {
            let table = (row.schema)();
            let template = self.text.sample().and_then(|like| like.template(|own| Template::of(table, own)));
            let by_template = template.and_then(|(template, own)| template.message(own, &text));
            by_template.or_else(|| transcoder::message(table, &text))
        } else {
            None
        };
        match made {
            Some(message) => Ok(message),
            None => Ok(protobuf::to_vec(decode(row, &text)?.as_dyn_struct())),
        }
    }

    /// The metadata as a protobuf message, in one of [`PartialObjectMetadata`].
    ///
    /// # Errors
    /// As `typed_metadata`.
    pub fn metadata_message(&self) -> Result<Vec<u8>, json::Error> {
        let text = self.text.read();
        match transcoder::message(PartialObjectMetadata::schema(), &text) {
            Some(message) => Ok(message),
            None => Ok(protobuf::to_vec(&json::from_slice::<PartialObjectMetadata>(&text)?)),
        }
    }

    /// The same where it is there already.
    pub fn kept_message(&self) -> Option<Bytes> {
        let message = self.message.bytes.lock().clone()?;
        self.message.asked.store(true, Ordering::Relaxed);
        Some(message.open())
    }

    /// Lets go of the message unless somebody has asked for it since the last call.
    pub fn forget_message(&self) {
        if !self.message.asked.swap(false, Ordering::Relaxed) {
            *self.message.bytes.lock() = None;
        }
    }

    pub fn namespace(&self) -> &str {
        self.key.rsplit_once('/').map_or("", |(namespace, _)| namespace)
    }

    pub fn name(&self) -> &str {
        self.key.rsplit_once('/').map_or(&*self.key, |(_, name)| name)
    }

    pub fn label(&self, key: &str) -> Option<&str> {
        self.facts.label(key)
    }

    /// The text of a selectable field; empty if the object does not have it.
    pub fn field(&self, name: &str) -> &str {
        match name {
            "metadata.name" => self.name(),
            "metadata.namespace" => self.namespace(),
            _ => self.facts.field(name).unwrap_or_default(),
        }
    }

    /// The row of the version that the bytes are in. `stored` is that of the version in which objects are
    /// stored now; custom objects that a webhook converts rest in the one that they were written in.
    pub fn row(&self, stored: &'static Row) -> &'static Row {
        if stored.custom.is_none() || *self.api_version == *stored.kind.api_version {
            return stored;
        }
        let slot = stored.custom.filter(|slot| slot.definition().conversion.is_some());
        slot.and_then(|slot| slot.version(&self.api_version)).unwrap_or(stored)
    }

    /// The object itself.
    ///
    /// # Errors
    /// Never for bytes that `read` made.
    pub fn decode(&self, row: &Row) -> Result<Box<dyn Object>, json::Error> {
        decode(row, &self.text.read())
    }

    /// The metadata alone, without reading the rest.
    ///
    /// # Errors
    /// Never for bytes that `read` made.
    pub fn typed_metadata(&self) -> Result<ObjectMeta, json::Error> {
        json::from_slice::<PartialObjectMetadata>(&self.text.read()).map(|object| object.metadata)
    }

    /// The typed object with those members alone that `keep` says, where that can be told from the text; whole
    /// otherwise.
    ///
    /// # Errors
    /// Never for bytes that `read` made of the same kind.
    pub fn typed_in_part<T: api_types::Resource>(
        &self,
        keep: impl Fn(&str) -> Option<Keep>,
    ) -> Result<T, json::Error> {
        let text = self.text.read();
        match skim(&text, keep) {
            Some(part) => json::from_slice(&part),
            None => json::from_slice(&text),
        }
    }

    /// The typed object.
    ///
    /// # Errors
    /// Never for bytes that `read` made of the same kind.
    pub fn typed<T: api_types::Resource>(&self) -> Result<T, json::Error> {
        json::from_slice(&self.text.read())
    }
}

/// The row of the version that a custom object is in; `row` where only the version would change.
fn version_of(row: &'static Row, text: &[u8]) -> &'static Row {
    #[derive(serde::Deserialize)]
    struct Head {
        #[serde(rename = "apiVersion")]
        api_version: String,
    }
    let Some(slot) = row.custom.filter(|slot| slot.definition().conversion.is_some()) else { return row };
    let head = serde_json::from_slice::<Head>(text).ok();
    head.and_then(|head| slot.version(&head.api_version)).unwrap_or(row)
}

/// Reads JSON into a new object of the row's kind, leniently.
///
/// # Errors
/// Go's texts, see [`json::Error`].
pub fn decode(row: &Row, text: &[u8]) -> Result<Box<dyn Object>, json::Error> {
    let mut object = (row.new)();
    json::read(object.as_dyn_struct_mut(), text, &mut None)?;
    Ok(object)
}

/// What goes into the store: the object without its resourceVersion.
pub fn encode(object: &mut dyn Object) -> Bytes {
    let version = std::mem::take(&mut object.meta_mut().resource_version);
    let bytes = json::to_vec(object).into();
    object.meta_mut().resource_version = version;
    bytes
}

/// How every stored value and every object of the kind begins: `{"kind":"Pod","apiVersion":"v1",`.
pub fn prefix(row: &Row) -> String {
    format!("{{\"kind\":\"{}\",\"apiVersion\":\"{}\",", row.kind.kind, row.kind.api_version)
}

/// What stands before the revision's digits and a quote.
const REVISION: &[u8] = b",\"resourceVersion\":\"";

fn spliced(row: &Row, value: &[u8], revision: i64) -> Option<Bytes> {
    let start = prefix(row);
    let body = value.strip_prefix(start.as_bytes())?.strip_prefix(b"\"metadata\":{")?;
    const UID: &[u8] = b"\"uid\":\"";
    // What stands before the uid are names, in which a quote cannot stand unescaped.
    let uid = memmem::find(body, UID)? + UID.len();
    let end = uid + memchr::memchr(b'"', &body[uid..])? + 1;
    if body[end..].starts_with(b",\"resourceVersion\"") || body[..uid].contains(&b'{') {
        return None;
    }
    let end = value.len() - body.len() + end;
    let mut number = itoa_buffer(revision);
    let mut out = Vec::with_capacity(value.len() + REVISION.len() + number.len() + 1);
    out.extend_from_slice(&value[..end]);
    out.extend_from_slice(REVISION);
    out.append(&mut number);
    out.push(b'"');
    out.extend_from_slice(&value[end..]);
    Some(kept(out))
}

/// Bytes that last: without the room that they have grown into, which is up to as much again.
fn kept(bytes: Vec<u8>) -> Bytes {
    bytes.into_boxed_slice().into()
}

/// What labels and selectable fields are read out of: those fields are plain, but for some lists that are named
/// among them, and stand no deeper than in a member of the object.
fn deciding(row: &Row, name: &str) -> Option<Keep> {
    let names = (row.selectable_names)();
    match name {
        "kind" | "apiVersion" => Some(Keep::Leaf),
        "metadata" => Some(Keep::Members(&[("name", Keep::Leaf), ("labels", Keep::All)])),
        _ => {
            let first = |path: &str| path.split('.').next() == Some(name);
            names.iter().any(|path| first(path)).then_some(Keep::Plain(names))
        }
    }
}

fn itoa_buffer(n: i64) -> Vec<u8> {
    n.to_string().into_bytes()
}

/// Bytes that last, in less room; `near` are those of objects that may be like theirs, the likeliest first.
fn packed<'a>(bytes: Bytes, near: impl Iterator<Item = &'a Packed> + Clone) -> Packed {
    let samples = near.clone().filter_map(Packed::sample).take(SAMPLES);
    // One that stands alone becomes a sample once several do: for a few, a sample costs more than it saves.
    let mut alone = near.filter(|one| one.sample().is_none());
    let nearest = if alone.clone().count() >= FAMILY { alone.next() } else { None };
    Packed::pack(bytes, samples, nearest.map(|one| || one.open()))
}

fn facts_of(row: &Row, object: &dyn Object) -> Facts {
    facts(row, object.meta(), &(row.selectable_fields)(object))
}

fn facts(row: &Row, meta: &ObjectMeta, fields: &[(&'static str, String)]) -> Facts {
    let labels = meta.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    Facts::new(labels, (row.selectable_names)(), fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::core::v1::{ConfigMap, Pod};
    use api_types::kinds;

    fn pod_row() -> &'static Row {
        kinds::by_resource("", "v1", "pods").expect("pods")
    }

    fn stored() -> Pod {
        let mut pod = Pod::default();
        pod.metadata.name = "web".into();
        pod.metadata.namespace = "default".into();
        pod.metadata.uid = "0f".into();
        pod.metadata.labels.insert("uid".into(), "x".into());
        pod.spec.node_name = "n1".into();
        pod
    }

    #[test]
    fn the_revision_is_spliced_where_go_would_write_it() {
        let mut pod = stored();
        let value = encode(&mut pod);
        let entry = Entry::read(pod_row(), "default/web".into(), &value, 42).expect("readable");
        pod.metadata.resource_version = "42".into();
        assert_eq!(entry.json(), json::to_vec(&pod));
        assert_eq!((entry.namespace(), entry.name(), entry.label("uid")), ("default", "web", Some("x")));
    }

    #[test]
    fn protobuf_values_become_the_same_bytes() {
        let mut pod = stored();
        let value = protobuf::to_envelope(&pod);
        let entry = Entry::read(pod_row(), "default/web".into(), &value, 7).expect("readable");
        pod.metadata.resource_version = "7".into();
        assert_eq!(entry.json(), json::to_vec(&pod));
    }

    /// Each kind with selectable fields; what is read in part is what is read whole.
    #[test]
    fn fields_are_found_without_reading_the_rest() {
        let mut seen = std::collections::BTreeSet::new();
        for (group, resource, rest) in [
            (
                "",
                "pods",
                r#""spec":{"containers":[{"name":"c","env":[{"name":"nodeName","value":"x"}]}],"nodeName":"n1",
                "restartPolicy":"Never","schedulerName":"mine","serviceAccountName":"sa","hostNetwork":true,
                "securityContext":{"hostNetwork":false}},"status":{"phase":"Running","podIP":"10.0.0.1",
                "podIPs":[{"ip":"10.0.0.1"},{"ip":"fd00::1"}],"nominatedNodeName":"n2","conditions":[{"type":"Ready"}]}"#,
            ),
            (
                "",
                "nodes",
                r#""spec":{"unschedulable":true,"taints":[{"key":"k"}]},"status":{"phase":"Running"}"#,
            ),
            ("", "namespaces", r#""spec":{"finalizers":["kubernetes"]},"status":{"phase":"Terminating"}"#),
            ("", "secrets", r#""data":{"type":"eA=="},"type":"kubernetes.io/tls""#),
            ("", "services", r#""spec":{"clusterIP":"10.96.0.9","type":"NodePort","ports":[{"port":80}]}"#),
            ("", "replicationcontrollers", r#""spec":{"replicas":3},"status":{"replicas":2}"#),
            ("", "persistentvolumes", r#""spec":{"capacity":{"storage":"1Gi"}}"#),
            ("", "persistentvolumeclaims", r#""spec":{"volumeName":"v"}"#),
            (
                "",
                "events",
                r#""involvedObject":{"kind":"Pod","namespace":"d","name":"a","uid":"u","apiVersion":"v1",
                "resourceVersion":"5","fieldPath":"spec.x"},"reason":"R","message":"m","source":{"component":"kubelet"},
                "type":"Normal","reportingComponent":"r","firstTimestamp":null"#,
            ),
            ("batch", "jobs", r#""spec":{"parallelism":3},"status":{"succeeded":2,"conditions":[]}"#),
            (
                "certificates.k8s.io",
                "certificatesigningrequests",
                r#""spec":{"request":"eA==","signerName":"example.com/s","usages":["any"]}"#,
            ),
            (
                "resource.k8s.io",
                "resourceslices",
                r#""spec":{"nodeName":"n1","driver":"d","pool":{"name":"p"}}"#,
            ),
        ] {
            let row =
                kinds::all().iter().find(|row| row.kind.group == group && row.kind.resource == resource);
            let row = row.unwrap_or_else(|| panic!("{resource}"));
            let metadata = r#""metadata":{"name":"a","uid":"1","labels":{"l":"v\"}"},"managedFields":[{"manager":"m"}]}"#;
            let value = format!("{}{metadata},{rest}}}", prefix(row));
            let few = skim(value.as_bytes(), |name| deciding(row, name)).expect("an object");
            assert!(few.len() < value.len());
            let (whole, part) =
                (decode(row, value.as_bytes()).expect("whole"), decode(row, &few).expect("in part"));
            let fields = |object: &dyn Object| (row.selectable_fields)(object);
            assert_eq!(fields(&*part), fields(&*whole), "{resource}");
            assert_eq!(part.meta().labels, whole.meta().labels, "{resource}");
            assert!(fields(&*whole).iter().any(|(_, value)| !value.is_empty()), "{resource}");
            let names = (row.selectable_names)();
            assert!(
                fields(&*whole).iter().all(|(name, _)| name.starts_with("metadata.") || names.contains(name))
            );
            seen.insert((group, resource));
        }
        let all = kinds::all().iter().filter(|row| !(row.selectable_names)().is_empty());
        let stored = all.filter(|row| row.kind.is_stored() && row.custom.is_none());
        for row in stored.map(super::super::paths::storage_row) {
            assert!(seen.contains(&(row.kind.group, row.kind.resource)), "{:?}", row.kind);
        }
    }

    #[test]
    fn a_message_is_kept_while_it_is_asked_for() {
        let entry =
            Entry::read(pod_row(), "default/web".into(), &encode(&mut stored()), 7).expect("readable");
        assert_eq!(entry.kept_message(), None);
        let message = entry.message(pod_row(), &[]).expect("a message");
        entry.forget_message();
        assert_eq!(entry.kept_message().as_ref(), Some(&message));
        entry.forget_message();
        entry.forget_message();
        assert_eq!(entry.kept_message(), None);
        assert_eq!(entry.message(pod_row(), &[]).expect("a message"), message);
    }

    #[test]
    fn values_in_another_order_are_written_anew() {
        let row = kinds::by_resource("", "v1", "configmaps").expect("configmaps");
        let value =
            br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","uid":"1"},"data":{"k":"v"}}"#;
        let entry = Entry::read(row, "default/a".into(), value, 3).expect("readable");
        let read: ConfigMap = entry.typed().expect("typed");
        assert_eq!((read.metadata.resource_version.as_str(), read.data["k"].as_str()), ("3", "v"));
        assert!(entry.json().starts_with(prefix(row).as_bytes()));
    }
}
