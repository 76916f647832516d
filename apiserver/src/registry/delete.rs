//! DELETE of one object and of a collection: preconditions, grace periods, finalizers, propagation
//! (API docs "Finalizers", "Garbage Collection").
//!
//! What a deletion does to an object is decided by `plan`, a pure function; the loop around it does
//! the I/O, and starts over when someone else was faster.

use std::sync::Arc;

use api_types::codec::{json, protobuf, yaml};
use api_types::field::{Errors, Path};
use api_types::kind::{Kind, Object, Row};
use api_types::meta::v1::{DeleteOptions, DeletionPropagation, StatusDetails};
use api_types::value::Time;

use super::admit::{self, Operation, Write};
use super::list;
use super::{
    collection, entry_of, fresh, relative_key, store_error, stored_bytes, stored_entry, written_entry,
};
use crate::answer::{Answer, Filter, List, Served, Source};
use crate::call::{Call, Target, dry_run};
use crate::kinds;
use crate::negotiate::{self, Encoding};
use crate::server::Server;
use crate::status::{ApiError, success};
use crate::storage::Entry;
use crate::storage::kv::{Guarded, Op};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
const ATTEMPTS: usize = 100;

/// Handles a DELETE of one object.
///
/// # Errors
/// Everything that can be wrong with a deletion.
pub async fn delete(server: &Server, call: &Call, target: &Target, body: &[u8]) -> Result<Answer, ApiError> {
    let options = options(call, body)?;
    delete_with(server, call, target, options, Operation::Delete).await
}

/// Deletes under options at hand (eviction brings its own).
///
/// # Errors
/// As [`delete`].
pub async fn delete_with(
    server: &Server,
    call: &Call,
    target: &Target,
    options: DeleteOptions,
    operation: Operation,
) -> Result<Answer, ApiError> {
    let accepted = options.orphan_dependents == Some(false);
    let row = target.row;
    warn_of_orphans(call, row, &options);
    let deleted = one(server, call, target, options, operation).await?;
    match deleted {
        Deleted::Gone(entry, uid) if !returns_object(row.kind) => {
            let _ = entry;
            let details = StatusDetails {
                name: target.name.clone(),
                group: row.kind.group.to_owned(),
                kind: row.kind.resource.to_owned(),
                uid,
                ..StatusDetails::default()
            };
            Ok(Answer::Status { code: 200, status: success(details) })
        }
        Deleted::Gone(entry, _) => Ok(Answer::stored(200, row, entry)),
        Deleted::Pending(entry) => Ok(Answer::stored(if accepted { 202 } else { 200 }, row, entry)),
    }
}

/// A Job's pods stay by default, which many do not expect.
fn warn_of_orphans(call: &Call, row: &Row, options: &DeleteOptions) {
    let unsaid = options.propagation_policy.is_none() && options.orphan_dependents.is_none();
    if unsaid && row.orphans_dependents && row.kind.group == "batch" {
        call.warnings.add("child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning".to_owned());
    }
}

/// Kinds whose deletion answers with the object.
fn returns_object(kind: &Kind) -> bool {
    match kind.group {
        "" => matches!(
            kind.resource,
            "namespaces"
                | "persistentvolumeclaims"
                | "persistentvolumes"
                | "pods"
                | "podtemplates"
                | "resourcequotas"
                | "serviceaccounts"
                | "services"
        ),
        "storage.k8s.io" => kind.resource != "csistoragecapacities",
        "resource.k8s.io" => true,
        _ => false,
    }
}

