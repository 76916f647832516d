//! Everything that is refused in a pod's or a pod template's spec.
//!
//! `spec` checks both; with the metadata of a Pod it also checks what holds for pods alone. The
//! files beside this one hold one idea each; errors come in the order in which upstream reports
//! them. Not here: `--allow-privileged`, which is the server's.

mod affinity;
mod container;
mod env;
mod limits;
mod mounts;
mod network;
mod probe;
mod projected;
mod security;
mod status;
mod toleration;
mod update;
pub(crate) mod volume;

pub(crate) use affinity::node_selector;
pub(crate) use limits::{
    container_resource, is_extended, is_native, may_overcommit, overhead, quantity, resource_name,
};
pub(crate) use probe::port as port_number_or_name;
pub(super) use status::status_update;
pub(crate) use toleration::{taint_effect, tolerations};
pub(super) use update::{ephemeral_containers_update, update};

use super::*;
use crate::core::v1::well_known::annotation;
use crate::field::{Errors, Path};
use crate::names;
use std::collections::BTreeSet;

/// What checks of the parts need to know of the whole.
struct Scope<'a> {
    spec: &'a PodSpec,
    /// A pod's own; templates have none.
    pod: Option<&'a ObjectMeta>,
    /// Volumes without mistakes, by name.
    volumes: BTreeMap<&'a str, &'a VolumeSource>,
    claims: BTreeSet<&'a str>,
}

/// A Pod, new or updated.
pub(super) fn pod(pod: &Pod, errors: &mut Errors) {
    let path = Path::new("spec");
    annotations(pod, &Path::new("metadata").child("annotations"), errors);
    spec(&pod.spec, Some(&pod.metadata), &path, errors);
    if pod.spec.service_account_name.is_empty() {
        for (place, volume) in pod.spec.volumes.iter().enumerate() {
            let sources = volume.source.projected.iter().flat_map(|p| &p.sources);
            let path = path.child("volumes").index(place).child("projected").child("sources");
            for (i, _) in sources.enumerate().filter(|(_, source)| source.service_account_token.is_some()) {
                errors.forbidden(
                    &path.index(i).child("serviceAccountToken"),
                    "must not be specified when serviceAccountName is not set",
                );
            }
        }
    }
    for (containers, name) in
        [(&pod.spec.containers, "containers"), (&pod.spec.init_containers, "initContainers")]
    {
        for (place, container) in containers.iter().enumerate() {
            container::image_padding(container, &path.child(name).index(place), errors);
        }
    }
}

/// What holds for new pods only.
pub(super) fn create(pod: &Pod, errors: &mut Errors) {
    let path = Path::new("spec");
    if !pod.spec.ephemeral_containers.is_empty() {
        errors.forbidden(&path.child("ephemeralContainers"), "cannot be set on create");
    }
    if !pod.spec.node_name.is_empty() && !pod.spec.scheduling_gates.is_empty() {
        errors
            .forbidden(&path.child("nodeName"), "cannot be set until all schedulingGates have been cleared");
    }
}

fn annotations(pod: &Pod, path: &Path, errors: &mut Errors) {
    const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
    let annotations = &pod.metadata.annotations;
    if let Some(value) = annotations.get(annotation::STATIC_POD_MIRROR)
        && pod.spec.node_name.is_empty()
    {
        errors.invalid(
            &path.key(annotation::STATIC_POD_MIRROR),
            value,
            "must set spec.nodeName if mirror pod annotation is set",
        );
    }
    if let Some(cost) = annotations.get(DELETION_COST) {
        // "+1" and "01" would mean the same as "1".
        let plain = !cost.starts_with('+') && (cost == "0" || !cost.starts_with('0'));
        if !plain || cost.parse::<i32>().is_err() {
            errors.invalid(&path.key(DELETION_COST), cost, "must be a 32bit integer");
        }
    }
}

/// A pod template of a workload.
pub(crate) fn template(template: &PodTemplateSpec, path: &Path, errors: &mut Errors) {
    // COMPAT: upstream's paths of a template's metadata lack `metadata`.
    names::validate_labels(&template.metadata.labels, &path.child("labels"), errors);
    names::validate_annotations(&template.metadata.annotations, &path.child("annotations"), errors);
    spec(&template.spec, None, &path.child("spec"), errors);
    if !template.spec.ephemeral_containers.is_empty() {
        errors.forbidden(
            &path.child("spec").child("ephemeralContainers"),
            "ephemeral containers not allowed in pod template",
        );
    }
}

