//! What a write to `pods/resize` may change: CPU and memory of containers and of the pod (KEP-1287,
//! KEP-5419). Amounts may be added and changed, not taken away.

use super::{
    Container, ContainerRestartPolicy, Pod, ResourceList, ResourceRequirements, ResourceResizeRestartPolicy,
    demand,
};
use crate::field::{Errors, Path};

const MIRROR: &str = "kubernetes.io/config.mirror";

impl Pod {
    /// Keeps all but resources and resize policies. Lists of other containers stay as they are, for the
    /// validation to refuse.
    pub fn prepare_for_resize(&mut self, old: &Self) {
        let wanted = std::mem::replace(self, old.clone());
        self.metadata.resource_version = wanted.metadata.resource_version;
        self.metadata.managed_fields = wanted.metadata.managed_fields;
        let spec = wanted.spec;
        let lengths = (spec.containers.len(), spec.init_containers.len());
        if lengths == (old.spec.containers.len(), old.spec.init_containers.len()) {
            self.spec.resources = spec.resources;
            self.spec.containers = merge(spec.containers, &old.spec.containers);
            self.spec.init_containers = merge(spec.init_containers, &old.spec.init_containers);
        } else {
            self.spec = spec;
        }
        self.metadata.generation = old.metadata.generation + i64::from(self.spec != old.spec);
    }

    /// What a resize may not do, in upstream's words.
    pub fn validate_resize(&self, old: &Self, errors: &mut Errors) {
        let nowhere = Path::default();
        if old.metadata.annotations.contains_key(MIRROR) {
            return errors.forbidden(&nowhere, "static pods cannot be resized");
        }
        if old.spec.os.as_ref().is_some_and(|os| os.name.as_str() == "windows") {
            return errors.forbidden(&nowhere, "windows pods cannot be resized");
        }
        let path = Path::new("spec");
        let class = demand::qos_class(&self.spec);
        let before = &old.status.qos_class;
        if class != if before.is_unset() { demand::qos_class(&old.spec) } else { before.clone() } {
            let text = "Pod QOS Class may not change as a result of resizing";
            errors.invalid(&path, self.status.qos_class.as_str(), text);
        }
        let running = old.status.container_statuses.iter().find(|status| status.state.running.is_some());
        if running.is_some_and(|status| status.resources.is_none()) {
            errors.forbidden(&path, "Pod running on node without support for resize");
        }
        self.validate_pod_resize(old, &path, errors);
        if !old.status.node_allocatable_resource_claim_statuses.is_empty() {
            errors.forbidden(&path, "pods with node allocatable resource claims cannot be resized");
        }
        let lists = [
            ("initContainers", &self.spec.init_containers, &old.spec.init_containers),
            ("containers", &self.spec.containers, &old.spec.containers),
        ];
        let mut ordered = true;
        for (name, new, old) in lists {
            ordered &= same_order(name, new, old, &path, errors);
        }
        if !ordered {
            return;
        }
        for (name, new, old) in lists {
            for (place, (new, old)) in new.iter().zip(old).enumerate() {
                container(name, new, old, &path, &path.child(name).index(place), errors);
            }
        }
    }

    fn validate_pod_resize(&self, old: &Self, path: &Path, errors: &mut Errors) {
        let is_set = |pod: &Self| {
            pod.spec.resources.as_ref().is_some_and(|own| !own.requests.is_empty() || !own.limits.is_empty())
        };
        if !is_set(self) && !is_set(old) {
            return;
        }
        let below = path.child("resources");
        let empty = ResourceRequirements::default();
        let before = old.spec.resources.as_deref();
        let Some(new) = self.spec.resources.as_deref() else {
            if before.is_some() {
                errors.forbidden(&below, "pod-level resources cannot be removed");
            }
            return;
        };
        if let Some(before) = before {
            if removed(&new.requests, &before.requests) {
                errors.forbidden(&below.child("requests"), "pod-level resource requests cannot be removed");
            }
            if removed(&new.limits, &before.limits) {
                errors.forbidden(&below.child("limits"), "pod-level resource limits cannot be removed");
            }
        }
        if !same_others(new, before.unwrap_or(&empty)) {
            errors.forbidden(path, "only cpu and memory resources are mutable at pod-level");
        }
    }
}

/// The old containers with the new resources; the new ones as they are when they are others.
fn merge(new: Vec<Container>, old: &[Container]) -> Vec<Container> {
    if new.iter().zip(old).any(|(new, old)| new.name != old.name) {
        return new;
    }
    new.into_iter()
        .zip(old)
        .map(|(new, old)| Container {
            resources: new.resources,
            resize_policy: new.resize_policy,
            ..old.clone()
        })
        .collect()
}

