//! Tokens of an issuer outside of the cluster, which is the test's own: named by flags, or by a file that changes.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::harness::{self, Answer, As, Cluster};

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

enum Key {
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

/// Signs tokens, and serves its document and its keys.
struct Issuer {
    key: Key,
    id: String,
    url: String,
}

impl Issuer {
    fn elliptic(url: &str, id: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        Self { key: Key::Ec(pair), id: id.into(), url: url.into() }
    }

    fn rsa(url: &str) -> Self {
        let pair = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).expect("a key");
        Self { key: Key::Rsa(pair), id: "rsa".into(), url: url.into() }
    }

    fn public(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match &self.key {
            Key::Ec(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "kid": self.id, "crv": "P-256", "x": text(&point[1..33]), "y": text(&point[33..65])})
            }
            Key::Rsa(pair) => {
                let public = pair.public_key();
                let (n, e) = (public.modulus(), public.exponent());
                json!({"kty": "RSA", "kid": self.id, "n": text(n.big_endian_without_leading_zero()),
                    "e": text(e.big_endian_without_leading_zero())})
            }
        }
    }

    /// A token with these claims beside its issuer and an end in an hour.
    fn token(&self, more: Value) -> String {
        let mut claims =
            json!({"iss": self.url, "aud": "kubernetes", "exp": jiff::Timestamp::now().as_second() + 3600});
        for (name, value) in more.as_object().into_iter().flatten() {
            claims[name] = value.clone();
        }
        let alg = if matches!(self.key, Key::Ec(_)) { "ES256" } else { "RS256" };
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(json!({"alg": alg, "kid": self.id})), part(claims));
        let random = SystemRandom::new();
        let signature = match &self.key {
            Key::Ec(pair) => pair.sign(&random, message.as_bytes()).expect("a signature").as_ref().to_vec(),
            Key::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature)
                    .expect("a signature");
                signature
            }
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// Serves what an issuer publishes.
async fn serve(cluster: &Cluster, port: u16, url: &str, keys: Arc<std::sync::Mutex<Vec<Value>>>) {
    let url = url.to_owned();
    let answer = move |path: &str, _: &hyper::HeaderMap, _: Value| match path {
        "/keys" => json!({"keys": *keys.lock().expect("keys")}),
        _ => json!({"issuer": url, "jwks_uri": format!("{url}/keys")}),
    };
    cluster.serve_posts_at(port, answer).await;
}

async fn whoami(cluster: &Cluster, token: &str) -> Answer {
    cluster.bearer(token, "POST", REVIEWS, &json!({"kind": "SelfSubjectReview"}).to_string()).await
}

