//! Defaults of pods and pod templates that a constant cannot express.
//!
//! `pod` does for a Pod what `template` does for the spec inside a workload, and then what would
//! surprise in a template: requests from limits, host ports, service links.

use super::*;
use crate::value::Quantity;

/// Defaults of a Pod.
pub(super) fn pod(pod: &mut Pod) {
    const OLD_ANNOTATIONS: [&str; 4] = [
        "pod.beta.kubernetes.io/init-containers",
        "pod.alpha.kubernetes.io/init-containers",
        "pod.beta.kubernetes.io/init-container-statuses",
        "pod.alpha.kubernetes.io/init-container-statuses",
    ];
    pod.metadata.annotations.retain(|key, _| !OLD_ANNOTATIONS.contains(&key.as_str()));
    let spec = &mut pod.spec;
    template(spec);
    for container in spec.containers.iter_mut().chain(&mut spec.init_containers) {
        requests_from_limits(&mut container.resources);
    }
    super::demand::default_pod_level(spec);
    spec.enable_service_links.get_or_insert(true);
    if spec.host_network {
        for port in spec.containers.iter_mut().chain(&mut spec.init_containers).flat_map(|c| &mut c.ports) {
            if port.host_port == 0 {
                port.host_port = port.container_port;
            }
        }
    }
    // COMPAT: a negative period counts as the shortest one, in pods and not in templates.
    if spec.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0) {
        spec.termination_grace_period_seconds = Some(1);
    }
    status(&mut pod.status);
}

/// Defaults of the spec of a pod or of a pod template.
pub(crate) fn template(spec: &mut PodSpec) {
    if spec.dns_policy.is_unset() {
        spec.dns_policy = DNSPolicy::ClusterFirst;
    }
    if spec.restart_policy.is_unset() {
        spec.restart_policy = RestartPolicy::Always;
    }
    if spec.scheduler_name.is_empty() {
        spec.scheduler_name = crate::core::v1::well_known::name::DEFAULT_SCHEDULER.to_owned();
    }
    spec.security_context.get_or_insert_default();
    spec.termination_grace_period_seconds.get_or_insert(30);
    // The old name is an alias of the new one, which wins.
    if spec.service_account_name.is_empty() {
        spec.service_account_name = spec.service_account.clone();
    }
    spec.service_account = spec.service_account_name.clone();
    round_up(&mut spec.overhead);
    if let Some(own) = &mut spec.resources {
        round_up(&mut own.limits);
        round_up(&mut own.requests);
    }
    spec.volumes.iter_mut().for_each(volume);
    spec.init_containers.iter_mut().for_each(container);
    spec.containers.iter_mut().for_each(container);
    spec.ephemeral_containers.iter_mut().for_each(|c| container(&mut c.common));
}

/// Keeps the singular addresses what the plural ones begin with.
fn status(status: &mut PodStatus) {
    let PodStatus { pod_ip, pod_ips, .. } = status;
    // COMPAT: the singular field wins where a client set both differently.
    if !pod_ip.is_empty() && pod_ips.first().is_none_or(|first| first.ip != *pod_ip) {
        *pod_ips = vec![PodIP { ip: pod_ip.clone() }];
    }
    if let Some(first) = pod_ips.first() {
        *pod_ip = first.ip.clone();
    }
}

fn container(container: &mut Container) {
    if container.image_pull_policy.is_unset() {
        container.image_pull_policy = pull_policy(&container.image);
    }
    if container.termination_message_path.is_empty() {
        container.termination_message_path = "/dev/termination-log".to_owned();
    }
    if container.termination_message_policy.is_unset() {
        container.termination_message_policy = TerminationMessagePolicy::File;
    }
    round_up(&mut container.resources.limits);
    round_up(&mut container.resources.requests);
    for variable in &mut container.env {
        if let Some(source) = &mut variable.value_from
            && let Some(field) = &mut source.field_ref
        {
            field_selector(field);
        }
    }
    let probes =
        [&mut container.liveness_probe, &mut container.readiness_probe, &mut container.startup_probe];
    probes.into_iter().flatten().for_each(|p| probe(p));
    if let Some(lifecycle) = &mut container.lifecycle {
        for handler in [&mut lifecycle.post_start, &mut lifecycle.pre_stop].into_iter().flatten() {
            handler.http_get.iter_mut().for_each(|h| http_get(h));
        }
    }
}

/// `Always` for a tag that moves, else `IfNotPresent`.
fn pull_policy(image: &str) -> PullPolicy {
    if super::image::tag(image) == Some("latest") { PullPolicy::Always } else { PullPolicy::IfNotPresent }
}

fn probe(probe: &mut Probe) {
    for (value, default) in [
        (&mut probe.timeout_seconds, 1),
        (&mut probe.period_seconds, 10),
        (&mut probe.success_threshold, 1),
        (&mut probe.failure_threshold, 3),
    ] {
        if *value == 0 {
            *value = default;
        }
    }
    probe.handler.http_get.iter_mut().for_each(|h| http_get(h));
}

fn http_get(action: &mut HTTPGetAction) {
    if action.path.is_empty() {
        action.path = "/".to_owned();
    }
    if action.scheme.is_unset() {
        action.scheme = URIScheme::Http;
    }
}

fn field_selector(selector: &mut ObjectFieldSelector) {
    if selector.api_version.is_empty() {
        selector.api_version = "v1".to_owned();
    }
}

fn volume(volume: &mut Volume) {
    /// Mode of files made from objects, 0644.
    const FILE_MODE: i32 = 420;
    let source = &mut volume.source;
    if *source == VolumeSource::default() {
        source.empty_dir = Some(Box::default());
    }
    if let Some(path) = &mut source.host_path {
        path.type_.get_or_insert_default();
    }
    if let Some(secret) = &mut source.secret {
        secret.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(map) = &mut source.config_map {
        map.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(files) = &mut source.downward_api {
        files.default_mode.get_or_insert(FILE_MODE);
        files.items.iter_mut().for_each(downward_file);
    }
    if let Some(projected) = &mut source.projected {
        projected.default_mode.get_or_insert(FILE_MODE);
        projected.sources.iter_mut().for_each(projection);
    }
    if let Some(template) = source.ephemeral.as_mut().and_then(|e| e.volume_claim_template.as_mut()) {
        template.spec.volume_mode.get_or_insert(PersistentVolumeMode::Filesystem);
    }
    if let Some(image) = &mut source.image
        && image.pull_policy.is_unset()
    {
        image.pull_policy = pull_policy(&image.reference);
    }
}

fn projection(projection: &mut VolumeProjection) {
    if let Some(files) = &mut projection.downward_api {
        files.items.iter_mut().for_each(downward_file);
    }
    if let Some(token) = &mut projection.service_account_token {
        token.expiration_seconds.get_or_insert(3600);
    }
}

fn downward_file(file: &mut DownwardAPIVolumeFile) {
    file.field_ref.iter_mut().for_each(|f| field_selector(f));
}

/// What is limited and not asked for is asked for up to its limit.
fn requests_from_limits(resources: &mut ResourceRequirements) {
    for (name, limit) in &resources.limits {
        resources.requests.entry(name.clone()).or_insert(*limit);
    }
}

/// COMPAT: amounts finer than a thousandth are rounded up.
pub(crate) fn round_up(resources: &mut ResourceList) {
    for amount in resources.values_mut().filter(|amount| !amount.is_whole()) {
        let rounded = Quantity::from_milli(amount.milli_value());
        if rounded != *amount {
            *amount = rounded;
        }
    }
}
