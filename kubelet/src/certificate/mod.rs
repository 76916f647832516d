//! The kubelet's certificates: the client's, asked for with a bootstrap kubeconfig where there is none yet
//! (TLS bootstrapping) and anew before it expires (`rotateCertificates`), and the server's, where the
//! cluster is to issue it (`serverTLSBootstrap`; someone must approve the requests).
//!
//! Files are upstream's: `kubelet-client-current.pem` in the certificate directory, a link to the newest
//! `kubelet-client-DATE.pem`, holds certificate and key; `kubelet-server-…` likewise. Client and server
//! follow the files, so nothing else has to be told. [`store`] keeps them.

pub mod metrics;
pub mod store;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use api_types::ByteString;
use api_types::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestSpec, KeyUsage, RequestConditionType,
};
use client::{Client, Config};
use daemon::shutdown::Shutdown;
use daemon::tls::Pem;
use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use tokio::sync::oneshot;

use crate::flags::Flags;
use crate::node::addresses::Addresses;
use crate::sources::follow::{Event, follow};
use store::{Life, Store};

/// How long a request may stay unanswered before another is made.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
const RETRY: Duration = Duration::from_secs(30);

/// What a certificate is for.
#[derive(Clone, Debug)]
pub enum Use {
    /// Speaking to the API server.
    Client,
    /// Being spoken to, under the addresses and names that the Node says.
    Server(Arc<Addresses>),
}

impl Use {
    fn signer(&self) -> &'static str {
        match self {
            Self::Client => "kubernetes.io/kube-apiserver-client-kubelet",
            Self::Server(_) => "kubernetes.io/kubelet-serving",
        }
    }

    fn usages(&self) -> Vec<KeyUsage> {
        let purpose = match self {
            Self::Client => KeyUsage::ClientAuth,
            Self::Server(_) => KeyUsage::ServerAuth,
        };
        vec![KeyUsage::DigitalSignature, purpose]
    }

    fn store(&self, dir: &Path) -> Store {
        match self {
            Self::Client => Store::client(dir),
            Self::Server(_) => Store::server(dir),
        }
    }
}

/// Sees to it that there is a kubeconfig that can be used: with the bootstrap kubeconfig a certificate is
/// asked for, and a kubeconfig written that names it.
///
/// # Errors
/// When files cannot be read or written, or the kubelet is stopped while it waits.
pub async fn bootstrap(flags: &Flags, node: &str, shutdown: &Shutdown) -> anyhow::Result<()> {
    let (Some(from), Some(kubeconfig)) = (&flags.bootstrap_kubeconfig, &flags.kubeconfig) else {
        return Ok(());
    };
    if is_usable(kubeconfig, Timestamp::now()) {
        return Ok(());
    }
    tracing::info!(bootstrap = %from.display(), "asking for a client certificate");
    let config = Config::from_kubeconfig(from)
        .with_context(|| format!("bootstrap kubeconfig {}", from.display()))?
        .with_agent("kubelet", Some("bootstrap"));
    let store = Store::client(&flags.cert_dir);
    let client = Client::new(config.clone())?;
    loop {
        match shutdown.unless(request(&client, node, &Use::Client)).await {
            None => bail!("stopped while waiting for a client certificate"),
            Some(Ok(pem)) => {
                store.keep(&pem, Timestamp::now())?;
                break;
            }
            Some(Err(error)) => tracing::warn!(error = format!("{error:#}"), "no client certificate yet"),
        }
        if shutdown.unless(tokio::time::sleep(RETRY)).await.is_none() {
            bail!("stopped while waiting for a client certificate");
        }
    }
    let text = kubeconfig_text(&config, &store.current())?;
    store::write_private(kubeconfig, text.as_bytes())
        .with_context(|| format!("writing {}", kubeconfig.display()))?;
    tracing::info!(kubeconfig = %kubeconfig.display(), "wrote the kubeconfig");
    Ok(())
}

/// The kubeconfig is there and its certificate, if it is by one, has not expired.
fn is_usable(kubeconfig: &Path, now: Timestamp) -> bool {
    let Ok(config) = Config::from_kubeconfig(kubeconfig) else { return false };
    match config.cert.as_ref().map(Pem::bytes) {
        None => true,
        Some(Ok(pem)) => store::life(&pem).is_some_and(|life| life.not_after > now),
        Some(Err(_)) => false,
    }
}

