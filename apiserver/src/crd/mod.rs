//! CustomResourceDefinitions at work: follows the definitions, gives them their status, serves their kinds,
//! and takes the objects of those that are deleted away.
//!
//! Every apiserver does all of it; writes are guarded by revisions, so that several do no harm. A kind is
//! served before its definition says that it is established, so that nobody who waits for that is too
//! early; after a change of the schema the kind's cache is read anew, because stored objects get the new
//! defaults.

pub mod conversion;
mod plan;
pub mod rules;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use api_types::apiextensions::v1::{
    CLEANUP_FINALIZER, CustomResourceDefinition, CustomResourceDefinitionCondition,
    CustomResourceDefinitionConditionType as Type, CustomResourceDefinitionSpec,
};
use api_types::custom::{self, Definition};
use api_types::kind::Row;
use api_types::meta::v1::ConditionStatus;
use api_types::value::Time;
use daemon::shutdown::Shutdown;
use parking_lot::Mutex;

use crate::bootstrap::{Objects, ObjectsError};
use crate::call::Target;
use crate::objects::{Registry, own_call};
use crate::registry::{self, Aspect, STATUS};
use crate::server::Server;
use crate::storage::log::Batch;

/// While definitions are going, their objects are looked at this often.
const AGAIN: Duration = Duration::from_millis(500);
/// How long the cache of a new kind may take to fill before the others are seen to.
const PATIENCE: Duration = Duration::from_secs(10);
const BATCH: usize = 512;

/// The status aspect, on the server's own account.
const OWN_STATUS: Aspect = Aspect { validate: |_, _, _, _| {}, ..STATUS };

/// What is served of one definition.
struct Served {
    spec: CustomResourceDefinitionSpec,
    terminating: bool,
    rows: Vec<&'static Row>,
    path: &'static str,
}

/// All definitions.
pub struct Definitions {
    server: Arc<Server>,
    background: Shutdown,
    served: Mutex<HashMap<String, Arc<Served>>>,
}

impl Definitions {
    pub fn new(server: Arc<Server>, background: Shutdown) -> Self {
        Self { server, background, served: Mutex::default() }
    }

    /// Serves what is established already.
    pub async fn serve_all(&self) {
        for crd in self.all() {
            if crd.is(&Type::Established) {
                self.serve(&crd).await;
            }
        }
    }

    /// Follows the definitions until shutdown.
    pub async fn run(self) {
        let shutdown = self.background.clone();
        shutdown
            .unless(async {
                loop {
                    self.follow().await;
                }
            })
            .await;
    }

    async fn follow(&self) {
        let mut cursor = self.server.storage.of::<CustomResourceDefinition>().start_now(None).cursor;
        loop {
            let going = self.round().await;
            tokio::select! {
                () = cursor.appended() => {}
                () = tokio::time::sleep(AGAIN), if going => {}
            }
            loop {
                match cursor.take(BATCH) {
                    Batch::Events(_) => {}
                    Batch::Empty | Batch::Ended => break,
                    Batch::FellOff => return,
                }
            }
        }
    }

    fn all(&self) -> Vec<CustomResourceDefinition> {
        let (snapshot, _) = self.server.storage.of::<CustomResourceDefinition>().snapshot();
        snapshot.iter().filter_map(|entry| entry.typed().ok()).collect()
    }

    /// Looks at everything; says whether definitions are going.
    async fn round(&self) -> bool {
        let mut all = self.all();
        let gone: Vec<String> = {
            let served = self.served.lock();
            let here = |name: &str| all.iter().any(|crd| crd.metadata.name == name);
            served.keys().filter(|name| !here(name)).cloned().collect()
        };
        for name in gone {
            self.unserve(&name);
        }
        let mut going = false;
        for place in 0..all.len() {
            let own = &all[place];
            if own.metadata.deletion_timestamp.is_some() {
                // Its objects can be seen, and their finalizers be taken off, until all are gone.
                if own.is(&Type::Established) {
                    self.serve(&own.clone()).await;
                }
                going |= self.clean(&own.clone()).await;
                continue;
            }
            let others = all.iter().enumerate().filter(|(at, _)| *at != place).map(|(_, other)| other);
            let now = Time::whole(jiff::Timestamp::now());
            let new = plan::next(own, others, now);
            let current = new.clone().unwrap_or_else(|| own.clone());
            if current.is(&Type::Established) {
                self.serve(&current).await;
            }
            if let Some(new) = new {
                tell(Registry(self.server.clone()).update_as(Box::new(new), OWN_STATUS).await);
            }
            // Names that this round gave are taken for those after it.
            all[place] = current;
        }
        going
    }

