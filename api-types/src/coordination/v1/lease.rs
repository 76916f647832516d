//! Lease: who leads, or that a node is alive.

use crate::field::{Errors, Path};
use crate::kind::{Column, Kind, Strategy, resource};
use crate::meta::v1::ObjectMeta;
use crate::meta::v1::validate::not_negative;
use crate::open_enum::open_enum;
use crate::value::MicroTime;
use api_types_derive::Api;

/// Says who holds something, and until when.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.coordination.v1")]
pub struct Lease {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// Holder and times.
    #[api(2)]
    pub spec: LeaseSpec,
}

/// Who holds a lease and since when.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.coordination.v1")]
pub struct LeaseSpec {
    /// Who holds the lease, or whom the election chose.
    #[api(1)]
    pub holder_identity: Option<String>,
    /// Seconds after the last renewal until others may take over.
    #[api(2)]
    pub lease_duration_seconds: Option<i32>,
    /// When the present holder got the lease.
    #[api(3)]
    pub acquire_time: Option<MicroTime>,
    /// When the present holder last renewed it.
    #[api(4)]
    pub renew_time: Option<MicroTime>,
    /// How often the holder has changed.
    #[api(5)]
    pub lease_transitions: Option<i32>,
    /// How a coordinated election picks the leader.
    #[api(6)]
    pub strategy: Option<CoordinatedLeaseStrategy>,
    /// Whom the present holder should hand over to.
    #[api(7)]
    pub preferred_holder: Option<String>,
}

open_enum! {
    /// How a coordinated election picks the leader.
    pub enum CoordinatedLeaseStrategy {
        OldestEmulationVersion = "OldestEmulationVersion",
    }
}

resource!(Lease, Kind::namespaced("coordination.k8s.io/v1", "Lease", "leases", "lease"));

impl Strategy for Lease {
    const CREATE_ON_UPDATE: bool = true;
    const UNCONDITIONAL_UPDATE: bool = false;

    // Coordinated leader election (KEP-4355) is off in this version.
    fn prepare_for_create(&mut self) {
        self.spec.strategy = None;
        self.spec.preferred_holder = None;
    }

    fn prepare_for_update(&mut self, old: &Self) {
        if old.spec.strategy.is_none() {
            self.spec.strategy = None;
        }
        if old.spec.preferred_holder.is_none() {
            self.spec.preferred_holder = None;
        }
    }

    fn validate(&self, errors: &mut Errors) {
        let path = Path::new("spec");
        if let Some(seconds @ ..=0) = self.spec.lease_duration_seconds {
            errors.invalid(&path.child("leaseDurationSeconds"), seconds, "must be greater than 0");
        }
        if let Some(transitions) = self.spec.lease_transitions {
            not_negative(transitions, &path.child("leaseTransitions"), errors);
        }
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::text("Holder", "Who holds the lease.", |lease, _| {
                    lease.spec.holder_identity.as_deref().unwrap_or_default().into()
                }),
                Column::age(),
            ]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::refused;

    #[test]
    fn what_is_refused() {
        let mut own = Lease::default();
        own.spec.lease_duration_seconds = Some(0);
        own.spec.lease_transitions = Some(-1);
        assert_eq!(
            refused(own),
            [
                "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
                "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
            ]
        );
    }
}
