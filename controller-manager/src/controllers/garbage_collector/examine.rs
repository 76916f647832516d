//! A look at one object: reads it and its owners anew, decides (`plan.rs`), does.

use std::collections::HashMap;
use std::sync::Arc;

use api_types::core::v1::ObjectReference;
use api_types::core::v1::well_known::finalizer;
use api_types::meta::v1::{
    DeletionPropagation, ObjectMeta, OwnerReference, PartialObjectMetadata, Preconditions,
};
use client::controller::Failure;
use client::events::Recorder;
use client::queue::Queue;
use client::{Client, DeleteOptions, Error, Key, Patch, ResourceRef};
use futures::future::join_all;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::graph::{Dependent, Edge, Graph, Node, Task, Uid};
use super::monitor::Kinds;
use super::plan::{self, Deed, OwnerState};
use crate::table::Start;

/// Owners known to be gone: UIDs never come back, so this only saves requests.
const REMEMBERED: usize = 500;

pub(super) struct Examiner {
    client: Client,
    graph: Arc<Mutex<Graph>>,
    kinds: Kinds,
    queue: Queue<Task>,
    recorder: Recorder,
    gone: Mutex<HashMap<(String, Key), ()>>,
}

impl Examiner {
    pub fn new(start: &Start, graph: Arc<Mutex<Graph>>, kinds: Kinds, queue: Queue<Task>) -> Self {
        let (client, recorder) = (start.client.clone(), start.recorder.clone());
        Self { client, graph, kinds, queue, recorder, gone: Mutex::default() }
    }

    pub async fn perform(&self, task: &Task) -> Result<(), Failure> {
        match task {
            Task::Examine(uid) => self.examine(uid).await,
            Task::Orphan(uid) => self.orphan(uid).await,
        }
    }

    fn known(&self, uid: &str) -> Option<(Arc<Node>, Vec<Dependent>)> {
        let graph = self.graph.lock();
        Some((graph.node(uid)?.clone(), graph.dependents(uid)))
    }

    async fn examine(&self, uid: &Uid) -> Result<(), Failure> {
        let Some((node, dependents)) = self.known(uid) else { return Ok(()) };
        if node.deleting && !node.waits_for_dependents() {
            return Ok(());
        }
        let Some(live) = self.live(&node, uid).await? else { return Ok(()) };
        let deeds = if node.waits_for_dependents() {
            plan::going(&dependents)
        } else {
            let mut owners = Vec::new();
            for reference in &live.metadata.owner_references {
                owners.push((reference.clone(), self.owner(&node, uid, reference).await?));
            }
            plan::owned(&live.metadata, &owners, &dependents)
        };
        for deed in deeds {
            self.act(&node, &live.metadata, deed).await?;
        }
        Ok(())
    }

    /// The object as it is now; if it is gone, the graph learns so.
    async fn live(&self, node: &Node, uid: &Uid) -> Result<Option<PartialObjectMetadata>, Failure> {
        let api = self.client.metadata_api((*node.resource).clone()).namespace(&*node.key.namespace);
        match api.get(&node.key.name).await {
            Ok(object) if *object.metadata.uid == **uid => Ok(Some(object)),
            Err(error) if !error.is_not_found() => Err(failure("read", node, error)),
            _ => {
                let tasks = self.graph.lock().remove(uid);
                tasks.into_iter().for_each(|task| self.queue.add(task));
                Ok(None)
            }
        }
    }

    /// How an owner is: by the graph if it knows, else by the server.
    async fn owner(&self, node: &Node, uid: &Uid, reference: &OwnerReference) -> Result<OwnerState, Failure> {
        let namespace = &node.key.namespace;
        let known = self.graph.lock().node(&reference.uid).cloned();
        if let Some(owner) = known {
            if owner.is_meant_by(&Edge::of(reference), namespace) {
                let waits = owner.waits_for_dependents();
                return Ok(if waits { OwnerState::Waiting } else { OwnerState::Solid });
            }
            if !owner.is_in_reach(namespace) {
                self.tell_of_namespace(node, uid, reference);
            }
        }
        let Some(resource) = self.kinds.resource(&reference.api_version, &reference.kind) else {
            let message =
                format!("unable to find the resource of owner {} {}", reference.api_version, reference.kind);
            let error = Error::Decode { path: "/apis".into(), message };
            return Err(failure("look up an owner of", node, error));
        };
        if resource.namespaced && namespace.is_empty() {
            return Ok(OwnerState::Unreachable);
        }
        let place = Key::new(if resource.namespaced { &**namespace } else { "" }, reference.name.as_str());
        let memory = (reference.uid.clone(), place.clone());
        if self.gone.lock().contains_key(&memory) {
            return Ok(OwnerState::Gone);
        }
        let api = self.client.metadata_api((*resource).clone()).namespace(&*place.namespace);
        let state = match api.get(&reference.name).await {
            Ok(owner) if owner.metadata.uid != reference.uid => OwnerState::Gone,
            Ok(owner) if Node::new(resource, &owner.metadata).waits_for_dependents() => OwnerState::Waiting,
            Ok(_) => OwnerState::Solid,
            Err(error) if error.is_not_found() => OwnerState::Gone,
            Err(error) => return Err(failure("look up an owner of", node, error)),
        };
        if state == OwnerState::Gone {
            let mut gone = self.gone.lock();
            if gone.len() >= REMEMBERED {
                gone.clear();
            }
            gone.insert(memory, ());
        }
        Ok(state)
    }

