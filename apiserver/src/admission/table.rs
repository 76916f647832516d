//! All plugins of upstream, in upstream's order, and the flags that choose among them.

use super::{
    DefaultTolerationSeconds, Plugin, always, certificate_approval, certificate_signing,
    certificate_subject_restriction, claim_resize, default_class, limit_ranger, namespace_lifecycle,
    node_restriction, pod_security, pod_topology_labels, policy, priority, resource_quota, runtime_class,
    service_account, storage_protection, taint_nodes_by_condition, webhook,
};

/// What this server knows of a plugin.
enum Row {
    /// Here it is.
    Here(fn() -> Box<dyn Plugin>),
    /// It only acts on, or by, kinds that this server does not have: on or off makes no difference.
    Idle,
    /// It would act, and is not there yet: turning it on is refused.
    Unsupported,
    /// DefaultTolerationSeconds, which flags say more about.
    Tolerations,
}
use Row::{Here, Idle, Tolerations, Unsupported};

const ON: bool = true;
const OFF: bool = false;

/// Name, whether it is on by default, what there is of it. The order is that in which they run.
static PLUGINS: &[(&str, bool, Row)] = &[
    ("AlwaysAdmit", OFF, Here(|| Box::new(always::AlwaysAdmit))),
    ("NamespaceAutoProvision", OFF, Unsupported),
    ("NamespaceLifecycle", ON, Here(|| Box::new(namespace_lifecycle::NamespaceLifecycle))),
    ("NamespaceExists", OFF, Unsupported),
    ("LimitPodHardAntiAffinityTopology", OFF, Unsupported),
    ("LimitRanger", ON, Here(|| Box::new(limit_ranger::LimitRanger))),
    ("ServiceAccount", ON, Here(|| Box::new(service_account::ServiceAccountPlugin))),
    ("NodeRestriction", OFF, Here(|| Box::new(node_restriction::NodeRestriction))),
    ("TaintNodesByCondition", ON, Here(|| Box::new(taint_nodes_by_condition::TaintNodesByCondition))),
    ("AlwaysPullImages", OFF, Here(|| Box::new(always::AlwaysPullImages))),
    ("ImagePolicyWebhook", OFF, Unsupported),
    ("PodSecurity", ON, Here(|| Box::new(pod_security::PodSecurity))),
    ("PodNodeSelector", OFF, Unsupported),
    ("Priority", ON, Here(|| Box::new(priority::Priority))),
    ("DefaultTolerationSeconds", ON, Tolerations),
    ("PodTolerationRestriction", OFF, Unsupported),
    ("EventRateLimit", OFF, Unsupported),
    ("ExtendedResourceToleration", OFF, Unsupported),
    ("DefaultStorageClass", ON, Here(|| Box::new(default_class::DefaultStorageClass))),
    ("StorageObjectInUseProtection", ON, Here(|| Box::new(storage_protection::StorageObjectInUseProtection))),
    // PodGroup, which is alpha
    ("PodGroupProtection", ON, Idle),
    ("OwnerReferencesPermissionEnforcement", OFF, Unsupported),
    ("PersistentVolumeClaimResize", ON, Here(|| Box::new(claim_resize::PersistentVolumeClaimResize))),
    ("RuntimeClass", ON, Here(|| Box::new(runtime_class::RuntimeClass))),
    ("CertificateApproval", ON, Here(|| Box::new(certificate_approval::CertificateApproval))),
    ("CertificateSigning", ON, Here(|| Box::new(certificate_signing::CertificateSigning))),
    // ClusterTrustBundle
    ("ClusterTrustBundleAttest", ON, Idle),
    (
        "CertificateSubjectRestriction",
        ON,
        Here(|| Box::new(certificate_subject_restriction::CertificateSubjectRestriction)),
    ),
    ("DefaultIngressClass", ON, Here(|| Box::new(default_class::DefaultIngressClass))),
    ("DenyServiceExternalIPs", OFF, Here(|| Box::new(always::DenyServiceExternalIPs))),
    ("PodTopologyLabels", ON, Here(|| Box::new(pod_topology_labels::PodTopologyLabels))),
    // What these four act on is behind features that are off, or subresources that are not there.
    ("PodGroupWorkloadExists", ON, Idle),
    ("NodeDeclaredFeatureValidator", ON, Idle),
    ("JobValidation", ON, Idle),
    ("PodResizeValidator", ON, Idle),
    (crate::policies::MUTATING, ON, Here(|| Box::new(policy::Switch))),
    (webhook::MUTATING, ON, Here(|| Box::new(webhook::Switch))),
    (crate::policies::VALIDATING, ON, Here(|| Box::new(policy::Switch))),
    (webhook::VALIDATING, ON, Here(|| Box::new(webhook::Switch))),
    (resource_quota::NAME, ON, Here(|| Box::new(resource_quota::ResourceQuota))),
    ("AlwaysDeny", OFF, Here(|| Box::new(always::AlwaysDeny))),
];

/// A plugin and its name.
pub type Chosen = (&'static str, Box<dyn Plugin>);

/// What is wrong with the flags.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FlagError {
    #[error("{flag} plugin {name:?} is unknown")]
    Unknown { flag: &'static str, name: String },
    #[error("[{0}] in enable-admission-plugins and disable-admission-plugins overlapped")]
    Overlap(String),
    #[error("enable-admission-plugins plugin {0:?} is not supported yet")]
    Unsupported(String),
}

/// The plugins to run, in order, given `--enable-admission-plugins` and `--disable-admission-plugins`.
///
/// # Errors
/// For names that are unknown, in both flags, or not supported yet.
pub fn chosen(
    enable: &[String],
    disable: &[String],
    tolerations: DefaultTolerationSeconds,
) -> Result<Vec<Chosen>, FlagError> {
    for (flag, names) in [("enable-admission-plugins", enable), ("disable-admission-plugins", disable)] {
        if let Some(name) = names.iter().find(|name| !PLUGINS.iter().any(|(known, ..)| known == name)) {
            return Err(FlagError::Unknown { flag, name: name.clone() });
        }
    }
    let both: Vec<&str> = enable.iter().filter(|name| disable.contains(name)).map(String::as_str).collect();
    if !both.is_empty() {
        return Err(FlagError::Overlap(both.join(" ")));
    }
    let has = |names: &[String], name: &str| names.iter().any(|n| n == name);
    let mut plugins = Vec::new();
    for (name, default, row) in PLUGINS {
        if has(disable, name) || !(*default || has(enable, name)) {
            continue;
        }
        match row {
            Here(make) => plugins.push((*name, make())),
            Tolerations => plugins.push((*name, Box::new(tolerations))),
            Idle => {}
            Unsupported => return Err(FlagError::Unsupported((*name).to_owned())),
        }
    }
    Ok(plugins)
}
