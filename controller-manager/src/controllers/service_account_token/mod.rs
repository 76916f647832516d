//! serviceaccount-token-controller: fills Secrets of the type `kubernetes.io/service-account-token` with
//! a token of their account that does not expire, the authority and the namespace; deletes them with
//! their account, and takes the names of deleted ones off the account's list.
//!
//! It acts as the controller manager itself and not as an account, for it is accounts that it serves.
//! No Secret is made here: somebody asks for a token by making an empty one.

mod signer;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::well_known::annotation;
use api_types::core::v1::{Secret, SecretType, ServiceAccount};
use client::Key;
use client::controller::{Action, Controller, Failure, Hands, Plan, Step, Target, Wake};
use client::informer::{Caches, Change};
use jiff::Timestamp;

use crate::cached::{AccountFacts, TokenSecret};
use signer::Signer;

/// See the module. Its keys are Secrets.
pub struct AccountTokens {
    signer: Signer,
    authority: Arc<[u8]>,
}

impl AccountTokens {
    /// Reads the key that signs, and the authority (which may be left out) that is handed on.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn new(key: &Path, authority: Option<&Path>) -> anyhow::Result<Self> {
        let read = |path: &Path| {
            std::fs::read(path)
                .map_err(|e| anyhow::anyhow!("--root-ca-file: cannot read {}: {e}", path.display()))
        };
        let authority = authority.map(read).transpose()?.unwrap_or_default().into();
        Ok(Self { signer: Signer::load(key)?, authority })
    }
}

/// What there is under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    /// No Secret: accounts of the namespace that list it.
    Gone { name: Box<str>, listed_by: Vec<Key> },
    Token {
        key: Key,
        secret: Arc<TokenSecret>,
        /// Whether its account is there, as far as the caches show.
        has_account: bool,
        /// Whether something is missing in it.
        incomplete: bool,
    },
}

/// What needs the server's own word before it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Own {
    /// Delete the Secret if its account is really gone, else fill it.
    Settle { key: Key, secret: Arc<TokenSecret> },
    /// Take the Secret off the account's list.
    Unlist { account: Key, name: Box<str> },
}

impl Controller for AccountTokens {
    const NAME: &'static str = "serviceaccount-token-controller";
    const QUEUE: &'static str = "serviceaccount_tokens_service";
    type View = View;
    type Own = Own;

    fn wakes_on(&self) -> Vec<Wake> {
        vec![
            Wake::itself::<TokenSecret>(),
            Wake::on::<AccountFacts>(|change: &Change<'_, AccountFacts>, caches, keys| {
                if change.old.map(|old| &old.uid) == change.new.map(|new| &new.uid) {
                    return;
                }
                let secrets = caches.store::<TokenSecret>().in_namespace(&change.key.namespace);
                let its = secrets.into_iter().filter(|(_, secret)| secret.account == change.key.name);
                keys.extend(its.map(|(key, _)| key));
            }),
        ]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<View> {
        let accounts = caches.store::<AccountFacts>();
        let Some(secret) = caches.store::<TokenSecret>().get(key) else {
            let all = accounts.in_namespace(&key.namespace).into_iter();
            let listing = all.filter(|(_, account)| account.secrets.contains(&key.name));
            let listed_by = listing.map(|(account, _)| account).collect();
            return Some(View::Gone { name: key.name.clone(), listed_by });
        };
        if secret.account.is_empty() {
            return None;
        }
        let account = accounts.find(&key.namespace, &secret.account);
        let has_account =
            account.is_some_and(|a| secret.account_uid.is_empty() || a.uid == secret.account_uid);
        let incomplete = self.is_incomplete(&secret);
        Some(View::Token { key: key.clone(), secret, has_account, incomplete })
    }

