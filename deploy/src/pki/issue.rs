//! Making and reading certificates: rcgen mints, x509-parser reads. Authorities live ten years,
//! leaves one; both start an hour ago, for clocks that differ. Keys are EC P-256, but RSA 2048 for
//! service accounts, whose tokens upstream's clients expect in RS256.

use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, anyhow, ensure};
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::plan::{self, Existing, Leaf, Signer, Usage};
use crate::layout::Layout;
use crate::settings::Settings;

const AUTHORITY_YEARS: i64 = 10;
const YEAR_SECONDS: i64 = 365 * 86_400;
const CLOCK_SKEW_SECONDS: i64 = 3600;

struct Authority {
    certificate: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

/// Makes what is missing or stale. Returns the files made, each with the reason. A worker's are
/// signed in its cluster's folder; it gets the authority's certificate and no key of it.
pub fn ensure(layout: &Layout, settings: &Settings, now: Timestamp) -> anyhow::Result<Vec<String>> {
    let mut made = Vec::new();
    if let Some(joined) = &settings.joined {
        let cluster = Layout::new(joined.cluster.clone());
        let file = cluster.cert(Signer::Cluster.file());
        let (authority, _) = authority(&cluster, Signer::Cluster, now)
            .with_context(|| format!("authority {}", file.display()))?;
        write(&layout.cert(Signer::Cluster.file()), &std::fs::read(&file)?, 0o644)?;
        issue_missing(layout, settings, &[(Signer::Cluster, authority)], now, &mut made)?;
        return Ok(made);
    }
    let mut authorities = Vec::new();
    for signer in Signer::ALL {
        let (authority, new) = authority(layout, signer, now)
            .with_context(|| format!("authority {}", layout.cert(signer.file()).display()))?;
        if new {
            made.push(format!("{}: new", signer.file()));
        }
        authorities.push((signer, authority));
    }
    issue_missing(layout, settings, &authorities, now, &mut made)?;
    if service_account_keys(layout).context("service account key")? {
        made.push("sa: new".into());
    }
    Ok(made)
}

fn issue_missing(
    layout: &Layout,
    settings: &Settings,
    authorities: &[(Signer, Authority)],
    now: Timestamp,
    made: &mut Vec<String>,
) -> anyhow::Result<()> {
    for leaf in plan::leaves(settings) {
        let authority =
            &authorities.iter().find(|(s, _)| *s == leaf.signer).expect("all signers are there").1;
        let reason = match existing(layout, &leaf, authority) {
            Ok(Some(existing)) => plan::stale(&leaf, &existing, now),
            Ok(None) => Some("new"),
            Err(_) => Some("unreadable"),
        };
        if let Some(reason) = reason {
            issue(layout, &leaf, authority, now).with_context(|| format!("certificate {}", leaf.file))?;
            made.push(format!("{}: {reason}", leaf.file));
        }
    }
    Ok(())
}

fn authority(layout: &Layout, signer: Signer, now: Timestamp) -> anyhow::Result<(Authority, bool)> {
    let (cert_file, key_file) = (layout.cert(signer.file()), layout.key(signer.file()));
    let new = !cert_file.exists() && !key_file.exists();
    if new {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![signer.common_name().to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, signer.common_name());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
            KeyUsagePurpose::KeyCertSign,
        ];
        valid(&mut params, now, AUTHORITY_YEARS);
        let cert = params.self_signed(&key)?;
        write(&key_file, key.serialize_pem().as_bytes(), 0o600)?;
        write(&cert_file, cert.pem().as_bytes(), 0o644)?;
    }
    ensure!(cert_file.exists() && key_file.exists(), "the certificate and the key must both be there");
    let pem = std::fs::read_to_string(&cert_file)?;
    let key = KeyPair::from_pem(&std::fs::read_to_string(&key_file)?)?;
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| anyhow!("{e}"))?.to_vec();
    Ok((Authority { certificate, issuer: Issuer::from_ca_cert_pem(&pem, key)? }, new))
}

fn issue(layout: &Layout, leaf: &Leaf, authority: &Authority, now: Timestamp) -> anyhow::Result<()> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(leaf.names.clone())?;
    if let Some(organization) = leaf.organization {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    params.distinguished_name.push(DnType::CommonName, leaf.common_name.as_str());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = match leaf.usage {
        Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
        Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
        Usage::Both => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
    };
    params.use_authority_key_identifier_extension = true;
    valid(&mut params, now, 1);
    let cert = params.signed_by(&key, &authority.issuer)?;
    write(&layout.key(leaf.file), key.serialize_pem().as_bytes(), 0o600)?;
    write(&layout.cert(leaf.file), cert.pem().as_bytes(), 0o644)
}

fn valid(params: &mut CertificateParams, now: Timestamp, years: i64) {
    let at = |seconds: i64| {
        rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(seconds.unsigned_abs())
    };
    params.not_before = at(now.as_second() - CLOCK_SKEW_SECONDS);
    params.not_after = at(now.as_second() + years * YEAR_SECONDS);
}

