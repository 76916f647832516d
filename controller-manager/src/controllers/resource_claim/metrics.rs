//! `resourceclaim_controller_*`: claims made, and claims that are there.

use std::sync::LazyLock;

use api_types::resource::v1::ResourceClaim;
use daemon::metrics::{self, IntCounterVec, IntGaugeVec};

use super::{EXTENDED, POD_CLAIM};

static CREATES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::global().counter_vec(
        "resourceclaim_controller_creates_total",
        "[ALPHA] Number of ResourceClaims creation requests, categorized by creation status and admin access",
        &["status", "admin_access"],
    )
});

/// Counts a request to create a claim.
pub(super) fn created(claim: &ResourceClaim, success: bool) {
    let status = if success { "success" } else { "failure" };
    CREATES.with_label_values(&[status, admin_access(claim)]).inc();
}

/// Whether it asks for devices that others use. Alternatives cannot.
fn admin_access(claim: &ResourceClaim) -> &'static str {
    let asks = claim.spec.devices.requests.iter().filter_map(|request| request.exactly.as_ref());
    let mut asks = asks.filter(|exactly| exactly.admin_access == Some(true));
    if asks.next().is_some() { "true" } else { "false" }
}

/// Allocated, admin access, source.
type Labels = (&'static str, &'static str, &'static str);

pub(super) fn labels(claim: &ResourceClaim) -> Labels {
    let annotation = |name: &str| claim.metadata.annotations.get(name).map_or("", String::as_str);
    let source = if annotation(EXTENDED) == "true" {
        "extended_resource"
    } else if annotation(POD_CLAIM).is_empty() {
        ""
    } else {
        "resource_claim_template"
    };
    (if claim.status.allocation.is_some() { "true" } else { "false" }, admin_access(claim), source)
}

static CLAIMS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    metrics::global().int_gauge_vec(
        "resourceclaim_controller_resource_claims",
        "[ALPHA] Number of ResourceClaims, categorized by allocation status, admin access, and source. Source can be \
         'resource_claim_template' (created from a template), 'extended_resource' (extended resources), or empty \
         (manually created by a user).",
        &["allocated", "admin_access", "source"],
    )
});

/// Counts a claim as what it is now and no more as what it was.
pub(super) fn changed(old: Option<&ResourceClaim>, new: Option<&ResourceClaim>) {
    if let Some((allocated, admin_access, source)) = new.map(labels) {
        CLAIMS.with_label_values(&[allocated, admin_access, source]).inc();
    }
    let Some((allocated, admin_access, source)) = old.map(labels) else { return };
    let gauge = CLAIMS.with_label_values(&[allocated, admin_access, source]);
    gauge.dec();
    if gauge.get() == 0 {
        // Without a claim there is no such line.
        let _ = CLAIMS.remove_label_values(&[allocated, admin_access, source]);
    }
}
