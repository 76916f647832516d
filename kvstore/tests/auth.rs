//! Who may do what, over the wire: tokens of both sorts, certificates, and what outlives a crash.

#![allow(clippy::unwrap_used, reason = "a test")]

mod member;

use std::path::Path;
use std::time::Duration;

use etcd_protocol::authpb::{Permission, permission::Type};
use etcd_protocol::etcdserverpb as pb;
use etcd_protocol::etcdserverpb::auth_client::AuthClient;
use etcd_protocol::etcdserverpb::kv_client::KvClient;
use member::{Member, get, put, start};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};

const CHEAP: [&str; 2] = ["--bcrypt-cost", "4"];

fn check<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, text: &str) {
    let error = answer.unwrap_err();
    assert_eq!((error.code(), error.message()), (code, text));
}

fn with<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("token", token.parse().unwrap());
    request
}

async fn login(channel: &Channel, name: &str, password: &str) -> Result<String, Status> {
    let request = pb::AuthenticateRequest { name: name.to_owned(), password: password.to_owned() };
    Ok(AuthClient::new(channel.clone()).authenticate(request).await?.into_inner().token)
}

fn permission(kind: Type, key: &str, end: &str) -> Option<Permission> {
    Some(Permission {
        perm_type: kind.into(),
        key: key.as_bytes().to_vec().into(),
        range_end: end.as_bytes().to_vec().into(),
    })
}

/// Root, and alice who may read and write a..b; then authentication is on.
async fn set_up(channel: &Channel) {
    let mut auth = AuthClient::new(channel.clone());
    for name in ["root", "alice"] {
        let (name, password) = (name.to_owned(), format!("{name}pw"));
        auth.user_add(pb::AuthUserAddRequest { name, password, ..Default::default() }).await.unwrap();
    }
    for (user, role) in [("root", "root"), ("alice", "dev")] {
        auth.role_add(pb::AuthRoleAddRequest { name: role.to_owned() }).await.unwrap();
        let (user, role) = (user.to_owned(), role.to_owned());
        auth.user_grant_role(pb::AuthUserGrantRoleRequest { user, role }).await.unwrap();
    }
    let perm = permission(Type::Readwrite, "a", "b");
    let grant = pb::AuthRoleGrantPermissionRequest { name: "dev".to_owned(), perm };
    auth.role_grant_permission(grant).await.unwrap();
    auth.auth_enable(pb::AuthEnableRequest {}).await.unwrap();
}

fn openssl(folder: &Path, arguments: &str) {
    let done = std::process::Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(done.status.success(), "{arguments}: {}", String::from_utf8_lossy(&done.stderr));
}

#[tokio::test]
async fn rights_outlive_a_crash_and_simple_tokens_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let member = start(folder.path(), &CHEAP);
    set_up(&member.channel()).await;
    let token = login(&member.channel(), "alice", "alicepw").await.unwrap();
    member.kv().put(with(&token, put("a1", "1"))).await.unwrap();
    check(
        member.kv().put(with(&token, put("b", "1"))).await,
        Code::PermissionDenied,
        "etcdserver: permission denied",
    );
    // A simple token moves on with the rights of its user.
    let root = login(&member.channel(), "root", "rootpw").await.unwrap();
    let grant =
        pb::AuthRoleGrantPermissionRequest { name: "dev".to_owned(), perm: permission(Type::Write, "b", "") };
    AuthClient::new(member.channel()).role_grant_permission(with(&root, grant)).await.unwrap();
    member.kv().put(with(&token, put("b", "1"))).await.unwrap();
    member.kill();

    for rebuilt in [false, true] {
        let member = start(folder.path(), &CHEAP);
        check(member.kv().range(get("a1")).await, Code::InvalidArgument, "etcdserver: user name is empty");
        if !rebuilt {
            check(
                member.kv().range(with(&token, get("a1"))).await,
                Code::Unauthenticated,
                "etcdserver: invalid auth token",
            );
        }
        let again = login(&member.channel(), "alice", "alicepw").await.unwrap();
        assert_eq!(member.kv().range(with(&again, get("a1"))).await.unwrap().into_inner().count, 1);
        // The state is made anew from the log the second time.
        let state = folder.path().join("member/state");
        drop(member);
        std::fs::remove_dir_all(state).unwrap();
    }
}

