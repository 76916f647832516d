//! What objects count for in a ResourceQuota (API doc "Resource Quotas").
//!
//! Pure and shared: the API server charges every write with it (`charge`), the controller sums up what
//! is there (`usage`, `in_scopes`). Names of resources: `count/RESOURCE.GROUP` for any kind; the
//! older plain names of some; requests and limits of pods, storage of claims, ports of services.
//! Messages are upstream's.

mod devices;

pub use devices::{Devices, is_held_by, may_be_devices, pod_of};

use crate::core::v1::pod::demand::{PodResources, is_best_effort, of_running};
use crate::core::v1::pod::validate::{is_extended, is_native};
use crate::core::v1::{
    PersistentVolumeClaim, Pod, PodAffinityTerm, PodPhase, ResourceList, ResourceQuota, ResourceQuotaScope,
    ResourceQuotaSpec, ScopedResourceSelectorRequirement, Service, ServiceType,
};
use crate::kind::{Kind, Object};
use crate::resource::v1::ResourceClaim;
use crate::value::{Format, Quantity};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Resources of pods with a fixed name.
const OF_PODS: [&str; 11] = [
    "count/pods",
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
];
/// Of these, every container must say how much it takes.
const TO_BE_SAID: [&str; 6] =
    ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
const OF_SERVICES: [&str; 4] = ["count/services", "services", "services.nodeports", "services.loadbalancers"];
const OF_CLAIMS: [&str; 2] = ["persistentvolumeclaims", "requests.storage"];
/// `CLASS.storageclass.storage.k8s.io/requests.storage`
const BY_CLASS: &str = ".storageclass.storage.k8s.io/";
/// Kinds that had a plain name before `count/` came.
const PLAIN: [&str; 4] = ["configmaps", "resourcequotas", "replicationcontrollers", "secrets"];

/// Whether quotas pass a kind over: what is not stored, and events.
pub fn is_ignored(kind: &Kind) -> bool {
    !kind.is_stored() || kind.resource == "events"
}

/// The name under which objects of a kind are counted.
pub fn count_name(kind: &Kind) -> String {
    format!("count/{}", kind.qualified_resource())
}

/// Whether objects of the kind use a resource of that name.
pub fn is_tracked(kind: &Kind, name: &str) -> bool {
    match (kind.group, kind.resource) {
        ("", "pods") => {
            OF_PODS.contains(&name)
                || name.starts_with("hugepages-")
                || name.starts_with("requests.hugepages-")
                || (!is_native(name) && name.starts_with("requests."))
                || name.strip_prefix("requests.").is_some_and(|name| name.starts_with(devices::IMPLICIT))
        }
        ("", "services") => OF_SERVICES.contains(&name),
        ("", "persistentvolumeclaims") => {
            let (of_class, rest) = name.split_once(BY_CLASS).map_or((false, name), |(_, rest)| (true, rest));
            OF_CLAIMS.contains(&rest) || (!of_class && name == "count/persistentvolumeclaims")
        }
        // And what stands for devices, for which their classes have to be known (`Devices`).
        ("resource.k8s.io", "resourceclaims") => {
            name == count_name(kind) || name.ends_with(devices::OF_CLASS)
        }
        ("", plain) if PLAIN.contains(&plain) => name == plain || name == count_name(kind),
        _ => name == count_name(kind),
    }
}

fn number(count: usize) -> Quantity {
    Quantity::from_units(count.try_into().unwrap_or(i64::MAX), Format::DecimalSi)
}

/// What an object counts for at a time; `known` is for claims to devices.
pub fn usage(object: &dyn Object, now: Timestamp, known: &Devices) -> ResourceList {
    let kind = object.kind();
    let mut used = ResourceList::from([(count_name(kind), number(1))]);
    let any = object.as_any();
    if let Some(pod) = any.downcast_ref::<Pod>() {
        if is_alive(pod, now) {
            let (requests, limits) =
                (of_running(pod, PodResources::Requests), of_running(pod, PodResources::Limits));
            used.extend(compute(&requests, &limits));
        }
    } else if let Some(service) = any.downcast_ref::<Service>() {
        used.extend(of_service(service));
    } else if let Some(claim) = any.downcast_ref::<PersistentVolumeClaim>() {
        used.extend(of_claim(claim));
    } else if let Some(claim) = any.downcast_ref::<ResourceClaim>() {
        used.extend(devices::of_claim(claim, known));
    } else if kind.group.is_empty() && PLAIN.contains(&kind.resource) {
        used.insert(kind.resource.to_owned(), number(1));
    }
    used
}

