//! certificatesigningrequest-signing-controller: approved requests of the built-in signers get their
//! certificate from the cluster's authority.

use std::sync::Arc;
use std::time::Duration;

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

use super::certificate::Authority;
use super::has;
use super::request::Request;
use super::signer::Signer;
use crate::cached::Csr;

/// See the module. Its keys are requests.
#[derive(Debug)]
pub struct Signing {
    authority: Arc<Authority>,
    /// The longest that a certificate is valid.
    longest: Duration,
}

impl Signing {
    pub fn new(authority: Authority, longest: Duration) -> Self {
        Self { authority: Arc::new(authority), longest }
    }
}

/// An approved request without a certificate.
#[derive(Debug, Clone)]
pub struct View {
    pub csr: CertificateSigningRequest,
    pub signer: Signer,
    pub longest: Duration,
}

/// Sign this, for so many seconds. Not an action on an object: it needs the key.
#[derive(Debug)]
pub struct Sign {
    csr: CertificateSigningRequest,
    request: Request,
    seconds: i64,
}

impl Controller for Signing {
    const NAME: &'static str = "certificatesigningrequest-signing-controller";
    const QUEUE: &'static str = "certificate";
    type View = View;
    type Own = Box<Sign>;

    fn backoff(&self) -> Backoff {
        Backoff::between(Duration::from_millis(200), Duration::from_secs(1000))
    }

    fn wakes_on(&self) -> Vec<Wake> {
        vec![Wake::itself::<Csr>()]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<View> {
        let csr = caches.store::<Csr>().get(key)?;
        let signer = Signer::named(&csr.spec.signer_name)?;
        let waits = csr.status.certificate.is_empty()
            && has(&csr, RequestConditionType::Approved)
            && !has(&csr, RequestConditionType::Denied)
            && !has(&csr, RequestConditionType::Failed);
        waits.then(|| View { csr: csr.0.clone(), signer, longest: self.longest })
    }

    fn plan(view: &View, now: Timestamp) -> Plan<Box<Sign>> {
        let mut plan = Plan::nothing();
        let checked = Request::parse(&view.csr.spec.request).and_then(|request| {
            view.signer.check(&request, &view.csr.spec.usages).map_err(str::to_owned)?;
            Ok(request)
        });
        match checked {
            Ok(request) => {
                let longest = i64::try_from(view.longest.as_secs()).unwrap_or(i64::MAX);
                let asked = view.csr.spec.expiration_seconds.map_or(longest, i64::from);
                let sign = Sign { csr: view.csr.clone(), request, seconds: asked.min(longest) };
                plan.step(Step::Own(Box::new(sign)));
            }
            Err(message) => {
                plan.act(Action::update_status(failed(view.csr.clone(), message, now)));
            }
        }
        plan
    }

    async fn perform(&self, sign: Box<Sign>, hands: &Hands) -> Result<Option<Duration>, Failure> {
        let Sign { mut csr, request, seconds } = *sign;
        let now = hands.clock.now();
        let signed = self.authority.sign(&request, &csr.spec.usages, now, seconds);
        match signed {
            Ok(certificate) => csr.status.certificate = certificate.into(),
            Err(message) => csr = failed(csr, message, now),
        }
        let mut plan = Plan::nothing();
        plan.act(Action::update_status(csr));
        hands.all(plan).await.failures.into_iter().next().map_or(Ok(None), Err)
    }
}

fn failed(mut csr: CertificateSigningRequest, message: String, now: Timestamp) -> CertificateSigningRequest {
    csr.status.conditions.push(CertificateSigningRequestCondition {
        type_: RequestConditionType::Failed,
        status: ConditionStatus::True,
        reason: "SignerValidationFailure".into(),
        message,
        last_update_time: Some(Time(now)),
        ..CertificateSigningRequestCondition::default()
    });
    csr
}