/// Makes the client use the certificate that is rotated, whatever the kubeconfig says. The kubeconfig's
/// own is the first one where there is none, or none that still holds.
///
/// COMPAT: kubeadm starts the kubelet of a first node with a certificate inside of the kubeconfig.
///
/// # Errors
/// When the kubeconfig has no certificate, or files cannot be read or written.
pub fn adopt(config: &mut Config, cert_dir: &Path, now: Timestamp) -> anyhow::Result<()> {
    let store = Store::client(cert_dir);
    let current = store.current();
    let holds = |pem: &[u8]| store::life(pem).is_some_and(|life| life.not_after > now);
    if !std::fs::read(&current).is_ok_and(|pem| holds(&pem)) {
        let (Some(cert), Some(key)) = (&config.cert, &config.key) else {
            bail!(
                "rotateCertificates: the kubeconfig has no client certificate, and none is in {}",
                current.display()
            );
        };
        let (cert, key) = (cert.bytes()?, key.bytes()?);
        let both = if cert == key { cert } else { [cert, b"\n".to_vec(), key].concat() };
        store.keep(&both, now).with_context(|| format!("writing {}", current.display()))?;
    }
    config.cert = Some(Pem::File(current.clone()));
    config.key = Some(Pem::File(current));
    Ok(())
}