/// Ended pods, and those that should long be gone, take no resources; they still are objects.
fn is_alive(pod: &Pod, now: Timestamp) -> bool {
    let ended = matches!(pod.status.phase, PodPhase::Failed | PodPhase::Succeeded);
    let overdue = match (pod.metadata.deletion_timestamp, pod.metadata.deletion_grace_period_seconds) {
        (Some(at), Some(grace)) => now.as_second() > at.0.as_second().saturating_add(grace),
        _ => false,
    };
    !ended && !overdue
}

fn compute(requests: &ResourceList, limits: &ResourceList) -> ResourceList {
    let mut used = ResourceList::from([("pods".to_owned(), number(1))]);
    for (name, amount) in requests {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-") {
            used.insert(name.clone(), *amount);
            used.insert(format!("requests.{name}"), *amount);
        } else if is_extended(name) || name.starts_with(devices::IMPLICIT) {
            used.insert(format!("requests.{name}"), *amount);
        }
    }
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(amount) = limits.get(name) {
            used.insert(format!("limits.{name}"), *amount);
        }
    }
    used
}

fn of_service(service: &Service) -> ResourceList {
    let ports = &service.spec.ports;
    let balanced = service.spec.type_ == ServiceType::LoadBalancer;
    let node_ports = match service.spec.type_ {
        ServiceType::NodePort => ports.len(),
        // Ports are not allocated yet: what counts is whether they will be.
        ServiceType::LoadBalancer if service.spec.allocate_load_balancer_node_ports != Some(false) => {
            ports.len()
        }
        ServiceType::LoadBalancer => ports.iter().filter(|port| port.node_port != 0).count(),
        _ => 0,
    };
    [
        ("services", number(1)),
        ("services.loadbalancers", number(usize::from(balanced))),
        ("services.nodeports", number(node_ports)),
    ]
    .map(|(name, amount)| (name.to_owned(), amount))
    .into()
}

fn of_claim(claim: &PersistentVolumeClaim) -> ResourceList {
    let whole = |amount: &Quantity| match amount.is_whole() {
        true => *amount,
        false => Quantity::from_units(amount.value(), amount.format()),
    };
    let asked = claim.spec.resources.requests.get("storage").map(whole);
    // A resize that is under way has set aside more than is asked for when it is taken back.
    let held = claim.status.allocated_resources.get("storage").map(whole);
    let storage = asked.map(|asked| held.map_or(asked, |held| held.max(asked)));
    let class = claim.class().unwrap_or_default();
    let mut used = ResourceList::new();
    for (name, amount) in [("persistentvolumeclaims", Some(number(1))), ("requests.storage", storage)] {
        let Some(amount) = amount else { continue };
        used.insert(name.to_owned(), amount);
        if !class.is_empty() {
            used.insert(format!("{class}{BY_CLASS}{name}"), amount);
        }
    }
    used
}

/// Whether an object is in all scopes of a quota.
pub fn in_scopes(spec: &ResourceQuotaSpec, object: &dyn Object) -> bool {
    let plain = spec.scopes.iter().map(|scope| ScopedResourceSelectorRequirement {
        scope_name: scope.clone(),
        operator: "Exists".into(),
        values: Vec::new(),
    });
    let selected = spec.scope_selector.iter().flat_map(|selector| &selector.match_expressions).cloned();
    plain.chain(selected).all(|scope| is_in_scope(&scope, object))
}