    /// Serves a definition as it is now.
    async fn serve(&self, crd: &CustomResourceDefinition) {
        let name = crd.metadata.name.clone();
        let terminating = crd.metadata.deletion_timestamp.is_some();
        let before = self.served.lock().get(&name).cloned();
        if before.as_ref().is_some_and(|served| {
            served.spec == crd.spec && served.terminating == terminating && served.is_of(crd)
        }) {
            return;
        }
        let rows: Vec<&'static Row> = Definition::all(crd).into_iter().map(custom::slot).collect();
        let is = |row: &&&'static Row, of: fn(&Definition) -> bool| {
            row.custom.is_some_and(|slot| of(&slot.definition()))
        };
        let Some(stored) = rows.iter().find(|row| is(row, |d| d.storage)).copied() else { return };
        let path = match stored.custom {
            Some(slot) => slot.path,
            None => return,
        };
        for slot in rows.iter().filter_map(|row| row.custom) {
            slot.store_as(stored, &rows);
        }
        let same_content = before.as_ref().is_some_and(|served| served.spec.versions == crd.spec.versions);
        if !same_content {
            // Everybody who reads waits for a cache that is filled.
            if let Some(collection) = self.server.storage.open(stored, &self.background) {
                let filled = tokio::time::timeout(PATIENCE, collection.synced()).await;
                if filled.is_err() {
                    tracing::warn!(name, "The cache of a custom resource is slow to fill");
                }
            }
        }
        let rows = rows.iter().filter(|row| is(row, |d| d.served)).copied().collect();
        let served = Served { spec: crd.spec.clone(), terminating, rows, path };
        tracing::info!(name, "Serving a custom resource");
        self.served.lock().insert(name, Arc::new(served));
        self.install();
    }

    fn unserve(&self, name: &str) {
        let Some(served) = self.served.lock().remove(name) else { return };
        tracing::info!(name, "A custom resource is gone");
        self.install();
        self.server.storage.close(served.path);
    }

    fn install(&self) {
        let served = self.served.lock();
        let mut names: Vec<&String> = served.keys().collect();
        names.sort();
        custom::install(names.into_iter().flat_map(|name| served[name].rows.clone()).collect());
    }

    /// Takes the objects of a definition away, then what holds it; says whether there is more to do.
    async fn clean(&self, crd: &CustomResourceDefinition) -> bool {
        if !crd.metadata.finalizers.iter().any(|finalizer| finalizer == CLEANUP_FINALIZER) {
            return false;
        }
        let registry = Registry(self.server.clone());
        if let Some(row) = self.stored_row(crd) {
            let condition = crd.condition(&Type::Terminating);
            if condition.is_none_or(|condition| condition.reason == "InstanceDeletionPending") {
                let text = "CustomResource deletion is in progress";
                let new = terminating(crd, true, "InstanceDeletionInProgress", text);
                tell(registry.update_as(Box::new(new), OWN_STATUS).await);
                return true;
            }
            match self.remove_all(row).await {
                Ok(true) => {}
                Ok(false) => return true,
                Err(message) => {
                    tracing::warn!(name = crd.metadata.name, message, "Cannot remove custom resources");
                    return true;
                }
            }
        }
        if crd.is(&Type::Terminating) {
            let new = terminating(crd, false, "InstanceDeletionCompleted", "removed all instances");
            tell(registry.update_as(Box::new(new), OWN_STATUS).await);
            return true;
        }
        let mut new = crd.clone();
        new.metadata.finalizers.retain(|finalizer| finalizer != CLEANUP_FINALIZER);
        tell(registry.update(Box::new(new)).await);
        true
    }

    fn stored_row(&self, crd: &CustomResourceDefinition) -> Option<&'static Row> {
        let served = self.served.lock();
        served.get(&crd.metadata.name)?.rows.first()?.custom?.stored()
    }

    /// Deletes all objects of a kind; `true` when none are left.
    async fn remove_all(&self, row: &'static Row) -> Result<bool, String> {
        let target = Target { row, namespace: String::new(), name: String::new() };
        registry::delete::delete_collection(&self.server, &own_call(), &target, &[])
            .await
            .map_err(|error| error.status().message)?;
        let collection = registry::collection(&self.server, row).map_err(|error| error.status().message)?;
        let prefix = &collection.prefix;
        let left = collection.kv.page(prefix, prefix.as_bytes(), 1, 0).await.map_err(|e| e.to_string())?;
        Ok(left.items.is_empty())
    }
}

impl Served {
    /// Whether the names are those that the definition got.
    fn is_of(&self, crd: &CustomResourceDefinition) -> bool {
        let names = &crd.status.accepted_names;
        self.rows.iter().all(|row| {
            row.kind.singular == names.singular && row.kind.short_names.iter().eq(names.short_names.iter())
        })
    }
}

fn terminating(
    crd: &CustomResourceDefinition,
    holds: bool,
    reason: &str,
    message: &str,
) -> CustomResourceDefinition {
    let mut new = crd.clone();
    let condition = CustomResourceDefinitionCondition {
        type_: Type::Terminating,
        status: if holds { ConditionStatus::True } else { ConditionStatus::False },
        reason: reason.to_owned(),
        message: message.to_owned(),
        ..CustomResourceDefinitionCondition::default()
    };
    new.set_condition(condition, Time::whole(jiff::Timestamp::now()));
    new
}

fn tell(written: Result<(), ObjectsError>) {
    match written {
        // Somebody was faster: the change wakes us again.
        Ok(()) | Err(ObjectsError::Changed { .. }) => {}
        Err(error) => tracing::warn!(%error, "Cannot write a custom resource definition"),
    }
}
