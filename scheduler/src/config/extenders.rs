//! `extenders` of the configuration: read, checked, and made into those that are asked.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::Node;
use client::informer::{Caches, Whole};
use client::{Client, Config};
use daemon::flags::GoDuration;
use daemon::tls::Pem;
use serde::Deserialize;

use super::ConfigError;
use crate::extender::{Extender, Extenders, HttpExtender, ServerObjects, Settings};
use crate::resources;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct ExtenderFile {
    url_prefix: String,
    filter_verb: String,
    preempt_verb: String,
    prioritize_verb: String,
    weight: i64,
    bind_verb: String,
    #[serde(rename = "enableHTTPS")]
    enable_https: bool,
    tls_config: Option<TlsFile>,
    #[serde(rename = "httpTimeout")]
    http_timeout: Option<GoDuration>,
    node_cache_capable: bool,
    managed_resources: Vec<ManagedResource>,
    ignorable: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ManagedResource {
    name: String,
    #[serde(default)]
    ignored_by_scheduler: bool,
}

/// Data are base64 of PEM and go before files.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct TlsFile {
    insecure: bool,
    server_name: String,
    cert_file: String,
    key_file: String,
    #[serde(rename = "caFile")]
    ca_file: String,
    cert_data: String,
    key_data: String,
    #[serde(rename = "caData")]
    ca_data: String,
}

// Not derived: it may hold a private key.
impl std::fmt::Debug for TlsFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsFile").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

/// As upstream words field errors.
fn invalid(path: &str, value: impl std::fmt::Debug, why: &str) -> ConfigError {
    ConfigError::Invalid(format!("{path}: Invalid value: {value:?}: {why}"))
}

/// Upstream's checks, and that certificates and URLs can be used.
///
/// # Errors
/// The first that fails.
pub(super) fn check(extenders: &[ExtenderFile]) -> Result<(), ConfigError> {
    let mut names = BTreeSet::new();
    for (at, extender) in extenders.iter().enumerate() {
        let path = format!("extenders[{at}]");
        if !extender.prioritize_verb.is_empty() && extender.weight <= 0 {
            let why = "must have a positive weight applied to it";
            return Err(invalid(&format!("{path}.weight"), extender.weight, why));
        }
        for (at, resource) in extender.managed_resources.iter().enumerate() {
            let path = format!("{path}.managedResources[{at}].name");
            if let Some(why) = api_types::names::qualified_name(&resource.name).first() {
                return Err(invalid(&path, &resource.name, why));
            }
            if !resources::is_extended(&resource.name) {
                return Err(invalid(&path, &resource.name, "is an invalid extended resource name"));
            }
            if !names.insert(&resource.name) {
                return Err(invalid(&path, &resource.name, "duplicate extender managed resource name"));
            }
        }
        extender.connect().map(drop)?;
    }
    let binders = extenders.iter().filter(|extender| !extender.bind_verb.is_empty()).count();
    if binders > 1 {
        let found = format!("found {binders} extenders implementing bind");
        return Err(invalid("extenders", found, "only one extender can implement bind"));
    }
    Ok(())
}

/// Resources that only their extenders look at.
pub(super) fn ignored_resources(extenders: &[ExtenderFile]) -> BTreeSet<String> {
    let all = extenders.iter().flat_map(|extender| &extender.managed_resources);
    all.filter(|resource| resource.ignored_by_scheduler).map(|resource| resource.name.clone()).collect()
}

/// Makes the extenders. `client` and `caches` are those of the apiserver.
///
/// # Errors
/// When a certificate cannot be used.
pub(super) fn make(
    extenders: &[ExtenderFile],
    client: &Client,
    caches: &Caches,
) -> Result<Extenders, ConfigError> {
    if extenders.is_empty() {
        return Ok(Extenders::new());
    }
    let asks = |e: &ExtenderFile| !(e.filter_verb.is_empty() && e.prioritize_verb.is_empty());
    let wants_nodes = extenders.iter().any(|e| !e.node_cache_capable && asks(e));
    let nodes = wants_nodes.then(|| caches.store::<Whole<Node>>());
    let objects = Arc::new(ServerObjects::new(client.clone(), nodes));
    let made = extenders.iter().map(|extender| {
        let made = HttpExtender::new(extender.settings(), extender.connect()?, objects.clone());
        Ok(Arc::new(made) as Arc<dyn Extender>)
    });
    made.collect()
}

impl ExtenderFile {
    fn settings(&self) -> Settings {
        Settings {
            url: self.url_prefix.clone(),
            filter_verb: self.filter_verb.clone(),
            prioritize_verb: self.prioritize_verb.clone(),
            preempt_verb: self.preempt_verb.clone(),
            bind_verb: self.bind_verb.clone(),
            weight: self.weight,
            node_cache_capable: self.node_cache_capable,
            managed: self.managed_resources.iter().map(|resource| resource.name.clone()).collect(),
            ignorable: self.ignorable,
        }
    }

    /// A client of the extender's URL. No limit: the scheduler's own pace is one.
    fn connect(&self) -> Result<Client, ConfigError> {
        let refused = |error: &dyn std::fmt::Display| {
            ConfigError::Invalid(format!("extenders: urlPrefix {:?}: {error}", self.url_prefix))
        };
        let tls = self.tls_config.clone().unwrap_or_default();
        let ca = pem(&tls.ca_data, &tls.ca_file, "caData")?;
        // COMPAT: upstream verifies nobody then.
        let insecure = tls.insecure || (self.enable_https && ca.is_none());
        let timeout = self.http_timeout.map_or(Duration::ZERO, |timeout| timeout.0);
        let config = Config {
            tls_server_name: Some(tls.server_name).filter(|name| !name.is_empty()),
            ca,
            insecure_skip_tls_verify: insecure,
            cert: pem(&tls.cert_data, &tls.cert_file, "certData")?,
            key: pem(&tls.key_data, &tls.key_file, "keyData")?,
            timeout: if timeout.is_zero() { crate::extender::DEFAULT_TIMEOUT } else { timeout },
            ..Config::new(&self.url_prefix).with_agent("kube-scheduler", None).with_limits(0.0, 0)
        };
        Client::new(config).map_err(|error| refused(&format!("{:#}", anyhow::Error::from(error))))
    }
}

fn pem(data: &str, file: &str, field: &str) -> Result<Option<Pem>, ConfigError> {
    if !data.is_empty() {
        let decoded = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, data);
        let decoded = decoded
            .map_err(|error| ConfigError::Invalid(format!("extenders: tlsConfig.{field}: {error}")))?;
        return Ok(Some(Pem::Data(decoded)));
    }
    Ok((!file.is_empty()).then(|| Pem::File(file.into())))
}
