//! The node's addresses: the machine is asked, [`plan`] decides, and what the Node says is remembered for pods and for
//! the server's certificate.

pub mod plan;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api_types::core::v1::{Node, NodeAddress};
use parking_lot::RwLock;
use tokio::sync::Notify;

use crate::machine;
use plan::{Asked, Found};

/// How long the machine's name may take to be looked up.
const PATIENCE: Duration = Duration::from_secs(5);

/// The addresses of one node.
#[derive(Debug)]
pub struct Addresses {
    asked: Asked,
    name: String,
    seen: RwLock<Vec<NodeAddress>>,
    changed: Notify,
    /// The machine has what was asked for.
    usable: AtomicBool,
}

impl Addresses {
    /// As the command line asks.
    pub fn new(asked: Asked, name: &str) -> Self {
        Self {
            asked,
            name: name.to_owned(),
            seen: RwLock::default(),
            changed: Notify::new(),
            usable: AtomicBool::new(true),
        }
    }

    /// What the command line asks for.
    pub fn asked(&self) -> &Asked {
        &self.asked
    }

    /// What is published after `before`; what was stays when the machine has no such address.
    pub async fn published(&self, before: &[NodeAddress]) -> Vec<NodeAddress> {
        let mut found = Found { own: machine::addresses(), ..Default::default() };
        if self.asked.asks(before) {
            let named =
                tokio::time::timeout(PATIENCE, tokio::net::lookup_host((self.name.as_str(), 0))).await;
            let named = named.into_iter().flatten().flatten();
            found.named = named.map(|address| address.ip().to_canonical()).collect();
            found.default = machine::default_address(self.asked.prefers_v6());
        }
        let published = self.asked.published(before, &found);
        self.usable.store(published.is_ok(), Ordering::Relaxed);
        published.unwrap_or_else(|error| {
            tracing::error!(node = self.name, error, "Failed to set some node status fields");
            before.to_vec()
        })
    }

    /// Tells a cloud which addresses are meant, once they have been found to be the machine's.
    pub fn annotate(&self, node: &mut Node) {
        if self.usable.load(Ordering::Relaxed) {
            self.asked.annotate(node);
        }
    }

    /// Remembers what the Node says.
    pub fn saw(&self, node: &Node) {
        self.remember(&node.status.addresses);
    }

    /// Remembers what the Node will say.
    pub fn remember(&self, addresses: &[NodeAddress]) {
        if *self.seen.read() != addresses {
            *self.seen.write() = addresses.to_vec();
            self.changed.notify_one();
        }
    }

    /// Waits until they change; for one who waits.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The host's addresses, as pods know them; none until the node has one.
    pub fn host_ips(&self) -> Vec<String> {
        plan::host_ips(&self.seen.read())
    }

    /// Pods' addresses of version 6 come first.
    pub fn prefers_v6(&self) -> bool {
        self.asked.prefers_v6()
    }

    /// Names and addresses under which the kubelet is reached.
    pub fn server_names(&self) -> (Vec<String>, Vec<IpAddr>) {
        plan::server_names(&self.seen.read())
    }
}
