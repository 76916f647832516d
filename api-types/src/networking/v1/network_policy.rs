//! NetworkPolicy: which traffic may reach pods, and leave them.

use crate::addresses;
use crate::columns;
use crate::core::v1::Protocol;
use crate::field::{Errors, Path};
use crate::kind::{Column, Kind, Strategy, resource, set_generation};
use crate::meta::v1::{LabelSelector, ObjectMeta};
use crate::names;
use crate::open_enum::open_enum;
use crate::selector;
use crate::value::IntOrString;
use crate::value::Value;
use api_types_derive::Api;

/// Says which traffic pods may have. Enforced by the pod network.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.networking.v1")]
pub struct NetworkPolicy {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The traffic allowed.
    #[api(2)]
    pub spec: NetworkPolicySpec,
}

/// Pods and the traffic allowed to and from them.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.networking.v1")]
pub struct NetworkPolicySpec {
    /// Pods that the policy is for, in its namespace; empty for all of them.
    #[api(1, always)]
    pub pod_selector: LabelSelector,
    /// Traffic allowed to the pods. None of it when empty.
    #[api(2, list = atomic)]
    pub ingress: Vec<NetworkPolicyIngressRule>,
    /// Traffic allowed from the pods. None of it when empty.
    #[api(3, list = atomic)]
    pub egress: Vec<NetworkPolicyEgressRule>,
    /// Directions that the policy speaks about; by default ingress, and egress if it has such rules.
    #[api(4, list = atomic)]
    pub policy_types: Vec<PolicyType>,
}

open_enum! {
    /// A direction of traffic.
    pub enum PolicyType {
        Ingress = "Ingress",
        Egress = "Egress",
    }
}

/// Traffic to pods that is allowed.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.networking.v1")]
pub struct NetworkPolicyIngressRule {
    /// Ports that may be reached; all when empty.
    #[api(1, list = atomic)]
    pub ports: Vec<NetworkPolicyPort>,
    /// Who may reach them; everybody when empty.
    #[api(2, list = atomic)]
    pub from: Vec<NetworkPolicyPeer>,
}

/// Traffic from pods that is allowed.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.networking.v1")]
pub struct NetworkPolicyEgressRule {
    /// Ports that may be reached; all when empty.
    #[api(1, list = atomic)]
    pub ports: Vec<NetworkPolicyPort>,
    /// Whom they may reach; everybody when empty.
    #[api(2, list = atomic)]
    pub to: Vec<NetworkPolicyPeer>,
}

/// A port, or a range of ports.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.networking.v1")]
pub struct NetworkPolicyPort {
    /// TCP, UDP or SCTP; TCP when not given.
    #[api(1)]
    pub protocol: Option<Protocol>,
    /// Number or name of the port; all when not given.
    #[api(2)]
    pub port: Option<IntOrString>,
    /// Last port of a range that begins with `port`.
    #[api(3)]
    pub end_port: Option<i32>,
}

/// Pods or addresses that traffic comes from or goes to.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.networking.v1")]
pub struct NetworkPolicyPeer {
    /// Pods with these labels, in the policy's namespace or those selected.
    #[api(1)]
    pub pod_selector: Option<Box<LabelSelector>>,
    /// Pods of namespaces with these labels.
    #[api(2)]
    pub namespace_selector: Option<Box<LabelSelector>>,
    /// Addresses of a range; not together with the others.
    #[api(3)]
    pub ip_block: Option<Box<IPBlock>>,
}

/// A range of addresses with gaps.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.networking.v1")]
pub struct IPBlock {
    /// The range.
    #[api(1, required)]
    pub cidr: String,
    /// Ranges within it that are left out.
    #[api(2, list = atomic)]
    pub except: Vec<String>,
}

resource!(
    NetworkPolicy,
    Kind {
        short_names: &["netpol"],
        ..Kind::namespaced("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", "networkpolicy")
    }
);

impl Strategy for NetworkPolicy {
    fn set_defaults(&mut self) {
        let spec = &mut self.spec;
        let ports = spec.ingress.iter_mut().map(|rule| &mut rule.ports);
        for port in ports.chain(spec.egress.iter_mut().map(|rule| &mut rule.ports)).flatten() {
            port.protocol.get_or_insert(Protocol::Tcp);
        }
        if spec.policy_types.is_empty() {
            spec.policy_types.push(PolicyType::Ingress);
            if !spec.egress.is_empty() {
                spec.policy_types.push(PolicyType::Egress);
            }
        }
    }

    fn prepare_for_create(&mut self) {
        self.metadata.generation = 1;
    }

    fn prepare_for_update(&mut self, old: &Self) {
        set_generation(&mut self.metadata, &old.metadata, self.spec != old.spec);
    }

