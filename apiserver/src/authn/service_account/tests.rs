//! Tokens from request to refusal: keys, claims, binding, expiry, discovery.

use super::discovery::DiscoveryError;
use super::issue::Bound;
use super::*;
use crate::authn::{AuthnError, TokenAuthenticator};
use crate::views::{CatchUp, Life, NodeView, PodView, SecretView, ServiceAccountView, Views};
use api_types::authentication::v1::{BoundObjectReference, TokenRequest};
use api_types::core::v1::{Node, Pod, Secret, ServiceAccount};
use daemon::clock::{Clock as _, Manual};
use jiff::Timestamp;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const ISSUER: &str = "https://kubernetes.default.svc";

struct NoCatchUp;

#[async_trait::async_trait]
impl CatchUp for NoCatchUp {
    async fn catch_up(&self) {}
}

/// A cluster with the account web/robot, its pod, node and secret.
struct Cluster {
    _files: tempfile::TempDir,
    issuer: Issuer,
    tokens: ServiceAccountTokens,
    clock: Arc<Manual>,
}

fn key_file(folder: &tempfile::TempDir, algorithm: &'static rcgen::SignatureAlgorithm) -> PathBuf {
    let path = folder.path().join("sa.key");
    let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
    std::fs::write(&path, key.serialize_pem()).unwrap();
    path
}

fn cluster(algorithm: &'static rcgen::SignatureAlgorithm) -> Cluster {
    let files = tempfile::tempdir().unwrap();
    let key = key_file(&files, algorithm);
    let views = Arc::new(Views::default());
    let life = |uid: &str| Life { uid: uid.into(), deleted_at: None };
    views.service_accounts.put(
        "web",
        "robot",
        ServiceAccountView { life: life("sa-1"), ..ServiceAccountView::default() },
    );
    views.pods.put("web", "pod", PodView { life: life("pod-1"), ..PodView::default() });
    views.nodes.put("", "node", NodeView { life: life("node-1"), ..NodeView::default() });
    views.secrets.put("web", "secret", SecretView { life: life("secret-1"), ..SecretView::default() });
    let clock = Manual::new(Timestamp::from_second(1_700_000_000).unwrap());
    let audiences = vec![ISSUER.to_owned()];
    let options =
        IssueOptions { issuer: ISSUER.into(), audiences: audiences.clone(), max_lifetime: 0, extend: true };
    Cluster {
        issuer: Issuer { key: SigningKey::load(&key).unwrap(), options },
        tokens: ServiceAccountTokens {
            issuers: audiences.clone(),
            keys: Arc::new(VerifyingKeys::load(&[key]).unwrap()),
            audiences,
            views,
            fresh: Arc::new(NoCatchUp),
            clock: clock.clone(),
        },
        clock,
        _files: files,
    }
}

fn account() -> ServiceAccount {
    let mut account = ServiceAccount::default();
    account.metadata.name = "robot".into();
    account.metadata.namespace = "web".into();
    account.metadata.uid = "sa-1".into();
    account
}

fn pod() -> Bound {
    let mut pod = Pod::default();
    pod.metadata.name = "pod".into();
    pod.metadata.uid = "pod-1".into();
    pod.spec.service_account_name = "robot".into();
    pod.spec.node_name = "node".into();
    let mut node = Node::default();
    node.metadata.name = "node".into();
    node.metadata.uid = "node-1".into();
    Bound::Pod(Box::new(pod), Some(Box::new(node)))
}

impl Cluster {
    fn ask(&self, mut request: TokenRequest, bound: &Bound) -> Result<TokenRequest, String> {
        let now = self.clock.now();
        self.issuer.prepare(&mut request, &account(), now).map_err(|e| e.status().message)?;
        self.issuer.answer(&mut request, &account(), bound, now).map_err(|e| e.status().message)?;
        Ok(request)
    }

    fn token(&self, bound: &Bound, seconds: i64) -> String {
        self.ask(request(seconds), bound).unwrap().status.token
    }