fn is_in_scope(scope: &ScopedResourceSelectorRequirement, object: &dyn Object) -> bool {
    if let Some(pod) = object.as_any().downcast_ref::<Pod>() {
        let terminating = has_deadline(pod);
        return match scope.scope_name {
            ResourceQuotaScope::Terminating => terminating,
            ResourceQuotaScope::NotTerminating => !terminating,
            ResourceQuotaScope::BestEffort => is_best_effort(&pod.spec),
            ResourceQuotaScope::NotBestEffort => !is_best_effort(&pod.spec),
            ResourceQuotaScope::PriorityClass => {
                let class = pod.spec.priority_class_name.as_str();
                selects(scope, &BTreeSet::from_iter((!class.is_empty()).then_some(class)))
            }
            ResourceQuotaScope::CrossNamespacePodAffinity => looks_elsewhere(pod),
            _ => false,
        };
    }
    if let Some(claim) = object.as_any().downcast_ref::<PersistentVolumeClaim>()
        && scope.scope_name == ResourceQuotaScope::VolumeAttributesClass
    {
        let target =
            claim.status.modify_volume_status.as_ref().map(|m| &m.target_volume_attributes_class_name);
        let names = [
            claim.spec.volume_attributes_class_name.as_ref(),
            claim.status.current_volume_attributes_class_name.as_ref(),
            target,
        ];
        let names = names.into_iter().flatten().map(String::as_str).filter(|name| !name.is_empty());
        return selects(scope, &names.collect());
    }
    false
}

/// Whether a requirement holds for one of the values that an object has for its scope.
fn selects(scope: &ScopedResourceSelectorRequirement, values: &BTreeSet<&str>) -> bool {
    let listed = |value: &&str| scope.values.iter().any(|v| v == value);
    match scope.operator.as_str() {
        "Exists" => !values.is_empty(),
        "DoesNotExist" => values.is_empty(),
        "In" => values.iter().any(listed),
        "NotIn" => values.is_empty() || values.iter().any(|value| !listed(value)),
        _ => false,
    }
}

/// Whether a pod ends by itself.
pub fn has_deadline(pod: &Pod) -> bool {
    pod.spec.active_deadline_seconds.is_some_and(|seconds| seconds >= 0)
}

fn looks_elsewhere(pod: &Pod) -> bool {
    let Some(affinity) = &pod.spec.affinity else { return false };
    let crosses = |term: &PodAffinityTerm| !term.namespaces.is_empty() || term.namespace_selector.is_some();
    let near = affinity.pod_affinity.iter().map(|a| {
        (
            &a.required_during_scheduling_ignored_during_execution,
            &a.preferred_during_scheduling_ignored_during_execution,
        )
    });
    let apart = affinity.pod_anti_affinity.iter().map(|a| {
        (
            &a.required_during_scheduling_ignored_during_execution,
            &a.preferred_during_scheduling_ignored_during_execution,
        )
    });
    near.chain(apart).any(|(required, preferred)| {
        required.iter().any(crosses) || preferred.iter().any(|weighted| crosses(&weighted.pod_affinity_term))
    })
}

/// A write that quotas look at.
pub struct Change<'a> {
    pub old: Option<&'a dyn Object>,
    pub new: &'a dyn Object,
    /// Which part of the object is written.
    pub subresource: &'a str,
    pub now: Timestamp,
    /// For claims to devices.
    pub known: Devices,
}

