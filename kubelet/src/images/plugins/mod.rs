//! Plugins that know credentials for registries (KEP-2133), some by a token of the pod's service account (KEP-4412).
//! They are asked in the order of the configuration, after pull secrets and the node's own Docker configuration.

mod config;
mod exec;
mod kept;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use api_types::core::v1::{Pod, ServiceAccount};
use client::Client;
use futures::future::{BoxFuture, FutureExt, Shared};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::access::Account;
use super::credentials::{self, Credential};
use crate::csi::sha256;
use crate::sources::tokens::Tokens;
use crate::volume::kinds::payload::TokenKey;
use config::TokenAttributes;
use exec::{Program, Response};
use kept::Kept;

/// COMPAT: what a token lives when nobody says how long.
const TOKEN_SECONDS: i64 = 3600;

type Asked = Shared<BoxFuture<'static, Result<Arc<Response>, String>>>;

struct Plugin {
    program: Program,
    kept: Mutex<Kept>,
    /// What it is being asked: who asks the same at once gets the same answer.
    asked: Mutex<HashMap<String, Asked>>,
}

/// Whose token a plugin is shown.
#[derive(Clone, Debug, Default)]
struct Shown {
    account: Option<Account>,
    token: String,
    annotations: BTreeMap<String, String>,
    /// What its answers are kept by.
    key: String,
}

/// The plugins of the node.
pub struct Plugins {
    all: Vec<Plugin>,
    client: Client,
    tokens: Arc<Tokens>,
}

impl Plugins {
    /// As `--image-credential-provider-config` and `--image-credential-provider-bin-dir` say.
    ///
    /// # Errors
    /// Worded as upstream's: a kubelet does not start then.
    pub fn load(config: &Path, folder: &Path, client: Client, tokens: Arc<Tokens>) -> Result<Self, String> {
        let mut all = Vec::new();
        if !config.as_os_str().is_empty() || !folder.as_os_str().is_empty() {
            let shown = folder.display();
            if let Err(error) = std::fs::metadata(folder) {
                return Err(match error.kind() {
                    std::io::ErrorKind::NotFound => format!("plugin binary directory {shown} did not exist"),
                    _ => format!(
                        "error inspecting binary directory {shown}: stat {shown}: {}",
                        daemon::go_words::of(&error)
                    ),
                });
            }
            let loaded = config::load(config)?;
            daemon::metrics::global()
                .int_gauge_vec(
                    "kubelet_credential_provider_config_info",
                    "[ALPHA] Information about the last applied credential provider configuration with hash as label",
                    &["hash"],
                )
                .with_label_values(&[&loaded.hash])
                .set(1);
            for provider in loaded.providers {
                let path = program(folder, &provider.name)?;
                let program = Program { path, provider };
                all.push(Plugin { program, kept: Mutex::default(), asked: Mutex::default() });
            }
        }
        Ok(Self { all, client, tokens })
    }

    /// Some of them answer by service account, so that who may use an image that is there depends on them.
    pub fn know_accounts(&self) -> bool {
        self.all.iter().any(|plugin| plugin.program.provider.token_attributes.is_some())
    }

    /// What they know for a repository.
    pub async fn lookup(&self, repository: &str, pod: &Pod) -> Vec<Credential> {
        let mut found = Vec::new();
        for plugin in &self.all {
            match self.provide(plugin, repository, pod).await {
                Ok(Some((auths, account))) => found.push((auths, account)),
                Ok(None) => {}
                Err(error) => tracing::error!(
                    %error,
                    provider = plugin.program.provider.name,
                    image = repository,
                    pod = %format_args!("{}/{}", pod.metadata.namespace, pod.metadata.name),
                    "Failed to provide credentials for image"
                ),
            }
        }
        credentials::of_plugins(repository, found)
    }

