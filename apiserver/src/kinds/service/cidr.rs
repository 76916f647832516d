//! The ServiceCIDR `kubernetes`: the ranges of the command line as an object (KEP-1880). Each apiserver
//! makes it if it is not there, adds a second family to it, and calls it ready until a controller
//! manager does.

use std::sync::Arc;

use api_types::field::Errors;
use api_types::kind::{Object, Resource};
use api_types::meta::v1::{Condition, ConditionStatus};
use api_types::networking::v1::{READY, ServiceCIDR};
use api_types::value::Time;

use crate::bootstrap::{Objects, ObjectsError};
use crate::objects::Registry;
use crate::registry::{Aspect, STATUS};
use crate::server::Server;

const NAME: &str = "kubernetes";

/// As the status aspect, on the server's own account.
const OWN_STATUS: Aspect =
    Aspect { validate: |_, _: &dyn Object, _: &dyn Object, _: &mut Errors| {}, ..STATUS };

/// Brings the object in line with the command line. Waits until the allocation of addresses sees it.
///
/// # Errors
/// When the store cannot be read or written.
pub async fn ensure_default(server: &Arc<Server>, objects: &Registry) -> Result<(), ObjectsError> {
    let cidrs: Vec<String> = server.service_ranges.ips.all().iter().map(ToString::to_string).collect();
    let found = objects.get(ServiceCIDR::facts(), "", NAME).await?;
    let found = found.as_ref().and_then(|object| object.as_any().downcast_ref::<ServiceCIDR>()).cloned();
    let written = match found {
        None => {
            let mut own = ServiceCIDR::default();
            own.metadata.name = NAME.into();
            own.spec.cidrs = cidrs;
            tracing::info!(cidrs = own.spec.cidrs.join(","), "Creating the default ServiceCIDR");
            objects.create(Box::new(own)).await
        }
        Some(mut own) if cidrs.len() == 2 && own.spec.cidrs == cidrs[..1] => {
            tracing::info!(cidrs = cidrs.join(","), "The default ServiceCIDR gets a second family");
            own.spec.cidrs = cidrs;
            objects.update(Box::new(own)).await
        }
        Some(own) => ready(objects, own, &cidrs).await,
    };
    match written {
        // Another apiserver's.
        Err(ObjectsError::Changed { .. }) => {}
        other => other?,
    }
    if let Ok(revision) = server.storage.kv.revision().await {
        // A cache that does not get there is asked again by whoever allocates.
        let _ = server.storage.of::<ServiceCIDR>().wait_for(revision).await;
    }
    Ok(())
}

/// Says that the ranges are ready, unless somebody has said something or they are not ours.
async fn ready(objects: &Registry, mut own: ServiceCIDR, cidrs: &[String]) -> Result<(), ObjectsError> {
    if own.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    if own.spec.cidrs != cidrs {
        let (stored, flags) = (own.spec.cidrs.join(","), cidrs.join(","));
        tracing::debug!(stored, flags, "The default ServiceCIDR does not match the command line");
        return Ok(());
    }
    let said = own.status.conditions.iter_mut().find(|condition| condition.type_ == READY);
    if said.as_ref().is_some_and(|condition| condition.status != ConditionStatus::Unknown) {
        return Ok(());
    }
    let condition = Condition {
        type_: READY.into(),
        status: ConditionStatus::True,
        message: "Kubernetes default Service CIDR is ready".into(),
        last_transition_time: Some(Time::whole(jiff::Timestamp::now())),
        ..Condition::default()
    };
    match said {
        Some(present) => *present = condition,
        None => own.status.conditions.push(condition),
    }
    objects.update_as(Box::new(own), OWN_STATUS).await
}