#[tokio::test]
async fn a_token_ends_with_its_password() {
    let folder = tempfile::tempdir().unwrap();
    let member = start(folder.path(), &CHEAP);
    set_up(&member.channel()).await;
    let alice = login(&member.channel(), "alice", "alicepw").await.unwrap();
    let root = login(&member.channel(), "root", "rootpw").await.unwrap();
    let mut auth = AuthClient::new(member.channel());
    let change = pb::AuthUserChangePasswordRequest {
        name: "alice".to_owned(),
        password: "other".to_owned(),
        ..Default::default()
    };
    check(
        auth.user_change_password(with(&alice, change.clone())).await,
        Code::PermissionDenied,
        "etcdserver: permission denied",
    );
    auth.user_change_password(with(&root, change)).await.unwrap();
    let refused = member.kv().range(with(&alice, get("a"))).await;
    check(refused, Code::Unauthenticated, "etcdserver: invalid auth token");
    check(
        login(&member.channel(), "alice", "alicepw").await,
        Code::InvalidArgument,
        "etcdserver: authentication failed, invalid user ID or password",
    );
    let alice = login(&member.channel(), "alice", "other").await.unwrap();
    member.kv().range(with(&alice, get("a"))).await.unwrap();
    let long =
        pb::AuthUserAddRequest { name: "eve".to_owned(), password: "x".repeat(73), ..Default::default() };
    let refused = auth.user_add(with(&root, long)).await;
    check(refused, Code::Unknown, "bcrypt: password length exceeds 72 bytes");
    auth.auth_disable(with(&root, pb::AuthDisableRequest {})).await.unwrap();
    member.kv().range(get("a")).await.unwrap();
    check(
        login(&member.channel(), "alice", "other").await,
        Code::FailedPrecondition,
        "etcdserver: authentication is not enabled",
    );
}