    /// The user's name, or why not.
    async fn check(&self, token: &str, audiences: &[&str]) -> String {
        let audiences: Vec<String> = audiences.iter().map(|a| (*a).to_owned()).collect();
        match self.tokens.authenticate(token, &audiences).await {
            Ok(Some(identity)) => identity.user.name,
            Ok(None) => "not ours".into(),
            Err(AuthnError::Token(text)) => text,
            Err(error) => error.to_string(),
        }
    }
}

fn request(seconds: i64) -> TokenRequest {
    let mut request = TokenRequest::default();
    request.spec.expiration_seconds = Some(seconds);
    request
}

#[tokio::test]
async fn tokens_of_every_algorithm_are_good() {
    for algorithm in [
        &rcgen::PKCS_RSA_SHA256,
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ECDSA_P521_SHA512,
    ] {
        let cluster = cluster(algorithm);
        let token = cluster.token(&pod(), 3600);
        let identity = cluster.tokens.authenticate(&token, &[]).await.unwrap().expect("ours");
        let user = identity.user;
        assert_eq!(user.name, "system:serviceaccount:web:robot");
        assert_eq!(user.uid, "sa-1");
        assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:web"]);
        assert_eq!(user.extra["authentication.kubernetes.io/pod-name"], ["pod"]);
        assert_eq!(user.extra["authentication.kubernetes.io/node-uid"], ["node-1"]);
        assert!(user.extra["authentication.kubernetes.io/credential-id"][0].starts_with("JTI="));
        // A changed letter anywhere spoils it.
        let (message, signature) = token.rsplit_once('.').unwrap();
        let (first, rest) = signature.split_at(1);
        let forged = format!("{message}.{}{rest}", if first == "A" { "B" } else { "A" });
        assert_eq!(cluster.check(&forged, &[]).await, "error in cryptographic primitive");
    }
}

#[tokio::test]
async fn others_tokens_are_not_ours_to_judge() {
    let (ours, other) = (cluster(&rcgen::PKCS_ECDSA_P256_SHA256), cluster(&rcgen::PKCS_ECDSA_P256_SHA256));
    let token = other.token(&Bound::None, 600);
    assert_eq!(ours.check(&token, &[]).await, "invalid signature, no keys found");
    for text in ["", "abc", "a.b.c", "a.b.c.d", "{}"] {
        assert_eq!(ours.check(text, &[]).await, "not ours", "{text}");
    }
    // A payload of another issuer is left to other authenticators, signed or not.
    let mut foreign = cluster(&rcgen::PKCS_ECDSA_P256_SHA256);
    foreign.issuer.options.issuer = "https://elsewhere".into();
    let token = foreign.token(&Bound::None, 600);
    assert_eq!(foreign.check(&token, &[]).await, "not ours");
}

#[tokio::test]
async fn tokens_end_with_their_time() {
    let cluster = cluster(&rcgen::PKCS_ECDSA_P256_SHA256);
    let token = cluster.token(&Bound::None, 600);
    let name = "system:serviceaccount:web:robot";
    for (seconds, expected) in [(600, name), (60, name), (1, "service account token has expired")] {
        cluster.clock.advance(Duration::from_secs(seconds));
        assert_eq!(cluster.check(&token, &[]).await, expected, "after {seconds} more");
    }
}

#[tokio::test]
async fn tokens_are_for_their_audience() {
    let cluster = cluster(&rcgen::PKCS_ECDSA_P256_SHA256);
    let mut vault = request(600);
    vault.spec.audiences = vec!["vault".into()];
    let token = cluster.ask(vault, &Bound::None).unwrap().status.token;
    assert_eq!(cluster.check(&token, &["vault", "x"]).await, "system:serviceaccount:web:robot");
    assert_eq!(
        cluster.check(&token, &[]).await,
        r#"token audiences ["vault"] is invalid for the target audiences ["https://kubernetes.default.svc"]"#
    );
}