    fn validate_create(&self, errors: &mut Errors) {
        self.spec.validate(&[], errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        // What stood there before may stay, wherever it stands now.
        let kept: Vec<&str> = old
            .spec
            .blocks()
            .into_iter()
            .flat_map(|(_, block)| block.except.iter().chain([&block.cidr]))
            .map(String::as_str)
            .collect();
        self.spec.validate(&kept, errors);
    }

    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        let mut warnings = Vec::new();
        for (path, block) in self.spec.blocks() {
            warnings.extend(addresses::cidr_warnings(&block.cidr, &path.child("cidr")));
            for (place, except) in block.except.iter().enumerate() {
                warnings.extend(addresses::cidr_warnings(except, &path.child("except").index(place)));
            }
        }
        warnings
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::text("Pod-Selector", "Pods that the policy is for.", |policy: &Self, _| {
                    columns::selector(Some(&policy.spec.pod_selector), "<none>")
                }),
                Column::age(),
            ]
        }
    }
}

impl NetworkPolicySpec {
    /// All peers with their paths.
    fn peers(&self) -> Vec<(Path, &NetworkPolicyPeer)> {
        let spec = Path::new("spec");
        let mut found = Vec::new();
        for (at, rule) in self.ingress.iter().enumerate() {
            let path = spec.child("ingress").index(at).child("from");
            found.extend(rule.from.iter().enumerate().map(|(place, peer)| (path.index(place), peer)));
        }
        for (at, rule) in self.egress.iter().enumerate() {
            let path = spec.child("egress").index(at).child("to");
            found.extend(rule.to.iter().enumerate().map(|(place, peer)| (path.index(place), peer)));
        }
        found
    }

    /// All ranges of addresses with their paths.
    fn blocks(&self) -> Vec<(Path, &IPBlock)> {
        let peers = self.peers().into_iter();
        peers.filter_map(|(path, peer)| Some((path.child("ipBlock"), peer.ip_block.as_deref()?))).collect()
    }

    /// `kept`: CIDRs that are taken as they are.
    fn validate(&self, kept: &[&str], errors: &mut Errors) {
        let path = Path::new("spec");
        selector::validate(&self.pod_selector, &path.child("podSelector"), errors);
        for (at, rule) in self.ingress.iter().enumerate() {
            let path = path.child("ingress").index(at);
            validate_ports(&rule.ports, &path.child("ports"), errors);
            validate_peers(&rule.from, kept, &path.child("from"), errors);
        }
        for (at, rule) in self.egress.iter().enumerate() {
            let path = path.child("egress").index(at);
            validate_ports(&rule.ports, &path.child("ports"), errors);
            validate_peers(&rule.to, kept, &path.child("to"), errors);
        }
        let types = path.child("policyTypes");
        if self.policy_types.len() > 2 {
            let shown: &dyn Value = &self.policy_types;
            return errors.invalid(&types, shown, "may not specify more than two policyTypes");
        }
        for (place, type_) in self.policy_types.iter().enumerate() {
            errors.choice(&types.index(place), type_.as_str(), &["Egress", "Ingress"]);
        }
    }
}

fn validate_ports(ports: &[NetworkPolicyPort], path: &Path, errors: &mut Errors) {
    for (place, port) in ports.iter().enumerate() {
        port.validate(&path.index(place), errors);
    }
}

fn validate_peers(peers: &[NetworkPolicyPeer], kept: &[&str], path: &Path, errors: &mut Errors) {
    for (place, peer) in peers.iter().enumerate() {
        peer.validate(kept, &path.index(place), errors);
    }
}

impl NetworkPolicyPort {
    fn validate(&self, path: &Path, errors: &mut Errors) {
        if let Some(protocol) = &self.protocol {
            errors.choice(&path.child("protocol"), protocol.as_str(), &["TCP", "UDP", "SCTP"]);
        }
        let (port, end) = (path.child("port"), path.child("endPort"));
        match &self.port {
            Some(IntOrString::Int(number)) => {
                for text in names::port_number(*number) {
                    errors.invalid(&port, *number, text);
                }
                if let Some(last) = self.end_port {
                    if last < *number {
                        errors.invalid(&end, *number, "must be greater than or equal to `port`");
                    }
                    for text in names::port_number(last) {
                        errors.invalid(&end, last, text);
                    }
                }
            }
            Some(IntOrString::String(name)) => {
                if let Some(last) = self.end_port {
                    errors.invalid(&end, last, "may not be specified when `port` is non-numeric");
                }
                errors.wrong(&port, name, names::port_name(name));
            }
            None => {
                if let Some(last) = self.end_port {
                    errors.invalid(&end, last, "may not be specified when `port` is not specified");
                }
            }
        }
    }
}