#[tokio::test]
async fn leases_end_while_authentication_is_on() {
    let folder = tempfile::tempdir().unwrap();
    let member = start(folder.path(), &CHEAP);
    set_up(&member.channel()).await;
    let alice = login(&member.channel(), "alice", "alicepw").await.unwrap();
    let root = login(&member.channel(), "root", "rootpw").await.unwrap();
    let grant = pb::LeaseGrantRequest { ttl: 2, id: 7 };
    member.lease().lease_grant(with(&alice, grant)).await.unwrap();
    let leased = |key: &str| pb::PutRequest { lease: 7, ..put(key, "v") };
    member.kv().put(with(&alice, leased("a1"))).await.unwrap();
    member.kv().put(with(&root, leased("secret"))).await.unwrap();
    // A key hangs on it that she may not write: she may not end it either.
    let revoke = pb::LeaseRevokeRequest { id: 7 };
    let refused = member.lease().lease_revoke(with(&alice, revoke)).await;
    check(refused, Code::PermissionDenied, "etcdserver: permission denied");
    let keys = pb::LeaseTimeToLiveRequest { id: 7, keys: true };
    let refused = member.lease().lease_time_to_live(with(&alice, keys)).await;
    check(refused, Code::PermissionDenied, "etcdserver: permission denied");
    let mut left = 1;
    while left > 0 {
        left = member.kv().range(with(&root, get("secret"))).await.unwrap().into_inner().count;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(member.kv().range(with(&alice, get("a1"))).await.unwrap().into_inner().count, 0);
}

#[tokio::test]
async fn signed_tokens_carry_the_revision_of_the_rights() {
    let folder = tempfile::tempdir().unwrap();
    openssl(folder.path(), "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key");
    let token = format!("jwt,sign-method=RS256,priv-key={}", folder.path().join("key").display());
    let flags = [&CHEAP[..], &["--auth-token", &token]].concat();
    let data = folder.path().join("data");
    let member = start(&data, &flags);
    set_up(&member.channel()).await;
    let alice = login(&member.channel(), "alice", "alicepw").await.unwrap();
    assert_eq!(alice.split('.').count(), 3, "{alice}");
    member.kv().put(with(&alice, put("a", "1"))).await.unwrap();
    member.kill();
    // Nobody has to remember it.
    let member = start(&data, &flags);
    member.kv().range(with(&alice, get("a"))).await.unwrap();
    let root = login(&member.channel(), "root", "rootpw").await.unwrap();
    let role = pb::AuthRoleAddRequest { name: "new".to_owned() };
    AuthClient::new(member.channel()).role_add(with(&root, role)).await.unwrap();
    let old = "etcdserver: revision of auth store is old";
    check(member.kv().range(with(&alice, get("a"))).await, Code::InvalidArgument, old);
    check(member.kv().put(with(&alice, put("a", "2"))).await, Code::InvalidArgument, old);
    let alice = login(&member.channel(), "alice", "alicepw").await.unwrap();
    member.kv().range(with(&alice, get("a"))).await.unwrap();
    let forged = format!("{}x", &alice[..alice.len() - 5]);
    let refused = member.kv().range(with(&forged, get("a"))).await;
    check(refused, Code::Unauthenticated, "etcdserver: invalid auth token");
}

#[test]
fn a_bad_token_option_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    for (option, text) in [
        ("magic", "invalid auth options"),
        ("jwt,sign-method=RS256", "missing key data"),
        ("jwt,sign-method=RS256,priv-key=/no/such/file", "/no/such/file"),
    ] {
        let log = member::try_start(folder.path(), &["--auth-token", option]).err().unwrap();
        assert!(log.contains(text), "{log}");
    }
}

struct Pki {
    folder: tempfile::TempDir,
}

impl Pki {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        openssl(
            folder.path(),
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=ca -keyout ca.key -out ca.crt",
        );
        let pki = Self { folder };
        pki.issue("server", "127.0.0.1");
        pki
    }

    fn issue(&self, name: &str, address: &str) {
        let folder = self.folder.path();
        openssl(
            folder,
            &format!(
                "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
            ),
        );
        std::fs::write(folder.join("san"), format!("subjectAltName=IP:{address}")).unwrap();
        let sign = "x509 -req -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile san";
        openssl(folder, &format!("{sign} -in {name}.csr -out {name}.crt"));
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn start(&self, data: &Path) -> Member {
        let (cert, key, ca) = (self.path("server.crt"), self.path("server.key"), self.path("ca.crt"));
        let tls = ["--listen-client-urls", "https://127.0.0.1:0", "--cert-file", &cert, "--key-file", &key];
        let clients = ["--trusted-ca-file", &ca, "--client-cert-auth"];
        start(data, &[&CHEAP[..], &tls, &clients].concat())
    }

    /// A channel that shows a certificate.
    fn channel(&self, member: &Member, name: Option<&str>) -> Channel {
        let read = |name: &str| std::fs::read(self.path(name)).unwrap();
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read("ca.crt")));
        if let Some(name) = name {
            let (cert, key) = (read(&format!("{name}.crt")), read(&format!("{name}.key")));
            tls = tls.identity(Identity::from_pem(cert, key));
        }
        let endpoint = Endpoint::from_shared(format!("https://{}", member.address)).unwrap();
        endpoint.tls_config(tls).unwrap().connect_lazy()
    }
}

