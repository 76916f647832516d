//! Who a request is taken for: certificates, front proxies, tokens, nobody; and impersonation.

use super::impersonation::{ImpersonationError, impersonate};
use super::*;
use crate::authz::{Authorizer as _, Rules};
use crate::request::{Attributes, Decision, RequestInfo};
use daemon::clock::Manual;
use daemon::tls::{ClientCa, Pem};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls_pki_types::CertificateDer;
use std::time::Duration;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    ca: Arc<ClientCa>,
}

fn authority() -> Authority {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem().into_bytes();
    Authority { issuer: Issuer::new(params, key), ca: ClientCa::load(Pem::Data(pem)).unwrap() }
}

impl Authority {
    fn issue(&self, name: &str, group: &str, usage: ExtendedKeyUsagePurpose) -> ConnectionIdentity {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.remove(DnType::CommonName);
        if !name.is_empty() {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.distinguished_name.push(DnType::OrganizationName, group);
        params.extended_key_usages = vec![usage];
        let cert = params.signed_by(&KeyPair::generate().unwrap(), &self.issuer).unwrap();
        ConnectionIdentity::new(vec![CertificateDer::from(cert.der().to_vec())])
    }

    fn client(&self, name: &str, group: &str) -> ConnectionIdentity {
        self.issue(name, group, ExtendedKeyUsagePurpose::ClientAuth)
    }
}

/// Knows the token `good`, refuses `bad`, has no opinion on others.
struct Tokens;

#[async_trait::async_trait]
impl TokenAuthenticator for Tokens {
    async fn authenticate(&self, token: &str, audiences: &[String]) -> Result<Option<Identity>, AuthnError> {
        match token {
            "good" => {
                let user = User { name: "robot".into(), ..User::default() };
                Ok(Some(Identity { user, audiences: audiences.to_vec() }))
            }
            "bad" => Err(AuthnError::Token("service account token has expired".into())),
            _ => Ok(None),
        }
    }
}

fn authenticator(clients: &Authority, proxies: &Authority) -> Authenticator {
    let clock = Manual::new(jiff::Timestamp::UNIX_EPOCH);
    let one = |text: &str| vec![text.to_owned()];
    let proxy = FrontProxy::new(
        proxies.ca.clone(),
        one("aggregator"),
        &one("X-Remote-User"),
        &one("X-Remote-Uid"),
        &one("X-Remote-Group"),
        &one("X-Remote-Extra-"),
    );
    Authenticator {
        front_proxy: Some(proxy.unwrap()),
        x509: Some(X509::new(clients.ca.clone(), clock)),
        tokens: Some(Arc::new(Tokens)),
        anonymous: Anonymous::everywhere(true),
        audiences: vec!["api".into()],
    }
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

/// `name: group, group`, or the error.
async fn who(
    authenticator: &Authenticator,
    pairs: &[(&'static str, &str)],
    from: &ConnectionIdentity,
) -> String {
    match authenticator.authenticate(&mut headers(pairs), from, "/api").await {
        Ok(user) => format!("{}: {}", user.name, user.groups.join(", ")),
        Err(error) => format!("401 {error}"),
    }
}

#[tokio::test]
async fn senders_are_recognized() {
    daemon::tls::install_default_provider();
    let (clients, proxies, strangers) = (authority(), authority(), authority());
    let auth = authenticator(&clients, &proxies);
    let nobody = ConnectionIdentity::default();
    let bearer = |token: &str| format!("Bearer {token}");

    let masters = clients.client("admin", "system:masters");
    assert_eq!(who(&auth, &[], &masters).await, "admin: system:masters, system:authenticated");
    assert_eq!(who(&auth, &[], &nobody).await, "system:anonymous: system:unauthenticated");
    // A certificate that names nobody is as good as none.
    let unnamed = clients.client("", "system:masters");
    assert_eq!(who(&auth, &[], &unnamed).await, "system:anonymous: system:unauthenticated");
    for stranger in [
        strangers.client("admin", "system:masters"),
        clients.issue("admin", "system:masters", ExtendedKeyUsagePurpose::ServerAuth),
    ] {
        let answer = who(&auth, &[], &stranger).await;
        assert!(answer.starts_with("401 verifying certificate SN="), "{answer}");
        // A good token makes up for it.
        let answer = who(&auth, &[("authorization", &bearer("good"))], &stranger).await;
        assert_eq!(answer, "robot: system:authenticated");
    }

    let cases = [
        (bearer("good"), "robot: system:authenticated"),
        ("bearer good".into(), "robot: system:authenticated"),
        (bearer("bad"), "401 service account token has expired"),
        (bearer("other"), "401 invalid bearer token"),
        ("Basic abc".into(), "system:anonymous: system:unauthenticated"),
    ];
    for (value, expected) in cases {
        assert_eq!(who(&auth, &[("authorization", &value)], &nobody).await, expected, "{value}");
    }
}

#[tokio::test]
async fn only_proxies_may_name_users_in_headers() {
    daemon::tls::install_default_provider();
    let (clients, proxies) = (authority(), authority());
    let auth = authenticator(&clients, &proxies);
    let named = [("x-remote-user", "zoe"), ("x-remote-group", "a"), ("x-remote-group", "b")];
    let proxy = proxies.client("aggregator", "");
    assert_eq!(who(&auth, &named, &proxy).await, "zoe: a, b, system:authenticated");
    let impostor = proxies.client("someone", "");
    let answer = who(&auth, &named, &impostor).await;
    assert!(
        answer.starts_with("401 [x509: subject with cn=someone is not in the allowed list, "),
        "{answer}"
    );
    // A client's own certificate counts for the client, whatever it writes into headers.
    let client = clients.client("carol", "staff");
    assert_eq!(who(&auth, &named, &client).await, "carol: staff, system:authenticated");
    let mut sent = headers(&named);
    auth.authenticate(&mut sent, &client, "/api").await.unwrap();
    assert!(sent.is_empty(), "credentials stay behind: {sent:?}");
}

#[tokio::test]
async fn websockets_carry_tokens_as_subprotocols() {
    let auth = Authenticator {
        front_proxy: None,
        x509: None,
        tokens: Some(Arc::new(Tokens)),
        anonymous: Anonymous::everywhere(false),
        audiences: vec![],
    };
    let prefix = "base64url.bearer.authorization.k8s.io.";
    let cases = [
        (format!("{prefix}Z29vZA, v5.channel.k8s.io"), "robot: system:authenticated"),
        (format!("{prefix}Z29vZA"), "401 missing additional subprotocol"),
        (format!("{prefix}=, x"), "401 invalid base64.bearer.authorization token encoding"),
        (
            format!("{prefix}Z29vZA, {prefix}Z29vZA"),
            "401 multiple base64.bearer.authorization tokens specified",
        ),
        ("v5.channel.k8s.io".into(), "401 no credentials and anonymous requests are off"),
    ];
    for (protocols, expected) in cases {
        let sent = [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-protocol", protocols.as_str()),
        ];
        assert_eq!(who(&auth, &sent, &ConnectionIdentity::default()).await, expected, "{protocols}");
    }
}

/// Counts how often it is asked.
#[derive(Default)]
struct Counting(parking_lot::Mutex<u32>);

#[async_trait::async_trait]
impl TokenAuthenticator for Counting {
    async fn authenticate(&self, token: &str, _: &[String]) -> Result<Option<Identity>, AuthnError> {
        *self.0.lock() += 1;
        Ok((token == "good").then(|| Identity::of(User::default())))
    }
}

#[tokio::test]
async fn good_tokens_are_remembered_for_a_while() {
    let (inner, clock) = (Arc::new(Counting::default()), Manual::new(jiff::Timestamp::UNIX_EPOCH));
    let cache = TokenCache::new(inner.clone(), clock.clone());
    for (token, audiences, seconds, expected) in [
        ("good", vec![], 0, 1),
        ("good", vec![], 9, 1),
        ("good", vec!["other".to_owned()], 0, 2),
        ("good", vec![], 2, 3),
        ("unknown", vec![], 0, 4),
        ("unknown", vec![], 0, 5),
    ] {
        clock.advance(Duration::from_secs(seconds));
        cache.authenticate(token, &audiences).await.unwrap();
        assert_eq!(*inner.0.lock(), expected, "{token} {audiences:?}");
    }
}

/// Lets `boss` impersonate all but the group system:masters.
struct Boss;

impl crate::authz::Authorizer for Boss {
    fn authorize(&self, attributes: Attributes<'_>) -> Decision {
        if attributes.user.name == "boss" && attributes.info.name != User::MASTERS {
            Decision::Allow(String::new())
        } else {
            Decision::NoOpinion(String::new())
        }
    }
    fn rules_for(&self, _: &User, _: &str) -> Rules {
        Rules::default()
    }
}

#[test]
fn users_act_as_others_when_they_may() {
    let boss = User { name: "boss".into(), ..User::default() };
    let act = |pairs: &[(&'static str, &str)]| {
        impersonate(&boss, &mut headers(pairs), &Boss)
            .map(|user| user.map(|u| format!("{} {} {:?} {:?}", u.name, u.groups.join(","), u.uid, u.extra)))
    };
    let user = |text: &str| Ok(Some(text.to_owned()));
    assert_eq!(act(&[]), Ok(None));
    assert_eq!(act(&[("impersonate-user", "zoe")]), user(r#"zoe system:authenticated "" {}"#));
    assert_eq!(
        act(&[("impersonate-user", "system:serviceaccount:ns:sa")]),
        user(concat!(
            "system:serviceaccount:ns:sa system:serviceaccounts,",
            r#"system:serviceaccounts:ns,system:authenticated "" {}"#
        ))
    );
    assert_eq!(
        act(&[("impersonate-user", "system:anonymous")]),
        user(r#"system:anonymous system:unauthenticated "" {}"#)
    );
    assert_eq!(
        act(&[
            ("impersonate-user", "zoe"),
            ("impersonate-group", "dev"),
            ("impersonate-group", "ops"),
            ("impersonate-uid", "7"),
            ("impersonate-extra-acme.com%2Fscopes", "view"),
        ]),
        user(r#"zoe dev,ops,system:authenticated "7" {"acme.com/scopes": ["view"]}"#)
    );
    let lonely = act(&[("impersonate-group", "dev")]).unwrap_err();
    assert_eq!(lonely.to_string(), "requested [{Group  dev    }] without impersonating a user");
    let refused = act(&[("impersonate-user", "zoe"), ("impersonate-group", "system:masters")]).unwrap_err();
    let ImpersonationError::Forbidden { info, .. } = refused else { panic!("{refused}") };
    let expected = RequestInfo {
        is_resource: true,
        verb: "impersonate".into(),
        resource: "groups".into(),
        name: "system:masters".into(),
        ..RequestInfo::default()
    };
    assert_eq!(*info, expected);
    assert_eq!(Boss.rules_for(&boss, ""), Rules::default());
}

#[test]
fn requests_without_credentials_are_taken_where_that_is_said() {
    let probes = Anonymous { enabled: true, paths: vec!["/livez".into(), "/readyz".into()] };
    assert!(probes.takes("/livez") && !probes.takes("/livez/etcd") && !probes.takes("/api"));
    assert!(Anonymous::everywhere(true).takes("/api") && !Anonymous::everywhere(false).takes("/livez"));
}
