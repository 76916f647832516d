//! What the server warns of in a new pod or pod template: fields that no longer work, and
//! definitions that hide each other.

use super::validate::each_container;
use super::*;
use crate::addresses;
use crate::field::Path;
use crate::names;
use std::collections::BTreeSet;

const DEPRECATED_ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];

/// What is said of an old label of nodes.
pub(crate) fn deprecated_node_label(label: &str) -> Option<&'static str> {
    Some(match label {
        "beta.kubernetes.io/arch" => "deprecated since v1.14; use \"kubernetes.io/arch\" instead",
        "beta.kubernetes.io/os" => "deprecated since v1.14; use \"kubernetes.io/os\" instead",
        "failure-domain.beta.kubernetes.io/region" => {
            "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead"
        }
        "failure-domain.beta.kubernetes.io/zone" => {
            "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"
        }
        "beta.kubernetes.io/instance-type" => {
            "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"
        }
        "app.kubernetes.io/created-by" => "deprecated since v1.9",
        "scheduler.alpha.kubernetes.io/preferAvoidPods" => {
            "deprecated since v1.22; use Taints and Tolerations instead"
        }
        "node-role.kubernetes.io/master" => "use \"node-role.kubernetes.io/control-plane\" instead",
        _ => return None,
    })
}

/// Of a new pod. Updates are mostly made by programs, which nobody reads warnings of.
pub(super) fn pod(pod: &Pod) -> Vec<String> {
    let mut warnings = Vec::new();
    let wrong = names::dns1123_label(&pod.metadata.name);
    if !wrong.is_empty() {
        warnings.push(format!(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [{}]",
            wrong.join(" ")
        ));
    }
    warnings.extend(spec(&pod.metadata, &pod.spec, &Path::default()));
    warnings
}

/// Of a template; `path` is the template's.
pub(crate) fn template(template: &PodTemplateSpec, path: &Path) -> Vec<String> {
    spec(&template.metadata, &template.spec, path)
}

fn spec(meta: &ObjectMeta, spec: &PodSpec, base: &Path) -> Vec<String> {
    let path = base.child("spec");
    let mut warnings = Vec::new();
    node_labels(spec, &path, &mut warnings);
    for (key, message) in DEPRECATED_ANNOTATIONS {
        if meta.annotations.contains_key(key) {
            let path = base.child("metadata").child("annotations").key(key);
            warnings.push(format!("{path}: {message}"));
        }
    }
    volumes(spec, &path, &mut warnings);
    repeated(spec, &path, &mut warnings);
    for (container, path) in each_container(spec, &path) {
        hidden_variables(container, &path, &mut warnings);
        fractions(&container.resources.limits, &path.child("resources").child("limits"), &mut warnings);
        fractions(&container.resources.requests, &path.child("resources").child("requests"), &mut warnings);
    }
    fractions(&spec.overhead, &path.child("overhead"), &mut warnings);
    ports(spec, &path, &mut warnings);
    if spec.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0) {
        warnings.push(format!(
            "{}: must be >= 0; negative values are invalid and will be treated as 1",
            path.child("terminationGracePeriodSeconds")
        ));
    }
    terms_without_selector(spec, &path, &mut warnings);
    if let Some(dns) = &spec.dns_config {
        for (place, server) in dns.nameservers.iter().enumerate() {
            let path = path.child("dnsConfig").child("nameservers").index(place);
            warnings.extend(addresses::ip_warning(server, &path));
        }
    }
    for (place, alias) in spec.host_aliases.iter().enumerate() {
        let path = path.child("hostAliases").index(place).child("ip");
        warnings.extend(addresses::ip_warning(&alias.ip, &path));
    }
    warnings
}

fn node_labels(spec: &PodSpec, path: &Path, warnings: &mut Vec<String>) {
    for key in spec.node_selector.keys() {
        if let Some(message) = deprecated_node_label(key) {
            warnings.push(format!("{}: {message}", path.child("nodeSelector").key(key)));
        }
    }
    if let Some(nodes) = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref()) {
        let path = path.child("affinity").child("nodeAffinity");
        let required = nodes.required_during_scheduling_ignored_during_execution.iter();
        for (place, term) in required.flat_map(|r| &r.node_selector_terms).enumerate() {
            let path = path.child("requiredDuringSchedulingIgnoredDuringExecution");
            node_term(term, false, &path.child("nodeSelectorTerms").index(place), warnings);
        }
        let preferred = &nodes.preferred_during_scheduling_ignored_during_execution;
        for (place, term) in preferred.iter().enumerate() {
            let path = path.child("preferredDuringSchedulingIgnoredDuringExecution").index(place);
            node_term(&term.preference, true, &path.child("preference"), warnings);
        }
    }
    for (place, constraint) in spec.topology_spread_constraints.iter().enumerate() {
        let path = path.child("topologySpreadConstraints").index(place);
        let key = &constraint.topology_key;
        if let Some(message) = deprecated_node_label(key) {
            warnings.push(format!("{}: {key} is {message}", path.child("topologyKey")));
        }
        no_selector(constraint.label_selector.is_none(), &path, warnings);
    }
}

