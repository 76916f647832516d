//! certificatesigningrequest-cleaner-controller: requests go an hour after they were decided, a day
//! after they were made if nobody decided, and when their certificate has expired.

use std::time::Duration;

use api_types::certificates::v1::{CertificateSigningRequest, RequestConditionType};
use api_types::kind::Resource as _;
use client::Key;
use client::controller::{Action, Controller, Never, Plan, Target, Wake};
use client::informer::Caches;
use jiff::Timestamp;
use x509_parser::prelude::FromDer as _;

use crate::cached::Csr;

const DECIDED: Duration = Duration::from_secs(3600);
const UNDECIDED: Duration = Duration::from_secs(24 * 3600);

/// See the module. Its keys are requests.
#[derive(Debug)]
pub struct Cleaner;

impl Controller for Cleaner {
    const NAME: &'static str = "certificatesigningrequest-cleaner-controller";
    const QUEUE: &'static str = "certificate_cleaner";
    type View = CertificateSigningRequest;
    type Own = Never;

    fn wakes_on(&self) -> Vec<Wake> {
        vec![Wake::itself::<Csr>()]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<CertificateSigningRequest> {
        caches.store::<Csr>().get(key).map(|csr| csr.0.clone())
    }

    fn plan(csr: &CertificateSigningRequest, now: Timestamp) -> Plan {
        let mut plan = Plan::nothing();
        let due = due(csr);
        if due <= now {
            plan.act(Action::delete(Target::of(csr)));
        } else {
            plan.look_again((due - now).try_into().unwrap_or(UNDECIDED));
        }
        plan
    }
}

/// When the request is to go.
pub(super) fn due(csr: &CertificateSigningRequest) -> Timestamp {
    let after = |at: Timestamp, span: Duration| at.saturating_add(span).unwrap_or(Timestamp::MAX);
    let created = csr.metadata().creation_timestamp.map(|t| t.0).unwrap_or_default();
    let decided = csr
        .status
        .conditions
        .iter()
        .filter(|c| {
            use RequestConditionType::{Approved, Denied, Failed};
            matches!(c.type_, Approved | Denied | Failed)
        })
        .filter_map(|c| c.last_update_time)
        .map(|at| after(at.0, DECIDED))
        .min();
    let decided = decided.unwrap_or_else(|| after(created, UNDECIDED));
    expiry(&csr.status.certificate).map_or(decided, |expiry| expiry.min(decided))
}

fn expiry(certificate: &[u8]) -> Option<Timestamp> {
    let (_, block) = x509_parser::pem::parse_x509_pem(certificate).ok()?;
    let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(&block.contents).ok()?;
    Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()
}