    /// The owner is in another namespace, and no reference reaches there.
    fn tell_of_namespace(&self, node: &Node, uid: &Uid, reference: &OwnerReference) {
        let resource = &node.resource;
        let about = ObjectReference {
            kind: resource.kind.to_string(),
            api_version: resource.api_version(),
            namespace: node.key.namespace.to_string(),
            name: node.key.name.to_string(),
            uid: uid.to_string(),
            ..ObjectReference::default()
        };
        let (namespace, OwnerReference { api_version, kind, name, uid, .. }) =
            (&node.key.namespace, reference);
        let message = format!(
            "ownerRef [{api_version}/{kind}, namespace: {namespace}, name: {name}, uid: {uid}] does not exist in namespace {:?}",
            &**namespace
        );
        self.recorder.warning(&about, "OwnerRefInvalidNamespace", &message);
    }

    async fn act(&self, node: &Node, meta: &ObjectMeta, deed: Deed) -> Result<(), Failure> {
        tracing::debug!(object = %node.key, resource = node.resource.qualified(), ?deed, "Collecting");
        match deed {
            Deed::Examine(uids) => {
                uids.into_iter().for_each(|uid| self.queue.add(Task::Examine(uid)));
                Ok(())
            }
            Deed::DropFinalizer(name) => self.drop_finalizer(node, meta, name).await,
            Deed::DropOwners(uids) => {
                let kept = owners(meta, |r| !uids.contains(&r.uid));
                self.patch(node, meta, json!({ "ownerReferences": kept })).await
            }
            Deed::Unblock => {
                let mut unblocked = meta.clone();
                for reference in &mut unblocked.owner_references {
                    reference.block_owner_deletion = Some(false);
                }
                self.patch(node, meta, json!({ "ownerReferences": owners(&unblocked, |_| true) })).await
            }
            Deed::Delete(policy) => self.delete(node, meta, policy).await,
        }
    }

    async fn delete(
        &self,
        node: &Node,
        meta: &ObjectMeta,
        policy: DeletionPropagation,
    ) -> Result<(), Failure> {
        let preconditions = Preconditions { uid: Some(meta.uid.clone()), resource_version: None };
        let options = DeleteOptions {
            propagation_policy: Some(policy),
            preconditions: Some(Box::new(preconditions)),
            ..DeleteOptions::default()
        };
        let api = self.client.metadata_api((*node.resource).clone()).namespace(&*node.key.namespace);
        tracing::info!(object = %node.key, resource = node.resource.qualified(), "Deleting object without owners");
        match api.delete(&node.key.name, &options).await {
            Err(error) if !error.is_not_found() => Err(failure("delete", node, error)),
            _ => Ok(()),
        }
    }

    async fn drop_finalizer(&self, node: &Node, meta: &ObjectMeta, name: &str) -> Result<(), Failure> {
        if !meta.finalizers.iter().any(|f| f == name) {
            return Ok(());
        }
        let kept: Vec<_> = meta.finalizers.iter().filter(|f| *f != name).collect();
        self.patch(node, meta, json!({ "finalizers": kept })).await
    }

    /// Changes metadata of exactly the version that was looked at.
    async fn patch(&self, node: &Node, meta: &ObjectMeta, mut changes: Value) -> Result<(), Failure> {
        changes["resourceVersion"] = meta.resource_version.as_str().into();
        changes["uid"] = meta.uid.as_str().into();
        let api = self.client.metadata_api((*node.resource).clone()).namespace(&*node.key.namespace);
        match api.patch(&node.key.name, &Patch::Merge(json!({ "metadata": changes }))).await {
            Err(error) if !error.is_not_found() => Err(failure("patch", node, error)),
            _ => Ok(()),
        }
    }

    /// Takes the owner out of all its dependents, then lets it go.
    async fn orphan(&self, uid: &Uid) -> Result<(), Failure> {
        let Some((node, dependents)) = self.known(uid) else { return Ok(()) };
        let released = join_all(dependents.iter().map(|d| self.release(d, uid))).await;
        released.into_iter().collect::<Result<(), _>>()?;
        match self.live(&node, uid).await? {
            Some(live) => self.drop_finalizer(&node, &live.metadata, finalizer::ORPHAN).await,
            None => Ok(()),
        }
    }

    async fn release(&self, dependent: &Dependent, owner: &Uid) -> Result<(), Failure> {
        let Some(live) = self.live(&dependent.node, &dependent.uid).await? else { return Ok(()) };
        let kept = owners(&live.metadata, |r| *r.uid != **owner);
        if kept.len() == live.metadata.owner_references.len() {
            return Ok(());
        }
        self.patch(&dependent.node, &live.metadata, json!({ "ownerReferences": kept })).await
    }
}

/// Owner references as a merge patch has them.
fn owners(meta: &ObjectMeta, keep: impl Fn(&OwnerReference) -> bool) -> Vec<Value> {
    let write = |r: &OwnerReference| {
        let mut value = json!({ "apiVersion": r.api_version, "kind": r.kind, "name": r.name, "uid": r.uid });
        if let Some(controller) = r.controller {
            value["controller"] = controller.into();
        }
        if let Some(blocks) = r.block_owner_deletion {
            value["blockOwnerDeletion"] = blocks.into();
        }
        value
    };
    meta.owner_references.iter().filter(|r| keep(r)).map(write).collect()
}

fn failure(what: &str, node: &Node, source: Error) -> Failure {
    Failure::new(format!("{what} {} {}", node.resource.qualified(), node.key), source)
}

/// What owner references name a resource by.
pub(super) fn group_kind(resource: &ResourceRef) -> (String, String) {
    (resource.group.to_string(), resource.kind.to_string())
}
