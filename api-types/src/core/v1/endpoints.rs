//! Endpoints: the addresses behind a Service, in one object.

use crate::columns::first_of;
use crate::core::v1::{ObjectReference, Protocol};
use crate::kind::{Column, Kind, Strategy, resource};
use crate::meta::v1::ObjectMeta;
use api_types_derive::Api;

/// Addresses that answer for a Service; EndpointSlice has taken its place.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct Endpoints {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// Addresses and the ports that they have in common.
    #[api(2, list = atomic)]
    pub subsets: Vec<EndpointSubset>,
}

/// Addresses that all offer the same ports.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct EndpointSubset {
    /// Addresses that are ready for traffic.
    #[api(1, list = atomic)]
    pub addresses: Vec<EndpointAddress>,
    /// Addresses that are not ready: starting, or failing their probes.
    #[api(2, list = atomic)]
    pub not_ready_addresses: Vec<EndpointAddress>,
    /// Ports that every address offers.
    #[api(3, list = atomic)]
    pub ports: Vec<EndpointPort>,
}

/// One address behind a Service.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1", structure = atomic)]
pub struct EndpointAddress {
    /// The address; not loopback, link-local or multicast.
    #[api(1, required)]
    pub ip: String,
    /// Host name of this address in DNS.
    #[api(3)]
    pub hostname: String,
    /// Node that the address is on.
    #[api(4)]
    pub node_name: Option<String>,
    /// The object that has this address, mostly a pod.
    #[api(2)]
    pub target_ref: Option<Box<ObjectReference>>,
}

/// One port of an Endpoints subset.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1", structure = atomic)]
pub struct EndpointPort {
    /// Name as in the Service's port; needed with several ports.
    #[api(1)]
    pub name: String,
    /// The port number.
    #[api(2, required)]
    pub port: i32,
    /// Transport protocol; TCP when not given.
    #[api(3)]
    pub protocol: Protocol,
    /// Protocol spoken over it, as a hint to proxies.
    #[api(4)]
    pub app_protocol: Option<String>,
}

resource!(
    Endpoints,
    Kind { short_names: &["ep"], ..Kind::namespaced("v1", "Endpoints", "endpoints", "endpoints") }
);

impl Strategy for Endpoints {
    const CREATE_ON_UPDATE: bool = true;

    fn set_defaults(&mut self) {
        for port in self.subsets.iter_mut().flat_map(|subset| &mut subset.ports) {
            if port.protocol.is_unset() {
                port.protocol = Protocol::Tcp;
            }
        }
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::text("Endpoints", "Addresses that answer for the Service.", |endpoints, _| {
                    addresses(endpoints).into()
                }),
                Column::age(),
            ]
        }
    }
}

/// Ready addresses with their ports; the addresses alone where there are none.
fn addresses(endpoints: &Endpoints) -> String {
    if endpoints.subsets.is_empty() {
        return "<none>".to_owned();
    }
    let of_subset = |subset: &EndpointSubset| -> Vec<String> {
        let ips = || subset.addresses.iter().map(|address| &address.ip);
        if subset.ports.is_empty() {
            return ips().cloned().collect();
        }
        let with_port = |port: i32| ips().map(move |ip| host_port(ip, port));
        subset.ports.iter().flat_map(|port| with_port(port.port)).collect()
    };
    first_of(&endpoints.subsets.iter().flat_map(of_subset).collect::<Vec<_>>(), "")
}

fn host_port(ip: &str, port: i32) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}
