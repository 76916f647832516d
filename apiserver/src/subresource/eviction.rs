//! `pods/eviction`: a deletion that disruption budgets may refuse (API doc "API-initiated Eviction").
//! What a budget says is decided in `disruption`.

use std::sync::{Arc, LazyLock};

use api_types::core::v1::{ConditionStatus, Pod, PodCondition, PodConditionType};
use api_types::kind::{Object, Resource, Row};
use api_types::kinds;
use api_types::meta::v1::{DeleteOptions, Preconditions, Status, StatusDetails};
use api_types::policy::v1::{Eviction, PodDisruptionBudget};
use api_types::value::Time;
use hyper::body::Incoming;

use super::disruption;
use crate::answer::Answer;
use crate::call::{Call, Target};
use crate::objects::own_call;
use crate::registry::admit::{self, Operation, Write};
use crate::registry::{self, Aspect, STATUS, decode, delete, update};
use crate::server::Server;
use crate::status::{ApiError, Qualified, success};
use crate::storage::Entry;

static EVICTION: LazyLock<Row> = LazyLock::new(Row::of::<Eviction>);

/// Looks at a pod that serves nobody, before the race with it is given up.
const ATTEMPTS: usize = 20;

/// The pod says why it goes.
const ASPECT: Aspect = Aspect {
    subresource: "eviction",
    prepare: |_, _, _| {},
    validate: |_, _, _, _| {},
    ignored: &[],
    internal: true,
};

/// Handles `POST …/pods/NAME/eviction`.
///
/// # Errors
/// As for a deletion.
pub async fn answer(
    server: &Server,
    call: &Call,
    target: &Target,
    body: Incoming,
) -> Result<Answer, ApiError> {
    let body = call.read(body).await?;
    let dry_run = call.dry_run("CreateOptions")?;
    let mut object = decode::object(call, &EVICTION, &body, "CreateOptions")?;
    decode::settle_namespace(target.row, object.meta_mut(), &target.namespace)?;
    if object.meta().name != target.name {
        return Err(ApiError::BadRequest("name in URL does not match name in Eviction object".into()));
    }
    let write = Write {
        call,
        row: target.row,
        operation: Operation::Create,
        namespace: &target.namespace,
        name: &target.name,
        subresource: "eviction",
        dry_run,
        deletion: None,
    };
    admit::mutate(server, write, Some(&mut *object), None).await?;
    admit::validate(server, write, Some(&*object), None).await?;
    let eviction: &Eviction =
        object.as_any().downcast_ref().ok_or_else(|| ApiError::internal("not an Eviction"))?;
    let mut options = eviction.delete_options.as_deref().cloned().unwrap_or_default();
    if dry_run && options.dry_run.is_empty() {
        options.dry_run.push("All".into());
    }
    match evict(server, call, target, options).await? {
        Evicted::Gone => Ok(Answer::Status {
            code: 201,
            status: Status { code: 201, details: None, ..success(StatusDetails::default()) },
        }),
        // COMPAT: upstream answers 201 with a body that says 500; clients go by the body.
        Evicted::TooManyBudgets => {
            let text = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            let status =
                Status { status: "Failure".into(), message: text.into(), code: 500, ..Status::default() };
            Ok(Answer::Status { code: 201, status })
        }
    }
}

enum Evicted {
    Gone,
    TooManyBudgets,
}

async fn evict(
    server: &Server,
    call: &Call,
    target: &Target,
    options: DeleteOptions,
) -> Result<Evicted, ApiError> {
    let versioned = options.preconditions.as_ref().is_some_and(|p| p.resource_version.is_some());
    let mut attempt = 0;
    let pod = loop {
        attempt += 1;
        let pod = present(server, target).await?;
        if !disruption::needs_no_budget(&pod) {
            break pod;
        }
        // It serves nobody now; should it begin to before it is gone, the deletion fails.
        let guard = disruption::may_become_ready(&pod) && !versioned;
        let own = if guard { at_version(&options, &pod) } else { options.clone() };
        match delete_pod(server, call, target, own).await {
            Ok(()) => return Ok(Evicted::Gone),
            Err(ApiError::Conflict { .. }) if !versioned && attempt < ATTEMPTS => {}
            Err(error) => return Err(error),
        }
    };
    let mut budgets = budgets(server, &pod).await?;
    if budgets.len() > 1 {
        return Ok(Evicted::TooManyBudgets);
    }
    let Some(budget) = budgets.pop() else {
        delete_pod(server, call, target, options).await?;
        return Ok(Evicted::Gone);
    };
    if disruption::lets_unhealthy_go(&budget, &pod) {
        return match delete_pod(server, call, target, at_version(&options, &pod)).await {
            Err(ApiError::Conflict { .. }) if !versioned => {
                Err(disruption::being_processed(&budget.metadata.name))
            }
            other => other.map(|()| Evicted::Gone),
        };
    }
    take_one(server, &pod, &budget, !options.dry_run.is_empty()).await?;
    delete_pod(server, call, target, options).await?;
    Ok(Evicted::Gone)
}

async fn present(server: &Server, target: &Target) -> Result<Pod, ApiError> {
    let found = registry::fresh(server.storage.of::<Pod>(), target).await?;
    let entry = found.ok_or_else(|| ApiError::not_found(target.row.kind, &target.name))?;
    entry.typed().map_err(ApiError::internal)
}

