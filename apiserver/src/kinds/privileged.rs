//! Without `--allow-privileged` no pod, and no template of one, may ask for a privileged container.

use api_types::apps::v1::{Deployment, ReplicaSet};
use api_types::core::v1::{Container, Pod, PodSpec, SecurityContext};
use api_types::field::{Errors, Path};
use api_types::kind::Object;

pub fn forbid(object: &dyn Object, errors: &mut Errors) {
    let any = object.as_any();
    let template = || Path::new("spec").child("template").child("spec");
    if let Some(pod) = any.downcast_ref::<Pod>() {
        spec(&pod.spec, &Path::new("spec"), errors);
    } else if let Some(deployment) = any.downcast_ref::<Deployment>() {
        spec(&deployment.spec.template.spec, &template(), errors);
    } else if let Some(set) = any.downcast_ref::<ReplicaSet>() {
        spec(&set.spec.template.spec, &template(), errors);
    }
}

fn spec(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    containers(&spec.containers, &path.child("containers"), errors);
    containers(&spec.init_containers, &path.child("initContainers"), errors);
    for (place, container) in spec.ephemeral_containers.iter().enumerate() {
        let path = path.child("ephemeralContainers").index(place);
        context(container.common.security_context.as_deref(), &path, errors);
    }
}

fn containers(all: &[Container], path: &Path, errors: &mut Errors) {
    for (place, container) in all.iter().enumerate() {
        context(container.security_context.as_deref(), &path.index(place), errors);
    }
}

fn context(context: Option<&SecurityContext>, path: &Path, errors: &mut Errors) {
    if context.and_then(|context| context.privileged) == Some(true) {
        errors.forbidden(&path.child("securityContext").child("privileged"), "disallowed by cluster policy");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_privileged_container_is_named() {
        let mut pod = Pod::default();
        let privileged = SecurityContext { privileged: Some(true), ..SecurityContext::default() };
        pod.spec.containers.push(Container::default());
        pod.spec
            .containers
            .push(Container { security_context: Some(Box::new(privileged)), ..Container::default() });
        let mut errors = Errors::default();
        forbid(&pod, &mut errors);
        assert_eq!(
            errors.to_string(),
            "spec.containers[1].securityContext.privileged: Forbidden: disallowed by cluster policy"
        );
    }
}
