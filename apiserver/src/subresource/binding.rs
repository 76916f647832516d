//! `pods/binding`: the scheduler's write. Puts an unassigned pod on a node, once.

use std::sync::LazyLock;

use api_types::core::v1::{Binding, ConditionStatus, Pod, PodCondition, PodConditionType};
use api_types::field::{Errors, Path};
use api_types::kind::{Object, Row};
use api_types::meta::v1::{Status, StatusDetails};
use api_types::value::Time;
use hyper::body::Incoming;

use crate::answer::Answer;
use crate::call::{Call, Target};
use crate::registry::admit::{self, Operation, Write};
use crate::registry::{Aspect, decode, update};
use crate::server::Server;
use crate::status::{ApiError, Qualified, success};

static BINDING: LazyLock<Row> = LazyLock::new(Row::of::<Binding>);

/// The change to the pod; not a write of the client's to the pod itself.
const ASPECT: Aspect = Aspect {
    subresource: "binding",
    prepare: |_, _, _| {},
    validate: |_, _, _, _| {},
    ignored: &[],
    internal: true,
};

/// Handles `POST …/pods/NAME/binding`.
///
/// # Errors
/// 409 for pods that are assigned, dying or gated.
pub async fn answer(
    server: &Server,
    call: &Call,
    target: &Target,
    body: Incoming,
) -> Result<Answer, ApiError> {
    let body = call.read(body).await?;
    let object = decode::object(call, &BINDING, &body, "CreateOptions")?;
    bind(server, call, target, object).await
}

/// Handles `POST …/bindings`, whose pod is named in the body.
///
/// # Errors
/// As `answer`.
pub async fn create_binding(
    server: &Server,
    call: &Call,
    pods: &'static Row,
    namespace: &str,
    body: &[u8],
) -> Result<Answer, ApiError> {
    let object = decode::object(call, &BINDING, body, "CreateOptions")?;
    let target = Target { row: pods, namespace: namespace.to_owned(), name: object.meta().name.clone() };
    bind(server, call, &target, object).await
}

async fn bind(
    server: &Server,
    call: &Call,
    target: &Target,
    mut object: Box<dyn Object>,
) -> Result<Answer, ApiError> {
    let dry_run = call.dry_run("CreateOptions")?;
    decode::settle_namespace(target.row, object.meta_mut(), &target.namespace)?;
    if object.meta().name != target.name {
        return Err(ApiError::BadRequest("name in URL does not match name in Binding object".into()));
    }
    let write = Write {
        call,
        row: target.row,
        operation: Operation::Create,
        namespace: &target.namespace,
        name: &target.name,
        subresource: "binding",
        dry_run,
        deletion: None,
    };
    admit::mutate(server, write, Some(&mut *object), None).await?;
    let binding: &Binding =
        object.as_any().downcast_ref().ok_or_else(|| ApiError::internal("not a Binding"))?;
    validate(binding)?;
    admit::validate(server, write, Some(&*object), None).await?;
    let change = |old: &dyn Object| -> Result<Box<dyn Object>, ApiError> {
        let mut pod: Pod =
            old.as_any().downcast_ref::<Pod>().cloned().ok_or_else(|| ApiError::internal("not a Pod"))?;
        assign(&mut pod, binding).map_err(|why| ApiError::Conflict {
            of: Qualified::new("", "pods/binding"),
            name: target.name.clone(),
            why,
        })?;
        Ok(Box::new(pod))
    };
    update::change(server, call, target, ASPECT, dry_run, &change).await?;
    Ok(Answer::Status {
        code: 201,
        status: Status { code: 201, details: None, ..success(StatusDetails::default()) },
    })
}

fn validate(binding: &Binding) -> Result<(), ApiError> {
    let mut errors = Errors::default();
    let path = Path::new("target");
    if !matches!(binding.target.kind.as_str(), "" | "Node") {
        errors.not_supported(&path.child("kind"), &binding.target.kind, &["Node", "<empty>"]);
    }
    if binding.target.name.is_empty() {
        errors.required(&path.child("name"), "");
    }
    // COMPAT: upstream hands these out as a plain error, which becomes a 500.
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::Said(Box::new(Status {
        status: "Failure".into(),
        message: errors.to_string(),
        code: 500,
        ..Status::default()
    })))
}

fn assign(pod: &mut Pod, binding: &Binding) -> Result<(), String> {
    let given = &binding.metadata;
    if !given.uid.is_empty() && given.uid != pod.metadata.uid {
        return Err(format!(
            "Precondition failed: UID in precondition: {}, UID in object meta: {}",
            given.uid, pod.metadata.uid
        ));
    }
    if !given.resource_version.is_empty() && given.resource_version != pod.metadata.resource_version {
        return Err(format!(
            "Precondition failed: ResourceVersion in precondition: {}, ResourceVersion in object meta: {}",
            given.resource_version, pod.metadata.resource_version
        ));
    }
    let name = &pod.metadata.name;
    if pod.metadata.deletion_timestamp.is_some() {
        return Err(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    if !pod.spec.node_name.is_empty() {
        return Err(format!("pod {name} is already assigned to node {:?}", pod.spec.node_name));
    }
    if !pod.spec.scheduling_gates.is_empty() {
        return Err(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    pod.spec.node_name.clone_from(&binding.target.name);
    pod.status.nominated_node_name.clear();
    pod.metadata.annotations.extend(given.annotations.clone());
    pod.metadata.labels.extend(given.labels.clone());
    let scheduled = PodCondition {
        type_: PodConditionType::PodScheduled,
        status: ConditionStatus::True,
        last_transition_time: Some(Time::whole(jiff::Timestamp::now())),
        ..PodCondition::default()
    };
    match pod.status.conditions.iter_mut().find(|c| c.type_ == PodConditionType::PodScheduled) {
        Some(condition) if condition.status == ConditionStatus::True => {}
        Some(condition) => *condition = scheduled,
        None => pod.status.conditions.push(scheduled),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(node: &str) -> Binding {
        let mut binding = Binding::default();
        binding.target.name = node.into();
        binding
    }

    #[test]
    fn a_pod_is_assigned_once() {
        let mut pod = Pod::default();
        pod.metadata.name = "p".into();
        assert_eq!(assign(&mut pod, &binding("n1")), Ok(()));
        assert_eq!(pod.spec.node_name, "n1");
        assert_eq!(pod.status.conditions[0].type_, PodConditionType::PodScheduled);
        assert_eq!(
            assign(&mut pod, &binding("n2")),
            Err("pod p is already assigned to node \"n1\"".to_owned())
        );
    }

    #[test]
    fn a_binding_of_another_pod_is_refused() {
        let mut pod = Pod::default();
        pod.metadata.uid = "a".into();
        let mut other = binding("n1");
        other.metadata.uid = "b".into();
        assert!(assign(&mut pod, &other).expect_err("refused").contains("UID in precondition: b"));
    }
}