/// DeleteOptions out of the body, or else out of the query.
///
/// # Errors
/// 400, 415, 422 in upstream's words.
pub fn options(call: &Call, body: &[u8]) -> Result<DeleteOptions, ApiError> {
    let mut options = if body.is_empty() {
        from_query(call)?
    } else {
        let bad = |e: &dyn std::fmt::Display| ApiError::BadRequest(e.to_string());
        match negotiate::sent(&call.headers)? {
            Encoding::Protobuf => {
                let envelope = protobuf::open_envelope(body).map_err(|e| bad(&e))?;
                check_kind(envelope.kind)?;
                protobuf::from_slice(envelope.raw).map_err(|e| bad(&e))?
            }
            encoding => {
                let text = if encoding == Encoding::Yaml {
                    yaml::to_json(&String::from_utf8_lossy(body)).map_err(|e| bad(&e))?
                } else {
                    body.to_vec()
                };
                let value: serde_json::Value = serde_json::from_slice(&text).map_err(|e| bad(&e))?;
                check_kind(value["kind"].as_str().unwrap_or_default())?;
                json::from_slice(&text).map_err(|e| bad(&e))?
            }
        }
    };
    if options.dry_run.is_empty() {
        options.dry_run = call.query.all("dryRun").map(str::to_owned).collect();
    }
    validate(&options)?;
    Ok(options)
}

fn check_kind(kind: &str) -> Result<(), ApiError> {
    if matches!(kind, "" | "DeleteOptions") {
        return Ok(());
    }
    Err(ApiError::BadRequest("decoded object cannot be converted to DeleteOptions".into()))
}

fn from_query(call: &Call) -> Result<DeleteOptions, ApiError> {
    let query = &call.query;
    Ok(DeleteOptions {
        grace_period_seconds: query.number("gracePeriodSeconds")?,
        orphan_dependents: query.flag_if_given("orphanDependents"),
        propagation_policy: query.get("propagationPolicy").map(DeletionPropagation::from),
        ..DeleteOptions::default()
    })
}

fn validate(options: &DeleteOptions) -> Result<(), ApiError> {
    let mut errors = Errors::default();
    let path = Path::new("propagationPolicy");
    if options.orphan_dependents.is_some() && options.propagation_policy.is_some() {
        errors.invalid(
            &path,
            options.propagation_policy.as_ref().map_or("", DeletionPropagation::as_str),
            "orphanDependents and deletionPropagation cannot be both set",
        );
    }
    if let Some(DeletionPropagation::Other(other)) = &options.propagation_policy {
        errors.not_supported(&path, &**other, &["Foreground", "Background", "Orphan", "nil"]);
    }
    let given: Vec<&str> = options.dry_run.iter().map(String::as_str).collect();
    dry_run(&given, "DeleteOptions")?;
    if errors.is_empty() { Ok(()) } else { Err(crate::call::invalid_options("DeleteOptions", errors)) }
}

/// What became of an object.
enum Deleted {
    /// Its last state, and its uid.
    Gone(Arc<Entry>, String),
    /// It goes once its grace period or finalizers are over.
    Pending(Arc<Entry>),
}

