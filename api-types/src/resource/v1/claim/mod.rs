//! ResourceClaim: a request for devices, and what it got (KEP-4381).
//!
//! The spec never changes. What a claim got is written through its status, by a scheduler.

use super::allocation::{self, AllocatedDeviceStatus, AllocationResult, ResourceClaimConsumerReference};
use super::names;
use super::request::DeviceClaim;
use crate::field::{Errors, Path};
use crate::kind::{Column, Kind, Strategy, Subresource, resource};
use crate::meta::v1::ObjectMeta;
use crate::meta::v1::validate::immutable;
use api_types_derive::Api;

/// A request for devices, and what it got.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct ResourceClaim {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The devices asked for; cannot change.
    #[api(2, required)]
    pub spec: ResourceClaimSpec,
    /// The devices allocated, and who uses them.
    #[api(3)]
    pub status: ResourceClaimStatus,
}

/// What a claim asks for.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct ResourceClaimSpec {
    /// The devices.
    #[api(1, always)]
    pub devices: DeviceClaim,
}

/// What a claim got.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct ResourceClaimStatus {
    /// The devices; set once.
    #[api(1)]
    pub allocation: Option<Box<AllocationResult>>,
    /// Who may use them.
    #[api(2, list = map("uid"), patch = merge + merge_key("uid"))]
    pub reserved_for: Vec<ResourceClaimConsumerReference>,
    /// What drivers say of each device.
    #[api(4, list = map("driver", "device", "pool", "shareID"))]
    pub devices: Vec<AllocatedDeviceStatus>,
}

resource!(
    ResourceClaim,
    Kind {
        subresources: &[Subresource::status("ResourceClaim")],
        ..Kind::namespaced("resource.k8s.io/v1", "ResourceClaim", "resourceclaims", "resourceclaim")
    }
);

/// Most users of a claim.
const MAX_USERS: usize = 256;

impl ResourceClaimSpec {
    pub(super) fn validate(&self, path: &Path, errors: &mut Errors) {
        self.devices.validate(&path.child("devices"), errors);
    }
}

impl ResourceClaim {
    /// Whether devices were given that others use: place of the first such result.
    pub fn admin_access_given(&self) -> Option<usize> {
        let allocation = self.status.allocation.as_ref()?;
        allocation.devices.results.iter().position(|result| result.admin_access == Some(true))
    }

    fn state(&self) -> String {
        let mut states = Vec::new();
        let going = self.metadata.deletion_timestamp.is_some();
        if going {
            states.push("deleted");
        }
        if self.status.allocation.is_some() {
            states.push("allocated");
            if !self.status.reserved_for.is_empty() {
                states.push("reserved");
            }
        } else if !going {
            states.push("pending");
        }
        states.join(",")
    }

    /// Takes away what drivers said of devices that the claim no longer has.
    fn forget_devices_given_back(&mut self, old: &Self) {
        let ids = |claim: &Self| -> Vec<String> {
            let results = claim.status.allocation.iter().flat_map(|allocation| &allocation.devices.results);
            results.map(|result| allocation::shown(result.id())).collect()
        };
        let (had, has) = (ids(old), ids(self));
        self.status.devices.retain(|device| {
            let id = allocation::shown(device.id());
            has.contains(&id) || !had.contains(&id)
        });
    }

    fn validate_status(&self, old: &Self, errors: &mut Errors) {
        let (status, before, path) = (&self.status, &old.status, Path::new("status"));
        let reserved = path.child("reservedFor");
        if names::at_most(status.reserved_for.len(), MAX_USERS, &reserved, errors) {
            for (place, user) in status.reserved_for.iter().enumerate() {
                user.validate(&reserved.index(place), errors);
            }
            let keys = status.reserved_for.iter().map(|user| &user.uid);
            names::unique(keys, |uid| (*uid).clone(), &reserved, errors);
        }
        let results = status.allocation.iter().flat_map(|allocation| &allocation.devices.results);
        let allocated: Vec<_> = results.map(|result| result.id()).collect();
        let devices = path.child("devices");
        for (place, device) in status.devices.iter().enumerate() {
            device.validate(&allocated, &devices.index(place), errors);
        }
        let keys = status.devices.iter().map(|device| device.id());
        names::unique(keys, |id| allocation::shown(*id), &devices, errors);
        if !status.reserved_for.is_empty() {
            if status.allocation.is_none() {
                errors.forbidden(&reserved, "may not be specified when `allocated` is not set");
            } else if self.metadata.deletion_timestamp.is_some()
                && status.reserved_for.iter().any(|user| !before.reserved_for.contains(user))
            {
                let text = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
                errors.forbidden(&reserved, text);
            }
        }
        match (&status.allocation, &before.allocation) {
            (Some(_), Some(_)) => {
                immutable(&status.allocation, &before.allocation, &path.child("allocation"), errors);
            }
            (Some(allocation), None) => {
                allocation.validate(&self.spec.devices.names(), &path.child("allocation"), errors);
            }
            (None, _) => {}
        }
    }
}

impl Strategy for ResourceClaim {
    fn set_defaults(&mut self) {
        self.spec.devices.set_defaults();
    }

    fn prepare_for_create(&mut self) {
        self.status = ResourceClaimStatus::default();
    }

    fn prepare_for_update(&mut self, old: &Self) {
        self.status = old.status.clone();
    }

    fn prepare_for_status_update(&mut self, old: &Self) {
        self.spec = old.spec.clone();
        self.metadata.keep_for_status(&old.metadata);
        self.forget_devices_given_back(old);
    }

    fn validate_create(&self, errors: &mut Errors) {
        self.spec.validate(&Path::new("spec"), errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        immutable(&self.spec, &old.spec, &Path::new("spec"), errors);
    }

    fn validate_status_update(&self, old: &Self, errors: &mut Errors) {
        self.validate_status(old, errors);
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::text(
                    "State",
                    "A summary of the current state (allocated, pending, reserved, etc.).",
                    |claim: &Self, _| claim.state().into(),
                ),
                Column::age(),
            ]
        }
    }
}

#[cfg(test)]
mod tests;