impl NetworkPolicyPeer {
    fn validate(&self, kept: &[&str], path: &Path, errors: &mut Errors) {
        if let Some(pods) = &self.pod_selector {
            selector::validate(pods, &path.child("podSelector"), errors);
        }
        if let Some(namespaces) = &self.namespace_selector {
            selector::validate(namespaces, &path.child("namespaceSelector"), errors);
        }
        if let Some(block) = &self.ip_block {
            block.validate(kept, &path.child("ipBlock"), errors);
        }
        let selects = self.pod_selector.is_some() || self.namespace_selector.is_some();
        match (selects, self.ip_block.is_some()) {
            (false, false) => errors.required(path, "must specify a peer"),
            (true, true) => errors.forbidden(path, "may not specify both ipBlock and another peer"),
            _ => {}
        }
    }
}

impl IPBlock {
    fn validate(&self, kept: &[&str], path: &Path, errors: &mut Errors) {
        if self.cidr.is_empty() {
            return errors.required(&path.child("cidr"), "");
        }
        let check = |cidr: &str, path: &Path, errors: &mut Errors| {
            if !kept.contains(&cidr) {
                addresses::legacy_cidr(cidr, path, errors);
            }
            addresses::network_of(cidr)
        };
        let Some(whole) = check(&self.cidr, &path.child("cidr"), errors) else { return };
        for (place, except) in self.except.iter().enumerate() {
            let path = path.child("except").index(place);
            if let Some(part) = check(except, &path, errors)
                && (!whole.contains(&part.network()) || whole.prefix_len() >= part.prefix_len())
            {
                errors.invalid(&path, except, "must be a strict subset of `cidr`");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::{defaulted, refused, refused_update};

    fn ingress(rule: NetworkPolicyIngressRule) -> NetworkPolicy {
        let mut own = NetworkPolicy::default();
        own.spec.ingress = vec![rule];
        own
    }

    fn port(port: Option<IntOrString>, end_port: Option<i32>) -> NetworkPolicy {
        let port = NetworkPolicyPort { port, end_port, ..NetworkPolicyPort::default() };
        ingress(NetworkPolicyIngressRule { ports: vec![port], ..Default::default() })
    }

    fn block(cidr: &str, except: &[&str]) -> NetworkPolicy {
        let block = IPBlock { cidr: cidr.into(), except: except.iter().map(|e| (*e).to_owned()).collect() };
        let peer = NetworkPolicyPeer { ip_block: Some(Box::new(block)), ..Default::default() };
        ingress(NetworkPolicyIngressRule { from: vec![peer], ..Default::default() })
    }

    #[test]
    fn directions_and_protocols_are_filled_in() {
        let mut own = port(Some(IntOrString::Int(80)), None);
        own.spec.egress = vec![NetworkPolicyEgressRule::default()];
        let own = defaulted(own);
        assert_eq!(own.spec.policy_types, [PolicyType::Ingress, PolicyType::Egress]);
        assert_eq!(own.spec.ingress[0].ports[0].protocol, Some(Protocol::Tcp));
    }

    #[test]
    fn ports() {
        assert!(refused(port(Some(IntOrString::Int(80)), Some(90))).is_empty());
        assert_eq!(
            refused(port(Some(IntOrString::Int(80)), Some(70))),
            ["spec.ingress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`"]
        );
        assert_eq!(
            refused(port(None, Some(70))),
            [
                "spec.ingress[0].ports[0].endPort: Invalid value: 70: may not be specified when `port` is not specified"
            ]
        );
        assert_eq!(
            refused(port(Some(IntOrString::String("web".into())), Some(70))),
            [
                "spec.ingress[0].ports[0].endPort: Invalid value: 70: may not be specified when `port` is non-numeric"
            ]
        );
    }

    #[test]
    fn peers() {
        assert!(refused(block("10.0.0.0/8", &["10.1.0.0/16"])).is_empty());
        assert_eq!(
            refused(block("10.0.0.0/8", &["11.0.0.0/16"])),
            [
                r#"spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: "11.0.0.0/16": must be a strict subset of `cidr`"#
            ]
        );
        assert_eq!(refused(block("", &[])), ["spec.ingress[0].from[0].ipBlock.cidr: Required value"]);
        let nobody =
            NetworkPolicyIngressRule { from: vec![NetworkPolicyPeer::default()], ..Default::default() };
        assert_eq!(
            refused(ingress(nobody)),
            ["spec.ingress[0].from[0]: Required value: must specify a peer"]
        );
    }

    #[test]
    fn what_stood_there_may_stay() {
        let bad = || block("010.0.0.0/8", &[]);
        assert_eq!(refused(bad()).len(), 1);
        assert!(refused_update(bad(), bad()).is_empty());
    }
}