fn spec(spec: &PodSpec, pod: Option<&ObjectMeta>, path: &Path, errors: &mut Errors) {
    if spec.termination_grace_period_seconds.is_none() {
        errors.required(&path.child("terminationGracePeriodSeconds"), "");
    }
    let volumes = volume::volumes(&spec.volumes, pod, &path.child("volumes"), errors);
    let claims = spec.resource_claims.iter().map(|c| c.name.as_str()).filter(|name| !name.is_empty());
    let scope = Scope { spec, pod, volumes, claims: claims.collect() };
    resource_claims(&scope, &path.child("resourceClaims"), errors);
    container::containers(&scope, path, errors);
    limits::pod_level(&scope, &path.child("resources"), errors);
    network::host_ports_on_host_network(&scope, &path.child("containers"), errors);
    errors.required_choice(
        &path.child("restartPolicy"),
        spec.restart_policy.as_str(),
        &["Always", "OnFailure", "Never"],
    );
    errors.required_choice(
        &path.child("dnsPolicy"),
        spec.dns_policy.as_str(),
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
    );
    names::validate_labels(&spec.node_selector, &path.child("nodeSelector"), errors);
    security::of_pod(spec, path, errors);
    if let Some(affinity) = &spec.affinity {
        affinity::affinity(affinity, &path.child("affinity"), errors);
    }
    network::dns_config(spec, &path.child("dnsConfig"), errors);
    for (place, gate) in spec.readiness_gates.iter().enumerate() {
        let name = gate.condition_type.as_str();
        let path = path.child("readinessGates").index(place).child("conditionType");
        errors.wrong(&path, name, names::qualified_name(name));
    }
    scheduling_gates(&spec.scheduling_gates, &path.child("schedulingGates"), errors);
    affinity::spread(&spec.topology_spread_constraints, &path.child("topologySpreadConstraints"), errors);
    security::host_users(spec, path, errors);
    network::hostname_override(spec, &path.child("hostnameOverride"), errors);
    names_of_other_objects(spec, path, errors);
    if let Some(seconds) = spec.active_deadline_seconds
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let path = path.child("activeDeadlineSeconds");
        errors.invalid(&path, seconds, "must be between 1 and 2147483647, inclusive");
    }
    for (name, value) in [("hostname", &spec.hostname), ("subdomain", &spec.subdomain)] {
        if !value.is_empty() {
            errors.wrong(&path.child(name), value, names::dns1123_label(value));
        }
    }
    toleration::tolerations(&spec.tolerations, &path.child("tolerations"), errors);
    network::host_aliases(&spec.host_aliases, &path.child("hostAliases"), errors);
    classes(spec, path, errors);
    if let Some(policy) = &spec.preemption_policy {
        errors.required_choice(
            &path.child("preemptionPolicy"),
            policy.as_str(),
            &["PreemptLowerPriority", "Never"],
        );
    }
    if !spec.overhead.is_empty() {
        limits::overhead(&spec.overhead, &path.child("overhead"), errors);
    }
    security::operating_system(spec, path, errors);
    if let Some(group) = &spec.scheduling_group
        && let Some(name) = &group.pod_group_name
    {
        let path = path.child("schedulingGroup").child("podGroupName");
        errors.wrong(&path, name, names::dns1123_subdomain(name));
    }
    env::files(&scope, path, errors);
}

fn names_of_other_objects(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    for (name, value) in [("serviceAccountName", &spec.service_account_name), ("nodeName", &spec.node_name)] {
        if !value.is_empty() {
            errors.wrong(&path.child(name), value, names::dns1123_subdomain(value));
        }
    }
}

fn classes(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    if !spec.priority_class_name.is_empty() {
        let name = &spec.priority_class_name;
        errors.wrong(&path.child("priorityClassName"), name, names::dns1123_subdomain(name));
    }
    if let Some(name) = &spec.runtime_class_name {
        errors.wrong(&path.child("runtimeClassName"), name, names::dns1123_subdomain(name));
    }
}

fn scheduling_gates(gates: &[PodSchedulingGate], path: &Path, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (place, gate) in gates.iter().enumerate() {
        errors.wrong(&path.index(place), &gate.name, names::qualified_name(&gate.name));
        if !seen.insert(&gate.name) {
            errors.duplicate(&path.index(place), &gate.name);
        }
    }
}

fn resource_claims(scope: &Scope<'_>, path: &Path, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (place, claim) in scope.spec.resource_claims.iter().enumerate() {
        let path = path.index(place);
        if scope.pod.is_some_and(|pod| pod.annotations.contains_key(annotation::STATIC_POD_MIRROR)) {
            errors.forbidden(&Path::new(""), "static pods do not support resource claims");
            continue;
        }
        if claim.name.is_empty() {
            errors.required(&path.child("name"), "");
        } else if !seen.insert(&claim.name) {
            errors.duplicate(&path.child("name"), &claim.name);
        } else {
            errors.wrong(&path.child("name"), &claim.name, names::dns1123_label(&claim.name));
        }
        let shown = claim as &dyn crate::value::Value;
        match (&claim.resource_claim_name, &claim.resource_claim_template_name) {
            (Some(_), Some(_)) => errors.invalid(
                &path,
                shown,
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
            ),
            (None, None) => errors.invalid(
                &path,
                shown,
                "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            ),
            _ => {}
        }
        for (name, value) in [
            ("resourceClaimName", &claim.resource_claim_name),
            ("resourceClaimTemplateName", &claim.resource_claim_template_name),
        ] {
            if let Some(value) = value {
                errors.wrong(&path.child(name), value, names::dns1123_subdomain(value));
            }
        }
    }
}

/// All containers of a spec with their paths, in upstream's order.
pub(super) fn each_container<'a>(spec: &'a PodSpec, path: &Path) -> Vec<(&'a Container, Path)> {
    let of = |name: &str, place: usize| path.child(name).index(place);
    let init = spec.init_containers.iter().enumerate().map(|(i, c)| (c, of("initContainers", i)));
    let main = spec.containers.iter().enumerate().map(|(i, c)| (c, of("containers", i)));
    let debug =
        spec.ephemeral_containers.iter().enumerate().map(|(i, c)| (&c.common, of("ephemeralContainers", i)));
    init.chain(main).chain(debug).collect()
}

/// A path below something: relative, and without steps up.
fn descending_path(value: &str, path: &Path, errors: &mut Errors) {
    if value.starts_with('/') {
        errors.invalid(path, value, "must be a relative path");
    }
    no_backsteps(value, path, errors);
}

pub(crate) fn no_backsteps(value: &str, path: &Path, errors: &mut Errors) {
    if value.split('/').any(|part| part == "..") {
        errors.invalid(path, value, "must not contain '..'");
    }
}
