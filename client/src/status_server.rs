//! The server of a daemon's own pages (/metrics, /healthz …) with access delegated to the apiserver,
//! put together from upstream's flags: who a client is and what it may read is asked there
//! (`delegated.rs`), and the authority of client certificates is that which the apiserver publishes,
//! unless a flag names another.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::ConfigMap;
use api_types::core::v1::well_known::namespace;
use daemon::clock::SharedClock;
use daemon::health::Health;
use daemon::serve::{DelegatedFlags, ServeError, ServingFlags, StatusServer, bind};
use daemon::shutdown::Shutdown;
use daemon::tls::{ClientAuth, ClientCa, Pem, TlsError};
use tokio::task::JoinHandle;

use crate::delegated::DelegatedGate;
use crate::{Client, Config, ConfigError};

/// How long the apiserver is waited for when it is asked for the authority.
const LOOKUP: Duration = Duration::from_secs(10);

/// What the flags say about serving.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    pub serving: &'a ServingFlags,
    /// Where to listen without `--secure-port`.
    pub default_port: u16,
    /// Who may read what is asked of the apiserver.
    pub delegated: &'a DelegatedFlags,
}

/// Why the pages cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Unserved {
    #[error("cannot use the kubeconfig for delegated access")]
    Kubeconfig(#[from] ConfigError),
    #[error("cannot load the authority of client certificates")]
    Authority(#[from] TlsError),
    #[error("cannot serve")]
    Serve(#[from] ServeError),
}

impl Access<'_> {
    /// Serves until shutdown. `None` when `--secure-port=0`. `agent` is the daemon's name.
    ///
    /// # Errors
    /// When a file cannot be used, or the address is taken.
    pub async fn serve(
        &self,
        agent: &str,
        own: &Client,
        health: Health,
        clock: &SharedClock,
        shutdown: &Shutdown,
    ) -> Result<Option<JoinHandle<()>>, Unserved> {
        let Some(address) = self.serving.address(self.default_port) else { return Ok(None) };
        let other = |path: Option<&Path>| -> Result<Client, ConfigError> {
            let Some(path) = path else { return Ok(own.clone()) };
            Client::new(Config::from_kubeconfig(path)?.with_agent(agent, None))
        };
        let flags = self.delegated;
        let authentication = other(flags.authentication_kubeconfig.as_deref())?;
        let authorization = other(flags.authorization_kubeconfig.as_deref())?;
        let authority = match &flags.client_ca_file {
            Some(path) => Some(Pem::File(path.clone())),
            None if flags.authentication_skip_lookup => None,
            None => cluster_authority(&authentication).await,
        };
        let proxies = flags.requestheader_client_ca_file.clone().map(Pem::File);
        // One of the two is enough as a hint of which certificates are asked for.
        let hint = authority.clone().or_else(|| proxies.clone());
        let client_auth = hint.map_or(ClientAuth::Off, ClientAuth::Request);
        let client_ca = authority.map(ClientCa::load).transpose()?;
        if let Some(ca) = &client_ca {
            ca.watch(shutdown.clone());
        }
        let proxies_ca = proxies.map(ClientCa::load).transpose()?;
        if let Some(ca) = &proxies_ca {
            ca.watch(shutdown.clone());
        }
        let gate = DelegatedGate::new(authentication, authorization, client_ca, clock.clone())
            .with_flags(flags, proxies_ca);
        let tls = self.serving.tls(client_auth)?;
        let listener = bind(address).await?;
        tracing::info!(address = address.to_string(), "Serving securely");
        let server = StatusServer::new(health, Arc::new(gate)).named(agent);
        Ok(Some(tokio::spawn(server.run(listener, Some(tls), shutdown.clone()))))
    }
}

/// The authority of client certificates, as the apiserver publishes it in kube-system. A cluster
/// that does not only costs us that certificates count for nothing.
async fn cluster_authority(client: &Client) -> Option<Pem> {
    let maps = client.api::<ConfigMap>().namespace(namespace::SYSTEM);
    let lookup = tokio::time::timeout(LOOKUP, maps.get("extension-apiserver-authentication"));
    match lookup.await {
        Ok(Ok(map)) => map.data.get("client-ca-file").map(|pem| Pem::Data(pem.clone().into_bytes())),
        Ok(Err(error)) => {
            let error = daemon::logging::error_chain(&error);
            tracing::warn!(
                error,
                "Unable to get configmap/extension-apiserver-authentication in kube-system; continuing without client certificate authentication"
            );
            None
        }
        Err(_) => None,
    }
}