async fn one(
    server: &Server,
    call: &Call,
    target: &Target,
    options: DeleteOptions,
    operation: Operation,
) -> Result<Deleted, ApiError> {
    let row = target.row;
    let served = Served::of(row);
    let collection = collection(server, row)?;
    let relative = relative_key(&target.namespace, &target.name);
    let key = collection.key(&target.namespace, &target.name);
    let is_dry = !options.dry_run.is_empty();
    let mut present = collection.get(&relative);
    let mut cached = present.is_some();
    if !cached {
        present = fresh(collection, target).await?;
    }
    for _ in 0..ATTEMPTS {
        let Some(entry) = present else { return Err(ApiError::not_found(row.kind, &target.name)) };
        let mut object = served.decode(&entry)?;
        let checked = async {
            preconditions(target, &options, &*object)?;
            let namespace = if row.kind.resource == "namespaces" { &target.name } else { &target.namespace };
            let write = Write {
                call,
                row,
                operation,
                namespace,
                name: &target.name,
                subresource: "",
                dry_run: is_dry,
                deletion: Some(&options),
            };
            admit::mutate(server, write, None, Some(&*object)).await?;
            admit::validate(server, write, None, Some(&*object)).await
        };
        if let Err(error) = checked.await {
            if !cached {
                return Err(error);
            }
            present = fresh(collection, target).await?;
            // The same object once more would only fail once more, and be asked about twice.
            if present.as_ref().is_some_and(|now| now.revision == entry.revision) {
                return Err(error);
            }
            cached = false;
            continue;
        }
        let uid = object.meta().uid.clone();
        let guarded = match plan(row, &mut *object, &options, jiff::Timestamp::now()) {
            Plan::Nothing => return Ok(Deleted::Pending(entry)),
            Plan::Remove => {
                if is_dry {
                    return Ok(Deleted::Gone(entry, uid));
                }
                let mut ops = vec![Op::delete(&key, Some(entry.revision))];
                ops.extend(kinds::companions(server, Some(&*object), None, false).await?);
                let guarded = collection.kv.commit(ops).await;
                if let Ok(Guarded::Done(revision)) = guarded {
                    let last = written_entry(served, relative, &mut *object, revision)?;
                    return Ok(Deleted::Gone(last, uid));
                }
                guarded
            }
            Plan::Mark => {
                if is_dry {
                    return Ok(Deleted::Pending(written_entry(
                        served,
                        relative,
                        &mut *object,
                        entry.revision,
                    )?));
                }
                let value = stored_bytes(served, &mut *object)?;
                let guarded = collection.kv.put(&key, value.clone(), entry.revision, 0).await;
                if let Ok(Guarded::Done(revision)) = guarded {
                    let marked = stored_entry(served, relative, &mut *object, &value, revision)?;
                    return Ok(Deleted::Pending(marked));
                }
                guarded
            }
        };
        match guarded.map_err(|e| store_error(row, "delete", e))? {
            Guarded::Lost(found) => {
                present = found.map(|stored| entry_of(collection, &stored)).transpose()?;
                cached = false;
            }
            Guarded::Done(_) => unreachable!("a write that was done has returned"),
        }
    }
    Err(ApiError::modified(row.kind, &target.name))
}

fn preconditions(target: &Target, options: &DeleteOptions, object: &dyn Object) -> Result<(), ApiError> {
    let Some(wanted) = &options.preconditions else { return Ok(()) };
    let meta = object.meta();
    let conflict =
        |why: String| ApiError::Conflict { of: target.row.kind.into(), name: target.name.clone(), why };
    if let Some(uid) = wanted.uid.as_ref().filter(|uid| **uid != meta.uid) {
        return Err(conflict(format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            meta.uid
        )));
    }
    if let Some(version) = wanted.resource_version.as_ref().filter(|v| **v != meta.resource_version) {
        return Err(conflict(format!(
            "Precondition failed: ResourceVersion in precondition: {version}, ResourceVersion in object meta: {}",
            meta.resource_version
        )));
    }
    Ok(())
}

/// What a deletion does now.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    /// It is under way already.
    Nothing,
    /// The object goes at once.
    Remove,
    /// The object, changed in place, is stored as dying.
    Mark,
}

fn plan(row: &Row, object: &mut dyn Object, options: &DeleteOptions, now: jiff::Timestamp) -> Plan {
    let kind = row.kind;
    kinds::definition::hold(object);
    let finalizers = finalizers(row, object, options);
    let finalizers_change = finalizers != object.meta().finalizers;
    let holds = !finalizers.is_empty() || kinds::namespace::holds(kind, object);
    let grace = kinds::pod::grace_period(kind, object, options.grace_period_seconds);
    let meta = object.meta_mut();
    meta.finalizers = finalizers;
    // COMPAT: a negative period means the shortest one.
    let grace = grace.map(|seconds| if seconds < 0 { 1 } else { seconds });
    match (meta.deletion_timestamp, grace) {
        (None, Some(seconds)) if seconds > 0 => {
            mark(object, now, seconds);
            Plan::Mark
        }
        (Some(at), Some(seconds)) if meta.deletion_grace_period_seconds.unwrap_or(0) > 0 => {
            let before = meta.deletion_grace_period_seconds.unwrap_or(0);
            if options.grace_period_seconds.is_none() || seconds >= before {
                return if finalizers_change { Plan::Mark } else { Plan::Nothing };
            }
            if seconds == 0 && !holds {
                return Plan::Remove;
            }
            let moved = at.0.as_second() - before + seconds;
            let (at, seconds) = if moved < now.as_second() {
                (now.as_second(), if seconds == 0 { 0 } else { 1 })
            } else {
                (moved, seconds)
            };
            let at = jiff::Timestamp::from_second(at).unwrap_or(now);
            meta.deletion_timestamp = Some(Time::whole(at));
            meta.deletion_grace_period_seconds = Some(seconds);
            Plan::Mark
        }
        _ if !holds => Plan::Remove,
        (None, _) => {
            mark(object, now, 0);
            kinds::namespace::terminate(kind, object);
            Plan::Mark
        }
        (Some(_), _) if finalizers_change => Plan::Mark,
        (Some(_), _) => Plan::Nothing,
    }
}

