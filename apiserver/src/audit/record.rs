//! What is recorded of one request. It is filled on the request's way and written once a stage.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use api_types::codec::{json, protobuf, yaml};
use api_types::kinds;
use api_types::meta::v1::Status;
use bytes::Bytes;
use http::header::{HeaderMap, USER_AGENT};
use http::request::Parts;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::policy::Wanted;
use super::{Audit, Level};
use crate::negotiate::Encoding;
use crate::request::{RequestInfo, User};

/// Where a request is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    RequestReceived,
    /// Of requests that last: the answer has begun.
    ResponseStarted,
    ResponseComplete,
    Panic,
}

/// One line of the log.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event<'a> {
    kind: &'static str,
    api_version: &'static str,
    level: Level,
    #[serde(rename = "auditID")]
    pub audit_id: &'a str,
    pub stage: Stage,
    #[serde(rename = "requestURI")]
    pub request_uri: &'a str,
    pub verb: &'a str,
    pub user: &'a Person,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub impersonated_user: Option<&'a Person>,
    #[serde(rename = "sourceIPs", skip_serializing_if = "<[_]>::is_empty")]
    pub source_ips: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    pub user_agent: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_ref: Option<&'a Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_status: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_object: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_object: Option<&'a Value>,
    pub request_received_timestamp: String,
    stage_timestamp: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

/// A user.
#[derive(Debug, Clone, Serialize)]
pub struct Person {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    uid: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extra: BTreeMap<String, Vec<String>>,
}

impl From<&User> for Person {
    fn from(user: &User) -> Self {
        Self {
            username: user.name.clone(),
            uid: user.uid.clone(),
            groups: user.groups.clone(),
            extra: user.extra.clone(),
        }
    }
}

/// The object that a request is about.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reference {
    #[serde(skip_serializing_if = "String::is_empty")]
    resource: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    uid: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    api_group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    api_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    resource_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    subresource: String,
}

#[derive(Default)]
struct Filled {
    impersonated: Option<Person>,
    reference: Option<Reference>,
    status: Option<Value>,
    request: Option<Value>,
    response: Option<Value>,
    annotations: BTreeMap<String, String>,
    done: bool,
}

/// The record of one request.
pub struct Record {
    audit: Arc<Audit>,
    wanted: Wanted,
    id: String,
    uri: String,
    verb: String,
    is_resource: bool,
    user: Person,
    sources: Vec<String>,
    agent: String,
    received: Timestamp,
    filled: Mutex<Filled>,
}