    fn plan(view: &View, _: Timestamp) -> Plan<Own> {
        let mut plan = Plan::nothing();
        match view {
            View::Gone { name, listed_by } => {
                for account in listed_by {
                    let (account, name) = (account.clone(), name.clone());
                    plan.step(Step::Own(Own::Unlist { account, name }));
                }
            }
            View::Token { has_account: true, incomplete: false, .. } => {}
            View::Token { key, secret, .. } => {
                let (key, secret) = (key.clone(), secret.clone());
                plan.step(Step::Own(Own::Settle { key, secret }));
            }
        }
        plan
    }

    async fn perform(&self, own: Own, hands: &Hands) -> Result<Option<Duration>, Failure> {
        match own {
            Own::Settle { key, secret } => self.settle(&key, &secret, hands).await?,
            Own::Unlist { account, name } => unlist(&account, &name, hands).await?,
        }
        Ok(None)
    }
}

impl AccountTokens {
    fn is_incomplete(&self, secret: &TokenSecret) -> bool {
        let authority = !self.authority.is_empty()
            && secret.authority.is_none_or(|digest| digest != TokenSecret::digest(&self.authority));
        !secret.has_token || !secret.has_namespace || authority
    }

    async fn settle(&self, key: &Key, seen: &TokenSecret, hands: &Hands) -> Result<(), Failure> {
        let accounts = hands.client.api::<ServiceAccount>().namespace(&*key.namespace);
        let account = accounts.find(&seen.account).await.map_err(|e| Failure::new("read the account", e))?;
        let account = account.filter(|a| seen.account_uid.is_empty() || *a.metadata.uid == *seen.account_uid);
        let Some(account) = account else {
            let mut plan = Plan::nothing();
            plan.act(Action::delete(Target::new::<Secret>(key.clone(), &seen.uid)));
            return first(hands.all(plan).await.failures);
        };
        let secrets = hands.client.api::<Secret>().namespace(&*key.namespace);
        let secret = secrets.find(&key.name).await.map_err(|e| Failure::new("read the Secret", e))?;
        let ours = |secret: &Secret| {
            secret.type_ == SecretType::ServiceAccountToken && TokenSecret::of(secret).uid == seen.uid
        };
        let Some(mut secret) = secret.filter(ours) else { return Ok(()) };
        if !self.is_incomplete(&TokenSecret::of(&secret)) {
            return Ok(());
        }
        self.fill(&mut secret, &account);
        let mut plan = Plan::nothing();
        plan.act(Action::update(secret));
        first(hands.all(plan).await.failures)
    }

    /// Puts in what is missing.
    fn fill(&self, secret: &mut Secret, account: &ServiceAccount) {
        if !self.authority.is_empty() {
            secret.data.insert("ca.crt".into(), self.authority.to_vec().into());
        }
        let namespace = secret.metadata.namespace.clone();
        if secret.data.get("namespace").is_none_or(|value| value.is_empty()) {
            secret.data.insert("namespace".into(), namespace.into_bytes().into());
        }
        if secret.data.get("token").is_none_or(|value| value.is_empty()) {
            let token = self.signer.token(account, &secret.metadata.name);
            secret.data.insert("token".into(), token.into_bytes().into());
        }
        let annotations = &mut secret.metadata.annotations;
        annotations.insert(annotation::SERVICE_ACCOUNT_NAME.into(), account.metadata.name.clone());
        annotations.insert(annotation::SERVICE_ACCOUNT_UID.into(), account.metadata.uid.clone());
    }
}

fn first(failures: Vec<Failure>) -> Result<(), Failure> {
    failures.into_iter().next().map_or(Ok(()), Err)
}

async fn unlist(account: &Key, name: &str, hands: &Hands) -> Result<(), Failure> {
    let accounts = hands.client.api::<ServiceAccount>().namespace(&*account.namespace);
    let found = accounts.find(&account.name).await.map_err(|e| Failure::new("read the account", e))?;
    let Some(mut found) = found else { return Ok(()) };
    let before = found.secrets.len();
    found.secrets.retain(|secret| secret.name != *name);
    if found.secrets.len() == before {
        return Ok(());
    }
    let mut plan = Plan::nothing();
    plan.act(Action::update(found));
    first(hands.all(plan).await.failures)
}