/// The budgets that are about a pod, none missing that was made before.
async fn budgets(server: &Server, pod: &Pod) -> Result<Vec<PodDisruptionBudget>, ApiError> {
    let collection = server.storage.of::<PodDisruptionBudget>();
    let late =
        || ApiError::ServerTimeout { of: PodDisruptionBudget::facts().into(), operation: "list".into() };
    let revision = collection.kv.revision().await.map_err(|_| late())?;
    let prefix = format!("{}/", pod.metadata.namespace);
    let entries: Vec<Arc<Entry>> = if collection.kv.progress_is_reliable()
        || collection.revision() >= revision
    {
        collection.wait_for(revision).await.map_err(|_| late())?;
        collection.snapshot().0.range(&prefix, "").cloned().collect()
    } else {
        // An older store cannot tell how far the cache is: its own answer counts.
        let full = format!("{}{prefix}", collection.prefix);
        let page = collection.kv.page(&full, full.as_bytes(), 0, 0).await.map_err(|_| late())?;
        page.items.iter().map(|stored| registry::entry_of(collection, stored)).collect::<Result<_, _>>()?
    };
    let all: Result<Vec<PodDisruptionBudget>, _> = entries.iter().map(|entry| entry.typed()).collect();
    let all = all.map_err(ApiError::internal)?;
    Ok(all.into_iter().filter(|budget| disruption::selects(&budget.spec, pod)).collect())
}

/// Takes one disruption out of the budget as it is in the store.
async fn take_one(
    server: &Server,
    pod: &Pod,
    budget: &PodDisruptionBudget,
    dry_run: bool,
) -> Result<(), ApiError> {
    let kind = PodDisruptionBudget::facts();
    let row = kinds::by_kind(kind.group, kind.version, kind.kind)
        .ok_or_else(|| ApiError::internal("no budgets are served"))?;
    let meta = &budget.metadata;
    let target = Target { row, namespace: meta.namespace.clone(), name: meta.name.clone() };
    let now = Time::whole(jiff::Timestamp::now());
    let take = |old: &dyn Object| -> Result<Box<dyn Object>, ApiError> {
        let mut budget: PodDisruptionBudget =
            old.as_any().downcast_ref().cloned().ok_or_else(|| ApiError::internal("not a budget"))?;
        disruption::take_one(&mut budget, &pod.metadata.name, now)?;
        Ok(Box::new(budget))
    };
    update::change(server, &own_call(), &target, STATUS, dry_run, &take).await.map(|_| ())
}

/// The options, for the pod as it was seen.
fn at_version(options: &DeleteOptions, pod: &Pod) -> DeleteOptions {
    let mut options = options.clone();
    let preconditions = options.preconditions.get_or_insert_default();
    preconditions.resource_version = Some(pod.metadata.resource_version.clone());
    options
}

/// Lets the pod say why it goes, and deletes it.
async fn delete_pod(
    server: &Server,
    call: &Call,
    target: &Target,
    mut options: DeleteOptions,
) -> Result<(), ApiError> {
    if options.dry_run.is_empty() {
        let wanted = options.preconditions.as_deref().cloned().unwrap_or_default();
        let mark = |old: &dyn Object| -> Result<Box<dyn Object>, ApiError> {
            let mut pod: Pod =
                old.as_any().downcast_ref::<Pod>().cloned().ok_or_else(|| ApiError::internal("not a Pod"))?;
            as_wanted(&pod, &wanted)?;
            disrupted(&mut pod);
            Ok(Box::new(pod))
        };
        let entry = update::change(server, call, target, ASPECT, false, &mark).await?;
        if let Some(preconditions) = &mut options.preconditions
            && preconditions.resource_version.is_some()
        {
            preconditions.resource_version = Some(entry.revision.to_string());
        }
    }
    delete::delete_with(server, call, target, options, Operation::Delete).await.map(|_| ())
}

fn as_wanted(pod: &Pod, wanted: &Preconditions) -> Result<(), ApiError> {
    let meta = &pod.metadata;
    let conflict = |why: String| ApiError::Conflict {
        // COMPAT: upstream names the kind here and not the resource.
        of: Qualified::new("", "Pod"),
        name: meta.name.clone(),
        why,
    };
    if let Some(uid) = wanted.uid.as_ref().filter(|uid| !uid.is_empty() && **uid != meta.uid) {
        return Err(conflict(format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
            meta.uid
        )));
    }
    let version = &meta.resource_version;
    if let Some(other) = wanted.resource_version.as_ref().filter(|v| !v.is_empty() && *v != version) {
        return Err(conflict(format!(
            "the ResourceVersion in the precondition ({other}) does not match the ResourceVersion in record ({version}). The object might have been modified"
        )));
    }
    Ok(())
}

fn disrupted(pod: &mut Pod) {
    let condition = PodCondition {
        type_: PodConditionType::from("DisruptionTarget"),
        status: ConditionStatus::True,
        reason: "EvictionByEvictionAPI".into(),
        message: "Eviction API: evicting".into(),
        last_transition_time: Some(Time::whole(jiff::Timestamp::now())),
        ..PodCondition::default()
    };
    match pod.status.conditions.iter_mut().find(|c| c.type_ == condition.type_) {
        Some(present) if present.status == ConditionStatus::True => {}
        Some(present) => *present = condition,
        None => pod.status.conditions.push(condition),
    }
}