impl Record {
    #[allow(clippy::too_many_arguments, reason = "the pipeline's parts, named where it is called")]
    pub(super) fn new(
        audit: Arc<Audit>,
        wanted: Wanted,
        parts: &Parts,
        info: &RequestInfo,
        user: &User,
        remote: SocketAddr,
        id: &str,
        received: Timestamp,
    ) -> Self {
        let reference = info.is_resource.then(|| Reference {
            resource: info.resource.clone(),
            namespace: info.namespace.clone(),
            name: info.name.clone(),
            api_group: info.group.clone(),
            api_version: info.version.clone(),
            subresource: info.subresource.clone(),
            ..Reference::default()
        });
        let agent = parts.headers.get(USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        Self {
            audit,
            wanted,
            id: id.to_owned(),
            uri: parts.uri.path_and_query().map_or("/", |uri| uri.as_str()).to_owned(),
            verb: info.verb.clone(),
            is_resource: info.is_resource,
            user: Person::from(user),
            sources: source_ips(&parts.headers, remote.ip()),
            agent: agent.to_owned(),
            received,
            filled: Mutex::new(Filled { reference, ..Filled::default() }),
        }
    }

    /// Whether the answer's object is wanted.
    pub fn wants_response(&self) -> bool {
        self.is_resource && self.wanted.level >= Level::RequestResponse
    }

    pub fn impersonated(&self, user: &User) {
        self.filled.lock().impersonated = Some(Person::from(user));
    }

    pub fn annotate(&self, name: impl Into<String>, value: &str) {
        self.filled.lock().annotations.entry(name.into()).or_insert_with(|| value.to_owned());
    }

    /// Whether what the client sent, and what becomes of it, is recorded.
    pub fn keeps_requests(&self) -> bool {
        self.wanted.level >= Level::Request
    }

    /// Takes in what the client sent, as it came.
    pub fn request(&self, content_type: &str, body: &Bytes) {
        if !self.is_resource || body.is_empty() {
            return;
        }
        let Some(value) = as_json(content_type, body) else { return };
        let mut filled = self.filled.lock();
        if let Some(reference) = &mut filled.reference {
            let metadata = &value["metadata"];
            for (own, name) in [
                (&mut reference.namespace, "namespace"),
                (&mut reference.name, "name"),
                (&mut reference.uid, "uid"),
                (&mut reference.resource_version, "resourceVersion"),
            ] {
                if let (true, Some(value)) = (own.is_empty(), metadata[name].as_str()) {
                    value.clone_into(own);
                }
            }
        }
        if self.wanted.level >= Level::Request {
            filled.request = Some(self.trimmed(value));
        }
    }

    /// Takes in the object that the client gets, as JSON.
    pub fn response(&self, object: &[u8]) {
        if self.wants_response()
            && let Ok(value) = serde_json::from_slice(object)
        {
            self.filled.lock().response = Some(self.trimmed(value));
        }
    }

    /// Takes in a Status that the client gets.
    pub fn status(&self, status: &Status) {
        let text = crate::answer::status_json(status);
        if let Ok(Value::Object(mut value)) = serde_json::from_slice(&text) {
            value.retain(|name, _| !matches!(name.as_str(), "kind" | "apiVersion"));
            self.filled.lock().status = Some(Value::Object(value));
        }
        if self.wants_response() {
            self.response(&text);
        }
    }

    /// Writes the event of a stage. `code` is the answer's, if there is one.
    pub fn stage(&self, stage: Stage, code: Option<u16>) {
        let mut filled = self.filled.lock();
        if matches!(stage, Stage::ResponseComplete | Stage::Panic)
            && std::mem::replace(&mut filled.done, true)
        {
            return;
        }
        if let Some(code) = code {
            let status = filled.status.get_or_insert_with(|| serde_json::json!({"metadata": {}}));
            status["code"] = code.into();
        }
        if self.wanted.omitted.contains(&stage) {
            return;
        }
        let filled = &*filled;
        self.audit.write(&Event {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level: self.wanted.level,
            audit_id: &self.id,
            stage,
            request_uri: &self.uri,
            verb: &self.verb,
            user: &self.user,
            impersonated_user: filled.impersonated.as_ref(),
            source_ips: &self.sources,
            user_agent: &self.agent,
            object_ref: filled.reference.as_ref(),
            response_status: filled.status.as_ref(),
            request_object: filled.request.as_ref(),
            response_object: filled.response.as_ref(),
            request_received_timestamp: micros(self.received),
            stage_timestamp: micros(Timestamp::now()),
            annotations: &filled.annotations,
        });
    }

    fn trimmed(&self, mut object: Value) -> Value {
        if self.wanted.without_managed_fields {
            drop_managed_fields(&mut object);
            for item in object["items"].as_array_mut().into_iter().flatten() {
                drop_managed_fields(item);
            }
        }
        object
    }
}

fn drop_managed_fields(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("managedFields");
    }
}

fn micros(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Where the request comes from, as proxies tell it; the connection's own end comes last.
fn source_ips(headers: &HeaderMap, remote: IpAddr) -> Vec<String> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let forwarded = text("x-forwarded-for").split(',').map(str::trim);
    let mut found: Vec<IpAddr> = forwarded.filter_map(|ip| ip.parse().ok()).collect();
    if let Ok(ip) = text("x-real-ip").trim().parse()
        && !found.contains(&ip)
    {
        found.push(ip);
    }
    if found.last() != Some(&remote) {
        found.push(remote);
    }
    found.iter().map(IpAddr::to_string).collect()
}

/// A body as JSON; `None` for what cannot be read (the answer tells the client).
fn as_json(content_type: &str, body: &Bytes) -> Option<Value> {
    let encoding = match content_type {
        ""
        | "application/json-patch+json"
        | "application/merge-patch+json"
        | "application/strategic-merge-patch+json" => Encoding::Json,
        "application/apply-patch+yaml" => Encoding::Yaml,
        other => Encoding::of(other)?,
    };
    match encoding {
        Encoding::Json => serde_json::from_slice(body).ok(),
        Encoding::Yaml => yaml::to_value(std::str::from_utf8(body).ok()?).ok(),
        Encoding::Protobuf => {
            let envelope = protobuf::open_envelope(body).ok()?;
            let (group, version) =
                envelope.api_version.rsplit_once('/').unwrap_or(("", envelope.api_version));
            let mut object = (kinds::by_kind(group, version, envelope.kind)?.new)();
            protobuf::read(object.as_dyn_struct_mut(), envelope.raw).ok()?;
            serde_json::from_slice(&json::to_vec(&*object)).ok()
        }
    }
}
