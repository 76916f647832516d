//! Who may do what, put together from the command line: views, authenticator, authorizer, admission,
//! the issuer of service account tokens.

use crate::admission::webhook::Webhooks;
use crate::admission::{self, Chain, DefaultTolerationSeconds};
use crate::aggregator::Services;
use crate::authn::jwt::config::Configuration;
use crate::authn::jwt::reload::Followed;
use crate::authn::jwt::{self, JwtTokens, Terms};
use crate::authn::service_account::{
    IssueOptions, Issuer, OpenIdDocuments, ServiceAccountTokens, SigningKey, VerifyingKeys,
};
use crate::authn::{
    Anonymous, AnyToken, Authenticator, BootstrapTokens, FrontProxy, TokenAuthenticator, TokenCache, X509,
};
use crate::authz::node::NodeAuthorizer;
use crate::authz::rbac::Rbac;
use crate::authz::{self, AlwaysAllow, AlwaysDeny, Authorizer, Mode, Union};
use crate::bootstrap;
use crate::flags::{Authentication, Flags};
use crate::policies::Policies;
use crate::storage::Storage;
use crate::views::{CatchUp, Feed, Views};
use crate::webhook::Caller;
use anyhow::{Context, bail};
use api_types::core::v1::Secret;
use daemon::clock::{self, SharedClock};
use daemon::shutdown::Shutdown;
use daemon::tls::{ClientCa, Pem};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Everything that decides about access.
pub struct Access {
    pub authenticator: Authenticator,
    pub authorizer: Arc<dyn Authorizer>,
    pub admission: Chain,
    /// Answers `serviceaccounts/NAME/token`.
    pub issuer: Issuer,
    /// `None` when the issuer is no https URL: the documents are not served then.
    pub open_id: Option<OpenIdDocuments>,
    pub feed: Arc<Feed>,
    /// Asks webhooks.
    pub caller: Arc<Caller>,
}

impl Access {
    /// Reads keys and certificates and starts following the store. `external` is HOST:PORT under which
    /// others reach this server.
    ///
    /// # Errors
    /// When flags do not go together, or a file cannot be used.
    pub fn new(
        flags: &Flags,
        storage: &Arc<Storage>,
        external: &str,
        background: &Shutdown,
    ) -> anyhow::Result<Self> {
        let clock = clock::System::shared();
        let views = Arc::new(Views::default());
        let feed = Feed::spawn(storage, &views, background);
        let fresh: Arc<dyn CatchUp> = feed.clone();

        let (issuer, keys) = token_keys(&flags.authentication, &flags.serving.tls_private_key_file)?;
        let keys_uri = flags.authentication.service_account_jwks_uri.as_deref().unwrap_or_default();
        let open_id = OpenIdDocuments::new(&issuer.options.issuer, keys_uri, external, &keys)
            .map_err(|error| tracing::warn!(%error, "OpenID discovery of service accounts is not served"))
            .ok();
        let tokens = ServiceAccountTokens {
            issuers: flags.authentication.service_account_issuer.clone(),
            keys: Arc::new(keys),
            audiences: issuer.options.audiences.clone(),
            views: views.clone(),
            fresh: fresh.clone(),
            clock: clock.clone(),
        };
        let audiences = issuer.options.audiences.clone();
        let mut sorts: Vec<Arc<dyn TokenAuthenticator>> = vec![Arc::new(tokens)];
        if flags.authentication.enable_bootstrap_token_auth {
            sorts.push(Arc::new(BootstrapTokens {
                secrets: storage.of::<Secret>().clone(),
                audiences: audiences.clone(),
                clock: clock.clone(),
            }));
        }
        let (others, anonymous) = issuers(flags, &audiences, &clock, background)?;
        sorts.push(others);
        let tokens: Arc<dyn TokenAuthenticator> =
            Arc::new(TokenCache::new(Arc::new(AnyToken(sorts)), clock.clone()));
        let authenticator = authenticator(&flags.authentication, tokens, &clock, background)?;
        let authenticator = Authenticator { anonymous, audiences, ..authenticator };
        let authorizer = authorizer(&flags.authorization.authorization_mode, &views)?;
        let plugins = admission::chosen(
            &flags.admission.enable_admission_plugins,
            &flags.admission.disable_admission_plugins,
            DefaultTolerationSeconds {
                not_ready: flags.admission.default_not_ready_toleration_seconds,
                unreachable: flags.admission.default_unreachable_toleration_seconds,
            },
        )?;
        let services = Services::new(storage, flags.misc.enable_aggregator_routing);
        let caller = Arc::new(Caller::new(services));
        let admission = Chain::new(plugins, views, fresh, authorizer.clone(), clock)
            .with_policies(Policies::new(storage.clone()))
            .with_webhooks(Webhooks::new(caller.clone()));
        Ok(Self { authenticator, authorizer, admission, issuer, open_id, feed, caller })
    }
}