#[tokio::test]
async fn tokens_end_with_what_they_are_bound_to() {
    let secret = || {
        let mut secret = Secret::default();
        secret.metadata.name = "secret".into();
        secret.metadata.uid = "secret-1".into();
        Bound::Secret(Box::new(secret))
    };
    let node = || {
        let mut node = Node::default();
        node.metadata.name = "node".into();
        node.metadata.uid = "node-1".into();
        Bound::Node(Box::new(node))
    };
    type Change = fn(&Views);
    let cases: [(Bound, Change, &str); 7] = [
        (pod(), |v| v.pods.remove("web", "pod"), "service account token has been invalidated"),
        (
            pod(),
            |v| {
                let life = Life { uid: "pod-2".into(), deleted_at: None };
                v.pods.put("web", "pod", PodView { life, ..PodView::default() });
            },
            "pod UID (pod-2) does not match service account pod ref claim (pod-1)",
        ),
        // The node of a pod's token may be gone.
        (pod(), |v| drop(v.nodes.remove("", "node")), "system:serviceaccount:web:robot"),
        (node(), |v| drop(v.nodes.remove("", "node")), "service account token has been invalidated"),
        (secret(), |v| drop(v.secrets.remove("web", "secret")), "service account token has been invalidated"),
        (
            Bound::None,
            |v| drop(v.service_accounts.remove("web", "robot")),
            r#"serviceaccounts "robot" not found"#,
        ),
        (
            pod(),
            |v| {
                let deleted_at = Timestamp::from_second(1_700_000_000 - 61).ok();
                let life = Life { uid: "pod-1".into(), deleted_at };
                v.pods.put("web", "pod", PodView { life, ..PodView::default() });
            },
            "service account token has been invalidated",
        ),
    ];
    for (bound, change, expected) in cases {
        let cluster = cluster(&rcgen::PKCS_ECDSA_P256_SHA256);
        let token = cluster.token(&bound, 600);
        assert_eq!(cluster.check(&token, &[]).await, "system:serviceaccount:web:robot");
        change(&cluster.tokens.views);
        assert_eq!(cluster.check(&token, &[]).await, expected);
    }
}

#[test]
fn requests_are_completed_and_checked() {
    let cluster = cluster(&rcgen::PKCS_ECDSA_P256_SHA256);
    let answer = cluster.ask(TokenRequest::default(), &Bound::None).unwrap();
    assert_eq!(answer.metadata.name, "robot");
    assert_eq!(answer.spec.audiences, [ISSUER]);
    assert_eq!(answer.spec.expiration_seconds, Some(3600));
    let expires = answer.status.expiration_timestamp.unwrap();
    assert_eq!(expires.0.as_second(), 1_700_000_000 + 3600);

    let refused = |change: fn(&mut TokenRequest), bound: &Bound| {
        let mut request = request(600);
        change(&mut request);
        cluster.ask(request, bound).unwrap_err()
    };
    assert_eq!(
        refused(|r| r.spec.expiration_seconds = Some(599), &Bound::None),
        concat!(
            r#"TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: "#,
            "Invalid value: 599: may not specify a duration less than 10 minutes"
        )
    );
    assert_eq!(
        refused(|r| r.metadata.name = "other".into(), &Bound::None),
        concat!(
            r#"TokenRequest.authentication.k8s.io "robot" is invalid: metadata.name: "#,
            r#"Invalid value: "other": must match the service account name if specified"#
        )
    );
    let bound_to = |r: &mut TokenRequest| {
        let uid = "pod-0".to_owned();
        r.spec.bound_object_ref = Some(Box::new(BoundObjectReference { uid, ..Default::default() }));
    };
    assert!(refused(bound_to, &pod()).contains("does not match the UID in record"));
    let Bound::Pod(mut stranger, node) = pod() else { unreachable!("pod() is a pod") };
    stranger.spec.service_account_name = "default".into();
    assert_eq!(
        refused(|r| r.spec.bound_object_ref = Some(Box::default()), &Bound::Pod(stranger, node)),
        r#"cannot bind token for serviceaccount "robot" to pod running with different serviceaccount name."#
    );
}

#[tokio::test]
async fn a_kubelets_tokens_outlive_their_hour() {
    let cluster = cluster(&rcgen::PKCS_ECDSA_P256_SHA256);
    let extended = cluster.ask(request(3607), &pod()).unwrap();
    let expires = extended.status.expiration_timestamp.unwrap();
    assert_eq!(expires.0.as_second(), 1_700_000_000 + 3607, "the kubelet is to renew in time");
    let plain = cluster.token(&Bound::None, 3607);
    cluster.clock.advance(Duration::from_secs(3607 + 61));
    assert_eq!(cluster.check(&extended.status.token, &[]).await, "system:serviceaccount:web:robot");
    assert_eq!(cluster.check(&plain, &[]).await, "service account token has expired");
}

