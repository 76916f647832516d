//! Access control as the flags ask for it: who is who, who may do what, and the views that both
//! decide from.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use daemon::clock;
use daemon::shutdown::Shutdown;
use daemon::tls::{ClientCa, Pem};

use crate::admission::{self, Chain};
use crate::authn::service_account::{OpenIdDocuments, ServiceAccountTokens, VerifyingKeys};
use crate::authn::{Authenticator, FrontProxy, TokenAuthenticator, TokenCache, X509};
use crate::authz::{self, Authorizer, Mode, Union};
use crate::flags::{self, Flags};
use crate::storage::Storage;
use crate::views::{Feed, Views};

/// The parts, made and running.
pub struct Access {
    pub views: Arc<Views>,
    pub feed: Arc<Feed>,
    pub authenticator: Authenticator,
    pub authorizer: Arc<dyn Authorizer>,
    pub admission: Chain,
    pub open_id: Option<OpenIdDocuments>,
}

impl Access {
    /// Reads files and starts the views.
    ///
    /// # Errors
    /// For flags and files that cannot be used.
    pub fn new(flags: &Flags, storage: &Storage, background: &Shutdown) -> anyhow::Result<Self> {
        let views = Arc::new(Views::default());
        let feed = Feed::spawn(storage, &views, background);
        let keys = Arc::new(verifying_keys(&flags.authentication)?);
        let open_id = open_id(flags, &keys)?;
        let tokens = tokens(&flags.authentication, &keys, &views, &feed);
        let modes = authz::parse_modes(&flags.authorization.authorization_mode)?;
        let authorizer: Arc<dyn Authorizer> =
            Arc::new(Union::new(modes.into_iter().map(|mode| authorizer(mode, &views)).collect()));
        let plugins = admission::chosen(
            &flags.admission.enable_admission_plugins,
            &flags.admission.disable_admission_plugins,
        )?;
        let clock = clock::System::shared();
        Ok(Self {
            admission: Chain::new(plugins, views.clone(), feed.clone(), authorizer.clone(), clock),
            authenticator: authenticator(&flags.authentication, tokens, background)?,
            authorizer,
            views,
            feed,
            open_id,
        })
    }
}

fn authorizer(mode: Mode, views: &Arc<Views>) -> Arc<dyn Authorizer> {
    match mode {
        Mode::Rbac => Arc::new(authz::rbac::Rbac::new(views.policy.clone())),
        Mode::Node => Arc::new(authz::node::NodeAuthorizer::new(views.clone(), node_rules())),
        Mode::AlwaysAllow => Arc::new(authz::AlwaysAllow),
        Mode::AlwaysDeny => Arc::new(authz::AlwaysDeny),
    }
}

/// The rules of the ClusterRole system:node.
fn node_rules() -> Vec<api_types::rbac::v1::PolicyRule> {
    crate::bootstrap::policy()
        .cluster_roles
        .into_iter()
        .find(|role| role.metadata.name == "system:node")
        .map(|role| role.rules)
        .unwrap_or_default()
}

fn verifying_keys(flags: &flags::Authentication) -> anyhow::Result<VerifyingKeys> {
    let mut paths: Vec<PathBuf> = flags.service_account_key_file.clone();
    if paths.is_empty() {
        paths.extend(flags.service_account_signing_key_file.clone());
    }
    VerifyingKeys::load(&paths).context("--service-account-key-file")
}

fn open_id(flags: &Flags, keys: &VerifyingKeys) -> anyhow::Result<Option<OpenIdDocuments>> {
    let Some(issuer) = flags.authentication.service_account_issuer.first() else { return Ok(None) };
    let ip = flags.generic.advertise_address.unwrap_or(flags.serving.bind_address);
    let external = std::net::SocketAddr::new(ip, flags.serving.secure_port).to_string();
    match OpenIdDocuments::new(issuer, "", &external, keys) {
        Ok(documents) => Ok(Some(documents)),
        Err(error) => {
            tracing::warn!(%error, "OpenID discovery of service account tokens is off");
            Ok(None)
        }
    }
}

/// `--api-audiences`, or else the issuer.
pub fn audiences(flags: &flags::Authentication) -> Vec<String> {
    if flags.api_audiences.is_empty() {
        flags.service_account_issuer.first().cloned().into_iter().collect()
    } else {
        flags.api_audiences.clone()
    }
}

fn tokens(
    flags: &flags::Authentication,
    keys: &Arc<VerifyingKeys>,
    views: &Arc<Views>,
    feed: &Arc<Feed>,
) -> Option<Arc<dyn TokenAuthenticator>> {
    if flags.service_account_issuer.is_empty() {
        return None;
    }
    let clock = clock::System::shared();
    let tokens = ServiceAccountTokens {
        issuers: flags.service_account_issuer.clone(),
        keys: keys.clone(),
        audiences: audiences(flags),
        views: views.clone(),
        fresh: feed.clone(),
        clock: clock.clone(),
    };
    Some(Arc::new(TokenCache::new(Arc::new(tokens), clock)))
}

fn authenticator(
    flags: &flags::Authentication,
    tokens: Option<Arc<dyn TokenAuthenticator>>,
    shutdown: &Shutdown,
) -> anyhow::Result<Authenticator> {
    let authority = |path: &PathBuf| -> anyhow::Result<Arc<ClientCa>> {
        let ca = ClientCa::load(Pem::File(path.clone()))?;
        ca.watch(shutdown.clone());
        Ok(ca)
    };
    let x509 = match &flags.client_ca_file {
        Some(path) => Some(X509::new(authority(path)?, clock::System::shared())),
        None => None,
    };
    let front_proxy = match &flags.requestheader_client_ca_file {
        Some(path) => Some(FrontProxy::new(
            authority(path)?,
            flags.requestheader_allowed_names.clone(),
            &flags.requestheader_username_headers,
            &flags.requestheader_uid_headers,
            &flags.requestheader_group_headers,
            &flags.requestheader_extra_headers_prefix,
        )?),
        None => None,
    };
    Ok(Authenticator {
        front_proxy,
        x509,
        tokens,
        anonymous: flags.anonymous_auth,
        audiences: audiences(flags),
    })
}