/// Sees to it that there is a certificate, and renews it while the kubelet runs; never ends.
pub async fn rotate(client: Client, cert_dir: std::path::PathBuf, node: String, purpose: Use) {
    let store = purpose.store(&cert_dir);
    let signer = purpose.signer();
    // Spread, so that the nodes of a cluster do not ask at once.
    let spread = fastrand::f64();
    let mut asked = None;
    loop {
        let pem = std::fs::read(store.current()).unwrap_or_default();
        let life = store::life(&pem);
        metrics::current(&purpose, life);
        let due = life.map_or(Timestamp::now(), |life| deadline(life, spread));
        let mut left = Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or_default();
        if let Use::Server(addresses) = &purpose {
            let wanted = addresses.server_names();
            if wanted.1.is_empty() {
                // COMPAT: nothing is asked for until the node has an address.
                addresses.changed().await;
                continue;
            }
            if asked.as_ref() != Some(&wanted) && !store::covers(&pem, &wanted) {
                left = Duration::ZERO;
            }
            if left.is_zero() {
                asked = Some(wanted);
            }
        }
        if !left.is_zero() {
            let changed = async {
                match &purpose {
                    Use::Server(addresses) => addresses.changed().await,
                    Use::Client => std::future::pending().await,
                }
            };
            let _ = tokio::time::timeout(left.min(Duration::from_secs(3600)), changed).await;
            continue;
        }
        tracing::info!(signer, "a certificate is to be had");
        let renewed = async {
            Ok::<_, anyhow::Error>(store.keep(&request(&client, &node, &purpose).await?, Timestamp::now())?)
        };
        match renewed.await {
            Ok(()) => metrics::renewed(&purpose, life, Timestamp::now()),
            Err(error) => {
                metrics::failed(&purpose);
                tracing::warn!(error = format!("{error:#}"), signer, "no new certificate yet");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// COMPAT: between seven and nine tenths of its life a certificate is renewed.
fn deadline(life: Life, spread: f64) -> Timestamp {
    let whole = life.not_after.duration_since(life.not_before).as_secs_f64();
    let after = SignedDuration::from_secs_f64(whole * (0.7 + 0.2 * spread));
    life.not_before.checked_add(after).unwrap_or(life.not_after)
}

/// Asks for a certificate and waits for it; answers certificate and key as PEM.
async fn request(client: &Client, node: &str, purpose: &Use) -> anyhow::Result<Vec<u8>> {
    let key = KeyPair::generate().context("making a key")?;
    let mut asked = CertificateSigningRequest::default();
    asked.metadata.generate_name = "csr-".into();
    asked.spec = CertificateSigningRequestSpec {
        request: ByteString(signing_request(&key, node, purpose)?.into_bytes()),
        signer_name: purpose.signer().into(),
        usages: purpose.usages(),
        ..Default::default()
    };
    let made = client
        .api::<CertificateSigningRequest>()
        .create(&asked)
        .await
        .context("creating a certificate signing request")?;
    let name = made.metadata.name;
    tracing::info!(request = name, "waiting for the certificate to be approved and issued");
    let certificate = tokio::time::timeout(PATIENCE, issued(client, &name))
        .await
        .with_context(|| format!("request {name} was not answered"))??;
    Ok([certificate, key.serialize_pem().into_bytes()].concat())
}

fn signing_request(key: &KeyPair, node: &str, purpose: &Use) -> anyhow::Result<String> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(DnType::CommonName, format!("system:node:{node}"));
    if let Use::Server(addresses) = purpose {
        let (names, ips) = addresses.server_names();
        for name in names {
            params.subject_alt_names.push(SanType::DnsName(name.try_into().context("a name of the node")?));
        }
        params.subject_alt_names.extend(ips.into_iter().map(SanType::IpAddress));
    }
    Ok(params.serialize_request(key).context("making a request")?.pem()?)
}

/// Follows a request until there is a certificate, or there will be none.
async fn issued(client: &Client, name: &str) -> anyhow::Result<Vec<u8>> {
    let (sender, receiver) = oneshot::channel();
    let mut sender = Some(sender);
    let api = client.api::<CertificateSigningRequest>();
    let followed = follow(api, format!("metadata.name={name}"), move |event| {
        let seen = match event {
            Event::All(mut all) => all.pop().as_ref().and_then(answer),
            Event::Set(request) => answer(&request),
            Event::Gone(_) => Some(Err("the request was deleted".to_owned())),
            Event::Failed(error) => {
                tracing::warn!(%error, "cannot follow the certificate signing request");
                None
            }
        };
        match seen.and_then(|answer| Some((answer, sender.take()?))) {
            // The receiver below ends the following.
            Some((answer, sender)) => sender.send(answer).is_ok(),
            None => true,
        }
    });
    tokio::select! {
        biased;
        answer = receiver => return answer?.map_err(anyhow::Error::msg),
        () = followed => {}
    }
    bail!("request {name} was given up")
}

/// What became of a request, once something has.
fn answer(request: &CertificateSigningRequest) -> Option<Result<Vec<u8>, String>> {
    for condition in &request.status.conditions {
        let what = match condition.type_ {
            RequestConditionType::Denied => "denied",
            RequestConditionType::Failed => "failed",
            _ => continue,
        };
        return Some(Err(format!("the request {what}: {}: {}", condition.reason, condition.message)));
    }
    let certificate = &request.status.certificate.0;
    (!certificate.is_empty()).then(|| Ok(certificate.clone()))
}

/// The server of `config`, with a certificate and key in one file.
fn kubeconfig_text(config: &Config, pem: &Path) -> anyhow::Result<String> {
    use base64::Engine;
    let mut cluster = serde_json::json!({"server": config.server});
    match &config.ca {
        Some(Pem::File(path)) => cluster["certificate-authority"] = path.display().to_string().into(),
        Some(Pem::Data(data)) => {
            let text = base64::engine::general_purpose::STANDARD.encode(data);
            cluster["certificate-authority-data"] = text.into();
        }
        None => {}
    }
    if let Some(name) = &config.tls_server_name {
        cluster["tls-server-name"] = name.as_str().into();
    }
    if config.insecure_skip_tls_verify {
        cluster["insecure-skip-tls-verify"] = true.into();
    }
    let pem = pem.display().to_string();
    let whole = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "default-cluster", "cluster": cluster}],
        "contexts": [{"name": "default-context", "context": {
            "cluster": "default-cluster", "namespace": config.namespace, "user": "default-auth",
        }}],
        "current-context": "default-context",
        "users": [{"name": "default-auth", "user": {"client-certificate": pem, "client-key": pem}}],
    });
    Ok(api_types::codec::yaml::from_value(&whole)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::certificates::v1::CertificateSigningRequestCondition;

    #[test]
    fn renewal_is_due_late_in_life() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let life = Life { not_before: at(1000), not_after: at(2000) };
        assert_eq!(deadline(life, 0.0), at(1700));
        assert_eq!(deadline(life, 1.0), at(1900));
    }

    #[test]
    fn requests_name_the_node_and_its_group() {
        use x509_parser::prelude::FromDer;
        let text = signing_request(&KeyPair::generate().unwrap(), "n1", &Use::Client).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(text.as_bytes()).unwrap();
        let (_, request) =
            x509_parser::certification_request::X509CertificationRequest::from_der(&pem.contents).unwrap();
        let subject = request.certification_request_info.subject.to_string();
        assert_eq!(subject, "O=system:nodes, CN=system:node:n1");
    }

    #[test]
    fn servers_are_asked_for_by_name_and_address() {
        use api_types::core::v1::NodeAddress;
        use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension};
        let asked = crate::node::addresses::plan::Asked::parse("", "", "n1").unwrap().0;
        let addresses = Arc::new(Addresses::new(asked, "n1"));
        addresses.remember(
            &[("Hostname", "n1"), ("InternalIP", "10.0.0.1")]
                .map(|(type_, address)| NodeAddress { type_: type_.into(), address: address.into() }),
        );
        let purpose = Use::Server(addresses);
        let text = signing_request(&KeyPair::generate().unwrap(), "n1", &purpose).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(text.as_bytes()).unwrap();
        let (_, request) =
            x509_parser::certification_request::X509CertificationRequest::from_der(&pem.contents).unwrap();
        let names: Vec<String> = request
            .requested_extensions()
            .unwrap()
            .filter_map(|extension| match extension {
                ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
                _ => None,
            })
            .flatten()
            .map(|name| match name {
                GeneralName::DNSName(name) => (*name).to_owned(),
                GeneralName::IPAddress(bytes) => format!("{bytes:?}"),
                other => format!("{other:?}"),
            })
            .collect();
        assert_eq!(names, ["n1", "[10, 0, 0, 1]"]);
        assert_eq!(purpose.usages(), [KeyUsage::DigitalSignature, KeyUsage::ServerAuth]);
    }

    #[test]
    fn the_kubeconfigs_certificate_is_the_first_that_is_rotated() {
        let dir = std::env::temp_dir().join(format!("kubelet-adopt-{}", uuid::Uuid::new_v4()));
        let now = Timestamp::now();
        let mut config = Config::new("https://api:6443");
        let error = adopt(&mut config, &dir, now).unwrap_err().to_string();
        assert!(error.contains("no client certificate"), "{error}");
        let (cert, key) = daemon::tls::self_signed("n", &[]).unwrap();
        let (cert, key) = (Pem::Data(cert.bytes().unwrap()), Pem::Data(key.bytes().unwrap()));
        (config.cert, config.key) = (Some(cert.clone()), Some(key.clone()));
        adopt(&mut config, &dir, now).unwrap();
        let current = Store::client(&dir).current();
        assert_eq!(config.cert.as_ref().unwrap().origin(), current.display().to_string());
        let kept = std::fs::read(&current).unwrap();
        assert_eq!(config.cert.unwrap().certificates().unwrap(), cert.certificates().unwrap());
        assert!(config.key.unwrap().private_key().is_ok());
        // Another kubeconfig does not take the place of one that holds.
        let (cert, key) = daemon::tls::self_signed("other", &[]).unwrap();
        let mut other = Config::new("https://api:6443");
        (other.cert, other.key) = (Some(cert), Some(key));
        adopt(&mut other, &dir, now).unwrap();
        assert_eq!(std::fs::read(&current).unwrap(), kept);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn answers() {
        let mut request = CertificateSigningRequest::default();
        assert_eq!(answer(&request), None);
        request.status.certificate = ByteString(b"pem".to_vec());
        assert_eq!(answer(&request), Some(Ok(b"pem".to_vec())));
        request.status.conditions.push(CertificateSigningRequestCondition {
            type_: RequestConditionType::Denied,
            reason: "No".into(),
            message: "never".into(),
            ..Default::default()
        });
        assert_eq!(answer(&request), Some(Err("the request denied: No: never".into())));
    }

    #[test]
    fn the_kubeconfig_names_one_file_for_both() {
        let mut config = Config::new("https://api:6443");
        config.ca = Some(Pem::Data(b"ca".to_vec()));
        let text = kubeconfig_text(&config, Path::new("/pki/kubelet-client-current.pem")).unwrap();
        let dir = std::env::temp_dir().join(format!("kubelet-bootstrap-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("kubelet.conf");
        store::write_private(&path, text.as_bytes()).unwrap();
        let read = Config::from_kubeconfig(&path).unwrap();
        assert_eq!(read.server, "https://api:6443");
        assert_eq!(read.cert.unwrap().origin(), "/pki/kubelet-client-current.pem");
        assert!(!is_usable(&path, Timestamp::now()), "the certificate is not there");
        std::fs::remove_dir_all(dir).unwrap();
    }
}
