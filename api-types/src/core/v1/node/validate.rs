//! What is refused in a Node.

use super::*;
use crate::addresses;
use crate::core::v1::pod::validate::{quantity, taint_effect};
use crate::field::{Errors, Path};
use crate::names;
use crate::value::Value;
use regex::Regex;
use std::collections::BTreeSet;
use std::sync::LazyLock;

pub(super) fn node(node: &Node, errors: &mut Errors) {
    // COMPAT: upstream tells of taints below metadata.
    taints(&node.spec.taints, &Path::new("metadata").child("taints"), errors);
    resources(&node.status, errors);
    if let Some(capacity @ ..=0) = node.status.node_info.swap.as_ref().and_then(|swap| swap.capacity) {
        let path = Path::new("metadata").child("nodeSwapStatus").child("capacity");
        errors.invalid(&path, capacity, "must be greater than zero");
    }
    declared_features(&node.status.declared_features, errors);
    pod_cidrs(&node.spec.pod_cidrs, errors);
}

fn taints(taints: &[Taint], path: &Path, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (place, taint) in taints.iter().enumerate() {
        let path = path.index(place);
        errors.wrong(&path.child("key"), &taint.key, names::qualified_name(&taint.key));
        let wrong = names::label_value(&taint.value);
        if !wrong.is_empty() {
            errors.invalid(&path.child("value"), &taint.value, wrong.join(";"));
        }
        taint_effect(&taint.effect, &path.child("effect"), errors);
        if !seen.insert((&taint.effect, &taint.key)) {
            errors.duplicate(&path, taint as &dyn Value);
            if let Some(last) = errors.0.last_mut() {
                last.detail = "taints must be unique by key and effect pair".to_owned();
            }
        }
    }
}

fn resources(status: &NodeStatus, errors: &mut Errors) {
    for (list, name) in [(&status.capacity, "capacity"), (&status.allocatable, "allocatable")] {
        for (resource, amount) in list {
            quantity(resource, amount, &Path::new("status").child(name).child(resource), errors);
        }
    }
}

fn declared_features(features: &[String], errors: &mut Errors) {
    static NAME: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new("^([A-Z][a-zA-Z0-9]*)(/[a-zA-Z][a-zA-Z0-9]*)*$").expect("a constant pattern")
    });
    let path = Path::new("status").child("declaredFeatures");
    for (place, feature) in features.iter().enumerate() {
        let wrong = if feature.len() > 253 {
            "must be no more than 253 characters"
        } else if !NAME.is_match(feature) {
            "must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
        } else {
            ""
        };
        if !wrong.is_empty() {
            errors.invalid(&path.index(place), feature, format!("invalid feature name {feature:?}: {wrong}"));
        }
        if let Some(next) = features.get(place + 1) {
            let path = path.index(place + 1);
            if feature == next {
                errors.duplicate(&path, next);
            } else if feature > next {
                errors.invalid(&path, next, "list must be sorted alphabetically");
            }
        }
    }
}

fn pod_cidrs(cidrs: &Vec<String>, errors: &mut Errors) {
    let path = Path::new("spec").child("podCIDRs");
    for (place, cidr) in cidrs.iter().enumerate() {
        addresses::legacy_cidr(cidr, &path.index(place), errors);
    }
    let is_v6 = |cidr: &String| cidr.contains(':');
    if cidrs.len() > 2 || (cidrs.len() == 2 && is_v6(&cidrs[0]) == is_v6(&cidrs[1])) {
        let text = "may specify no more than one CIDR for each IP family";
        errors.invalid(&path, cidrs as &dyn Value, text);
    }
}

