//! bootstrap-signer-controller: signs the kubeconfig in kube-public/cluster-info with each bootstrap
//! token that may do so. A node that joins knows the token and so that the description is genuine.
//! A signature is a JWS without its content, HMAC-SHA256 keyed by the token's secret.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::ConfigMap;
use api_types::core::v1::well_known::namespace;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use client::Key;
use client::controller::{Action, Controller, Never, Plan, Wake};
use client::informer::Caches;
use jiff::Timestamp;

use super::{Left, left};
use crate::cached::{BootstrapToken, ClusterInfo};

const KUBECONFIG: &str = "kubeconfig";
const SIGNATURE_PREFIX: &str = "jws-kubeconfig-";
const NAME_PREFIX: &str = "bootstrap-token-";

/// See the module. Its one key is the description.
#[derive(Debug)]
pub struct BootstrapSigner;

/// The description, and all tokens by the names of their Secrets.
#[derive(Debug)]
pub struct View {
    pub info: ConfigMap,
    pub tokens: Vec<(Key, Arc<BootstrapToken>)>,
}

fn info() -> Key {
    Key::new(namespace::PUBLIC, ClusterInfo::NAME)
}

impl Controller for BootstrapSigner {
    const NAME: &'static str = "bootstrap-signer-controller";
    const QUEUE: &'static str = "bootstrap_signer_queue";
    type View = View;
    type Own = Never;

    fn wakes_on(&self) -> Vec<Wake> {
        vec![Wake::itself::<ClusterInfo>(), Wake::on::<BootstrapToken>(|_, _, keys| keys.push(info()))]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<View> {
        let info = caches.store::<ClusterInfo>().get(key)?.0.clone();
        Some(View { info, tokens: caches.store::<BootstrapToken>().all() })
    }

    fn plan(view: &View, now: Timestamp) -> Plan {
        let mut plan = Plan::nothing();
        let Some(content) = view.info.data.get(KUBECONFIG) else { return plan };
        let mut signatures = BTreeMap::new();
        for (key, token) in view.tokens.iter().filter(|(key, token)| may_sign(key, token)) {
            match left(token, now) {
                Left::Nothing => continue,
                Left::Until(end) => {
                    plan.look_again(Duration::try_from(end.duration_since(now)).unwrap_or_default());
                }
                Left::Forever => {}
            }
            tracing::trace!(key = %key, "Signing");
            signatures.insert(
                format!("{SIGNATURE_PREFIX}{}", token.id),
                signature(content, &token.id, &token.secret),
            );
        }
        let is_signature = |key: &String| key.starts_with(SIGNATURE_PREFIX);
        let current: BTreeMap<_, _> = view
            .info
            .data
            .iter()
            .filter(|(key, _)| is_signature(key))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        if current != signatures {
            let mut signed = view.info.clone();
            signed.data.retain(|key, _| !is_signature(key));
            signed.data.extend(signatures);
            plan.act(Action::update(signed));
        }
        plan
    }
}

/// Whether the token is for signing, and its Secret is named after it.
fn may_sign(key: &Key, token: &BootstrapToken) -> bool {
    let named = key.name.strip_prefix(NAME_PREFIX).is_some_and(|id| id == token.id);
    let valid = token.id.len() == 6 && token.id.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase());
    named && valid && token.signs && !token.secret.is_empty()
}

/// COMPAT: joining nodes compute it anew and compare texts, the header's order of keys included.
fn signature(content: &str, id: &str, secret: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"HS256","kid":"{id}"}}"#));
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(content));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), message.as_bytes());
    format!("{header}..{}", URL_SAFE_NO_PAD.encode(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(id: &str, expiration: &str) -> (Key, Arc<BootstrapToken>) {
        let token = BootstrapToken {
            id: id.into(),
            secret: "0123456789abcdef".into(),
            expiration: expiration.into(),
            signs: true,
            ..BootstrapToken::default()
        };
        (Key::new("kube-system", format!("bootstrap-token-{id}")), Arc::new(token))
    }

    fn written(data: &[(&str, &str)], tokens: Vec<(Key, Arc<BootstrapToken>)>) -> Option<Vec<String>> {
        let data = data.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let view = View { info: ConfigMap { data, ..ConfigMap::default() }, tokens };
        let plan = BootstrapSigner::plan(&view, "2026-01-01T00:00:00Z".parse().unwrap());
        let map: Option<&ConfigMap> = plan.actions().first().and_then(|action| action.effect.object());
        map.map(|map| map.data.keys().cloned().collect())
    }

    #[test]
    fn a_signature_is_a_jws_without_its_content() {
        // Computed by another implementation of HMAC.
        let expected =
            "eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZiJ9..vH_kT4yiol-nrAWgjfCYqvum5wsKETXe0S7OOp1VgnE";
        assert_eq!(signature("apiVersion: v1\nkind: Config\n", "abcdef", "0123456789abcdef"), expected);
    }

    #[test]
    fn tokens_sign_while_they_are_good() {
        let good = token("abcdef", "");
        let signed =
            written(&[("kubeconfig", "x")], vec![good.clone(), token("expire", "2025-01-01T00:00:00Z")]);
        assert_eq!(signed.unwrap(), ["jws-kubeconfig-abcdef", "kubeconfig"]);
        let current = signature("x", "abcdef", "0123456789abcdef");
        let data = [("kubeconfig", "x"), ("jws-kubeconfig-abcdef", current.as_str())];
        assert_eq!(written(&data, vec![good.clone()]), None);
        assert_eq!(written(&data, vec![]).unwrap(), ["kubeconfig"], "the token is gone");
        let other_name = (Key::new("kube-system", "bootstrap-token-other1"), good.1.clone());
        assert_eq!(written(&[("kubeconfig", "x")], vec![other_name]), None);
        assert_eq!(written(&[("other", "x")], vec![good]), None);
    }
}