#[tokio::test]
async fn the_name_in_a_certificate_is_a_user() {
    let pki = Pki::new();
    for name in ["alice", "root", "stranger"] {
        pki.issue(name, "127.0.0.1");
    }
    let folder = tempfile::tempdir().unwrap();
    let member = pki.start(folder.path());
    let root = pki.channel(&member, Some("root"));
    set_up(&root).await;
    let mut alice = KvClient::new(pki.channel(&member, Some("alice")));
    alice.put(put("a", "1")).await.unwrap();
    let denied = "etcdserver: permission denied";
    check(alice.put(put("b", "1")).await, Code::PermissionDenied, denied);
    KvClient::new(root.clone()).put(put("b", "1")).await.unwrap();
    let mut stranger = KvClient::new(pki.channel(&member, Some("stranger")));
    check(stranger.range(get("a")).await, Code::PermissionDenied, denied);
    // A token says more than a certificate does.
    let token = login(&root, "alice", "alicepw").await.unwrap();
    let refused = KvClient::new(root.clone()).put(with(&token, put("b", "2"))).await;
    check(refused, Code::PermissionDenied, denied);
    // No token stands for a user without a password, but a certificate does.
    let bob = pb::AuthUserAddRequest {
        name: "stranger".to_owned(),
        options: Some(etcd_protocol::authpb::UserAddOptions { no_password: true }),
        ..Default::default()
    };
    let mut auth = AuthClient::new(root.clone());
    auth.user_add(bob).await.unwrap();
    let grant = pb::AuthUserGrantRoleRequest { user: "stranger".to_owned(), role: "dev".to_owned() };
    auth.user_grant_role(grant).await.unwrap();
    assert_eq!(stranger.range(get("a")).await.unwrap().into_inner().count, 1);
    check(
        login(&root, "stranger", "").await,
        Code::Unknown,
        "auth: authentication failed, password was given for no password user",
    );
    // Who shows no certificate is not let in at all.
    let nobody = pki.channel(&member, None);
    KvClient::new(nobody).range(get("a")).await.unwrap_err();
}

/// Served certificate, key and the authorities of clients change on disk; whoever connects after that meets
/// the new ones, whoever is connected stays so, and files that do not fit change nothing.
#[tokio::test(flavor = "multi_thread")]
async fn new_certificates_and_authorities_are_taken_while_it_runs() {
    let (old, new) = (Pki::new(), Pki::new());
    for pki in [&old, &new] {
        pki.issue("me", "127.0.0.1");
    }
    let folder = tempfile::tempdir().unwrap();
    let member = old.start(folder.path());
    let mut connected = KvClient::new(old.channel(&member, Some("me")));
    connected.put(put("k", "1")).await.unwrap();
    KvClient::new(new.channel(&member, Some("me"))).range(get("k")).await.unwrap_err();

    // A key that is not the certificate's: what was there before goes on.
    let installed = |pki: &Pki, name: &str| {
        std::fs::copy(pki.path(name), old.path("next")).unwrap();
        std::fs::rename(old.path("next"), old.path(name)).unwrap();
    };
    let before = [old.path("ca.crt"), old.path("me.crt"), old.path("me.key")].map(std::fs::read);
    let [ca, cert, key] = before.map(Result::unwrap);
    let still_old = || {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&ca))
            .identity(Identity::from_pem(&cert, &key));
        let endpoint = Endpoint::from_shared(format!("https://{}", member.address)).unwrap();
        KvClient::new(endpoint.tls_config(tls).unwrap().connect_lazy())
    };
    installed(&new, "server.key");
    while !member.log().contains("Keeping the old files") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    still_old().range(get("k")).await.unwrap();

    installed(&new, "server.crt");
    installed(&new, "ca.crt");
    while KvClient::new(new.channel(&member, Some("me"))).range(get("k")).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    still_old().range(get("k")).await.unwrap_err();
    // The old authority's client does not trust the new server, nor is it trusted where it does.
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(std::fs::read(new.path("ca.crt")).unwrap()))
        .identity(Identity::from_pem(&cert, &key));
    let endpoint = Endpoint::from_shared(format!("https://{}", member.address)).unwrap();
    let mut untrusted = KvClient::new(endpoint.tls_config(tls).unwrap().connect_lazy());
    untrusted.range(get("k")).await.unwrap_err();
    connected.put(put("k", "2")).await.unwrap();
}