/// What neither an update nor a write of the status may change.
pub(super) fn update(new: &Node, old: &Node, errors: &mut Errors) {
    let path = Path::new("spec");
    let mut seen: Vec<&NodeAddress> = Vec::new();
    for (place, address) in new.status.addresses.iter().enumerate() {
        if seen.contains(&address) {
            let path = Path::new("status").child("addresses").index(place);
            errors.duplicate(&path, address as &dyn Value);
        }
        seen.push(address);
    }
    if !old.spec.pod_cidrs.is_empty() && new.spec.pod_cidrs != old.spec.pod_cidrs {
        let text = "node updates may not change podCIDR except from \"\" to valid";
        errors.forbidden(&path.child("podCIDRs"), text);
    }
    if !old.spec.provider_id.is_empty() && new.spec.provider_id != old.spec.provider_id {
        let text = "node updates may not change providerID except from \"\" to valid";
        errors.forbidden(&path.child("providerID"), text);
    }
    if new.spec.external_id != old.spec.external_id {
        errors.forbidden(&path.child("externalID"), "may not be updated");
    }
}

/// A write of the status is checked as far as it goes.
pub(super) fn status_update(new: &Node, old: &Node, errors: &mut Errors) {
    resources(&new.status, errors);
    declared_features(&new.status.declared_features, errors);
    update(new, old, errors);
}

/// What the server warns of.
pub(super) fn warnings(node: &Node) -> Vec<String> {
    let mut warnings = Vec::new();
    if node.spec.config_source.is_some() {
        warnings.push("spec.configSource: the feature is removed".to_owned());
    }
    if !node.spec.external_id.is_empty() {
        warnings.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned());
    }
    let path = Path::new("spec").child("podCIDRs");
    for (place, cidr) in node.spec.pod_cidrs.iter().enumerate() {
        warnings.extend(addresses::cidr_warnings(cidr, &path.index(place)));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::v1::ConditionStatus;
    use crate::kind::Strategy;

    #[test]
    fn what_is_refused() {
        let mut own = Node::default();
        own.spec.taints = vec![
            Taint { key: "a".into(), effect: TaintEffect::NoSchedule, ..Default::default() },
            Taint { key: "a".into(), effect: TaintEffect::NoSchedule, ..Default::default() },
            Taint { key: "b".into(), ..Default::default() },
        ];
        own.spec.pod_cidrs = vec!["10.0.0.0/24".into(), "10.0.1.0/24".into()];
        let mut errors = Errors::default();
        own.validate(&mut errors);
        assert_eq!(
            errors.0.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                r#"metadata.taints[1]: Duplicate value: {"key":"a","effect":"NoSchedule"}: taints must be unique by key and effect pair"#,
                "metadata.taints[2].effect: Required value",
                r#"spec.podCIDRs: Invalid value: ["10.0.0.0/24","10.0.1.0/24"]: may specify no more than one CIDR for each IP family"#,
            ]
        );
    }

    #[test]
    fn the_range_of_pods_stays() {
        let mut old = Node::default();
        old.spec.pod_cidrs = vec!["10.0.0.0/24".into()];
        let mut errors = Errors::default();
        Node::default().validate_update(&old, &mut errors);
        assert_eq!(
            errors.to_string(),
            "spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid"
        );
    }

    #[test]
    fn columns() {
        let mut own = Node::default();
        let cells = |own: &Node| {
            let cell = |place: usize| {
                (Node::columns()[place].cell)(own, jiff::Timestamp::UNIX_EPOCH)
                    .as_str()
                    .expect("a text")
                    .to_owned()
            };
            format!("{} {} {} {}", cell(1), cell(2), cell(5), cell(8))
        };
        assert_eq!(cells(&own), "Unknown <none> <none> <unknown>");
        own.spec.unschedulable = true;
        own.status.conditions = vec![NodeCondition {
            type_: NodeConditionType::Ready,
            status: ConditionStatus::True,
            ..Default::default()
        }];
        own.metadata.labels = [
            ("node-role.kubernetes.io/worker".to_owned(), String::new()),
            ("kubernetes.io/role".to_owned(), "edge".to_owned()),
        ]
        .into();
        own.status.addresses =
            vec![NodeAddress { type_: NodeAddressType::InternalIP, address: "10.0.0.2".into() }];
        own.status.node_info.kernel_version = "6.1".into();
        own.status.node_info.architecture = "amd64".into();
        assert_eq!(cells(&own), "Ready,SchedulingDisabled edge,worker 10.0.0.2 6.1 (amd64)");
    }
}
