//! certificatesigningrequest-approving-controller: a node's request for its own client certificate
//! is approved if the requester may create such requests.

use std::time::Duration;

use api_types::authorization::v1::{ResourceAttributes, SubjectAccessReview};
use api_types::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, RequestConditionType,
};
use api_types::meta::v1::ConditionStatus;
use api_types::value::Time;
use client::Key;
use client::controller::{Action, Controller, Failure, Hands, Plan, Step, Wake};
use client::informer::Caches;
use client::queue::Backoff;
use jiff::Timestamp;

use super::has;
use super::request::Request;
use super::signer::{Signer, kubelet_client};
use crate::cached::Csr;

/// See the module. Its keys are requests.
#[derive(Debug)]
pub struct Approving;

/// A request that nobody has decided on, and which right would approve it.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    pub csr: CertificateSigningRequest,
    /// In the order to be tried: the subresource of the right, and the message of the approval.
    pub rights: Vec<(&'static str, &'static str)>,
}

impl Controller for Approving {
    const NAME: &'static str = "certificatesigningrequest-approving-controller";
    const QUEUE: &'static str = "certificate";
    type View = Candidate;
    type Own = Candidate;

    fn backoff(&self) -> Backoff {
        Backoff::between(Duration::from_millis(200), Duration::from_secs(1000))
    }

    fn wakes_on(&self) -> Vec<Wake> {
        vec![Wake::itself::<Csr>()]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<Candidate> {
        let csr = caches.store::<Csr>().get(key)?;
        let undecided = csr.status.certificate.is_empty()
            && !has(&csr, RequestConditionType::Approved)
            && !has(&csr, RequestConditionType::Denied);
        let rights = rights(&csr);
        (undecided && !rights.is_empty()).then(|| Candidate { csr: csr.0.clone(), rights })
    }

    fn plan(view: &Candidate, _: Timestamp) -> Plan<Candidate> {
        let mut plan = Plan::nothing();
        plan.step(Step::Own(view.clone()));
        plan
    }

    async fn perform(&self, candidate: Candidate, hands: &Hands) -> Result<Option<Duration>, Failure> {
        for (subresource, message) in candidate.rights {
            let review = review(&candidate.csr, subresource);
            let answer =
                hands.client.review(&review).await.map_err(|e| Failure::new("ask for the right", e))?;
            if answer.status.allowed {
                let approved = approve(candidate.csr, message, hands.clock.now());
                let outcome = hands.all(approval(approved)).await;
                return outcome.failures.into_iter().next().map_or(Ok(None), Err);
            }
        }
        tracing::debug!(
            key = candidate.csr.metadata.name,
            "recognized, but the requester may not ask for it"
        );
        Ok(None)
    }
}

/// The rights that would approve a request; none for a request that is no node's own.
pub(super) fn rights(csr: &CertificateSigningRequest) -> Vec<(&'static str, &'static str)> {
    if Signer::named(&csr.spec.signer_name) != Some(Signer::KubeletClient) {
        return Vec::new();
    }
    let Ok(request) = Request::parse(&csr.spec.request) else { return Vec::new() };
    if kubelet_client(&request, &csr.spec.usages).is_err() {
        return Vec::new();
    }
    let mut rights = Vec::new();
    if csr.spec.username == request.common_name {
        rights.push((
            "selfnodeclient",
            "Auto approving self kubelet client certificate after SubjectAccessReview.",
        ));
    }
    rights.push(("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview."));
    rights
}

fn review(csr: &CertificateSigningRequest, subresource: &str) -> SubjectAccessReview {
    let mut review = SubjectAccessReview::default();
    review.spec.user.clone_from(&csr.spec.username);
    review.spec.uid.clone_from(&csr.spec.uid);
    review.spec.groups.clone_from(&csr.spec.groups);
    review.spec.extra.clone_from(&csr.spec.extra);
    review.spec.resource_attributes = Some(Box::new(ResourceAttributes {
        group: "certificates.k8s.io".into(),
        version: "*".into(),
        resource: "certificatesigningrequests".into(),
        subresource: subresource.into(),
        verb: "create".into(),
        ..ResourceAttributes::default()
    }));
    review
}

fn approve(mut csr: CertificateSigningRequest, message: &str, now: Timestamp) -> CertificateSigningRequest {
    csr.status.conditions.push(CertificateSigningRequestCondition {
        type_: RequestConditionType::Approved,
        status: ConditionStatus::True,
        reason: "AutoApproved".into(),
        message: message.into(),
        last_update_time: Some(Time(now)),
        ..CertificateSigningRequestCondition::default()
    });
    csr
}

fn approval(csr: CertificateSigningRequest) -> Plan {
    let mut plan = Plan::nothing();
    plan.act(Action::update_part(csr, "approval"));
    plan
}