#[test]
fn the_longest_lifetime_is_kept() {
    let mut cluster = cluster(&rcgen::PKCS_ECDSA_P256_SHA256);
    cluster.issuer.options.max_lifetime = 1000;
    let mut request = request(3600);
    let now = cluster.clock.now();
    cluster.issuer.prepare(&mut request, &account(), now).unwrap();
    let warnings = cluster.issuer.answer(&mut request, &account(), &Bound::None, now).unwrap();
    assert_eq!(warnings, ["requested expiration of 3600 seconds shortened to 1000 seconds"]);
    assert_eq!(request.spec.expiration_seconds, Some(1000));
}

#[test]
fn discovery_shows_the_public_halves() {
    let cluster = cluster(&rcgen::PKCS_RSA_SHA256);
    let keys = &cluster.tokens.keys;
    let documents = OpenIdDocuments::new(ISSUER, "", "10.0.0.1:6443", keys).unwrap();
    let configuration: serde_json::Value = serde_json::from_slice(&documents.configuration).unwrap();
    assert_eq!(configuration["issuer"], ISSUER);
    assert_eq!(configuration["jwks_uri"], "https://10.0.0.1:6443/openid/v1/jwks");
    assert_eq!(configuration["id_token_signing_alg_values_supported"][0], "RS256");
    let set: serde_json::Value = serde_json::from_slice(&documents.keys).unwrap();
    let key = &set["keys"][0];
    assert_eq!((key["kty"].as_str(), key["e"].as_str()), (Some("RSA"), Some("AQAB")));
    assert!(key.get("d").is_none());
    assert_eq!(
        OpenIdDocuments::new("http://x", "", "h", keys),
        Err(DiscoveryError::Scheme("http://x".into()))
    );
}

#[tokio::test]
async fn tokens_in_secrets_are_good_while_they_stand_there() {
    let cluster = cluster(&rcgen::PKCS_ECDSA_P256_SHA256);
    let claims = |uid: &str| {
        serde_json::json!({
            "iss": "kubernetes/serviceaccount",
            "kubernetes.io/serviceaccount/namespace": "web",
            "kubernetes.io/serviceaccount/secret.name": "legacy",
            "kubernetes.io/serviceaccount/service-account.name": "robot",
            "kubernetes.io/serviceaccount/service-account.uid": uid,
            "sub": "system:serviceaccount:web:robot",
        })
        .to_string()
    };
    let token = cluster.issuer.key.sign(claims("sa-1").as_bytes()).unwrap();
    let put = |token: &str, edit: fn(&mut Secret)| {
        let mut secret = Secret { type_: "kubernetes.io/service-account-token".into(), ..Secret::default() };
        secret.data.insert("token".into(), token.as_bytes().to_vec().into());
        edit(&mut secret);
        cluster.tokens.views.secrets.put("web", "legacy", SecretView::from(secret));
    };
    assert_eq!(cluster.check(&token, &[]).await, "Token has been invalidated");
    put(&token, |_| {});
    assert_eq!(cluster.check(&token, &[]).await, "system:serviceaccount:web:robot");
    put("another", |_| {});
    assert_eq!(cluster.check(&token, &[]).await, "Token does not match server's copy");
    put(&token, |secret| secret.type_ = "Opaque".into());
    assert_eq!(cluster.check(&token, &[]).await, "Token does not match server's copy");
    put(&token, |secret| {
        let label = "kubernetes.io/legacy-token-invalid-since";
        secret.metadata.labels.insert(label.into(), "2026-01-01".into());
    });
    assert!(cluster.check(&token, &[]).await.contains("has been marked invalid"));
    let other = cluster.issuer.key.sign(claims("sa-2").as_bytes()).unwrap();
    put(&other, |_| {});
    assert_eq!(cluster.check(&other, &[]).await, "service account UID (sa-1) does not match claim (sa-2)");
}
