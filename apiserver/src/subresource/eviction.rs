//! `pods/eviction`: a deletion that disruption budgets may refuse (API doc "API-initiated Eviction").
//! There are no PodDisruptionBudgets in this server yet, so that none refuses.

use std::sync::LazyLock;

use api_types::core::v1::{ConditionStatus, Pod, PodCondition, PodConditionType};
use api_types::kind::{Object, Row};
use api_types::meta::v1::{Status, StatusDetails};
use api_types::policy::v1::Eviction;
use api_types::value::Time;
use hyper::body::Incoming;

use crate::answer::Answer;
use crate::call::{Call, Target};
use crate::registry::admit::{self, Operation, Write};
use crate::registry::{Aspect, decode, delete, update};
use crate::server::Server;
use crate::status::{ApiError, success};

static EVICTION: LazyLock<Row> = LazyLock::new(Row::of::<Eviction>);

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
    };
    admit::mutate(server, write, Some(&mut *object), None).await?;
    admit::validate(server, write, Some(&*object), None).await?;
    let eviction: &Eviction =
        object.as_any().downcast_ref().ok_or_else(|| ApiError::internal("not an Eviction"))?;
    let mut options = eviction.delete_options.as_deref().cloned().unwrap_or_default();
    if dry_run && options.dry_run.is_empty() {
        options.dry_run.push("All".into());
    }
    if options.dry_run.is_empty() {
        let mark = |old: &dyn Object| -> Result<Box<dyn Object>, ApiError> {
            let mut pod: Pod =
                old.as_any().downcast_ref::<Pod>().cloned().ok_or_else(|| ApiError::internal("not a Pod"))?;
            disrupted(&mut pod);
            Ok(Box::new(pod))
        };
        update::change(server, call, target, ASPECT, false, &mark).await?;
    }
    delete::delete_with(server, call, target, options, Operation::Delete).await?;
    Ok(Answer::Status {
        code: 201,
        status: Status { code: 201, details: None, ..success(StatusDetails::default()) },
    })
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
