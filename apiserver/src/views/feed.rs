//! Keeps the views current: one follower for each kind reads the watch cache's log and projects.

use super::{CatchUp, Lister, PodView, Pods, Views};
use crate::storage::cache::Collection;
use crate::storage::log::Batch;
use crate::storage::{Entry, Kv, Storage};
use api_types::Resource;
use api_types::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use api_types::codec::json;
use api_types::core::v1::{LimitRange, Namespace, Node, PersistentVolume, Pod, Secret, ServiceAccount};
use api_types::networking::v1::IngressClass;
use api_types::node::v1::RuntimeClass;
use api_types::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use api_types::resource::v1::ResourceSlice;
use api_types::scheduling::v1::PriorityClass;
use api_types::storage::v1::{StorageClass, VolumeAttachment};
use daemon::shutdown::Shutdown;
use futures::future::join_all;
use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Events taken at a time.
const BATCH: usize = 512;
/// How long `catch_up` waits at most.
const PATIENCE: Duration = Duration::from_secs(3);
/// The same on a store that cannot be asked for its progress: idle kinds then never catch up.
const SHORT_PATIENCE: Duration = Duration::from_millis(300);

/// Where projected objects of one kind go.
trait Sink: Send + Sync + 'static {
    fn put(&self, entry: &Entry);
    fn remove(&self, namespace: &str, name: &str);
    fn keys(&self) -> Vec<(String, String)>;
}

/// Projects `T` into a lister that `of` picks out of the views.
struct IntoLister<T, V> {
    views: Arc<Views>,
    of: fn(&Views) -> &Lister<V>,
    kind: PhantomData<fn(T)>,
}

impl<T: Resource, V: From<T> + Send + Sync + 'static> Sink for IntoLister<T, V> {
    fn put(&self, entry: &Entry) {
        if let Some(object) = typed::<T>(entry) {
            (self.of)(&self.views).put(entry.namespace(), entry.name(), V::from(object));
        }
    }
    fn remove(&self, namespace: &str, name: &str) {
        (self.of)(&self.views).remove(namespace, name);
    }
    fn keys(&self) -> Vec<(String, String)> {
        (self.of)(&self.views).keys()
    }
}

struct IntoPods(Arc<Views>);

impl IntoPods {
    fn pods(&self) -> &Pods {
        &self.0.pods
    }
}

impl Sink for IntoPods {
    fn put(&self, entry: &Entry) {
        // The status of a pod and the managers of its fields are most of it.
        if let Some(pod) = told(entry, entry.typed_in_part::<Pod>(PodView::reads)) {
            self.pods().put(entry.namespace(), entry.name(), PodView::from(pod));
        }
    }
    fn remove(&self, namespace: &str, name: &str) {
        self.pods().remove(namespace, name);
    }
    fn keys(&self) -> Vec<(String, String)> {
        self.pods().keys()
    }
}

fn typed<T: Resource>(entry: &Entry) -> Option<T> {
    told(entry, entry.typed())
}

/// What was read; what cannot be is told.
fn told<T: Resource>(entry: &Entry, read: Result<T, json::Error>) -> Option<T> {
    match read {
        Ok(object) => Some(object),
        Err(error) => {
            let kind = T::facts().kind;
            tracing::error!(kind, key = &*entry.key, %error, "Cached object cannot be read");
            None
        }
    }
}

/// The followers of all views.
pub struct Feed {
    kv: Arc<Kv>,
    followed: Vec<(Arc<Collection>, watch::Receiver<i64>)>,
}

