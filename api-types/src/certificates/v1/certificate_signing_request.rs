//! CertificateSigningRequest: asks a signer of the cluster for a certificate.

use std::collections::BTreeMap;

use crate::columns::{human_duration, or};
use crate::diff::unified;
use crate::field::{Errors, Path};
use crate::kind::{Column, Kind, NameRule, Strategy, Subresource, resource};
use crate::meta::v1::{ConditionStatus, ObjectMeta};
use crate::names;
use crate::open_enum::open_enum;
use crate::value::{ByteString, StringList, Time, Value};
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

    fn validate(&self, errors: &mut Errors) {
        let path = Path::new("spec");
        if !is_pem(&self.spec.request, "CERTIFICATE REQUEST") {
            errors.invalid(
                &path.child("request"),
                &self.spec.request as &dyn Value,
                "PEM block type must be CERTIFICATE REQUEST",
            );
        }
        self.validate_usages(&path.child("usages"), errors);
        let signer = path.child("signerName");
        if self.spec.signer_name == "kubernetes.io/legacy-unknown" {
            let text = "the legacy signerName is not allowed via this API version";
            errors.invalid(&signer, &self.spec.signer_name, text);
        } else {
            names::validate_signer(&self.spec.signer_name, &signer, errors);
        }
        if let Some(seconds) = self.spec.expiration_seconds
            && seconds < 600
        {
            let text = "may not specify a duration less than 600 seconds (10 minutes)";
            errors.invalid(&path.child("expirationSeconds"), seconds, text);
        }
        self.status.validate(errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        self.validate_change(old, Writer::Anyone, errors);
    }

    fn validate_status_update(&self, old: &Self, errors: &mut Errors) {
        self.validate(errors);
        self.validate_change(old, Writer::Signer, errors);
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

/// Through which door a change comes.
#[derive(Clone, Copy, PartialEq)]
enum Writer {
    Anyone,
    /// `/status`
    Signer,
    /// `/approval`
    Approver,
}

/// Whether bytes are PEM of the given type. Signature and content are for the server to check.
fn is_pem(bytes: &[u8], type_: &str) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let begin = format!("-----BEGIN {type_}-----");
    let body = text.find("-----BEGIN ").filter(|at| text[*at..].starts_with(&begin));
    body.is_some_and(|at| text[at..].contains(&format!("-----END {type_}-----")))
}

impl CertificateSigningRequest {
    fn validate_usages(&self, path: &Path, errors: &mut Errors) {
        if self.spec.usages.is_empty() {
            errors.required(path, "");
        }
        let mut known = KeyUsage::KNOWN.to_vec();
        known.sort_unstable();
        for (place, usage) in self.spec.usages.iter().enumerate() {
            errors.choice(&path.index(place), usage.as_str(), &known);
        }
        for (place, usage) in self.spec.usages.iter().enumerate() {
            if self.spec.usages[..place].contains(usage) {
                errors.duplicate(&path.index(place), usage.as_str());
            }
        }
    }

    /// In place of `validate_update` for a write to `/approval`; `validate` has run.
    pub fn validate_approval(&self, old: &Self, errors: &mut Errors) {
        self.validate_change(old, Writer::Approver, errors);
    }

    fn validate_change(&self, old: &Self, writer: Writer, errors: &mut Errors) {
        let path = Path::new("status").child("conditions");
        let of = |csr: &Self, type_: &RequestConditionType| -> Vec<CertificateSigningRequestCondition> {
            csr.status.conditions.iter().filter(|c| c.type_ == *type_).cloned().collect()
        };
        let [approved, denied, failed] =
            [RequestConditionType::Approved, RequestConditionType::Denied, RequestConditionType::Failed];
        for type_ in [&approved, &denied, &failed] {
            if of(self, type_).len() < of(old, type_).len() {
                let text = format!("updates may not remove a condition of type \"{type_}\"");
                errors.forbidden(&path, text);
            }
        }
        if writer != Writer::Approver {
            for type_ in [&approved, &denied] {
                let (new, before) = (of(self, type_), of(old, type_));
                if new.len() > before.len() {
                    errors.forbidden(&path, format!("updates may not add a condition of type \"{type_}\""));
                } else if new.len() == before.len() && new != before {
                    let diff = unified(&before, &new);
                    let text = format!("updates may not modify a condition of type \"{type_}\"\n{diff}");
                    errors.forbidden(&path, text);
                }
            }
        }
        if self.status.certificate != old.status.certificate {
            let path = Path::new("status").child("certificate");
            if writer != Writer::Signer {
                errors.forbidden(&path, "updates may not set certificate content");
            } else if !old.status.certificate.is_empty() {
                errors.forbidden(&path, "updates may not modify existing certificate content");
            }
        }
    }

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
    fn validate(&self, errors: &mut Errors) {
        let path = Path::new("status").child("conditions");
        let mut seen: Vec<&RequestConditionType> = Vec::new();
        for (place, condition) in self.conditions.iter().enumerate() {
            let here = path.index(place);
            let type_ = &condition.type_;
            errors.need(&here, "type", type_.as_str());
            let only_true = !matches!(type_, RequestConditionType::Unset | RequestConditionType::Other(_));
            let known: &[&str] = if only_true { &["True"] } else { &["False", "True", "Unknown"] };
            errors.required_choice(&here.child("status"), condition.status.as_str(), known);
            let opposite = match type_ {
                RequestConditionType::Approved => Some(RequestConditionType::Denied),
                RequestConditionType::Denied => Some(RequestConditionType::Approved),
                _ => None,
            };
            if opposite.is_some_and(|opposite| seen.contains(&&opposite)) {
                let text = "Approved and Denied conditions are mutually exclusive";
                errors.invalid(&path, type_.as_str(), text);
            }
            if seen.contains(&type_) {
                errors.duplicate(&here.child("type"), type_.as_str());
            }
            seen.push(type_);
        }
        if !self.certificate.is_empty() && !is_pem(&self.certificate, "CERTIFICATE") {
            let path = Path::new("status").child("certificate");
            let text = "must contain at least one CERTIFICATE PEM block";
            errors.invalid(&path, "<certificate data>", text);
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Errors;
    use crate::kind::testing::refused;

    const PEM: &str = "-----BEGIN CERTIFICATE REQUEST-----\nMA==\n-----END CERTIFICATE REQUEST-----\n";

    fn csr(change: impl FnOnce(&mut CertificateSigningRequest)) -> CertificateSigningRequest {
        let mut own = CertificateSigningRequest::default();
        own.spec.request = PEM.into();
        own.spec.signer_name = "kubernetes.io/kube-apiserver-client".into();
        own.spec.usages = vec![KeyUsage::ClientAuth];
        change(&mut own);
        own
    }

    fn condition(type_: RequestConditionType) -> CertificateSigningRequestCondition {
        CertificateSigningRequestCondition { type_, status: ConditionStatus::True, ..Default::default() }
    }

    #[test]
    fn what_is_refused() {
        assert!(refused(csr(|_| {})).is_empty());
        assert_eq!(
            refused(csr(|c| {
                c.spec.usages = vec![KeyUsage::ClientAuth, KeyUsage::ClientAuth];
                c.spec.signer_name = "mine".into();
                c.spec.expiration_seconds = Some(60);
            })),
            [
                r#"spec.usages[1]: Duplicate value: "client auth""#,
                r#"spec.signerName: Invalid value: "mine": must be a fully qualified domain and path of the form 'example.com/signer-name'"#,
                "spec.expirationSeconds: Invalid value: 60: may not specify a duration less than 600 seconds (10 minutes)",
            ]
        );
        assert_eq!(
            refused(csr(|c| c.spec.request = "x".into())),
            [r#"spec.request: Invalid value: "eA==": PEM block type must be CERTIFICATE REQUEST"#]
        );
    }

    #[test]
    fn who_may_change_what() {
        let old = csr(|_| {});
        let approved = csr(|c| c.status.conditions = vec![condition(RequestConditionType::Approved)]);
        let signed = csr(|c| {
            c.status.certificate = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n".into();
        });
        let texts = |check: &dyn Fn(&mut Errors)| {
            let mut errors = Errors::default();
            check(&mut errors);
            errors.to_string()
        };
        assert_eq!(texts(&|e| approved.validate_approval(&old, e)), "");
        assert_eq!(
            texts(&|e| approved.validate_status_update(&old, e)),
            r#"status.conditions: Forbidden: updates may not add a condition of type "Approved""#
        );
        assert_eq!(texts(&|e| signed.validate_status_update(&old, e)), "");
        assert_eq!(
            texts(&|e| signed.validate_approval(&old, e)),
            "status.certificate: Forbidden: updates may not set certificate content"
        );
        assert_eq!(
            texts(&|e| old.validate_approval(&approved, e)),
            r#"status.conditions: Forbidden: updates may not remove a condition of type "Approved""#
        );
    }

    #[test]
    fn words() {
        assert_eq!(csr(|_| {}).status.word(), "Pending");
        let own = csr(|c| {
            c.status.conditions = vec![condition(RequestConditionType::Approved)];
            c.status.certificate = "x".into();
        });
        assert_eq!(own.status.word(), "Approved,Issued");
    }
}