pub(crate) fn node_term(
    term: &NodeSelectorTerm,
    check_values: bool,
    path: &Path,
    warnings: &mut Vec<String>,
) {
    for (place, expression) in term.match_expressions.iter().enumerate() {
        let path = path.child("matchExpressions").index(place);
        if let Some(message) = deprecated_node_label(&expression.key) {
            warnings.push(format!("{}: {} is {message}", path.child("key"), expression.key));
        }
        for (i, value) in expression.values.iter().enumerate().filter(|_| check_values) {
            for wrong in names::label_value(value) {
                warnings.push(format!("{}: {value} is invalid, {wrong}", path.child("values").index(i)));
            }
        }
    }
}

/// Volume plugins that are gone.
fn volumes(spec: &PodSpec, path: &Path, warnings: &mut Vec<String>) {
    for (place, volume) in spec.volumes.iter().enumerate() {
        let source = &volume.source;
        for (used, name, message) in [
            (
                source.photon_persistent_disk.is_some(),
                "photonPersistentDisk",
                "deprecated in v1.11, non-functional in v1.16+",
            ),
            (source.git_repo.is_some(), "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
            (source.scale_io.is_some(), "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
            (source.flocker.is_some(), "flocker", "deprecated in v1.22, non-functional in v1.25+"),
            (source.storageos.is_some(), "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
            (source.quobyte.is_some(), "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
            (source.glusterfs.is_some(), "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
            (source.cephfs.is_some(), "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
            (source.rbd.is_some(), "rbd", "deprecated in v1.28, non-functional in v1.31+"),
        ] {
            if used {
                warnings.push(format!("{}: {message}", path.child("volumes").index(place).child(name)));
            }
        }
        overlapping_files(volume, warnings);
    }
}

/// Files of one volume of which one would be a folder of the other, or the same.
fn overlapping_files(volume: &Volume, warnings: &mut Vec<String>) {
    let source = &volume.source;
    let keys = |items: &[KeyToPath]| items.iter().map(|item| item.path.clone()).collect::<Vec<_>>();
    let (what, files) = if let Some(map) = &source.config_map {
        (format!("ConfigMap {:?}", map.reference.name), keys(&map.items))
    } else if let Some(secret) = &source.secret {
        (format!("Secret {:?}", secret.secret_name), keys(&secret.items))
    } else if let Some(downward) = &source.downward_api {
        ("DownwardAPI".to_owned(), downward.items.iter().map(|item| item.path.clone()).collect())
    } else {
        return;
    };
    let files: Vec<&str> = files.iter().map(|file| file.trim_end_matches('/')).collect();
    for (place, file) in files.iter().enumerate().filter(|(_, file)| !file.is_empty()) {
        for other in files[..place].iter().filter(|other| !other.is_empty()) {
            let inside = |a: &str, b: &str| format!("{a}/").starts_with(&format!("{b}/"));
            if inside(file, other) || inside(other, file) {
                let name = &volume.name;
                warnings
                    .push(format!("volume {name:?} ({what}): overlapping paths: {file:?} with {other:?}"));
            }
        }
    }
}

/// Entries of lists that should be there once.
fn repeated(spec: &PodSpec, path: &Path, warnings: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (place, alias) in spec.host_aliases.iter().enumerate() {
        if !seen.insert(&alias.ip) {
            let path = path.child("hostAliases").index(place).child("ip");
            warnings.push(format!("{path}: duplicate ip {:?}", alias.ip));
        }
    }
    seen.clear();
    for (place, secret) in spec.image_pull_secrets.iter().enumerate() {
        if !seen.insert(&secret.name) {
            let path = path.child("imagePullSecrets").index(place).child("name");
            warnings.push(format!("{path}: duplicate name {:?}", secret.name));
        }
    }
    for (place, _) in spec.image_pull_secrets.iter().enumerate().filter(|(_, s)| s.name.is_empty()) {
        let path = path.child("imagePullSecrets").index(place).child("name");
        warnings.push(format!("{path}: invalid empty name \"\""));
    }
}

fn fractions(amounts: &ResourceList, path: &Path, warnings: &mut Vec<String>) {
    for name in ["memory", "ephemeral-storage"] {
        if let Some(amount) = amounts.get(name).filter(|amount| !amount.is_whole()) {
            let path = path.key(name);
            warnings
                .push(format!("{path}: fractional byte value \"{amount}\" is invalid, must be an integer"));
        }
    }
}

fn hidden_variables(container: &Container, path: &Path, warnings: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (place, variable) in container.env.iter().enumerate() {
        if seen.insert(&variable.name) {
            continue;
        }
        // A variable may build on its earlier self: PATH=$(PATH):/more.
        let itself = format!("$({})", variable.name);
        let builds_on = variable.value != itself && variable.value.contains(&itself);
        if variable.value_from.is_some() || !builds_on {
            warnings.push(format!(
                "{}: hides previous definition of {:?}, which may be dropped when using apply",
                path.child("env").index(place),
                variable.name
            ));
        }
    }
}

fn ports(spec: &PodSpec, path: &Path, warnings: &mut Vec<String>) {
    let mut all: Vec<(&ContainerPort, Path)> = Vec::new();
    let containers = each_container(spec, path);
    let ports = containers.iter().flat_map(|(container, path)| {
        container.ports.iter().enumerate().map(|(i, port)| (port, path.child("ports").index(i)))
    });
    for (port, path) in ports {
        let same = |other: &&ContainerPort| {
            other.container_port == port.container_port && other.protocol == port.protocol
        };
        for (other, other_path) in all.iter().filter(|(other, _)| same(other)) {
            let what = if port.host_ip == other.host_ip && port.host_port == other.host_port {
                "duplicate"
            } else if port.host_port == 0 || other.host_port == 0 {
                "overlapping"
            } else if port.host_port == other.host_port && port.host_ip.is_empty() != other.host_ip.is_empty()
            {
                "dangerously ambiguous"
            } else {
                continue;
            };
            warnings.push(format!("{path}: {what} port definition with {other_path}"));
        }
        all.push((port, path));
    }
    for (place, (port, path)) in all.iter().enumerate().filter(|(_, (port, _))| !port.name.is_empty()) {
        if let Some((_, first)) = all[..place].iter().find(|(other, _)| other.name == port.name) {
            warnings.push(format!(
                "{path}: duplicate port name {:?} with {first}, services and probes that select ports by name will use {first}",
                port.name
            ));
        }
    }
}

fn no_selector(is_missing: bool, path: &Path, warnings: &mut Vec<String>) {
    if is_missing {
        let path = path.child("labelSelector");
        warnings.push(format!("{path}: a null labelSelector results in matching no pod"));
    }
}

fn terms_without_selector(spec: &PodSpec, path: &Path, warnings: &mut Vec<String>) {
    let Some(affinity) = &spec.affinity else { return };
    let near = affinity.pod_affinity.as_ref().map(|a| {
        (
            &a.required_during_scheduling_ignored_during_execution,
            &a.preferred_during_scheduling_ignored_during_execution,
        )
    });
    let apart = affinity.pod_anti_affinity.as_ref().map(|a| {
        (
            &a.required_during_scheduling_ignored_during_execution,
            &a.preferred_during_scheduling_ignored_during_execution,
        )
    });
    for (name, terms) in [("podAffinity", near), ("podAntiAffinity", apart)] {
        let Some((required, preferred)) = terms else { continue };
        let path = path.child("affinity").child(name);
        for (place, term) in required.iter().enumerate() {
            let path = path.child("requiredDuringSchedulingIgnoredDuringExecution").index(place);
            no_selector(term.label_selector.is_none(), &path, warnings);
        }
        for (place, weighted) in preferred.iter().enumerate() {
            let path = path.child("preferredDuringSchedulingIgnoredDuringExecution").index(place);
            let missing = weighted.pod_affinity_term.label_selector.is_none();
            no_selector(missing, &path.child("podAffinityTerm"), warnings);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Pod), expected: &[&str]) {
        let mut own = Pod::default();
        own.metadata.name = "web".into();
        own.spec.containers = vec![Container { name: "main".into(), ..Default::default() }];
        change(&mut own);
        assert_eq!(pod(&own), expected);
    }

    #[test]
    fn what_is_warned_of() {
        check(|_| {}, &[]);
        check(
            |p| p.metadata.name = "a.b".into(),
            &[
                "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]",
            ],
        );
        check(
            |p| {
                let variable =
                    |value: &str| EnvVar { name: "A".into(), value: value.into(), ..Default::default() };
                p.spec.containers[0].env = vec![variable("1"), variable("$(A)2"), variable("3")];
            },
            &[
                r#"spec.containers[0].env[2]: hides previous definition of "A", which may be dropped when using apply"#,
            ],
        );
        check(
            |p| {
                let port = |name: &str| ContainerPort {
                    name: name.into(),
                    container_port: 80,
                    ..Default::default()
                };
                p.spec.containers[0].ports = vec![port("a"), port("a")];
            },
            &[
                "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
                r#"spec.containers[0].ports[1]: duplicate port name "a" with spec.containers[0].ports[0], services and probes that select ports by name will use spec.containers[0].ports[0]"#,
            ],
        );
        check(
            |p| _ = p.spec.node_selector.insert("beta.kubernetes.io/os".into(), "linux".into()),
            &[
                r#"spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead"#,
            ],
        );
    }
}