impl Change<'_> {
    /// Whether the write can change what is used at all.
    pub fn is_counted(&self) -> bool {
        let kind = self.new.kind();
        if is_ignored(kind) {
            return false;
        }
        match ((kind.group, kind.resource), self.subresource, self.old) {
            (("", "pods"), "", Some(old)) => {
                let deadline = |object: &dyn Object| object.as_any().downcast_ref().is_some_and(has_deadline);
                deadline(old) != deadline(self.new)
            }
            (("", "pods"), "resize", Some(_)) => true,
            (("", "services" | "persistentvolumeclaims"), "", _) => true,
            (("", "persistentvolumeclaims"), "status", Some(_)) => true,
            (("resource.k8s.io", "resourceclaims"), "", _) => true,
            (_, "", None) => true,
            _ => false,
        }
    }

    /// What a quota's `status.used` becomes with the write; `None` where it stays.
    ///
    /// # Errors
    /// Why the quota does not let the write pass.
    pub fn charge(&self, quota: &ResourceQuota) -> Result<Option<ResourceList>, String> {
        let (kind, name) = (self.new.kind(), &quota.metadata.name);
        let (hard, used) = (&quota.status.hard, &quota.status.used);
        let is_claim = self.new.as_any().is::<ResourceClaim>();
        let is_counted =
            |name: &&String| is_tracked(kind, name) || (is_claim && self.known.are_counted_as(name));
        let tracked: Vec<&String> = hard.keys().filter(is_counted).collect();
        if tracked.is_empty() || !in_scopes(&quota.spec, self.new) {
            return Ok(None);
        }
        if let Some(pod) = self.new.as_any().downcast_ref::<Pod>() {
            all_is_said(pod, &tracked).map_err(|wrong| format!("failed quota: {name}: {wrong}"))?;
        }
        if tracked.iter().any(|resource| !used.contains_key(*resource)) {
            let names: Vec<&str> = tracked.iter().map(|name| name.as_str()).collect();
            return Err(format!("status unknown for quota: {name}, resources: {}", names.join(",")));
        }
        let mut asked = usage(self.new, self.now, &self.known);
        let negative: Vec<&str> =
            asked.iter().filter(|(_, amount)| amount.is_negative()).map(|(name, _)| name.as_str()).collect();
        if !negative.is_empty() {
            return Err(format!("quota usage is negative for resource(s): {}", negative.join(",")));
        }
        if let Some(old) = self.old.filter(|old| in_scopes(&quota.spec, *old)) {
            for (name, before) in usage(old, self.now, &self.known) {
                if let Some(amount) = asked.get_mut(&name) {
                    *amount =
                        if *amount > before { difference(*amount, before) } else { Quantity::default() };
                }
            }
        }
        asked.retain(|name, amount| !amount.is_zero() && hard.contains_key(name));
        if asked.is_empty() {
            return Ok(None);
        }
        let mut total = used.clone();
        for (name, amount) in &asked {
            *total.entry(name.clone()).or_default() += *amount;
        }
        let exceeded: Vec<&String> = asked.keys().filter(|name| total[*name] > hard[*name]).collect();
        if !exceeded.is_empty() && self.subresource != "status" {
            let shown = |list: &ResourceList| {
                let parts = exceeded.iter().filter_map(|name| Some(format!("{name}={}", list.get(*name)?)));
                parts.collect::<Vec<_>>().join(",")
            };
            return Err(format!(
                "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
                shown(&asked),
                shown(used),
                shown(hard)
            ));
        }
        Ok(Some(total))
    }
}

fn difference(mut from: Quantity, other: Quantity) -> Quantity {
    from -= other;
    from
}

