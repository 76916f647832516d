//! What the informers show becomes changes of cache and queue, and events for waiting pods.

use std::sync::Arc;

use api_types::apps::v1::ReplicaSet;
use api_types::core::v1::{Namespace, Node, Pod, Service};
use api_types::kind::Resource;
use api_types::meta::v1::ListOptions;
use api_types::selector::Labels;
use client::informer::{Caches, Change, Projection};

use crate::cache::BudgetView;
use crate::devices::{self, Devices};
use crate::framework::ClusterEvent;
use crate::node::NodeView;
use crate::pod::PodView;
use crate::scheduler::{Scheduler, Shared};
use crate::storage::{
    AttachmentView, CapacityView, Changed, ClaimView, ClassView, CsiDriverView, CsiNodeView, Part, VolumeView,
};

impl Projection for PodView {
    type Source = Pod;

    fn project(pod: Pod) -> Option<Self> {
        Some(Self::of(&pod))
    }

    /// Finished pods use nothing: they leave the cache as if deleted.
    fn selection() -> ListOptions {
        let field_selector = "status.phase!=Succeeded,status.phase!=Failed".to_owned();
        ListOptions { field_selector, ..ListOptions::default() }
    }
}

impl Projection for NodeView {
    type Source = Node;

    fn project(node: Node) -> Option<Self> {
        Some(Self::of(&node))
    }
}

/// A namespace's labels.
#[derive(Debug)]
struct NamespaceView(std::collections::BTreeMap<String, String>);

impl Projection for NamespaceView {
    type Source = Namespace;

    fn project(namespace: Namespace) -> Option<Self> {
        Some(Self(namespace.metadata.labels))
    }
}

/// Which pods a Service selects.
#[derive(Debug)]
struct ServiceView(Labels);

impl Projection for ServiceView {
    type Source = Service;

    fn project(service: Service) -> Option<Self> {
        // Without a selector it selects nothing.
        (!service.spec.selector.is_empty()).then(|| Self(Labels::from_map(&service.spec.selector)))
    }
}

/// Which pods a ReplicaSet selects.
#[derive(Debug)]
struct ReplicaSetView(Labels);

impl Projection for ReplicaSetView {
    type Source = ReplicaSet;

    fn project(set: ReplicaSet) -> Option<Self> {
        Labels::from_spec(set.spec.selector.as_deref()).ok().map(Self)
    }
}

/// Feeds the scheduler from the caches. Resolves when all of them have their first list.
pub async fn follow(caches: &Caches, scheduler: &Arc<Scheduler>) {
    let it = scheduler.clone();
    caches.store::<NodeView>().subscribe(move |c| node_changed(&it, c.old, c.new));
    let it = scheduler.clone();
    caches.store::<NamespaceView>().subscribe(move |c| namespace_changed(&it, c));
    let it = scheduler.clone();
    caches.store::<ServiceView>().subscribe(move |c| workload_changed(&it, c, |v| &v.0));
    let it = scheduler.clone();
    caches.store::<ReplicaSetView>().subscribe(move |c| workload_changed(&it, c, |v| &v.0));
    let it = scheduler.clone();
    caches.store::<BudgetView>().subscribe(move |c: &Change<'_, BudgetView>| {
        it.change(|shared, _| shared.cache.set_budget(&c.key.to_string(), c.new.cloned()));
    });
    // Classes before claims before pods, so that the first pods find theirs more often than not.
    follow_storage::<ClassView>(caches, scheduler, ClusterEvent::Class);
    follow_storage::<CsiDriverView>(caches, scheduler, ClusterEvent::CsiDriver);
    follow_storage::<CsiNodeView>(caches, scheduler, ClusterEvent::CsiNode);
    follow_storage::<CapacityView>(caches, scheduler, ClusterEvent::Capacity);
    follow_storage::<AttachmentView>(caches, scheduler, ClusterEvent::Attachment);
    follow_storage::<VolumeView>(caches, scheduler, ClusterEvent::Volume);
    follow_storage::<ClaimView>(caches, scheduler, ClusterEvent::Claim);
    follow_devices::<devices::Class>(caches, scheduler, |changed, _| ClusterEvent::DeviceClass(changed));
    follow_devices::<devices::Slice>(caches, scheduler, |changed, _| ClusterEvent::DeviceSlice(changed));
    follow_devices::<devices::Claim>(caches, scheduler, ClusterEvent::DeviceClaim);
    let it = scheduler.clone();
    caches.store::<PodView>().subscribe(move |c| pod_changed(&it, c.old, c.new));
    caches.wait_synced().await;
}

fn follow_storage<P: Projection + Part + PartialEq>(
    caches: &Caches,
    scheduler: &Arc<Scheduler>,
    event: fn(Changed<P>) -> ClusterEvent,
) {
    let it = scheduler.clone();
    caches.store::<P>().subscribe(move |change: &Change<'_, P>| {
        let changed = Changed { old: change.old.cloned(), new: change.new.cloned() };
        storage_changed(&it, &change.key.to_string(), changed, event);
    });
}