impl Feed {
    /// Starts filling and following `views`.
    pub fn spawn(storage: &Storage, views: &Arc<Views>, shutdown: &Shutdown) -> Arc<Self> {
        let mut feed = Self { kv: storage.kv.clone(), followed: Vec::new() };
        let mut follow = |collection: &Arc<Collection>, sink: Box<dyn Sink>| {
            let (applied, receiver) = watch::channel(-1);
            feed.followed.push((collection.clone(), receiver));
            tokio::spawn(run(collection.clone(), sink, applied, shutdown.clone()));
        };
        follow(storage.of::<ClusterRole>(), into::<ClusterRole, _>(views, |v| &v.policy.cluster_roles));
        follow(
            storage.of::<ClusterRoleBinding>(),
            into::<ClusterRoleBinding, _>(views, |v| &v.policy.cluster_role_bindings),
        );
        follow(storage.of::<Role>(), into::<Role, _>(views, |v| &v.policy.roles));
        follow(storage.of::<RoleBinding>(), into::<RoleBinding, _>(views, |v| &v.policy.role_bindings));
        follow(storage.of::<Namespace>(), into::<Namespace, _>(views, |v| &v.namespaces));
        follow(storage.of::<ServiceAccount>(), into::<ServiceAccount, _>(views, |v| &v.service_accounts));
        follow(storage.of::<Node>(), into::<Node, _>(views, |v| &v.nodes));
        follow(storage.of::<Secret>(), into::<Secret, _>(views, |v| &v.secrets));
        follow(
            storage.of::<PersistentVolume>(),
            into::<PersistentVolume, _>(views, |v| &v.persistent_volumes),
        );
        follow(
            storage.of::<VolumeAttachment>(),
            into::<VolumeAttachment, _>(views, |v| &v.volume_attachments),
        );
        follow(storage.of::<ResourceSlice>(), into::<ResourceSlice, _>(views, |v| &v.resource_slices));
        follow(storage.of::<PriorityClass>(), into::<PriorityClass, _>(views, |v| &v.priority_classes));
        follow(storage.of::<IngressClass>(), into::<IngressClass, _>(views, |v| &v.ingress_classes));
        follow(storage.of::<StorageClass>(), into::<StorageClass, _>(views, |v| &v.storage_classes));
        follow(storage.of::<RuntimeClass>(), into::<RuntimeClass, _>(views, |v| &v.runtime_classes));
        follow(storage.of::<LimitRange>(), into::<LimitRange, _>(views, |v| &v.limit_ranges));
        follow(
            storage.of::<MutatingWebhookConfiguration>(),
            into::<MutatingWebhookConfiguration, _>(views, |v| &v.mutating_webhooks),
        );
        follow(
            storage.of::<ValidatingWebhookConfiguration>(),
            into::<ValidatingWebhookConfiguration, _>(views, |v| &v.validating_webhooks),
        );
        follow(storage.of::<Pod>(), Box::new(IntoPods(views.clone())));
        Arc::new(feed)
    }
}

fn into<T: Resource, V: From<T> + Send + Sync + 'static>(
    views: &Arc<Views>,
    of: fn(&Views) -> &Lister<V>,
) -> Box<dyn Sink> {
    Box::new(IntoLister::<T, V> { views: views.clone(), of, kind: PhantomData })
}

#[async_trait::async_trait]
impl CatchUp for Feed {
    async fn catch_up(&self) {
        let Ok(revision) = self.kv.revision().await else { return };
        let patience = if self.kv.progress_is_reliable() { PATIENCE } else { SHORT_PATIENCE };
        let all = join_all(self.followed.iter().map(|(collection, applied)| {
            let mut applied = applied.clone();
            async move {
                if collection.wait_for(revision).await.is_ok() {
                    let _ = applied.wait_for(|at| *at >= revision).await;
                }
            }
        }));
        // Whatever has not come by then is decided without.
        let _ = tokio::time::timeout(patience, all).await;
    }

    fn is_filled(&self) -> bool {
        self.followed.iter().all(|(_, applied)| *applied.borrow() >= 0)
    }

    async fn filled(&self) {
        for (_, applied) in &self.followed {
            // The sender lives as long as its follower; a stopped one has nothing to wait for.
            let _ = applied.clone().wait_for(|revision| *revision >= 0).await;
        }
    }
}

/// Follows one collection until shutdown.
async fn run(
    collection: Arc<Collection>,
    sink: Box<dyn Sink>,
    applied: watch::Sender<i64>,
    shutdown: Shutdown,
) {
    shutdown
        .unless(async {
            collection.synced().await;
            loop {
                follow(&collection, &*sink, &applied).await;
            }
        })
        .await;
}

/// Takes in a snapshot and what follows it, until the log breaks off.
async fn follow(collection: &Collection, sink: &dyn Sink, applied: &watch::Sender<i64>) {
    let mut reached = collection.reached();
    let start = collection.start_now(None);
    // Nothing that is still there may be missing in between, so no clearing first.
    let here: BTreeSet<&str> = start.snapshot.iter().map(|entry| &*entry.key).collect();
    for (namespace, name) in sink.keys() {
        let key = if namespace.is_empty() { name.clone() } else { format!("{namespace}/{name}") };
        if !here.contains(key.as_str()) {
            sink.remove(&namespace, &name);
        }
    }
    drop(here);
    for entry in start.snapshot.iter() {
        sink.put(entry);
    }
    applied.send_replace(start.revision);
    let mut cursor = start.cursor;
    loop {
        // Read before the events: all up to it are in the log by then.
        let upto = *reached.borrow_and_update();
        loop {
            match cursor.take(BATCH) {
                Batch::Events(events) => {
                    for event in events {
                        match (&event.new, &event.old) {
                            (Some(new), _) => sink.put(new),
                            (None, Some(old)) => sink.remove(old.namespace(), old.name()),
                            (None, None) => {}
                        }
                    }
                }
                Batch::Empty | Batch::Ended => break,
                Batch::FellOff => return,
            }
        }
        applied.send_if_modified(|at| upto > std::mem::replace(at, upto.max(*at)));
        tokio::select! {
            () = cursor.appended() => {}
            changed = reached.changed() => if changed.is_err() { return },
        }
    }
}