fn same_order(name: &str, new: &[Container], old: &[Container], path: &Path, errors: &mut Errors) -> bool {
    let below = path.child(name);
    if new.len() != old.len() {
        errors.forbidden(&below, format!("{name} may not be added or removed on resize"));
        return false;
    }
    let mut same = true;
    for (place, _) in new.iter().zip(old).enumerate().filter(|(_, (new, old))| new.name != old.name) {
        let text = format!("{name} may not be renamed or reordered on resize");
        errors.forbidden(&below.index(place).child("name"), text);
        same = false;
    }
    same
}

fn container(list: &str, new: &Container, old: &Container, spec: &Path, path: &Path, errors: &mut Errors) {
    let below = path.child("resources");
    if removed(&new.resources.requests, &old.resources.requests) {
        errors.forbidden(&below.child("requests"), "resource requests cannot be removed");
    }
    if removed(&new.resources.limits, &old.resources.limits) {
        errors.forbidden(&below.child("limits"), "resource limits cannot be removed");
    }
    let only_amounts = same_others(&new.resources, &old.resources) && new.resize_policy == old.resize_policy;
    if list == "containers" {
        if !only_amounts {
            errors.forbidden(spec, "only cpu and memory resources are mutable");
        }
        return;
    }
    if !only_amounts {
        errors.forbidden(path, "only cpu and memory resources for init or sidecar containers are mutable");
    }
    let sidecar = new.restart_policy == Some(ContainerRestartPolicy::Always);
    let restarts = new
        .resize_policy
        .iter()
        .any(|policy| policy.restart_policy == ResourceResizeRestartPolicy::RestartContainer);
    if new != old && !sidecar && restarts {
        let text = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
        errors.forbidden(path, text);
    }
}

fn removed(new: &ResourceList, old: &ResourceList) -> bool {
    old.keys().any(|name| !new.contains_key(name))
}

/// Everything but CPU and memory is the same.
fn same_others(new: &ResourceRequirements, old: &ResourceRequirements) -> bool {
    let others = |list: &ResourceList| -> ResourceList {
        let fixed = list.iter().filter(|(name, _)| !matches!(name.as_str(), "cpu" | "memory"));
        fixed.map(|(name, amount)| (name.clone(), *amount)).collect()
    };
    others(&new.requests) == others(&old.requests)
        && others(&new.limits) == others(&old.limits)
        && new.claims == old.claims
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Quantity;

    fn list(amounts: &[(&str, &str)]) -> ResourceList {
        let parse = |(name, amount): &(&str, &str)| ((*name).to_owned(), Quantity::parse(amount).unwrap());
        amounts.iter().map(parse).collect()
    }

    fn pod() -> Pod {
        let mut pod = Pod::default();
        let mut container = Container { name: "a".into(), image: "i".into(), ..Default::default() };
        container.resources.requests = list(&[("cpu", "100m"), ("memory", "1Gi")]);
        container.resources.limits = list(&[("cpu", "200m")]);
        pod.spec.containers.push(container);
        pod
    }

    fn check(edit: impl FnOnce(&mut Pod), expected: &str) {
        let old = pod();
        let mut new = pod();
        edit(&mut new);
        new.prepare_for_resize(&old);
        let mut errors = Errors::default();
        new.validate_resize(&old, &mut errors);
        let shown = if errors.is_empty() { String::new() } else { errors.to_string() };
        assert_eq!(shown, expected);
    }

    #[test]
    fn cpu_and_memory_change_and_nothing_else_does() {
        let old = pod();
        let mut new = pod();
        new.spec.containers[0].resources.requests = list(&[("cpu", "150m"), ("memory", "2Gi")]);
        new.spec.containers[0].image = "other".into();
        new.metadata.labels.insert("a".into(), "b".into());
        new.prepare_for_resize(&old);
        assert_eq!(new.spec.containers[0].image, "i");
        assert!(new.metadata.labels.is_empty());
        assert_eq!(new.metadata.generation, old.metadata.generation + 1);
        check(|pod| pod.spec.containers[0].resources.requests = list(&[("cpu", "1m"), ("memory", "1")]), "");
    }

    #[test]
    fn what_may_not_be_is_refused_in_upstreams_words() {
        check(
            |pod| pod.spec.containers[0].resources.limits.clear(),
            "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed",
        );
        check(
            |pod| {
                pod.spec.containers[0].resources.requests.extend(list(&[("ephemeral-storage", "1Gi")]));
            },
            "spec: Forbidden: only cpu and memory resources are mutable",
        );
        check(
            |pod| pod.spec.containers[0].name = "b".into(),
            "spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize",
        );
        check(
            |pod| pod.spec.containers.push(Container::default()),
            "spec.containers: Forbidden: containers may not be added or removed on resize",
        );
        check(
            |pod| {
                let same = list(&[("cpu", "100m"), ("memory", "1Gi")]);
                let resources = &mut pod.spec.containers[0].resources;
                (resources.requests, resources.limits) = (same.clone(), same);
            },
            "spec: Invalid value: \"\": Pod QOS Class may not change as a result of resizing",
        );
    }
}
