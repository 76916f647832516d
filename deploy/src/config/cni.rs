//! The pod network of a node: a bridge, addresses from a file, host ports.
//! Masquerading is not the bridge plugin's but one nftables rule of ours (host/network.rs): one rule
//! for the node instead of an iptables chain per pod, and `down` can take it away.

use ipnet::Ipv4Net;
use serde_json::json;

use crate::layout::Layout;
use crate::settings::Settings;

/// `pods`: the node's part of the pod addresses.
pub fn conflist(layout: &Layout, settings: &Settings, pods: Ipv4Net) -> String {
    let list = json!({
        "cniVersion": "0.4.0",
        "name": settings.bridge(),
        "plugins": [
            {
                "type": "bridge",
                "bridge": settings.bridge(),
                "isGateway": true,
                "isDefaultGateway": true,
                "ipMasq": false,
                // A pod reaches itself through its own Service.
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "dataDir": layout.path("cni/ipam"),
                    "ranges": [[{ "subnet": pods.to_string() }]],
                },
            },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    });
    format!("{list:#}\n")
}
