//! What happens to a Service on its way to the store.
//!
//! A Service's fields hang together: some are allocated for the user, some go with the type. An
//! update that leaves them out keeps them, one that changes the type lets go of what no longer
//! applies. `prepare_for_*` does what needs no allocator; the server allocates afterwards.

use super::*;
use crate::field::Errors;
use crate::kind::{Column, NameRule, Strategy};
use std::collections::BTreeSet;

impl Strategy for Service {
    // RelaxedServiceNameValidation, on since 1.36.
    const NAME_RULE: NameRule = NameRule::Label;
    const CREATE_ON_UPDATE: bool = true;

    fn set_defaults(&mut self) {
        defaults::service(self);
    }

    fn prepare_for_create(&mut self) {
        self.status = ServiceStatus::default();
        let spec = &mut self.spec;
        if !spec.cluster_ip.is_empty() && spec.cluster_ips.is_empty() {
            spec.cluster_ips = vec![spec.cluster_ip.clone()];
        }
    }

    fn prepare_for_update(&mut self, old: &Self) {
        self.spec.keep_allocated(&old.spec);
        self.spec.align_cluster_ips(&old.spec);
        self.status = old.status.clone();
        self.metadata.generation = old.metadata.generation;
        self.spec.drop_what_the_type_lacks(&old.spec);
        if self.spec.type_ != ServiceType::LoadBalancer {
            self.status.load_balancer = LoadBalancerStatus::default();
        }
    }

    fn prepare_for_status_update(&mut self, old: &Self) {
        self.spec = old.spec.clone();
        self.metadata.generation = old.metadata.generation;
    }

    fn validate(&self, errors: &mut Errors) {
        validate::service(self, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        validate::update(&self.spec, &old.spec, errors);
    }

    fn validate_status_update(&self, _old: &Self, errors: &mut Errors) {
        validate::status_update(self, errors);
    }

    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        validate::warnings(self)
    }

    fn selectable_names() -> &'static [&'static str] {
        &["spec.clusterIP", "spec.type"]
    }

    fn selectable_fields(&self) -> Vec<(&'static str, String)> {
        vec![("spec.clusterIP", self.spec.cluster_ip.clone()), ("spec.type", self.spec.type_.to_string())]
    }

    fn columns() -> &'static [Column<Self>] {
        columns::COLUMNS
    }
}

impl ServiceSpec {
    /// Whether it has an address in the cluster, `None` included.
    pub fn needs_cluster_ip(&self) -> bool {
        self.type_ != ServiceType::ExternalName
    }

    /// Whether ports of the nodes are allocated for it.
    pub fn needs_node_ports(&self) -> bool {
        match self.type_ {
            ServiceType::NodePort => true,
            ServiceType::LoadBalancer => self.allocate_load_balancer_node_ports != Some(false),
            _ => false,
        }
    }

    /// Whether a load balancer asks the nodes for the Service's health.
    pub fn needs_health_check_node_port(&self) -> bool {
        self.type_ == ServiceType::LoadBalancer
            && self.external_traffic_policy == ServiceExternalTrafficPolicy::Local
    }

    fn may_have_node_ports(&self) -> bool {
        matches!(self.type_, ServiceType::NodePort | ServiceType::LoadBalancer)
    }

    fn node_ports(&self) -> BTreeSet<i32> {
        self.ports.iter().map(|port| port.node_port).filter(|port| *port != 0).collect()
    }

    /// Fills in what the server allocated and the client left out, so that the same file can be
    /// sent again.
    fn keep_allocated(&mut self, old: &Self) {
        if old.needs_cluster_ip() && self.needs_cluster_ip() {
            if self.cluster_ip.is_empty() {
                self.cluster_ip = old.cluster_ip.clone();
            }
            if self.cluster_ips.is_empty() {
                self.cluster_ips = old.cluster_ips.clone();
            }
        }
        if old.needs_node_ports() && self.needs_node_ports() {
            let taken: BTreeSet<i32> = old.node_ports().intersection(&self.node_ports()).copied().collect();
            for port in self.ports.iter_mut().filter(|port| port.node_port == 0) {
                // Ports are known by name; of several with the same name the last counts.
                let before = old.ports.iter().rfind(|before| before.name == port.name);
                port.node_port =
                    before.map(|before| before.node_port).filter(|port| !taken.contains(port)).unwrap_or(0);
            }
        }
        if old.needs_health_check_node_port()
            && self.needs_health_check_node_port()
            && self.health_check_node_port == 0
        {
            self.health_check_node_port = old.health_check_node_port;
        }
    }

    /// Lets clusterIPs follow clusterIP, for clients that know only the singular.
    fn align_cluster_ips(&mut self, old: &Self) {
        let same_ip = self.cluster_ip == old.cluster_ip;
        if self.cluster_ips.is_empty() && same_ip {
            self.cluster_ips = old.cluster_ips.clone();
        }
        if !same_ip && self.cluster_ips == old.cluster_ips {
            let cleared = self.cluster_ip.is_empty();
            self.cluster_ips = if cleared { Vec::new() } else { vec![self.cluster_ip.clone()] };
        }
    }

    /// Wipes fields that the new type has no use for, unless the client changed them too: then
    /// validation refuses them.
    fn drop_what_the_type_lacks(&mut self, old: &Self) {
        if old.needs_cluster_ip() && !self.needs_cluster_ip() {
            if self.cluster_ip == old.cluster_ip && self.cluster_ips == old.cluster_ips {
                self.cluster_ip.clear();
                self.cluster_ips.clear();
            }
            if self.ip_families == old.ip_families {
                self.ip_families.clear();
            }
            if self.ip_family_policy == old.ip_family_policy {
                self.ip_family_policy = None;
            }
        }
        if old.may_have_node_ports()
            && !self.may_have_node_ports()
            && old.node_ports().is_superset(&self.node_ports())
        {
            self.ports.iter_mut().for_each(|port| port.node_port = 0);
        }
        if old.needs_health_check_node_port()
            && !self.needs_health_check_node_port()
            && self.health_check_node_port == old.health_check_node_port
        {
            self.health_check_node_port = 0;
        }
        if old.type_ == ServiceType::LoadBalancer && self.type_ != ServiceType::LoadBalancer {
            if self.allocate_load_balancer_node_ports == old.allocate_load_balancer_node_ports {
                self.allocate_load_balancer_node_ports = None;
            }
            if self.load_balancer_class == old.load_balancer_class {
                self.load_balancer_class = None;
            }
        }
        if old.is_external()
            && !self.is_external()
            && self.external_traffic_policy == old.external_traffic_policy
        {
            self.external_traffic_policy = ServiceExternalTrafficPolicy::Unset;
        }
    }
}
