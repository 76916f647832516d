//! Defaults of Services. Addresses, families and node ports are allocated by the server instead.

use super::*;

impl ServiceSpec {
    /// Whether traffic from outside of the cluster can reach it.
    pub fn is_external(&self) -> bool {
        match self.type_ {
            ServiceType::LoadBalancer | ServiceType::NodePort => true,
            ServiceType::ClusterIP => !self.external_ips.is_empty(),
            _ => false,
        }
    }
}

/// Seconds without traffic after which a client may move to another pod.
const AFFINITY_SECONDS: i32 = 10_800;

pub(super) fn service(service: &mut Service) {
    let spec = &mut service.spec;
    if spec.type_.is_unset() {
        spec.type_ = ServiceType::ClusterIP;
    }
    affinity(spec);
    for port in &mut spec.ports {
        if matches!(&port.target_port, IntOrString::Int(0))
            || matches!(&port.target_port, IntOrString::String(name) if name.is_empty())
        {
            port.target_port = IntOrString::Int(port.port);
        }
    }
    if spec.is_external() && spec.external_traffic_policy.is_unset() {
        spec.external_traffic_policy = ServiceExternalTrafficPolicy::Cluster;
    }
    if matches!(spec.type_, ServiceType::ClusterIP | ServiceType::NodePort | ServiceType::LoadBalancer) {
        spec.internal_traffic_policy.get_or_insert(ServiceInternalTrafficPolicy::Cluster);
    }
    if spec.type_ == ServiceType::LoadBalancer {
        spec.allocate_load_balancer_node_ports.get_or_insert(true);
        for point in service.status.load_balancer.ingress.iter_mut().filter(|point| !point.ip.is_empty()) {
            point.ip_mode.get_or_insert(LoadBalancerIPMode::Vip);
        }
    }
}

fn affinity(spec: &mut ServiceSpec) {
    match spec.session_affinity {
        ServiceAffinity::Unset | ServiceAffinity::None => {
            spec.session_affinity = ServiceAffinity::None;
            spec.session_affinity_config = None;
        }
        ServiceAffinity::ClientIP => {
            let client =
                spec.session_affinity_config.get_or_insert_default().client_ip.get_or_insert_default();
            client.timeout_seconds.get_or_insert(AFFINITY_SECONDS);
        }
        ServiceAffinity::Other(_) => {}
    }
}
