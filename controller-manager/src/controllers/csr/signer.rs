//! The built-in signers: which requests each takes, and why it refuses one.

use api_types::certificates::v1::KeyUsage;

use super::request::Request;

const PREFIX: &str = "system:node:";
const NODES: &str = "system:nodes";

/// A signer of `kubernetes.io`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signer {
    ApiserverClient,
    KubeletClient,
    KubeletServing,
    LegacyUnknown,
}

impl Signer {
    /// The signer that a request names, if it is ours.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "kubernetes.io/kube-apiserver-client" => Self::ApiserverClient,
            "kubernetes.io/kube-apiserver-client-kubelet" => Self::KubeletClient,
            "kubernetes.io/kubelet-serving" => Self::KubeletServing,
            "kubernetes.io/legacy-unknown" => Self::LegacyUnknown,
            _ => return None,
        })
    }

    /// Whether this signer may sign the request; the error becomes the message of a Failed condition.
    pub fn check(self, request: &Request, usages: &[KeyUsage]) -> Result<(), &'static str> {
        match self {
            Self::ApiserverClient => check_usages(usages, &KeyUsage::ClientAuth, false),
            Self::KubeletClient => kubelet_client(request, usages),
            Self::KubeletServing => kubelet_serving(request, usages),
            Self::LegacyUnknown => Ok(()),
        }
    }
}

/// Exactly `needed` and "digital signature", with or without "key encipherment".
fn check_usages(usages: &[KeyUsage], needed: &KeyUsage, exact: bool) -> Result<(), &'static str> {
    let fits = |usage: &KeyUsage| {
        usage == needed || matches!(usage, KeyUsage::DigitalSignature | KeyUsage::KeyEncipherment)
    };
    let all_there = usages.contains(needed) && (!exact || usages.contains(&KeyUsage::DigitalSignature));
    if all_there && usages.iter().all(fits) {
        return Ok(());
    }
    Err(match (needed, exact) {
        (KeyUsage::ServerAuth, _) => {
            "usages did not match [\"digital signature\" \"server auth\"] or [\"digital signature\" \"key encipherment\" \"server auth\"]"
        }
        (_, true) => {
            "usages did not match [\"client auth\" \"digital signature\"] or [\"client auth\" \"digital signature\" \"key encipherment\"]"
        }
        _ => "usages did not match",
    })
}

fn node_subject(request: &Request) -> Result<(), &'static str> {
    if request.organizations != [NODES] {
        return Err("subject organization is not system:nodes");
    }
    if !request.common_name.starts_with(PREFIX) {
        return Err("subject common name does not begin with system:node:");
    }
    Ok(())
}

/// A node's client certificate: for `system:node:NAME` in `system:nodes`, without other names.
pub fn kubelet_client(request: &Request, usages: &[KeyUsage]) -> Result<(), &'static str> {
    if request.organizations != [NODES] {
        return Err("subject organization is not system:nodes");
    }
    if !request.dns_names.is_empty() {
        return Err("DNS subjectAltNames are not allowed");
    }
    if request.emails > 0 {
        return Err("Email subjectAltNames are not allowed");
    }
    if request.ip_addresses > 0 {
        return Err("IP subjectAltNames are not allowed");
    }
    if request.uris > 0 {
        return Err("URI subjectAltNames are not allowed");
    }
    node_subject(request)?;
    check_usages(usages, &KeyUsage::ClientAuth, true)
}

fn kubelet_serving(request: &Request, usages: &[KeyUsage]) -> Result<(), &'static str> {
    node_subject(request)?;
    if request.dns_names.is_empty() && request.ip_addresses == 0 {
        return Err("DNS or IP subjectAltName is required");
    }
    if request.emails > 0 {
        return Err("Email subjectAltNames are not allowed");
    }
    if request.uris > 0 {
        return Err("URI subjectAltNames are not allowed");
    }
    check_usages(usages, &KeyUsage::ServerAuth, true)
}