fn authorizer(modes: &[String], views: &Arc<Views>) -> anyhow::Result<Arc<dyn Authorizer>> {
    let authorizers = authz::parse_modes(modes)?.into_iter().map(|mode| -> Arc<dyn Authorizer> {
        match mode {
            Mode::Node => Arc::new(NodeAuthorizer::new(views.clone(), bootstrap::node_rules())),
            Mode::Rbac => Arc::new(Rbac::new(views.policy.clone())),
            Mode::AlwaysAllow => Arc::new(AlwaysAllow),
            Mode::AlwaysDeny => Arc::new(AlwaysDeny),
        }
    });
    Ok(Arc::new(Union::new(authorizers.collect())))
}

/// What signs service account tokens, and what their signatures are checked with.
fn token_keys(flags: &Authentication, serving_key: &Path) -> anyhow::Result<(Issuer, VerifyingKeys)> {
    let Some(issuer) = flags.service_account_issuer.first().filter(|issuer| !issuer.is_empty()) else {
        bail!("--service-account-issuer is a required flag");
    };
    let Some(signing) = &flags.service_account_signing_key_file else {
        bail!("--service-account-signing-key-file is a required flag");
    };
    let key = SigningKey::load(signing).context("failed to parse service-account-issuer-key-file")?;
    // COMPAT: without keys of their own, tokens are checked with the serving key.
    let own = [serving_key.to_owned()];
    let files: &[PathBuf] = match flags.service_account_key_file.as_slice() {
        [] => &own,
        files => files,
    };
    let keys = VerifyingKeys::load(files).context("failed to parse service-account-key-file")?;
    let max = flags.service_account_max_token_expiration.0.as_secs();
    if max != 0 && !(3600..=1 << 32).contains(&max) {
        bail!("the service-account-max-token-expiration must be between 1 hour and 2^32 seconds");
    }
    let audiences = match flags.api_audiences.as_slice() {
        [] => flags.service_account_issuer.clone(),
        audiences => audiences.to_vec(),
    };
    let options = IssueOptions {
        issuer: issuer.clone(),
        audiences,
        max_lifetime: i64::try_from(max).unwrap_or(i64::MAX),
        extend: flags.service_account_extend_token_expiration,
    };
    Ok((Issuer { key, options }, keys))
}

/// The issuers of tokens outside of the cluster, and who may come without credentials.
fn issuers(
    flags: &Flags,
    audiences: &[String],
    clock: &SharedClock,
    background: &Shutdown,
) -> anyhow::Result<(Arc<JwtTokens>, Anonymous)> {
    let own = &flags.authentication;
    let disallowed = own.service_account_issuer.clone();
    let invalid = "invalid authentication configuration";
    let Some(path) = &own.authentication_config else {
        let configured = Configuration::of_flags(&flags.oidc)?;
        let terms = Terms { algorithms: flags.oidc.oidc_signing_algs.clone(), clock: clock.clone() };
        let made = jwt::issuers(&configured, &disallowed, &terms).context(invalid)?;
        let tokens = Arc::new(JwtTokens::new(made, audiences.to_vec()));
        return Ok((tokens, Anonymous::everywhere(own.anonymous_auth)));
    };
    if flags.oidc.is_given() {
        bail!("authentication-config file and oidc-* flags are mutually exclusive");
    }
    let failed = || format!("failed to load authentication configuration from file {path:?}");
    let text = std::fs::read_to_string(path).with_context(failed)?;
    let configured = Configuration::parse(&text, path).with_context(failed)?;
    let anonymous = match &configured.anonymous {
        Some(_) if daemon::flags::is_given("anonymous-auth") => bail!(
            "anonymous: Forbidden: --anonymous-auth flag cannot be set when anonymous field is configured in \
             authentication configuration file"
        ),
        Some(said) => Anonymous {
            enabled: said.enabled,
            paths: said.conditions.iter().map(|condition| condition.path.clone()).collect(),
        },
        None => Anonymous::everywhere(own.anonymous_auth),
    };
    let algorithms = jwt::ALGORITHMS.map(str::to_owned).to_vec();
    let terms = Terms { algorithms, clock: clock.clone() };
    let made = jwt::issuers(&configured, &disallowed, &terms).context(invalid)?;
    let tokens = Arc::new(JwtTokens::new(made, audiences.to_vec()));
    let followed = Followed { path: path.clone(), text, anonymous: configured.anonymous, disallowed, terms };
    tokio::spawn(followed.follow(tokens.clone(), background.clone()));
    Ok((tokens, anonymous))
}

fn authenticator(
    flags: &Authentication,
    tokens: Arc<dyn TokenAuthenticator>,
    clock: &SharedClock,
    background: &Shutdown,
) -> anyhow::Result<Authenticator> {
    let authority = |path: &PathBuf| -> anyhow::Result<Arc<ClientCa>> {
        let ca = ClientCa::load(Pem::File(path.clone()))?;
        ca.watch(background.clone());
        Ok(ca)
    };
    let x509 = match &flags.client_ca_file {
        Some(path) => Some(X509::new(authority(path)?, clock.clone())),
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
    let anonymous = Anonymous::everywhere(flags.anonymous_auth);
    Ok(Authenticator { front_proxy, x509, tokens: Some(tokens), anonymous, audiences: Vec::new() })
}