fn mark(object: &mut dyn Object, now: jiff::Timestamp, seconds: i64) {
    let meta = object.meta_mut();
    let at = jiff::Timestamp::from_second(now.as_second().saturating_add(seconds)).unwrap_or(now);
    meta.deletion_timestamp = Some(Time::whole(at));
    meta.deletion_grace_period_seconds = Some(seconds);
    if meta.generation > 0 {
        meta.generation += 1;
    }
}

/// The finalizers after the propagation policy had its say.
fn finalizers(row: &Row, object: &dyn Object, options: &DeleteOptions) -> Vec<String> {
    let present = &object.meta().finalizers;
    let has = |name: &str| present.iter().any(|f| f == name);
    let (orphan, foreground) = match (options.orphan_dependents, &options.propagation_policy) {
        (Some(orphan), _) => (orphan, false),
        (None, Some(DeletionPropagation::Orphan)) => (true, false),
        (None, Some(DeletionPropagation::Foreground)) => (false, true),
        (None, Some(_)) => (false, false),
        // No wish: finalizers that are there stay; without any, the kind decides.
        (None, None) => (has(ORPHAN) || (row.orphans_dependents && !has(FOREGROUND)), has(FOREGROUND)),
    };
    let mut finalizers: Vec<String> =
        present.iter().filter(|f| *f != ORPHAN && *f != FOREGROUND).cloned().collect();
    if orphan {
        finalizers.push(ORPHAN.to_owned());
    }
    if foreground {
        finalizers.push(FOREGROUND.to_owned());
    }
    if finalizers.len() == present.len() && finalizers.iter().all(|f| present.contains(f)) {
        return present.clone();
    }
    finalizers
}

