//! Asking an extender over HTTP. The scheduler keeps only parts of pods and nodes; extenders are sent
//! whole ones, which are read from the apiserver (pods) or followed for their sake (nodes).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use api_types::codec::json;
use api_types::core::v1::{Node, Pod};
use api_types::kind::Object;
use client::informer::{Store, Whole};
use client::{Call, Client};
use daemon::logging::error_chain;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::wire::{self, Nodes};
use super::{Extender, Filtered, Scores, Victims};
use crate::cache::NodeInfo;
use crate::framework::{Rejection, Wait};
use crate::pod::PodView;
use crate::preemption::Candidate;

/// How long an answer may take, unless the configuration says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// An extender as configured. Verbs are appended to the URL; an empty one is not supported by it.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub url: String,
    pub filter_verb: String,
    pub prioritize_verb: String,
    pub preempt_verb: String,
    pub bind_verb: String,
    pub weight: i64,
    /// It knows the nodes itself: names are enough.
    pub node_cache_capable: bool,
    /// Resources that it manages; none means all pods are its business.
    pub managed: BTreeSet<String>,
    pub ignorable: bool,
}

/// Whole objects, for extenders that want them.
pub trait Objects: Send + Sync + 'static {
    /// # Errors
    /// When the pod is not there any more, or the server does not answer.
    fn pod(&self, pod: &PodView) -> Result<Value, String>;
    /// `None` when it is gone, or not followed.
    fn node(&self, name: &str) -> Option<Value>;
}

/// Asks one extender.
pub struct HttpExtender {
    settings: Settings,
    client: Client,
    objects: Arc<dyn Objects>,
}

impl HttpExtender {
    /// `client` goes to the extender's URL.
    pub fn new(settings: Settings, client: Client, objects: Arc<dyn Objects>) -> Self {
        Self { settings, client, objects }
    }

    fn call(&self, verb: &str, body: &Value) -> (Client, Call, String) {
        let call = Call::post(format!("/{verb}"), body.to_string());
        (self.client.clone(), call, format!("{}/{verb}", self.settings.url.trim_end_matches('/')))
    }

    /// Waits for the answer. Other tasks of this thread move to another meanwhile.
    fn ask(&self, verb: &str, body: &Value) -> Result<Value, String> {
        let (client, call, url) = self.call(verb, body);
        wait(async move { send(&client, &call, &url).await })
    }

    fn nodes(&self, nodes: &[Arc<NodeInfo>]) -> Nodes {
        let names = nodes.iter().map(|node| node.name().to_string());
        if self.settings.node_cache_capable {
            return Nodes::Names(names.collect());
        }
        Nodes::Whole(names.filter_map(|name| self.objects.node(&name)).collect())
    }

    fn filtered(&self, pod: &PodView, nodes: &[Arc<NodeInfo>]) -> Result<Filtered, String> {
        let body = wire::args(self.objects.pod(pod)?, self.nodes(nodes));
        wire::filtered(&self.ask(&self.settings.filter_verb, &body)?, self.settings.node_cache_capable)
    }

    fn scores(&self, pod: &PodView, nodes: &[Arc<NodeInfo>]) -> Result<Scores, String> {
        let body = wire::args(self.objects.pod(pod)?, self.nodes(nodes));
        let by_node = wire::scores(&self.ask(&self.settings.prioritize_verb, &body)?)?;
        Ok(Scores { by_node, weight: self.settings.weight })
    }

    fn victims(&self, pod: &PodView, candidates: &[Candidate]) -> Result<Vec<Victims>, String> {
        let by_name = self.settings.node_cache_capable;
        let victim = |pod: &Arc<PodView>| match by_name {
            true => Ok(json!({ "UID": &*pod.uid })),
            false => self.objects.pod(pod),
        };
        let mut nodes = serde_json::Map::new();
        for candidate in candidates {
            let pods = candidate.victims.iter().map(victim).collect::<Result<Vec<_>, _>>()?;
            let victims = json!({ "Pods": pods, "NumPDBViolations": candidate.violations });
            nodes.insert(candidate.node.to_string(), victims);
        }
        let (whole, meta) = if by_name { (Value::Null, json!(nodes)) } else { (json!(nodes), Value::Null) };
        let pod = self.objects.pod(pod)?;
        let body = json!({ "Pod": pod, "NodeNameToVictims": whole, "NodeNameToMetaVictims": meta });
        wire::victims(&self.ask(&self.settings.preempt_verb, &body)?)
    }
}