    async fn provide(
        &self,
        plugin: &Plugin,
        image: &str,
        pod: &Pod,
    ) -> Result<Option<(Value, Option<Account>)>, String> {
        let provider = &plugin.program.provider;
        if !provider.match_images.iter().any(|glob| credentials::fits(glob, image)) {
            return Ok(None);
        }
        let shown = match &provider.token_attributes {
            None => Shown::default(),
            Some(attributes) => match self.shown(attributes, pod).await? {
                Some(shown) => shown,
                None => return Ok(None),
            },
        };
        if let Some(auths) = plugin.kept.lock().get(image, &shown.key, Instant::now()) {
            return Ok(Some((auths.clone(), shown.account)));
        }
        let response = plugin.ask(image, &shown).await.map_err(|error| {
            format!("failed to get credential from external registry credential provider: {error}")
        })?;
        let by_token =
            provider.token_attributes.as_ref().is_some_and(|attributes| attributes.cache_type == "Token");
        if !shown.token.is_empty()
            && !by_token
            && response.auth.values().any(|auth| auth.password == shown.token)
        {
            return Err(
                "credential provider plugin returned the service account token as the password which is not \
                        allowed when service account cache type is not set to 'Token'"
                    .into(),
            );
        }
        let auths = json!(response.auth);
        let life = response.cache_duration().unwrap_or(provider.cache_duration());
        let (kind, now) = (&response.cache_key_type, Instant::now());
        plugin.kept.lock().put(kind, image, &shown.key, life, now, &auths)?;
        Ok(Some((auths, shown.account)))
    }

    /// The token and what else a plugin is shown of a pod's service account; `None` when it is not to be asked.
    async fn shown(&self, attributes: &TokenAttributes, pod: &Pod) -> Result<Option<Shown>, String> {
        let (namespace, name) = (&pod.metadata.namespace, &pod.spec.service_account_name);
        if name.is_empty() {
            let may_do_without = attributes.require_service_account == Some(false);
            return Ok(may_do_without.then(Shown::default));
        }
        let api = self.client.api::<ServiceAccount>().namespace(namespace);
        let account =
            api.get(name).await.map_err(|error| format!("failed to get service account: {error}"))?;
        let known = &account.metadata.annotations;
        let mut annotations = BTreeMap::new();
        for key in &attributes.required_service_account_annotation_keys {
            let Some(value) = known.get(key) else {
                tracing::debug!(key, service_account = name, "required annotation not found");
                return Ok(None);
            };
            annotations.insert(key.clone(), value.clone());
        }
        for key in &attributes.optional_service_account_annotation_keys {
            if let Some(value) = known.get(key) {
                annotations.insert(key.clone(), value.clone());
            }
        }
        let wanted =
            TokenKey { audience: attributes.service_account_token_audience.clone(), seconds: TOKEN_SECONDS };
        let (token, _) = self
            .tokens
            .get(pod, &wanted)
            .await
            .map_err(|error| format!("failed to get service account token: {error}"))?;
        let uid = account.metadata.uid;
        let mut key = json!([namespace, name, uid, annotations]);
        if attributes.cache_type == "Token"
            && let Value::Array(parts) = &mut key
        {
            parts.push(sha256(&token).into());
        }
        Ok(Some(Shown {
            account: Some(Account { uid, namespace: namespace.clone(), name: name.clone() }),
            token,
            annotations,
            key: key.to_string(),
        }))
    }
}

impl Plugin {
    /// Asks the program, once for all who ask the same at the same time.
    async fn ask(&self, image: &str, shown: &Shown) -> Result<Arc<Response>, String> {
        let key = json!([image, sha256(&shown.token), shown.annotations]).to_string();
        let asked = {
            let mut all = self.asked.lock();
            let start = || {
                let (program, image, shown) = (self.program.clone(), image.to_owned(), shown.clone());
                let work =
                    async move { program.ask(&image, &shown.token, &shown.annotations).await.map(Arc::new) };
                work.boxed().shared()
            };
            all.entry(key.clone()).or_insert_with(start).clone()
        };
        let answer = asked.clone().await;
        let mut all = self.asked.lock();
        if all.get(&key).is_some_and(|known| known.ptr_eq(&asked)) {
            all.remove(&key);
        }
        answer
    }
}

/// The program of a plugin: it must be there, and one that can be run.
fn program(folder: &Path, name: &str) -> Result<PathBuf, String> {
    let path = folder.join(name);
    match rustix::fs::access(&path, rustix::fs::Access::EXEC_OK) {
        Ok(()) if path.is_file() => Ok(path),
        Ok(()) => Err(format!(
            "error inspecting binary executable {0}: exec: {0:?}: is a directory",
            path.display()
        )),
        // COMPAT: upstream has lost the path by then.
        Err(rustix::io::Errno::NOENT) => Err("plugin binary executable  did not exist".into()),
        Err(error) => {
            let shown = path.display().to_string();
            let why = daemon::go_words::of(&error.into());
            Err(format!("error inspecting binary executable : exec: {shown:?}: {why}"))
        }
    }
}