/// Handles a DELETE of a collection: lists what matches, deletes each, answers with the list.
///
/// # Errors
/// The first that a deletion meets, other than "it is gone already".
pub async fn delete_collection(
    server: &Server,
    call: &Call,
    target: &Target,
    body: &[u8],
) -> Result<Answer, ApiError> {
    let options = options(call, body)?;
    warn_of_orphans(call, target.row, &options);
    let chosen = list::options(call, target.row)?;
    let found = list::read(collection(server, target.row)?, target, chosen).await?;
    let entries: Vec<Arc<Entry>> = match found.source {
        Source::Page(page) => page,
        Source::Snapshot { snapshot, prefix } => {
            snapshot.range(&prefix, "").filter(|e| found.filter.matches(e)).cloned().collect()
        }
    };
    for entry in &entries {
        let each = Target {
            row: target.row,
            namespace: entry.namespace().to_owned(),
            name: entry.name().to_owned(),
        };
        match one(server, call, &each, options.clone(), Operation::Delete).await {
            Ok(_) | Err(ApiError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Answer::List(List {
        served: Served::of(target.row),
        source: Source::Page(entries),
        filter: Filter::default(),
        revision: found.revision,
        next: found.next,
        remaining: found.remaining,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::batch::v1::Job;
    use api_types::core::v1::{ConfigMap, Pod, PodPhase};

    fn now() -> jiff::Timestamp {
        jiff::Timestamp::from_second(1_000_000).expect("a time")
    }

    fn pod(node: &str) -> Pod {
        let mut pod = Pod::default();
        pod.spec.node_name = node.into();
        pod.spec.termination_grace_period_seconds = Some(30);
        pod
    }

    fn grace(seconds: Option<i64>) -> DeleteOptions {
        DeleteOptions { grace_period_seconds: seconds, ..DeleteOptions::default() }
    }

    fn policy(policy: DeletionPropagation) -> DeleteOptions {
        DeleteOptions { propagation_policy: Some(policy), ..DeleteOptions::default() }
    }

    #[test]
    fn a_running_pod_gets_its_grace_period() {
        let mut running = pod("n1");
        assert_eq!(plan(&Row::of::<Pod>(), &mut running, &grace(None), now()), Plan::Mark);
        assert_eq!(running.metadata.deletion_grace_period_seconds, Some(30));
        assert_eq!(running.metadata.deletion_timestamp.map(|t| t.0.as_second()), Some(1_000_030));
        // Asked again, nothing changes; a shorter period moves the end; zero removes it.
        assert_eq!(plan(&Row::of::<Pod>(), &mut running, &grace(None), now()), Plan::Nothing);
        assert_eq!(plan(&Row::of::<Pod>(), &mut running, &grace(Some(60)), now()), Plan::Nothing);
        assert_eq!(plan(&Row::of::<Pod>(), &mut running, &grace(Some(5)), now()), Plan::Mark);
        assert_eq!(running.metadata.deletion_timestamp.map(|t| t.0.as_second()), Some(1_000_005));
        assert_eq!(plan(&Row::of::<Pod>(), &mut running, &grace(Some(0)), now()), Plan::Remove);
    }

    #[test]
    fn pods_without_a_node_or_that_ended_go_at_once() {
        assert_eq!(plan(&Row::of::<Pod>(), &mut pod(""), &grace(None), now()), Plan::Remove);
        let mut ended = pod("n1");
        ended.status.phase = PodPhase::Succeeded;
        assert_eq!(plan(&Row::of::<Pod>(), &mut ended, &grace(None), now()), Plan::Remove);
    }

    #[test]
    fn finalizers_hold_an_object() {
        let mut object = ConfigMap::default();
        object.metadata.finalizers = vec!["example.com/a".into()];
        assert_eq!(plan(&Row::of::<ConfigMap>(), &mut object, &grace(None), now()), Plan::Mark);
        assert_eq!(object.metadata.deletion_grace_period_seconds, Some(0));
        assert_eq!(plan(&Row::of::<ConfigMap>(), &mut object, &grace(None), now()), Plan::Nothing);
    }

    #[test]
    fn a_job_s_pods_stay_unless_said_otherwise() {
        let row = Row::of::<Job>();
        let mut job = Job::default();
        assert_eq!(plan(&row, &mut job, &grace(None), now()), Plan::Mark);
        assert_eq!(job.metadata.finalizers, ["orphan"]);
        let background = policy(DeletionPropagation::Background);
        assert_eq!(plan(&row, &mut Job::default(), &background, now()), Plan::Remove);
    }

    #[test]
    fn propagation_becomes_a_finalizer() {
        let mut object = ConfigMap::default();
        assert_eq!(
            plan(&Row::of::<ConfigMap>(), &mut object, &policy(DeletionPropagation::Foreground), now()),
            Plan::Mark
        );
        assert_eq!(object.metadata.finalizers, [FOREGROUND]);
        assert_eq!(
            plan(&Row::of::<ConfigMap>(), &mut object, &policy(DeletionPropagation::Orphan), now()),
            Plan::Mark
        );
        assert_eq!(object.metadata.finalizers, [ORPHAN]);
        assert_eq!(
            plan(&Row::of::<ConfigMap>(), &mut object, &policy(DeletionPropagation::Background), now()),
            Plan::Remove
        );
    }
}
