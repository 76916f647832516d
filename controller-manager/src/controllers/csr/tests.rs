//! Requests made with another library, read, approved, signed and checked.

use api_types::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, KeyUsage, RequestConditionType,
};
use api_types::value::Time;
use client::controller::Controller as _;
use jiff::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use std::time::Duration;
use x509_parser::prelude::FromDer as _;

use super::approving::rights;
use super::request::Request;
use super::signer::Signer;
use super::{Authority, Cleaner, Signing, signing};

fn request(name: &str, organization: &str, dns: &[&str]) -> Vec<u8> {
    let names: Vec<String> = dns.iter().map(|d| (*d).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.distinguished_name.push(DnType::OrganizationName, organization);
    let key = KeyPair::generate().unwrap();
    params.serialize_request(&key).unwrap().pem().unwrap().into_bytes()
}

fn authority() -> (Authority, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "test-ca");
    let key = KeyPair::generate().unwrap();
    let cert = params.self_signed(&key).unwrap().pem();
    (Authority::new(&cert, &key.serialize_pem()).unwrap(), cert)
}

fn csr(signer: &str, request: Vec<u8>, usages: &[KeyUsage]) -> CertificateSigningRequest {
    let mut csr = CertificateSigningRequest::default();
    csr.spec.signer_name = signer.into();
    csr.spec.request = request.into();
    csr.spec.usages = usages.to_vec();
    csr.spec.username = "system:node:n1".into();
    csr
}

const CLIENT: [KeyUsage; 2] = [KeyUsage::DigitalSignature, KeyUsage::ClientAuth];
const KUBELET: &str = "kubernetes.io/kube-apiserver-client-kubelet";

#[test]
fn a_signed_certificate_is_what_was_asked_for() {
    let (authority, ca) = authority();
    let asked = Request::parse(&request("carol", "guests", &["a.example"])).unwrap();
    assert_eq!(
        (asked.common_name.as_str(), asked.organizations.as_slice()),
        ("carol", &["guests".to_owned()][..])
    );
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let chain = authority.sign(&asked, &CLIENT, now, 3600).unwrap();
    let (_, block) = x509_parser::pem::parse_x509_pem(&chain).unwrap();
    let (_, cert) = x509_parser::certificate::X509Certificate::from_der(&block.contents).unwrap();
    let (_, ca) = x509_parser::pem::parse_x509_pem(ca.as_bytes()).unwrap();
    let ca = ca.parse_x509().unwrap();
    cert.verify_signature(Some(ca.public_key())).unwrap();
    assert_eq!(cert.issuer(), ca.subject());
    assert_eq!(cert.validity().not_before.timestamp(), now.as_second() - 300);
    assert_eq!(cert.validity().not_after.timestamp(), now.as_second() + 3600);
    assert!(!cert.is_ca());
    let usage = cert.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && !usage.key_encipherment());
    let extended = cert.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.client_auth && !extended.server_auth);
    let names = cert.subject_alternative_name().unwrap().unwrap().value;
    assert_eq!(names.general_names.len(), 1);
}

#[test]
fn a_node_that_asks_for_itself_is_recognized() {
    let own = csr(KUBELET, request("system:node:n1", "system:nodes", &[]), &CLIENT);
    let found: Vec<&str> = rights(&own).into_iter().map(|(right, _)| right).collect();
    assert_eq!(found, ["selfnodeclient", "nodeclient"]);
    let other = csr(KUBELET, request("system:node:n2", "system:nodes", &[]), &CLIENT);
    assert_eq!(rights(&other).len(), 1);
    for (name, organization, dns) in [
        ("n1", "system:nodes", vec![]),
        ("system:node:n1", "x", vec![]),
        ("system:node:n1", "system:nodes", vec!["a"]),
    ] {
        assert!(
            rights(&csr(KUBELET, request(name, organization, &dns), &CLIENT)).is_empty(),
            "{name} {organization}"
        );
    }
}

#[test]
fn signers_refuse_what_is_not_theirs() {
    let node = Request::parse(&request("system:node:n1", "system:nodes", &[])).unwrap();
    assert_eq!(Signer::KubeletServing.check(&node, &CLIENT), Err("DNS or IP subjectAltName is required"));
    assert_eq!(Signer::KubeletClient.check(&node, &CLIENT), Ok(()));
    assert_eq!(Signer::ApiserverClient.check(&node, &[KeyUsage::ServerAuth]), Err("usages did not match"));
    assert!(Request::parse(b"-----BEGIN X-----\nAA==\n-----END X-----\n").is_err());
}

#[test]
fn a_request_that_fails_is_told_so() {
    let view = signing::View {
        csr: csr("kubernetes.io/kube-apiserver-client", request("a", "b", &[]), &[KeyUsage::ServerAuth]),
        signer: Signer::ApiserverClient,
        longest: Duration::from_secs(60),
    };
    let plan = Signing::plan(&view, Timestamp::UNIX_EPOCH);
    let written = plan.actions()[0].effect.object::<CertificateSigningRequest>().unwrap();
    let condition = &written.status.conditions[0];
    assert_eq!(condition.type_, RequestConditionType::Failed);
    assert_eq!(
        (condition.reason.as_str(), condition.message.as_str()),
        ("SignerValidationFailure", "usages did not match")
    );
}

#[test]
fn requests_go_when_their_time_has_come() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let mut csr = csr(KUBELET, Vec::new(), &CLIENT);
    csr.metadata.creation_timestamp = Some(Time(at(0)));
    assert!(Cleaner::plan(&csr, at(86_399)).actions().is_empty());
    assert_eq!(Cleaner::plan(&csr, at(86_400)).actions().len(), 1);
    csr.status.conditions.push(CertificateSigningRequestCondition {
        type_: RequestConditionType::Approved,
        last_update_time: Some(Time(at(10))),
        ..Default::default()
    });
    assert!(Cleaner::plan(&csr, at(3609)).actions().is_empty());
    assert_eq!(Cleaner::plan(&csr, at(3610)).actions().len(), 1);
}