/// Waits on a thread of the runtime, whose other work is taken over by others.
fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| Handle::current().block_on(future))
}

async fn send(client: &Client, call: &Call, url: &str) -> Result<Value, String> {
    let answer = client.send(call).await.map_err(|error| match error.status() {
        Some(status) => {
            let verb = call.path.trim_start_matches('/');
            format!("failed {verb} with extender at URL {url}, code {}", status.code)
        }
        None => format!("Post {url:?}: {}", error_chain(&error)),
    })?;
    serde_json::from_slice(&answer).map_err(|error| format!("{url}: {error}"))
}

impl Extender for HttpExtender {
    fn name(&self) -> &str {
        &self.settings.url
    }

    fn is_ignorable(&self) -> bool {
        self.settings.ignorable
    }

    fn is_interested(&self, pod: &PodView) -> bool {
        let managed = &self.settings.managed;
        managed.is_empty() || pod.requests.needed.scalar.keys().any(|name| managed.contains(name))
    }

    fn filter(&self, pod: &PodView, nodes: &[Arc<NodeInfo>]) -> Option<Result<Filtered, String>> {
        (!self.settings.filter_verb.is_empty()).then(|| self.filtered(pod, nodes))
    }

    fn prioritize(&self, pod: &PodView, nodes: &[Arc<NodeInfo>]) -> Option<Result<Scores, String>> {
        (!self.settings.prioritize_verb.is_empty()).then(|| self.scores(pod, nodes))
    }

    fn preempt(&self, pod: &PodView, candidates: &[Candidate]) -> Option<Result<Vec<Victims>, String>> {
        (!self.settings.preempt_verb.is_empty()).then(|| self.victims(pod, candidates))
    }

    fn bind(&self, pod: &PodView, node: &str) -> Option<Wait> {
        if self.settings.bind_verb.is_empty() {
            return None;
        }
        let body = json!({
            "PodName": pod.name,
            "PodNamespace": &*pod.namespace,
            "PodUID": &*pod.uid,
            "Node": node,
        });
        let (client, call, url) = self.call(&self.settings.bind_verb, &body);
        Some(Box::pin(async move {
            let answer = send(&client, &call, &url).await;
            answer.and_then(|answer| wire::refusal(&answer)).map_err(Rejection::error)
        }))
    }
}

/// Pods read from the apiserver when they are needed, nodes out of a store that follows them.
pub struct ServerObjects {
    client: Client,
    nodes: Option<Arc<Store<Whole<Node>>>>,
    /// The pod that was read last, with its uid and revision: an attempt asks several times.
    last: Mutex<Option<(Arc<str>, String, Value)>>,
}

impl ServerObjects {
    /// `nodes`: where an extender wants whole ones.
    pub fn new(client: Client, nodes: Option<Arc<Store<Whole<Node>>>>) -> Self {
        Self { client, nodes, last: Mutex::default() }
    }
}

fn value(object: &impl Object) -> Value {
    serde_json::from_slice(&json::to_vec(object)).expect("what the codec writes is JSON")
}

impl Objects for ServerObjects {
    fn pod(&self, pod: &PodView) -> Result<Value, String> {
        if let Some((uid, revision, read)) = &*self.last.lock()
            && (uid, revision) == (&pod.uid, &pod.resource_version)
        {
            return Ok(read.clone());
        }
        let api = self.client.api::<Pod>().namespace(&*pod.namespace);
        let read = wait(async { api.get(&pod.name).await }).map_err(|error| error_chain(&error))?;
        if *read.metadata.uid != *pod.uid {
            return Err(format!("pods {:?} not found", pod.name));
        }
        let read = value(&read);
        *self.last.lock() = Some((pod.uid.clone(), pod.resource_version.clone(), read.clone()));
        Ok(read)
    }

    fn node(&self, name: &str) -> Option<Value> {
        self.nodes.as_ref()?.find("", name).map(|node| value(&node.0))
    }
}
