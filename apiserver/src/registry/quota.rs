//! Charges a write to the quotas of its namespace, in the transaction that does the write: what is
//! used and what is there cannot part, also when the server dies in between. What is given back, the
//! controller finds out.

use std::sync::LazyLock;

use api_types::core::v1::{Pod, ResourceQuota};
use api_types::kind::{Object, Resource, Row};
use api_types::kinds;
use api_types::quota::{self, Change, Devices};
use api_types::resource::v1::{DeviceClass, ResourceClaim};
use tokio::sync::{Mutex, MutexGuard};

use super::admit::Write;
use super::{fresh, relative_key, stored_bytes};
use crate::answer::Served;
use crate::call::Target;
use crate::server::Server;
use crate::status::{ApiError, Qualified};
use crate::storage::kv::Op;

static QUOTAS: LazyLock<&'static Row> =
    LazyLock::new(|| kinds::by_resource("", "v1", "resourcequotas").expect("quotas are a kind of the table"));

/// Writers of one namespace wait for each other here rather than losing races on the same quota. Other
/// servers are still raced.
static LINES: LazyLock<Vec<Mutex<()>>> = LazyLock::new(|| (0..64).map(|_| Mutex::new(())).collect());

/// Writes that go with an object's, and the place in line until they are done.
#[derive(Default)]
pub struct Charge {
    pub ops: Vec<Op>,
    _line: Option<MutexGuard<'static, ()>>,
}

/// What `new` costs the quotas of its namespace.
///
/// # Errors
/// 403 when a quota does not let it pass; the store's errors.
pub async fn charge(
    server: &Server,
    write: Write<'_>,
    new: &dyn Object,
    old: Option<&dyn Object>,
) -> Result<Charge, ApiError> {
    let namespace = write.namespace;
    let now = jiff::Timestamp::now();
    let mut change = Change { old, new, subresource: write.subresource, now, known: Devices::default() };
    let is_namespace = write.row.kind.resource == "namespaces";
    if write.call.own || namespace.is_empty() || is_namespace || !change.is_counted() {
        return Ok(Charge::default());
    }
    if !server.admission.has(crate::admission::RESOURCE_QUOTA) {
        return Ok(Charge::default());
    }
    let collection = server.storage.of::<ResourceQuota>();
    let prefix = format!("{namespace}/");
    let names: Vec<String> =
        collection.snapshot().0.range(&prefix, "").map(|entry| entry.name().to_owned()).collect();
    if names.is_empty() {
        return Ok(Charge::default());
    }
    if let Some(claim) = new.as_any().downcast_ref() {
        change.known = devices(server, namespace, claim, now);
    }
    let line = LINES[place(namespace)].lock().await;
    let mut ops = Vec::new();
    for name in names {
        let target = Target { row: &QUOTAS, namespace: namespace.to_owned(), name };
        // The cache does not know yet what the writer before has used.
        let Some(entry) = fresh(collection, &target).await? else { continue };
        let mut quota: ResourceQuota = entry.typed().map_err(ApiError::internal)?;
        let used = change.charge(&quota).map_err(|why| ApiError::Forbidden {
            of: Qualified::from(write.row.kind),
            name: write.name.to_owned(),
            why,
        })?;
        if let Some(used) = used.filter(|_| !write.dry_run) {
            quota.status.used = used;
            let key = collection.key(namespace, &target.name);
            ops.push(Op::put(&key, stored_bytes(Served::of(&QUOTAS), &mut quota)?, entry.revision));
        }
    }
    Ok(Charge { ops, _line: Some(line) })
}

/// What counting a claim to devices goes by, out of the cache: the classes, and what its pod counts for already.
fn devices(server: &Server, namespace: &str, claim: &ResourceClaim, now: jiff::Timestamp) -> Devices {
    let mut known = Devices::of(all::<DeviceClass>(server, ""));
    let Some(owner) = quota::pod_of(claim) else { return known };
    let key = relative_key(namespace, &owner.name);
    let pod: Option<Pod> = server.storage.of::<Pod>().get(&key).and_then(|entry| entry.typed().ok());
    let Some(pod) = pod else { return known };
    let claims: Vec<ResourceClaim> = match pod.status.extended_resource_claim_status {
        Some(_) => Vec::new(),
        None => all(server, &format!("{namespace}/")),
    };
    if quota::is_held_by(claim, &pod, &claims) {
        known.held = quota::usage(&pod, now, &Devices::default());
    }
    known
}

fn all<T: Resource>(server: &Server, prefix: &str) -> Vec<T> {
    let (snapshot, _) = server.storage.of::<T>().snapshot();
    snapshot.range(prefix, "").filter_map(|entry| entry.typed().ok()).collect()
}

/// The line of a namespace.
fn place(namespace: &str) -> usize {
    namespace.bytes().fold(0usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into())) % LINES.len()
}
