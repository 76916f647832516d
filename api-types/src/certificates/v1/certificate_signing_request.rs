//! CertificateSigningRequest: asks a signer of the cluster for a certificate.

use std::collections::BTreeMap;

use crate::columns::{human_duration, or};
use crate::kind::{Column, Kind, NameRule, Strategy, Subresource, resource};
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

impl Strategy for CertificateSigningRequest {
    // Bootstrapping nodes name their requests by a hash with capital letters.
    const NAME_RULE: NameRule = NameRule::PathSegment;

    /// The requester's identity is not theirs to set: the server writes it in afterwards, from the
    /// authenticated user.
    fn prepare_for_create(&mut self) {
        self.spec.username.clear();
        self.spec.uid.clear();
        self.spec.groups.clear();
        self.spec.extra.clear();
        self.status = CertificateSigningRequestStatus::default();
    }

    fn prepare_for_update(&mut self, old: &Self) {
        self.spec = old.spec.clone();
        self.status = old.status.clone();
        self.metadata.generation = old.metadata.generation;
    }

    /// Keeps approvals and denials as they are; they have a subresource of their own. The server
    /// then calls `set_condition_times`.
    fn prepare_for_status_update(&mut self, old: &Self) {
        self.spec = old.spec.clone();
        self.metadata.generation = old.metadata.generation;
        for type_ in [RequestConditionType::Approved, RequestConditionType::Denied] {
            self.status.keep_conditions(&old.status, &type_);
        }
    }

    fn selectable_names() -> &'static [&'static str] {
        &["spec.signerName"]
    }

    fn selectable_fields(&self) -> Vec<(&'static str, String)> {
        vec![("spec.signerName", self.spec.signer_name.clone())]
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::age(),
                Column::text("SignerName", "Who is asked to sign.", |csr: &Self, _| {
                    or(&csr.spec.signer_name, "<none>").into()
                }),
                Column::text("Requestor", "Who asks.", |csr, _| csr.spec.username.as_str().into()),
                Column::text("RequestedDuration", "How long the certificate should last.", |csr, _| {
                    csr.spec
                        .expiration_seconds
                        .map_or_else(|| "<none>".to_owned(), |s| human_duration(s.into()))
                        .into()
                }),
                Column::text("Condition", "What has become of the request.", |csr, _| {
                    csr.status.word().into()
                }),
            ]
        }
    }
}

impl CertificateSigningRequest {
    /// What a write to `/approval` may change: the conditions.
    pub fn prepare_for_approval(&mut self, old: &Self) {
        let conditions = std::mem::take(&mut self.status.conditions);
        self.spec = old.spec.clone();
        self.status = CertificateSigningRequestStatus { conditions, ..old.status.clone() };
        self.metadata.generation = old.metadata.generation;
    }

    /// Gives conditions without times theirs, on writes to `/status` and `/approval`. A condition
    /// whose status stays keeps the time of its transition.
    pub fn set_condition_times(&mut self, old: &Self, now: Time) {
        for condition in &mut self.status.conditions {
            condition.last_update_time.get_or_insert(now);
            let before = old
                .status
                .conditions
                .iter()
                .filter(|c| c.type_ == condition.type_ && c.status == condition.status)
                .find_map(|c| c.last_transition_time);
            condition.last_transition_time.get_or_insert(before.unwrap_or(now));
        }
    }
}

impl CertificateSigningRequestStatus {
    /// Puts back the old conditions of a type, unless some were added or removed: that is for
    /// validation to refuse.
    fn keep_conditions(&mut self, old: &Self, type_: &RequestConditionType) {
        let before: Vec<_> = old.conditions.iter().filter(|c| c.type_ == *type_).collect();
        let now: Vec<_> = self.conditions.iter_mut().filter(|c| c.type_ == *type_).collect();
        if before.len() == now.len() {
            for (condition, before) in now.into_iter().zip(before) {
                *condition = before.clone();
            }
        }
    }

    fn word(&self) -> String {
        let has = |type_| self.conditions.iter().any(|c| c.type_ == type_);
        let mut word = if has(RequestConditionType::Denied) {
            "Denied"
        } else if has(RequestConditionType::Approved) {
            "Approved"
        } else {
            "Pending"
        }
        .to_owned();
        if has(RequestConditionType::Failed) {
            word.push_str(",Failed");
        }
        if !self.certificate.is_empty() {
            word.push_str(",Issued");
        }
        word
    }
}
