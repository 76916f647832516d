//! Handshakes over memory: who is let in, what reload does, what is refused.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls_pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::shutdown::Shutdown;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: Vec<u8>,
}

fn authority() -> Authority {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem().into_bytes();
    Authority { issuer: Issuer::new(params, key), pem }
}

impl Authority {
    fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (Pem, Pem) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        (Pem::Data(cert.pem().into_bytes()), Pem::Data(key.serialize_pem().into_bytes()))
    }
    fn pem(&self) -> Pem {
        Pem::Data(self.pem.clone())
    }
}

fn server(ca: &Authority, client_auth: ClientAuth) -> ServerTlsOptions {
    let (cert, key) = ca.issue("server.test", ExtendedKeyUsagePurpose::ServerAuth);
    ServerTlsOptions { client_auth, ..ServerTlsOptions::new(cert, key) }
}

fn client(ca: &Authority, identity: Option<(Pem, Pem)>) -> Arc<ClientTls> {
    let (cert, key) = identity.unzip();
    ClientTls::load(ClientMaterial { ca: Some(ca.pem()), cert, key, alpn: vec!["h2"], ..Default::default() })
        .unwrap()
}

/// The certificates that the server saw, or why there is no connection.
async fn handshake(server: &ServerTls, client: &ClientTls) -> Result<usize, String> {
    let (a, b) = tokio::io::duplex(1 << 16);
    let name = ServerName::try_from("server.test").unwrap();
    let accepted = TlsAcceptor::from(server.config()).accept(a);
    let connected = TlsConnector::from(client.config()).connect(name, b);
    let (accepted, connected) = tokio::join!(accepted, connected);
    connected.map_err(|e| e.to_string())?;
    let accepted = accepted.map_err(|e| e.to_string())?;
    Ok(accepted.get_ref().1.peer_certificates().map_or(0, <[_]>::len))
}

#[tokio::test]
async fn request_lets_everyone_in_and_client_ca_tells_them_apart() {
    let (ours, foreign) = (authority(), authority());
    let tls = ServerTls::load(server(&ours, ClientAuth::Request(ours.pem()))).unwrap();
    let good = ours.issue("me", ExtendedKeyUsagePurpose::ClientAuth);
    let bad = foreign.issue("me", ExtendedKeyUsagePurpose::ClientAuth);
    assert_eq!(handshake(&tls, &client(&ours, None)).await, Ok(0));
    assert_eq!(handshake(&tls, &client(&ours, Some(good.clone()))).await, Ok(1));
    assert_eq!(handshake(&tls, &client(&ours, Some(bad.clone()))).await, Ok(1));

    let verifier = ClientCa::load(ours.pem()).unwrap();
    verifier.verify(&good.0.certificates().unwrap()).unwrap();
    assert!(matches!(verifier.verify(&bad.0.certificates().unwrap()), Err(TlsError::Untrusted(_))));
    let serving = ours.issue("me", ExtendedKeyUsagePurpose::ServerAuth).0.certificates().unwrap();
    assert!(matches!(verifier.verify(&serving), Err(TlsError::Untrusted(_))));
}

#[tokio::test]
async fn require_refuses_strangers() {
    let (ours, foreign) = (authority(), authority());
    let tls = ServerTls::load(server(&ours, ClientAuth::Require(ours.pem()))).unwrap();
    let good = ours.issue("me", ExtendedKeyUsagePurpose::ClientAuth);
    let bad = foreign.issue("me", ExtendedKeyUsagePurpose::ClientAuth);
    assert_eq!(handshake(&tls, &client(&ours, Some(good))).await, Ok(1));
    assert!(handshake(&tls, &client(&ours, Some(bad))).await.is_err());
    assert!(handshake(&tls, &client(&ours, None)).await.is_err());
}

#[tokio::test]
async fn clients_refuse_unknown_servers_unless_told_not_to() {
    let (ours, foreign) = (authority(), authority());
    let tls = ServerTls::load(server(&ours, ClientAuth::Off)).unwrap();
    assert!(handshake(&tls, &client(&foreign, None)).await.is_err());
    let careless =
        ClientTls::load(ClientMaterial { insecure_skip_verify: true, ..Default::default() }).unwrap();
    assert_eq!(handshake(&tls, &careless).await, Ok(0));
}