/// Asks until the answer is as wanted.
async fn until(cluster: &Cluster, token: &str, code: u16) -> Answer {
    for _ in 0..1200 {
        let answer = whoami(cluster, token).await;
        if answer.code == code {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no answer {code}");
}

#[tokio::test]
async fn flags_name_an_issuer() {
    let port = harness::free_port();
    let url = format!("https://127.0.0.1:{port}");
    let own = Issuer::rsa(&url);
    let flags = |dir: &std::path::Path| {
        let ca = dir.join("ca.crt");
        [
            format!("--oidc-issuer-url={url}"),
            "--oidc-client-id=kubernetes".into(),
            format!("--oidc-ca-file={}", ca.display()),
            "--oidc-groups-claim=groups".into(),
            "--oidc-groups-prefix=oidc:".into(),
            "--oidc-required-claim=hd=example.com".into(),
        ]
        .to_vec()
    };
    let Some(cluster) = Cluster::start_with(flags).await else { return };
    let keys = Arc::new(std::sync::Mutex::new(vec![own.public()]));
    serve(&cluster, port, &url, keys.clone()).await;

    let token = own.token(json!({"sub": "jane", "groups": ["dev"], "hd": "example.com"}));
    let answer = until(&cluster, &token, 201).await.json();
    assert_eq!(
        answer["status"]["userInfo"],
        json!({"username": format!("{url}#jane"), "groups": ["oidc:dev", "system:authenticated"]})
    );
    for wrong in [
        own.token(json!({"sub": "jane", "hd": "example.org"})),
        own.token(json!({"sub": "jane"})),
        own.token(json!({"sub": "jane", "hd": "example.com", "aud": "other"})),
        own.token(json!({"sub": "jane", "hd": "example.com", "exp": 1})),
        own.token(
            json!({"sub": "jane", "hd": "example.com", "nbf": jiff::Timestamp::now().as_second() + 600}),
        ),
        Issuer::rsa(&url).token(json!({"sub": "jane", "hd": "example.com"})),
        format!("{token}x"),
    ] {
        assert_eq!(whoami(&cluster, &wrong).await.code, 401);
    }
    // Another sort of key than the flag allows.
    let elliptic = Issuer::elliptic(&url, "ec");
    keys.lock().expect("keys").push(elliptic.public());
    assert_eq!(whoami(&cluster, &elliptic.token(json!({"sub": "j", "hd": "example.com"}))).await.code, 401);
    // A review of the token by somebody else.
    let review = json!({"spec": {"token": token}});
    let review = cluster.post("/apis/authentication.k8s.io/v1/tokenreviews", review).await.json();
    assert_eq!(review["status"]["user"]["username"], json!(format!("{url}#jane")));
    let metrics = cluster.get("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(
        metrics.contains("apiserver_authentication_jwt_authenticator_latency_seconds_count{"),
        "{metrics}"
    );
}

fn configuration(ca: &str, url: &str, more: Value) -> String {
    let mut jwt = json!({
        "issuer": {"url": url, "audiences": ["kubernetes", "other"], "audienceMatchPolicy": "MatchAny",
            "certificateAuthority": ca},
        "claimMappings": {
            "username": {"expression": "'sso:' + claims.sub"},
            "groups": {"expression": "claims.roles"},
            "uid": {"claim": "sub"},
            "extra": [{"key": "example.com/tenant", "valueExpression": "claims.tenant"}]
        },
        "userValidationRules": [{"expression": "!user.username.startsWith('sso:root')", "message": "reserved"}]
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        jwt[name] = value.clone();
    }
    json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
        "anonymous": {"enabled": true, "conditions": [{"path": "/livez"}]}, "jwt": [jwt]
    })
    .to_string()
}

#[tokio::test]
async fn a_file_names_issuers_and_is_followed() {
    let port = harness::free_port();
    let url = format!("https://127.0.0.1:{port}");
    let flags = |dir: &std::path::Path| {
        let path = dir.join("authentication.yaml");
        let text = configuration("", "https://127.0.0.1:1", json!({}));
        std::fs::write(&path, text).expect("a file");
        vec![format!("--authentication-config={}", path.display())]
    };
    let Some(cluster) = Cluster::start_with(flags).await else { return };
    // Anonymous requests are taken where the file says so.
    assert_eq!(cluster.send(As::Nobody, "GET", "/livez", "", "").await.code, 200);
    assert_eq!(cluster.send(As::Nobody, "GET", "/readyz", "", "").await.code, 401);

    let (own, other) = (Issuer::elliptic(&url, "1"), Issuer::elliptic(&url, "2"));
    let keys = Arc::new(std::sync::Mutex::new(vec![own.public()]));
    serve(&cluster, port, &url, keys.clone()).await;
    let claims = json!({"sub": "jane", "roles": ["dev", ""], "tenant": "t", "aud": ["other"], "jti": "i"});
    let token = own.token(claims.clone());
    assert_eq!(whoami(&cluster, &token).await.code, 401, "nobody knows the issuer yet");
    let write = |text: String| std::fs::write(cluster.path("authentication.yaml"), text).expect("a file");
    let ca = cluster.read("ca.crt");
    write(configuration(&ca, &url, json!({})));
    let answer = until(&cluster, &token, 201).await.json();
    assert_eq!(
        answer["status"]["userInfo"],
        json!({"username": "sso:jane", "uid": "jane", "groups": ["dev", "system:authenticated"],
            "extra": {"authentication.kubernetes.io/credential-id": ["JTI=i"], "example.com/tenant": ["t"]}})
    );
    assert_eq!(
        whoami(&cluster, &own.token(json!({"sub": "root", "roles": "", "tenant": ""}))).await.code,
        401
    );

    // Keys that come later are fetched when a token names them.
    let token = other.token(claims);
    assert_eq!(whoami(&cluster, &token).await.code, 401);
    keys.lock().expect("keys").push(other.public());
    assert_eq!(whoami(&cluster, &token).await.code, 201);

    // What cannot be used changes nothing; what can be, does.
    write(configuration(&ca, "http://nope", json!({})));
    let log = "URL scheme must be https";
    for _ in 0..600 {
        if cluster.read("apiserver.log").contains(log) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(cluster.read("apiserver.log").contains(log));
    assert_eq!(whoami(&cluster, &token).await.code, 201);
    let rule = json!({"claimValidationRules": [{"claim": "hd", "requiredValue": "x"}]});
    write(configuration(&ca, &url, rule));
    let fresh = other.token(json!({"sub": "joe", "roles": "", "tenant": "", "hd": "x"}));
    let stale = || {
        other.token(json!({"sub": "joe", "roles": "", "tenant": "", "jti": fastrand::u64(..).to_string()}))
    };
    for _ in 0..600 {
        if whoami(&cluster, &stale()).await.code == 401 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(whoami(&cluster, &stale()).await.code, 401);
    assert_eq!(whoami(&cluster, &fresh).await.code, 201);
    let metrics = cluster.get("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    for name in ["last_config_info", "automatic_reloads_total{apiserver_id_hash="] {
        assert!(metrics.contains(&format!("apiserver_authentication_config_controller_{name}")), "{name}");
    }
}