fn existing(layout: &Layout, leaf: &Leaf, authority: &Authority) -> anyhow::Result<Option<Existing>> {
    let (cert_file, key_file) = (layout.cert(leaf.file), layout.key(leaf.file));
    if !cert_file.exists() || !key_file.exists() {
        return Ok(None);
    }
    KeyPair::from_pem(&std::fs::read_to_string(key_file)?)?;
    let der = CertificateDer::from_pem_file(cert_file).map_err(|e| anyhow!("{e}"))?;
    let (_, cert) = X509Certificate::from_der(&der)?;
    let (_, ca) = X509Certificate::from_der(&authority.certificate)?;
    let text = |entry: Option<&x509_parser::x509::AttributeTypeAndValue<'_>>| {
        entry.and_then(|a| a.as_str().ok()).map(str::to_owned)
    };
    let mut names = Vec::new();
    if let Some(extension) = cert.subject_alternative_name()? {
        for name in &extension.value.general_names {
            match name {
                GeneralName::DNSName(name) => names.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => names.push(address(bytes)?.to_string()),
                other => anyhow::bail!("unexpected name {other:?}"),
            }
        }
    }
    Ok(Some(Existing {
        common_name: text(cert.subject().iter_common_name().next()).unwrap_or_default(),
        organization: text(cert.subject().iter_organization().next()),
        names,
        not_after: Timestamp::from_second(cert.validity().not_after.timestamp())?,
        signed_by_ours: cert.verify_signature(Some(ca.public_key())).is_ok(),
    }))
}

fn address(bytes: &[u8]) -> anyhow::Result<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ok(v4.into());
    }
    Ok(<[u8; 16]>::try_from(bytes)?.into())
}

fn service_account_keys(layout: &Layout) -> anyhow::Result<bool> {
    let (key_file, public_file) = (layout.key("sa"), layout.path("pki/sa.pub"));
    let new = !key_file.exists();
    if new {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
        write(&key_file, key.serialize_pem().as_bytes(), 0o600)?;
    }
    if new || !public_file.exists() {
        let key = KeyPair::from_pem(&std::fs::read_to_string(&key_file)?)?;
        write(&public_file, key.public_key_pem().as_bytes(), 0o644)?;
    }
    Ok(new)
}

/// Replaces a file in one step, so that a daemon that reloads never reads half of it.
pub fn write(file: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    use std::io::Write as _;
    let temporary = file.with_extension("new");
    // A leftover of an interrupted run would keep its own mode.
    let _ = std::fs::remove_file(&temporary);
    let mut out = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)
        .with_context(|| format!("cannot write {}", temporary.display()))?;
    out.write_all(bytes)?;
    out.sync_all()?;
    std::fs::rename(&temporary, file).with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use daemon::tls::{ClientCa, Pem};

    use super::*;
    use crate::settings::tests::settings;

    fn fresh() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().to_owned());
        std::fs::create_dir_all(layout.path("pki/etcd")).unwrap();
        (dir, layout)
    }

    #[test]
    fn a_second_run_makes_nothing() {
        let (_dir, layout) = fresh();
        let now = Timestamp::now();
        let made = ensure(&layout, &settings(), now).unwrap();
        assert_eq!(made.len(), 3 + plan::leaves(&settings()).len() + 1, "{made:?}");
        assert_eq!(ensure(&layout, &settings(), now).unwrap(), Vec::<String>::new());
        let mode = std::fs::metadata(layout.key("ca")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn leaves_are_renewed_before_they_end_and_authorities_stay() {
        let (_dir, layout) = fresh();
        let now = Timestamp::now();
        ensure(&layout, &settings(), now).unwrap();
        let ca = std::fs::read(layout.cert("ca")).unwrap();
        let later = Timestamp::from_second(now.as_second() + 340 * 86_400).unwrap();
        let made = ensure(&layout, &settings(), later).unwrap();
        assert_eq!(made.len(), plan::leaves(&settings()).len());
        assert!(made.iter().all(|m| m.ends_with("ends within 30 days")), "{made:?}");
        assert_eq!(std::fs::read(layout.cert("ca")).unwrap(), ca);
    }

    #[test]
    fn a_moved_node_gets_new_server_certificates_only() {
        let (_dir, layout) = fresh();
        let now = Timestamp::now();
        ensure(&layout, &settings(), now).unwrap();
        let moved = Settings { node_ip: [192, 0, 2, 8].into(), ..settings() };
        let made = ensure(&layout, &moved, now).unwrap();
        assert!(made.contains(&"apiserver: for other names".to_owned()), "{made:?}");
        assert!(!made.iter().any(|m| m.starts_with("admin")), "{made:?}");
    }

    #[test]
    fn clients_are_trusted_by_their_authority_alone() {
        let (_dir, layout) = fresh();
        ensure(&layout, &settings(), Timestamp::now()).unwrap();
        let chain = |name| Pem::File(layout.cert(name)).certificates().unwrap();
        let cluster = ClientCa::load(Pem::File(layout.cert("ca"))).unwrap();
        cluster.verify(&chain("admin")).unwrap();
        cluster.verify(&chain("kubelet-client")).unwrap();
        assert!(cluster.verify(&chain("front-proxy-client")).is_err());
        assert!(cluster.verify(&chain("apiserver")).is_err());
        ClientCa::load(Pem::File(layout.cert("etcd/ca"))).unwrap().verify(&chain("etcd/peer")).unwrap();
    }

    #[test]
    fn half_an_authority_is_an_error_and_not_a_new_one() {
        let (_dir, layout) = fresh();
        ensure(&layout, &settings(), Timestamp::now()).unwrap();
        std::fs::remove_file(layout.key("ca")).unwrap();
        let error = format!("{:#}", ensure(&layout, &settings(), Timestamp::now()).unwrap_err());
        assert!(error.contains("both be there"), "{error}");
    }
}
