//! The drivers whose plugins have registered, and their ResourceSlices: those of a driver that is away for
//! long are deleted, so that no pod is sent here for its devices; at the start those of all drivers.
//!
//! A driver may have several plugins, as while it is updated. The one that came last is asked, before
//! it those that are connected.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use api_types::meta::v1::{DeleteOptions, ListOptions};
use api_types::resource::v1::ResourceSlice;
use client::Client;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::Dra;
use super::plugin::Plugin;

/// COMPAT: how long a driver may be away before its slices are deleted.
pub const AWAY: Duration = Duration::from_secs(30);
/// The first pause after slices could not be deleted, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// COMPAT: a plugin is asked again that soon how its devices are.
const ASK_AGAIN: Duration = Duration::from_secs(5);

struct Known {
    plugin: Arc<Plugin>,
    /// Listens to it.
    follow: AbortHandle,
}

#[derive(Default)]
struct State {
    plugins: BTreeMap<String, Vec<Known>>,
    /// Drivers whose slices are to be deleted.
    wipes: BTreeMap<String, AbortHandle>,
}

/// All drivers.
pub struct Drivers {
    client: Client,
    node: String,
    away: Duration,
    state: Mutex<State>,
}

impl Drivers {
    /// None yet; `away` is how long one may be away.
    pub fn new(client: Client, node: &str, away: Duration) -> Self {
        Self { client, node: node.into(), away, state: Mutex::default() }
    }

    /// The plugin of a driver that is to be asked.
    pub fn get(&self, driver: &str) -> Result<Arc<Plugin>, String> {
        if driver.is_empty() {
            return Err("DRA driver name is empty".into());
        }
        let state = self.state.lock();
        let plugins = state.plugins.get(driver).map(Vec::as_slice).unwrap_or_default();
        let connected = plugins.iter().rev().find(|known| known.plugin.is_connected());
        let known = connected.or(plugins.last());
        known
            .map(|known| Arc::clone(&known.plugin))
            .ok_or_else(|| format!("DRA driver {driver} is not registered"))
    }

    /// A plugin has registered.
    ///
    /// # Errors
    /// When there is one at that socket already.
    pub fn add(&self, dra: &Arc<Dra>, plugin: Plugin) -> Result<(), String> {
        let plugin = Arc::new(plugin);
        let (driver, endpoint) = (plugin.driver.clone(), plugin.endpoint.clone());
        {
            let mut state = self.state.lock();
            let plugins = state.plugins.entry(driver.clone()).or_default();
            if plugins.iter().any(|known| known.plugin.endpoint == endpoint) {
                return Err(format!("endpoint {endpoint} already registered for DRA driver plugin {driver}"));
            }
            let follow = tokio::spawn(follow(Arc::downgrade(dra), Arc::clone(&plugin))).abort_handle();
            plugins.push(Known { plugin, follow });
        }
        self.look(&driver);
        Ok(())
    }

    /// A plugin has gone.
    pub fn remove(&self, driver: &str, endpoint: &str) {
        {
            let mut state = self.state.lock();
            let Some(plugins) = state.plugins.get_mut(driver) else { return };
            plugins.retain(|known| {
                let gone = known.plugin.endpoint == endpoint;
                if gone {
                    known.follow.abort();
                }
                !gone
            });
            if plugins.is_empty() {
                state.plugins.remove(driver);
            }
        }
        self.look(driver);
    }

    /// Another plugin of the driver than the one at that socket is there.
    pub(super) fn has_another(&self, driver: &str, endpoint: &str) -> bool {
        let state = self.state.lock();
        let plugins = state.plugins.get(driver).map(Vec::as_slice).unwrap_or_default();
        plugins.iter().any(|known| known.plugin.endpoint != endpoint && known.plugin.is_connected())
    }

    /// A plugin of the driver came or went: its slices are to be deleted, or need not be any more.
    fn look(&self, driver: &str) {
        let mut state = self.state.lock();
        let plugins = state.plugins.get(driver).map(Vec::as_slice).unwrap_or_default();
        if plugins.iter().any(|known| known.plugin.is_connected()) {
            if let Some(wipe) = state.wipes.remove(driver) {
                wipe.abort();
            }
            return;
        }
        if state.wipes.get(driver).is_some_and(|wipe| !wipe.is_finished()) {
            return;
        }
        let (client, node, away, name) =
            (self.client.clone(), self.node.clone(), self.away, driver.to_owned());
        let wipe = tokio::spawn(async move {
            tokio::time::sleep(away).await;
            wipe(&client, &node, &name).await;
        });
        state.wipes.insert(driver.to_owned(), wipe.abort_handle());
    }

    /// COMPAT: when the kubelet starts no driver is there. Until they come back no pod is to be sent here.
    pub async fn wipe_all(&self) {
        wipe(&self.client, &self.node, "").await;
    }
}

/// Deletes the node's slices of a driver, or with an empty name of all; ends when that has worked.
async fn wipe(client: &Client, node: &str, driver: &str) {
    let mut field_selector = format!("spec.nodeName={node}");
    if !driver.is_empty() {
        field_selector = format!("spec.driver={driver},{field_selector}");
    }
    let selected = ListOptions { field_selector, ..ListOptions::default() };
    let (mut pause, longest) = PAUSES;
    loop {
        let slices = client.api::<ResourceSlice>();
        match slices.delete_collection(&DeleteOptions::default(), &selected).await {
            Err(error) if !error.is_not_found() => {
                tracing::debug!(%error, driver, node, "cannot delete ResourceSlices, trying again");
            }
            _ => {
                tracing::info!(driver, node, "deleted ResourceSlices");
                return;
            }
        }
        tokio::time::sleep(pause.mul_f64(1.0 + fastrand::f64() / 5.0)).await;
        pause = (pause * 2).min(longest);
    }
}

/// Listens to a plugin: whether it is there, and how its devices are. Never ends.
async fn follow(dra: Weak<Dra>, plugin: Arc<Plugin>) {
    let driver = plugin.driver.clone();
    let connected = async {
        let mut connections = plugin.watch_connections();
        // Somebody may have connected before this was watched.
        connections.mark_changed();
        while connections.changed().await.is_ok() {
            let Some(dra) = dra.upgrade() else { return };
            let connected = *connections.borrow_and_update() > 0;
            tracing::info!(driver, endpoint = plugin.endpoint, connected, "connection to a driver changed");
            dra.drivers.look(&driver);
        }
    };
    let health = async {
        loop {
            // Who does not tell of health is asked all the same: that is what keeps the connection.
            if let Ok(mut stream) = plugin.health().await {
                while let Ok(Some(told)) = stream.message().await {
                    let Some(dra) = dra.upgrade() else { return };
                    dra.told(&driver, told.devices, Timestamp::now());
                }
                let Some(dra) = dra.upgrade() else { return };
                dra.silent(&driver, &plugin.endpoint);
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    };
    tokio::join!(connected, health);
}
