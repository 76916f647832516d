//! The ConfigMaps and Secrets that pods of this node refer to, each followed by its name while some pod
//! needs it: the node authorizer allows no more. A change wakes the pods that refer to it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{ConfigMap, Pod, Secret};
use api_types::kind::Resource;
use client::Client;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::follow::{Event, follow};
use crate::environment::{self, Objects};
use crate::volume::kinds::payload;

/// How long a pod waits for an object to be read for the first time.
const PATIENCE: Duration = Duration::from_secs(10);

type Wake = Arc<dyn Fn(&str) + Send + Sync>;

/// An object as last seen.
#[derive(Clone)]
enum Seen<T> {
    NotYet,
    Missing,
    Failed(String),
    There(Arc<T>),
}

struct Followed<T> {
    users: Arc<Mutex<HashSet<String>>>,
    seen: watch::Receiver<Seen<T>>,
    task: tokio::task::AbortHandle,
}

impl<T> Drop for Followed<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Objects of one kind, by namespace and name.
struct Cache<T> {
    client: Client,
    wake: Wake,
    entries: Mutex<HashMap<(String, String), Followed<T>>>,
}

impl<T: Resource + Send + Sync + 'static> Cache<T> {
    fn new(client: Client, wake: Wake) -> Self {
        Self { client, wake, entries: Mutex::default() }
    }

    /// Makes `uid` a user of exactly these objects.
    fn use_only(&self, uid: &str, namespace: &str, names: &HashSet<String>) {
        let mut entries = self.entries.lock();
        for name in names {
            let key = (namespace.to_owned(), name.clone());
            let followed = entries.entry(key).or_insert_with(|| self.follow(namespace, name));
            followed.users.lock().insert(uid.to_owned());
        }
        entries.retain(|(_, name), followed| {
            let mut users = followed.users.lock();
            if !names.contains(name) {
                users.remove(uid);
            }
            !users.is_empty()
        });
    }

    fn follow(&self, namespace: &str, name: &str) -> Followed<T> {
        let (sender, seen) = watch::channel(Seen::NotYet);
        let users: Arc<Mutex<HashSet<String>>> = Arc::default();
        let (api, wake) = (self.client.api::<T>().namespace(namespace), Arc::clone(&self.wake));
        let told = Arc::clone(&users);
        let selector = format!("metadata.name={name}");
        let task = tokio::spawn(follow(api, selector, move |event| {
            let now = match event {
                Event::All(mut items) => {
                    items.pop().map_or(Seen::Missing, |item| Seen::There(Arc::new(item)))
                }
                Event::Set(item) => Seen::There(Arc::new(item)),
                Event::Gone(_) => Seen::Missing,
                // What was seen before is still the best that is known.
                Event::Failed(_) if matches!(*sender.borrow(), Seen::There(_) | Seen::Missing) => {
                    return true;
                }
                Event::Failed(error) => Seen::Failed(error.to_string()),
            };
            sender.send_replace(now);
            let users: Vec<String> = told.lock().iter().cloned().collect();
            users.iter().for_each(|uid| wake(uid));
            true
        }));
        Followed { users, seen, task: task.abort_handle() }
    }

    /// The object; `None` when there is none.
    async fn get(&self, namespace: &str, name: &str) -> Result<Option<Arc<T>>, String> {
        let key = (namespace.to_owned(), name.to_owned());
        let seen = self.entries.lock().get(&key).map(|followed| followed.seen.clone());
        let Some(mut seen) = seen else {
            return Err(format!("object {namespace:?}/{name:?} not registered"));
        };
        let first = tokio::time::timeout(PATIENCE, seen.wait_for(|seen| !matches!(seen, Seen::NotYet))).await;
        match first {
            Ok(Ok(seen)) => match &*seen {
                Seen::There(object) => Ok(Some(Arc::clone(object))),
                Seen::Missing => Ok(None),
                Seen::Failed(error) => Err(error.clone()),
                Seen::NotYet => Err("not read yet".into()),
            },
            _ => Err(format!(
                "failed to sync {} cache: timed out waiting for the condition",
                T::facts().singular
            )),
        }
    }
}

/// The objects that pods refer to.
pub struct References {
    config_maps: Cache<ConfigMap>,
    secrets: Cache<Secret>,
}

/// What a pod refers to, by name.
#[derive(Default)]
struct Names {
    config_maps: HashSet<String>,
    secrets: HashSet<String>,
}

fn names(pod: &Pod) -> Names {
    let mut names = Names::default();
    let spec = &pod.spec;
    let ephemeral = spec.ephemeral_containers.iter().map(|container| &container.common);
    for container in spec.containers.iter().chain(&spec.init_containers).chain(ephemeral) {
        let (config_maps, secrets) = environment::references(container);
        names.config_maps.extend(config_maps.into_iter().map(String::from));
        names.secrets.extend(secrets.into_iter().map(String::from));
    }
    for volume in &spec.volumes {
        let (config_maps, secrets) = payload::references(volume);
        names.config_maps.extend(config_maps.into_iter().map(String::from));
        names.secrets.extend(secrets.into_iter().map(String::from));
    }
    names.secrets.extend(spec.image_pull_secrets.iter().map(|secret| secret.name.clone()));
    names.config_maps.remove("");
    names.secrets.remove("");
    names
}

impl References {
    /// Nothing is followed yet; `wake` is called with the uid of a pod whose objects changed.
    pub fn new(client: Client, wake: Wake) -> Self {
        Self { config_maps: Cache::new(client.clone(), Arc::clone(&wake)), secrets: Cache::new(client, wake) }
    }

    /// Follows what the pod refers to.
    pub fn register(&self, pod: &Pod) {
        let names = names(pod);
        let (uid, namespace) = (&pod.metadata.uid, &pod.metadata.namespace);
        self.config_maps.use_only(uid, namespace, &names.config_maps);
        self.secrets.use_only(uid, namespace, &names.secrets);
    }

    /// Stops following for a pod.
    pub fn forget(&self, uid: &str) {
        self.config_maps.use_only(uid, "", &HashSet::new());
        self.secrets.use_only(uid, "", &HashSet::new());
    }

    /// Everything that a pod refers to and that exists.
    pub async fn objects(&self, pod: &Pod) -> Result<Objects, String> {
        let names = names(pod);
        let namespace = &pod.metadata.namespace;
        let mut objects = Objects::default();
        for name in names.config_maps {
            if let Some(object) = self.config_maps.get(namespace, &name).await? {
                objects.config_maps.insert(name, object);
            }
        }
        for name in names.secrets {
            if let Some(object) = self.secrets.get(namespace, &name).await? {
                objects.secrets.insert(name, object);
            }
        }
        Ok(objects)
    }
}