/// COMPAT: where CPU or memory are capped, each container must say what it takes of them, unless the
/// pod as a whole does.
fn all_is_said(pod: &Pod, tracked: &[&String]) -> Result<(), String> {
    if pod.spec.resources.as_ref().is_some_and(|own| !own.requests.is_empty() || !own.limits.is_empty()) {
        return Ok(());
    }
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for container in pod.spec.containers.iter().chain(&pod.spec.init_containers) {
        let said = compute(&container.resources.requests, &container.resources.limits);
        let needed = tracked.iter().map(|name| name.as_str()).filter(|name| TO_BE_SAID.contains(name));
        for name in needed.filter(|name| !said.contains_key(*name)) {
            missing.entry(name).or_default().insert(&container.name);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let parts = missing.into_iter().map(|(resource, containers)| {
        format!("{resource} for: {}", containers.into_iter().collect::<Vec<_>>().join(","))
    });
    Err(format!("must specify {}", parts.collect::<Vec<_>>().join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::v1::{ConfigMap, Container, ServicePort};
    use crate::kind::Resource;

    fn list(items: &[(&str, &str)]) -> ResourceList {
        let amount = |text: &str| Quantity::parse(text).expect("an amount");
        items.iter().map(|(name, text)| ((*name).to_owned(), amount(text))).collect()
    }

    fn quota(hard: &[(&str, &str)], used: &[(&str, &str)]) -> ResourceQuota {
        let mut own = ResourceQuota::default();
        own.metadata.name = "caps".into();
        own.spec.hard = list(hard);
        own.status.hard = list(hard);
        own.status.used = list(used);
        own
    }

    fn pod(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> Pod {
        let mut container = Container { name: "main".into(), ..Container::default() };
        container.resources.requests = list(requests);
        container.resources.limits = list(limits);
        let mut own = Pod::default();
        own.spec.containers = vec![container];
        own
    }

    fn counted(object: &dyn Object) -> ResourceList {
        usage(object, Timestamp::UNIX_EPOCH, &Devices::default())
    }

    fn charge(
        quota: &ResourceQuota,
        new: &dyn Object,
        old: Option<&dyn Object>,
    ) -> Result<Option<ResourceList>, String> {
        Change { old, new, subresource: "", now: Timestamp::UNIX_EPOCH, known: Devices::default() }
            .charge(quota)
    }

    #[test]
    fn pods_take_what_they_ask_for() {
        let own = pod(&[("cpu", "1"), ("example.com/gpu", "2")], &[("memory", "1Gi")]);
        assert_eq!(
            counted(&own),
            list(&[
                ("count/pods", "1"),
                ("pods", "1"),
                ("cpu", "1"),
                ("requests.cpu", "1"),
                ("requests.example.com/gpu", "2"),
                ("limits.memory", "1Gi"),
            ])
        );
        let mut ended = own.clone();
        ended.status.phase = PodPhase::Succeeded;
        assert_eq!(counted(&ended), list(&[("count/pods", "1")]));
        assert!(is_tracked(Pod::facts(), "requests.example.com/gpu"));
        assert!(!is_tracked(Pod::facts(), "example.com/gpu"));
    }

    #[test]
    fn pods_count_for_what_they_hold_while_they_are_resized() {
        let told = |more: &str| -> Pod {
            crate::codec::json::from_slice(
                format!(
                    r#"{{"spec":{{"containers":[{{"name":"main","resources":{{"requests":{{"cpu":"1","memory":"1Gi"}},
                    "limits":{{"cpu":"1"}}}}}}]}},"status":{{"containerStatuses":[{{"name":"main",
                    "allocatedResources":{{"cpu":"2","memory":"1Gi"}},
                    "resources":{{"requests":{{"cpu":"3","memory":"512Mi"}},"limits":{{"cpu":"4"}}}}}}]{more}}}}}"#
                )
                .as_bytes(),
            )
            .expect("a pod")
        };
        let shrinking = counted(&told(""));
        let amounts = |used: &ResourceList| {
            ["requests.cpu", "requests.memory", "limits.cpu"].map(|name| used[name].to_string()).join(" ")
        };
        assert_eq!(amounts(&shrinking), "3 1Gi 4");
        let pending = |reason: &str| {
            told(&format!(
                r#","conditions":[{{"type":"PodResizePending","status":"True","reason":"{reason}"}}]"#
            ))
        };
        assert_eq!(amounts(&counted(&pending("Deferred"))), "3 1Gi 4");
        let mut given_up = pending("Infeasible");
        given_up.spec.containers[0].resources.limits = list(&[("cpu", "9")]);
        given_up.spec.containers[0].resources.requests = list(&[("cpu", "9"), ("memory", "9Gi")]);
        assert_eq!(amounts(&counted(&given_up)), "3 1Gi 4");
        given_up.status.container_statuses.clear();
        assert_eq!(amounts(&counted(&given_up)), "9 9Gi 9", "nothing is known of what it holds");
    }

    #[test]
    fn device_classes_stand_for_extended_resources() {
        let claim: ResourceClaim = crate::codec::json::from_slice(
            br#"{"spec":{"devices":{"requests":[
                {"name":"a","exactly":{"deviceClassName":"gold","allocationMode":"ExactCount","count":2}}]}}}"#,
        )
        .expect("a claim");
        let name = "requests.example.com/gpu";
        let classes = [("gold".to_owned(), Some("example.com/gpu".to_owned()))].into();
        let known = Devices { classes, ..Devices::default() };
        let charge = |known: Devices, hard: &str| {
            let change =
                Change { old: None, new: &claim, subresource: "", now: Timestamp::UNIX_EPOCH, known };
            change.charge(&quota(&[(name, hard)], &[(name, "1")]))
        };
        assert_eq!(charge(known.clone(), "3"), Ok(Some(list(&[(name, "3")]))));
        assert_eq!(
            charge(known, "2"),
            Err(format!("exceeded quota: caps, requested: {name}=2, used: {name}=1, limited: {name}=2"))
        );
        assert_eq!(charge(Devices::default(), "2"), Ok(None), "no class stands for it");
        let implicit = pod(&[("deviceclass.resource.kubernetes.io/gold", "1")], &[]);
        assert!(counted(&implicit).contains_key("requests.deviceclass.resource.kubernetes.io/gold"));
    }

    #[test]
    fn services_and_claims() {
        let mut service = Service::default();
        service.spec.type_ = ServiceType::LoadBalancer;
        service.spec.ports =
            vec![ServicePort::default(), ServicePort { node_port: 30_000, ..Default::default() }];
        let used = counted(&service);
        assert_eq!((used["services.nodeports"], used["services.loadbalancers"]), (number(2), number(1)));
        service.spec.allocate_load_balancer_node_ports = Some(false);
        assert_eq!(counted(&service)["services.nodeports"], number(1));

        let mut claim = PersistentVolumeClaim::default();
        claim.spec.storage_class_name = Some("gold".into());
        claim.spec.resources.requests = list(&[("storage", "1Gi")]);
        let used = counted(&claim);
        assert_eq!(used["gold.storageclass.storage.k8s.io/requests.storage"], used["requests.storage"]);
        let kind = PersistentVolumeClaim::facts();
        assert!(is_tracked(kind, "gold.storageclass.storage.k8s.io/persistentvolumeclaims"));
        assert!(!is_tracked(kind, "gold.storageclass.storage.k8s.io/pods"));
    }

    #[test]
    fn what_fits_is_charged() {
        let caps =
            quota(&[("pods", "2"), ("count/configmaps", "1")], &[("pods", "1"), ("count/configmaps", "1")]);
        let used = charge(&caps, &pod(&[], &[]), None).expect("it fits");
        assert_eq!(used, Some(list(&[("pods", "2"), ("count/configmaps", "1")])));
        assert_eq!(
            charge(&caps, &ConfigMap::default(), None),
            Err("exceeded quota: caps, requested: count/configmaps=1, used: count/configmaps=1, limited: count/configmaps=1".into())
        );
        assert_eq!(charge(&caps, &Service::default(), None), Ok(None), "nothing caps services");
    }

    #[test]
    fn what_is_not_said_or_not_known_is_refused() {
        let caps = quota(&[("limits.cpu", "2")], &[("limits.cpu", "0")]);
        assert_eq!(
            charge(&caps, &pod(&[], &[]), None),
            Err("failed quota: caps: must specify limits.cpu for: main".into())
        );
        assert_eq!(
            charge(&quota(&[("pods", "2")], &[]), &pod(&[], &[]), None),
            Err("status unknown for quota: caps, resources: pods".into())
        );
    }

    #[test]
    fn updates_are_charged_with_the_difference() {
        let caps = quota(&[("requests.storage", "3Gi")], &[("requests.storage", "2Gi")]);
        let claim = |size| {
            let mut own = PersistentVolumeClaim::default();
            own.spec.resources.requests = list(&[("storage", size)]);
            own
        };
        assert_eq!(
            charge(&caps, &claim("3Gi"), Some(&claim("2Gi"))),
            Ok(Some(list(&[("requests.storage", "3Gi")])))
        );
        assert_eq!(charge(&caps, &claim("1Gi"), Some(&claim("2Gi"))), Ok(None), "the controller gives back");
        assert!(charge(&caps, &claim("4Gi"), Some(&claim("2Gi"))).is_err());
    }

    #[test]
    fn scopes_narrow_a_quota() {
        let mut caps = quota(&[("pods", "0")], &[("pods", "0")]);
        caps.spec.scopes = vec![ResourceQuotaScope::Terminating];
        assert_eq!(charge(&caps, &pod(&[], &[]), None), Ok(None));
        let mut ending = pod(&[], &[]);
        ending.spec.active_deadline_seconds = Some(5);
        assert!(charge(&caps, &ending, None).is_err());

        let by_class = |operator: &str, values: &[&str]| ScopedResourceSelectorRequirement {
            scope_name: ResourceQuotaScope::PriorityClass,
            operator: operator.into(),
            values: values.iter().map(|v| (*v).to_owned()).collect(),
        };
        let mut own = pod(&[], &[]);
        assert!(is_in_scope(&by_class("NotIn", &["high"]), &own));
        own.spec.priority_class_name = "high".into();
        assert!(is_in_scope(&by_class("In", &["high"]), &own));
        assert!(!is_in_scope(&by_class("NotIn", &["high"]), &own));
        assert!(!is_in_scope(&by_class("DoesNotExist", &[]), &own));
    }
}
