//! CertificateSigningRequest: asks a signer of the cluster for a certificate.

use std::collections::BTreeMap;

use crate::kind::{Kind, Strategy, Subresource, resource};
use crate::meta::v1::{ConditionStatus, ObjectMeta};
use crate::open_enum::open_enum;
use crate::value::{ByteString, StringList, Time};
use api_types_derive::Api;

/// Asks a signer for an X.509 certificate, after somebody approved.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.certificates.v1")]
pub struct CertificateSigningRequest {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The request; it does not change once created.
    #[api(2, required)]
    pub spec: CertificateSigningRequestSpec,
    /// Approval and, later, the certificate.
    #[api(3)]
    pub status: CertificateSigningRequestStatus,
}

/// What is to be signed, by whom, and who asks.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.certificates.v1")]
pub struct CertificateSigningRequestSpec {
    /// PKCS#10 request in a PEM block of type CERTIFICATE REQUEST.
    #[api(1, required)]
    pub request: ByteString,
    /// Signer that is asked, such as kubernetes.io/kubelet-serving.
    #[api(7, required)]
    pub signer_name: String,
    /// Validity wanted in seconds, at least 600; the signer may shorten it.
    #[api(8)]
    pub expiration_seconds: Option<i32>,
    /// Key usages that the certificate must state.
    #[api(5, list = atomic)]
    pub usages: Vec<KeyUsage>,
    /// Name of the requester, set by the server.
    #[api(2)]
    pub username: String,
    /// UID of the requester, set by the server.
    #[api(3)]
    pub uid: String,
    /// Groups of the requester, set by the server.
    #[api(4, list = atomic)]
    pub groups: Vec<String>,
    /// Further facts about the requester, set by the server.
    #[api(6)]
    pub extra: BTreeMap<String, StringList>,
}

open_enum! {
    /// What a certificate's key may be used for.
    pub enum KeyUsage {
        Signing = "signing",
        DigitalSignature = "digital signature",
        ContentCommitment = "content commitment",
        KeyEncipherment = "key encipherment",
        KeyAgreement = "key agreement",
        DataEncipherment = "data encipherment",
        CertSign = "cert sign",
        CrlSign = "crl sign",
        EncipherOnly = "encipher only",
        DecipherOnly = "decipher only",
        Any = "any",
        ServerAuth = "server auth",
        ClientAuth = "client auth",
        CodeSigning = "code signing",
        EmailProtection = "email protection",
        Smime = "s/mime",
        IpsecEndSystem = "ipsec end system",
        IpsecTunnel = "ipsec tunnel",
        IpsecUser = "ipsec user",
        Timestamping = "timestamping",
        OcspSigning = "ocsp signing",
        MicrosoftSgc = "microsoft sgc",
        NetscapeSgc = "netscape sgc",
    }
}

/// What has become of a signing request.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.certificates.v1")]
pub struct CertificateSigningRequestStatus {
    /// Approval, denial or failure.
    #[api(1, list = map("type"))]
    pub conditions: Vec<CertificateSigningRequestCondition>,
    /// The issued chain in PEM, the leaf first.
    #[api(2)]
    pub certificate: ByteString,
}

/// One decision or observation about a signing request.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.certificates.v1")]
pub struct CertificateSigningRequestCondition {
    /// Approved, Denied or Failed.
    #[api(1, required)]
    pub type_: RequestConditionType,
    /// Whether it holds; approval and denial are always True.
    #[api(6, required)]
    pub status: ConditionStatus,
    /// Cause in one CamelCase word.
    #[api(2)]
    pub reason: String,
    /// The same for people.
    #[api(3)]
    pub message: String,
    /// When the condition was last written.
    #[api(4, always)]
    pub last_update_time: Option<Time>,
    /// When the status last changed; the server fills it in.
    #[api(5, always)]
    pub last_transition_time: Option<Time>,
}

open_enum! {
    /// What a condition of a signing request says.
    pub enum RequestConditionType {
        Approved = "Approved",
        Denied = "Denied",
        Failed = "Failed",
    }
}

resource!(
    CertificateSigningRequest,
    Kind {
        short_names: &["csr"],
        subresources: &[
            Subresource::own("approval", "CertificateSigningRequest", &["get", "patch", "update"]),
            Subresource::status("CertificateSigningRequest")
        ],
        ..Kind::cluster_wide(
            "certificates.k8s.io/v1",
            "CertificateSigningRequest",
            "certificatesigningrequests",
            "certificatesigningrequest"
        )
    }
);

impl Strategy for CertificateSigningRequest {}
