//! Subresources that are one part of their object under its own kind: each keeps all but that part.

use api_types::certificates::v1::CertificateSigningRequest;
use api_types::core::v1::{Namespace, Pod};
use api_types::field::{Errors, Path};
use api_types::kind::{Object, Resource};
use api_types::names;

use crate::registry::Aspect;

/// `namespaces/finalize`: the finalizers of a namespace's spec.
pub const FINALIZE: Aspect = Aspect {
    subresource: "finalize",
    prepare: |_, new, old| {
        with(new, old, |new: &mut Namespace, old| {
            new.status = old.status.clone();
        })
    },
    validate: |_, new, _, errors| {
        if let Some(namespace) = new.as_any().downcast_ref::<Namespace>() {
            for (place, finalizer) in namespace.spec.finalizers.iter().enumerate() {
                let path = Path::new("spec").child("finalizers").index(place);
                for wrong in names::qualified_name(finalizer) {
                    errors.invalid(&path, finalizer, wrong);
                }
            }
        }
    },
    ignored: &["f:status"],
    internal: false,
};

/// `certificatesigningrequests/approval`: approvals and denials.
pub const APPROVAL: Aspect = Aspect {
    subresource: "approval",
    prepare: |_, new, old| {
        with(new, old, |new: &mut CertificateSigningRequest, old| {
            new.prepare_for_approval(old);
        })
    },
    validate: |row, new, old, errors| (row.validate_status_update)(new, old, errors),
    ignored: &["f:spec"],
    internal: false,
};

/// `pods/ephemeralcontainers`: containers added for debugging.
pub const EPHEMERAL_CONTAINERS: Aspect = Aspect {
    subresource: "ephemeralcontainers",
    prepare: |_, new, old| {
        with(new, old, |new: &mut Pod, old| {
            let containers = std::mem::take(&mut new.spec.ephemeral_containers);
            let version = std::mem::take(&mut new.metadata.resource_version);
            let managed = std::mem::take(&mut new.metadata.managed_fields);
            let changed = containers != old.spec.ephemeral_containers;
            *new = old.clone();
            new.spec.ephemeral_containers = containers;
            new.metadata.resource_version = version;
            new.metadata.managed_fields = managed;
            new.metadata.generation += i64::from(changed);
        })
    },
    validate: |row, new, old, errors| {
        (row.validate)(new, errors);
        ephemeral(new, old, errors);
    },
    ignored: &["f:status"],
    internal: false,
};

/// `pods/resize`: requests and limits of containers.
pub const RESIZE: Aspect = Aspect {
    subresource: "resize",
    prepare: |_, new, old| {
        with(new, old, |new: &mut Pod, old| {
            let wanted = std::mem::take(&mut new.spec);
            let version = std::mem::take(&mut new.metadata.resource_version);
            let managed = std::mem::take(&mut new.metadata.managed_fields);
            *new = old.clone();
            new.metadata.resource_version = version;
            new.metadata.managed_fields = managed;
            for (containers, wanted) in [
                (&mut new.spec.containers, wanted.containers),
                (&mut new.spec.init_containers, wanted.init_containers),
            ] {
                for container in containers.iter_mut() {
                    if let Some(wanted) = wanted.iter().find(|w| w.name == container.name) {
                        container.resources = wanted.resources.clone();
                        container.resize_policy.clone_from(&wanted.resize_policy);
                    }
                }
            }
            new.metadata.generation += i64::from(new.spec != old.spec);
        })
    },
    validate: |row, new, _, errors| (row.validate)(new, errors),
    ignored: &["f:status"],
    internal: false,
};

/// Both objects as what their row says they are.
fn with<T: Resource>(new: &mut dyn Object, old: &dyn Object, change: impl FnOnce(&mut T, &T)) {
    if let (Some(new), Some(old)) = (new.as_any_mut().downcast_mut::<T>(), old.as_any().downcast_ref::<T>()) {
        change(new, old);
    }
}

/// Ephemeral containers are only ever added.
fn ephemeral(new: &dyn Object, old: &dyn Object, errors: &mut Errors) {
    let (Some(new), Some(old)) = (new.as_any().downcast_ref::<Pod>(), old.as_any().downcast_ref::<Pod>())
    else {
        return;
    };
    let path = Path::new("spec").child("ephemeralContainers");
    for before in &old.spec.ephemeral_containers {
        let now = new.spec.ephemeral_containers.iter().find(|c| c.common.name == before.common.name);
        match now {
            None => errors.forbidden(
                &path,
                format!("existing ephemeral containers {:?} may not be removed\n", before.common.name),
            ),
            Some(now) if now != before => errors.forbidden(
                &path,
                format!("existing ephemeral containers {:?} may not be changed\n", before.common.name),
            ),
            Some(_) => {}
        }
    }
}