/// A claim, volume, class or something that a CSI driver reports came, changed or went.
pub fn storage_changed<P: Part + PartialEq>(
    scheduler: &Scheduler,
    key: &str,
    changed: Changed<P>,
    event: fn(Changed<P>) -> ClusterEvent,
) {
    if changed.old == changed.new {
        return;
    }
    scheduler.change(|shared, now| {
        P::put(&mut shared.cache.storage, key, changed.new.clone());
        shared.queue.on_event(&event(changed), now);
    });
    scheduler.tell_waiting();
}

fn follow_devices<P: Projection + devices::Part>(
    caches: &Caches,
    scheduler: &Arc<Scheduler>,
    event: fn(Changed<P>, Devices) -> ClusterEvent,
) {
    let it = scheduler.clone();
    caches.store::<P>().subscribe(move |change: &Change<'_, P>| {
        let changed = Changed { old: change.old.cloned(), new: change.new.cloned() };
        devices_changed(&it, &change.key.to_string(), changed, event);
    });
}

/// A claim for devices, a slice of them or a class came, changed or went.
pub fn devices_changed<P: devices::Part>(
    scheduler: &Scheduler,
    key: &str,
    changed: Changed<P>,
    event: fn(Changed<P>, Devices) -> ClusterEvent,
) {
    scheduler.change(|shared, now| {
        P::put(&mut shared.cache.devices, key, changed.new.clone());
        let devices = shared.cache.devices.clone();
        shared.queue.devices = devices.clone();
        shared.queue.on_event(&event(changed, devices), now);
    });
    scheduler.tell_waiting();
}

fn namespace_changed(scheduler: &Scheduler, change: &Change<'_, NamespaceView>) {
    scheduler.change(|shared, now| {
        let labels = change.new.map(|n| n.0.clone());
        if shared.cache.set_namespace(&change.key.name, labels) {
            shared.queue.on_event(&ClusterEvent::NamespaceChanged, now);
        }
    });
}

fn workload_changed<P: Projection>(
    scheduler: &Scheduler,
    change: &Change<'_, P>,
    selector: fn(&P) -> &Labels,
) {
    let key = format!("{}/{}", P::Source::facts().resource, change.key.name);
    let selector = change.new.map(|v| selector(v).clone());
    scheduler.change(|shared, _| shared.cache.set_workload(&change.key.namespace, &key, selector));
}

/// A node came, changed or went.
pub fn node_changed(scheduler: &Scheduler, old: Option<&Arc<NodeView>>, new: Option<&Arc<NodeView>>) {
    // Heartbeats change nothing that we decide by.
    if old == new {
        return;
    }
    scheduler.change(|shared, now| {
        let event = match (old, new) {
            (Some(old), Some(new)) => ClusterEvent::NodeUpdated { old: old.clone(), new: new.clone() },
            (None, Some(new)) => ClusterEvent::NodeAdded(new.clone()),
            (Some(old), None) => ClusterEvent::NodeDeleted(old.clone()),
            (None, None) => return,
        };
        match new {
            Some(new) => shared.cache.set_node(new.clone()),
            None => old.into_iter().for_each(|old| shared.cache.remove_node(&old.name)),
        }
        shared.queue.on_event(&event, now);
    });
}

/// A pod came, changed or went.
pub fn pod_changed(scheduler: &Scheduler, old: Option<&Arc<PodView>>, new: Option<&Arc<PodView>>) {
    scheduler.change(|shared, now| {
        // Another pod of the same name: the old one is gone.
        if let (Some(before), Some(after)) = (old, new)
            && before.uid != after.uid
        {
            gone(shared, before, now);
        }
        match new {
            None => old.into_iter().for_each(|old| gone(shared, old, now)),
            Some(new) if new.finished => gone(shared, new, now),
            Some(new) if new.is_assigned() => assigned(shared, new, now),
            Some(new) if scheduler.serves(&new.scheduler_name) => {
                // Until the binding is seen, the assumption holds.
                if !shared.cache.is_assumed(&new.uid) {
                    shared.queue.update(new.clone(), now);
                }
            }
            Some(_) => {}
        }
    });
    if new.is_none() {
        scheduler.tell_waiting();
    }
}

fn assigned(shared: &mut Shared, pod: &Arc<PodView>, now: std::time::Duration) {
    let event = match shared.cache.pod(&pod.uid).cloned() {
        Some(old) if !shared.cache.is_assumed(&pod.uid) => {
            ClusterEvent::AssignedPodUpdated { old, new: pod.clone() }
        }
        _ => ClusterEvent::AssignedPodAdded(pod.clone()),
    };
    shared.queue.remove(&pod.uid);
    shared.cache.set_pod(pod.clone());
    shared.queue.on_event(&event, now);
}

fn gone(shared: &mut Shared, pod: &Arc<PodView>, now: std::time::Duration) {
    shared.queue.remove(&pod.uid);
    if let Some(placed) = shared.cache.remove_pod(&pod.uid) {
        shared.queue.on_event(&ClusterEvent::AssignedPodDeleted(placed), now);
    }
}
