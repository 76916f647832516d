//! The kubelet's client certificate: asked for with a bootstrap kubeconfig where there is none yet (TLS
//! bootstrapping), and asked for anew before it expires (`rotateCertificates`).
//!
//! Files are upstream's: `kubelet-client-current.pem` in the certificate directory, a link to the newest
//! `kubelet-client-DATE.pem`, holds certificate and key, and the kubeconfig names it for both. The client
//! follows the file, so nothing else has to be told. [`store`] keeps the files.

pub mod store;

use std::path::Path;
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
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use tokio::sync::oneshot;

use crate::flags::Flags;
use crate::sources::follow::{Event, follow};
use store::{Life, Store};

const SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// How long a request may stay unanswered before another is made.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
const RETRY: Duration = Duration::from_secs(30);

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
    let store = Store::new(&flags.cert_dir);
    let client = Client::new(config.clone())?;
    loop {
        match shutdown.unless(request(&client, node)).await {
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

/// Renews the client certificate while the kubelet runs; never ends.
pub async fn rotate(client: Client, cert_dir: std::path::PathBuf, node: String) {
    let store = Store::new(&cert_dir);
    // Spread, so that the nodes of a cluster do not ask at once.
    let spread = fastrand::f64();
    loop {
        let life = std::fs::read(store.current()).ok().and_then(|pem| store::life(&pem));
        let due = life.map_or(Timestamp::now(), |life| deadline(life, spread));
        let left = Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or_default();
        if !left.is_zero() {
            tokio::time::sleep(left.min(Duration::from_secs(3600))).await;
            continue;
        }
        tracing::info!("the client certificate is to be renewed");
        let renewed =
            async { Ok::<_, anyhow::Error>(store.keep(&request(&client, &node).await?, Timestamp::now())?) };
        if let Err(error) = renewed.await {
            tracing::warn!(error = format!("{error:#}"), "cannot renew the client certificate");
            tokio::time::sleep(RETRY).await;
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
async fn request(client: &Client, node: &str) -> anyhow::Result<Vec<u8>> {
    let key = KeyPair::generate().context("making a key")?;
    let mut asked = CertificateSigningRequest::default();
    asked.metadata.generate_name = "csr-".into();
    asked.spec = CertificateSigningRequestSpec {
        request: ByteString(signing_request(&key, node)?.into_bytes()),
        signer_name: SIGNER.into(),
        usages: vec![KeyUsage::DigitalSignature, KeyUsage::ClientAuth],
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

fn signing_request(key: &KeyPair, node: &str) -> anyhow::Result<String> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(DnType::CommonName, format!("system:node:{node}"));
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
        let text = signing_request(&KeyPair::generate().unwrap(), "n1").unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(text.as_bytes()).unwrap();
        let (_, request) =
            x509_parser::certification_request::X509CertificationRequest::from_der(&pem.contents).unwrap();
        let subject = request.certification_request_info.subject.to_string();
        assert_eq!(subject, "O=system:nodes, CN=system:node:n1");
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