#[tokio::test]
async fn replaced_files_are_served_and_broken_ones_are_not() {
    let (old, new) = (authority(), authority());
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let install = |ca: &Authority| {
        let (cert, key) = ca.issue("server.test", ExtendedKeyUsagePurpose::ServerAuth);
        std::fs::write(path("tls.crt"), cert.bytes().unwrap()).unwrap();
        std::fs::write(path("tls.key"), key.bytes().unwrap()).unwrap();
    };
    install(&old);
    let tls = ServerTls::load(ServerTlsOptions::new(Pem::File(path("tls.crt")), Pem::File(path("tls.key"))))
        .unwrap();
    let shutdown = Shutdown::new();
    tls.watch(shutdown.clone());
    assert_eq!(handshake(&tls, &client(&old, None)).await, Ok(0));

    std::fs::write(path("tls.crt"), "garbage").unwrap();
    assert!(tls.reload().is_err());
    assert_eq!(handshake(&tls, &client(&old, None)).await, Ok(0));

    install(&new);
    // Ends when the watch has reloaded; the runner's timeout is the only clock here.
    while handshake(&tls, &client(&new, None)).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    shutdown.trigger();
}

#[test]
fn versions_and_suites_go_by_their_go_names() {
    assert_eq!("VersionTLS13".parse::<MinVersion>().unwrap(), MinVersion::Tls13);
    assert_eq!(
        "VersionTLS9".parse::<MinVersion>().unwrap_err().to_string(),
        "unknown tls version \"VersionTLS9\""
    );
    assert!(matches!("VersionTLS11".parse::<MinVersion>(), Err(TlsError::OldVersion(_))));
    let names =
        ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305"].map(String::from);
    let chosen = parse_cipher_suites(&names).unwrap();
    assert_eq!(chosen.iter().filter(|s| s.tls13().is_none()).count(), 2);
    assert!(chosen.iter().any(|s| s.tls13().is_some()));
    let error = parse_cipher_suites(&["TLS_RSA_WITH_RC4_128_SHA".into()]).unwrap_err();
    assert_eq!(error.to_string(), "Cipher suite TLS_RSA_WITH_RC4_128_SHA not supported or doesn't exist");
    assert!(cipher_suite_names().contains(&"TLS_AES_128_GCM_SHA256".to_owned()));
}

#[test]
fn errors_name_the_file_and_never_the_key() {
    let error = Pem::File("/no/such.crt".into()).certificates().unwrap_err();
    assert_eq!(error.to_string(), "cannot read /no/such.crt");
    let error = Pem::Data(b"junk".to_vec()).private_key().unwrap_err();
    assert_eq!(error.to_string(), "inline data: no private key found in PEM data");
    let material = ClientMaterial { cert: Some(Pem::Data(vec![])), ..Default::default() };
    assert!(ClientTls::load(material).is_err());
    assert_eq!(format!("{:?}", Pem::Data(b"secret".to_vec())), "inline data");
}

#[tokio::test]
async fn self_signed_certificates_serve_their_names() {
    let (cert, key) = self_signed("server.test", &["127.0.0.1".into()]).unwrap();
    let tls = ServerTls::load(ServerTlsOptions::new(cert.clone(), key)).unwrap();
    let trusting = ClientTls::load(ClientMaterial { ca: Some(cert), ..Default::default() }).unwrap();
    assert_eq!(handshake(&tls, &trusting).await, Ok(0));
}

#[test]
fn subjects_are_users_and_groups() {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(rcgen::DnType::CommonName, "system:node:a");
    let cert = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    let subject = Subject::of(cert.der()).unwrap();
    assert_eq!(
        (subject.common_name.as_str(), subject.organizations),
        ("system:node:a", vec!["system:nodes".into()])
    );
    assert!(Subject::of(b"junk").is_err());
}
