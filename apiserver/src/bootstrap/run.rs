//! Writes what `plan` decided. The writes go through the registry as anyone's do, without admission.

use super::plan::{self, DefaultObject, Step};
use super::{Policy, SYSTEM_NAMESPACES};
use api_types::core::v1::ConfigMap;
use api_types::kind::{Kind, Object, Resource};
use api_types::rbac::v1::ClusterRole;

/// An object as it is stored, or that there is none.
pub type Existing = Option<Box<dyn Object>>;

/// Why a write of the bootstrap did not come about.
#[derive(Debug, thiserror::Error)]
pub enum ObjectsError {
    /// Somebody else was quicker: look again.
    #[error("{kind} {name:?} has changed meanwhile")]
    Changed { kind: &'static str, name: String },
    #[error("cannot {verb} {kind} {name:?}: {message}")]
    Failed { verb: &'static str, kind: &'static str, name: String, message: String },
}

/// Read and write access to the objects of the cluster.
#[async_trait::async_trait]
pub trait Objects: Send + Sync {
    /// The object as the store has it now.
    async fn get(&self, kind: &'static Kind, namespace: &str, name: &str) -> Result<Existing, ObjectsError>;
    /// All objects of a kind, over all namespaces, ordered by key.
    async fn list(&self, kind: &'static Kind) -> Result<Vec<Box<dyn Object>>, ObjectsError>;
    /// `Changed` when it exists.
    async fn create(&self, object: Box<dyn Object>) -> Result<(), ObjectsError>;
    /// Writes over the revision that `object` carries; `Changed` when there is another.
    async fn update(&self, object: Box<dyn Object>) -> Result<(), ObjectsError>;
    /// Gone already is fine.
    async fn delete(&self, kind: &'static Kind, namespace: &str, name: &str) -> Result<(), ObjectsError>;
}

const SYSTEM: &str = "kube-system";
const TOKEN_TRACKING: &str = "kube-apiserver-legacy-service-account-token-tracking";

/// How often an object that others change meanwhile is looked at again.
const ATTEMPTS: u32 = 5;

/// Creates the system namespaces that are not there.
///
/// # Errors
/// When the store cannot be read or written; what was done stays done.
pub async fn ensure_namespaces(objects: &dyn Objects) -> Result<(), ObjectsError> {
    for name in SYSTEM_NAMESPACES {
        create_missing(objects, super::namespace(name)).await?;
    }
    Ok(())
}

/// Keeps the day since which uses of long-lived tokens are noted on their Secrets (KEP-2799): what cleans
/// up unused tokens waits a year from then.
///
/// # Errors
/// As [`ensure_namespaces`].
pub async fn ensure_token_tracking(
    objects: &dyn Objects,
    today: jiff::civil::Date,
) -> Result<(), ObjectsError> {
    let kind = ConfigMap::facts();
    let existing = objects.get(kind, SYSTEM, TOKEN_TRACKING).await?;
    let existing = existing.as_ref().and_then(|object| object.as_any().downcast_ref::<ConfigMap>());
    let says_a_day = |map: &ConfigMap| map.data.get("since").is_some_and(|since| is_day(since));
    let mut map = match existing {
        Some(map) if says_a_day(map) => return Ok(()),
        Some(map) => map.clone(),
        None => {
            let mut map = ConfigMap::default();
            map.metadata.namespace = SYSTEM.into();
            map.metadata.name = TOKEN_TRACKING.into();
            map
        }
    };
    map.data.insert("since".into(), today.to_string());
    let written = match existing {
        Some(_) => objects.update(Box::new(map)).await,
        None => objects.create(Box::new(map)).await,
    };
    match written {
        // Another apiserver's bootstrap.
        Err(ObjectsError::Changed { .. }) => Ok(()),
        other => other,
    }
}

fn is_day(text: &str) -> bool {
    text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok()
}

/// Creates the system PriorityClasses that are not there.
///
/// # Errors
/// As [`ensure_namespaces`].
pub async fn ensure_priority_classes(objects: &dyn Objects) -> Result<(), ObjectsError> {
    for class in super::priority_classes() {
        create_missing(objects, class).await?;
    }
    Ok(())
}

/// Brings the default policy in line, then the rules of aggregated roles.
///
/// # Errors
/// As [`ensure_namespaces`].
pub async fn ensure_policy(objects: &dyn Objects) -> Result<(), ObjectsError> {
    let Policy { cluster_roles, cluster_role_bindings, roles, role_bindings } = super::policy();
    for role in cluster_roles {
        reconcile(objects, role).await?;
    }
    for binding in cluster_role_bindings {
        reconcile(objects, binding).await?;
    }
    for role in roles {
        reconcile(objects, role).await?;
    }
    for binding in role_bindings {
        reconcile(objects, binding).await?;
    }
    aggregate(objects).await
}

async fn create_missing<T: Resource>(objects: &dyn Objects, wanted: T) -> Result<(), ObjectsError> {
    if objects.get(T::facts(), "", &wanted.metadata().name).await?.is_some() {
        return Ok(());
    }
    match objects.create(Box::new(wanted)).await {
        // Another apiserver's bootstrap.
        Err(ObjectsError::Changed { .. }) => Ok(()),
        other => other,
    }
}

async fn reconcile<T: Resource + DefaultObject>(
    objects: &dyn Objects,
    wanted: T,
) -> Result<(), ObjectsError> {
    let kind = T::facts();
    let (namespace, name) = (wanted.metadata().namespace.clone(), wanted.metadata().name.clone());
    let mut attempt = 0;
    loop {
        attempt += 1;
        let existing = objects.get(kind, &namespace, &name).await?;
        let existing = existing.as_ref().and_then(|object| object.as_any().downcast_ref::<T>());
        let written = match T::plan(wanted.clone(), existing) {
            Step::Keep => Ok(()),
            Step::Create(object) => objects.create(Box::new(object)).await,
            Step::Update(object) => {
                tracing::info!(kind = kind.kind, %namespace, %name, "Updated a default object");
                objects.update(Box::new(object)).await
            }
            Step::Recreate(object) => {
                tracing::info!(kind = kind.kind, %namespace, %name, "Recreated a default binding");
                objects.delete(kind, &namespace, &name).await?;
                objects.create(Box::new(object)).await
            }
        };
        match written {
            Err(ObjectsError::Changed { .. }) if attempt < ATTEMPTS => {}
            other => return other,
        }
    }
}

async fn aggregate(objects: &dyn Objects) -> Result<(), ObjectsError> {
    // Roles can aggregate aggregated roles (admin takes in edit, edit takes in view).
    let mut attempt = 0;
    loop {
        attempt += 1;
        let all: Vec<ClusterRole> = objects
            .list(ClusterRole::facts())
            .await?
            .iter()
            .filter_map(|object| object.as_any().downcast_ref::<ClusterRole>().cloned())
            .collect();
        let mut changed = false;
        for role in &all {
            let Some(rules) = plan::aggregated(role, &all) else { continue };
            changed = true;
            match objects.update(Box::new(ClusterRole { rules, ..role.clone() })).await {
                Ok(()) | Err(ObjectsError::Changed { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if !changed || attempt >= ATTEMPTS {
            return Ok(());
        }
    }
}
