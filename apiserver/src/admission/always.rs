//! Plugins that need no more than a line of thought: AlwaysAdmit, AlwaysDeny, AlwaysPullImages,
//! DenyServiceExternalIPs. All are off by default.

use super::{Context, Operation, Plugin, Refusal, Request};
use api_types::core::v1::{Pod, PullPolicy, Service};

/// Lets everything pass.
pub struct AlwaysAdmit;

impl Plugin for AlwaysAdmit {
    fn handles(&self, _: Operation) -> bool {
        true
    }
}

/// Lets nothing pass.
pub struct AlwaysDeny;

impl Plugin for AlwaysDeny {
    fn handles(&self, _: Operation) -> bool {
        true
    }
    fn admit(&self, request: &mut Request<'_>, _: Context<'_>) -> Result<(), Refusal> {
        Err(request.forbidden("admission control is denying all modifications").into())
    }
}

/// Has every image pulled at each start, so that nobody runs an image without being allowed to pull it.
pub struct AlwaysPullImages;

impl Plugin for AlwaysPullImages {
    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }
    fn admit(&self, request: &mut Request<'_>, _: Context<'_>) -> Result<(), Refusal> {
        if request.kind.resource != "pods" || !matches!(request.subresource, "" | "ephemeralcontainers") {
            return Ok(());
        }
        if let Some(pod) = request.object_mut::<Pod>() {
            let ephemeral = pod.spec.ephemeral_containers.iter_mut().map(|container| &mut container.common);
            let containers = pod.spec.init_containers.iter_mut().chain(&mut pod.spec.containers);
            for container in containers.chain(ephemeral) {
                container.image_pull_policy = PullPolicy::Always;
            }
        }
        Ok(())
    }
}

/// Refuses external IPs that a Service did not have before.
pub struct DenyServiceExternalIPs;

impl Plugin for DenyServiceExternalIPs {
    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }
    fn validate(&self, request: &Request<'_>, _: Context<'_>) -> Result<(), Refusal> {
        if !request.is_about("", "services", "") {
            return Ok(());
        }
        let Some(service) = request.object::<Service>() else { return Ok(()) };
        let had = request.old::<Service>().map_or(&[][..], |old| &old.spec.external_ips);
        if service.spec.external_ips.iter().all(|ip| had.contains(ip)) {
            return Ok(());
        }
        Err(request.forbidden("Use of external IPs is denied by admission control").into())
    }
}
