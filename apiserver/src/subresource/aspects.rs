//! Subresources that are one part of their object under its own kind: each keeps all but that part.

use api_types::certificates::v1::CertificateSigningRequest;
use api_types::core::v1::{Namespace, Pod};
use api_types::kind::{Object, Resource};

use crate::registry::Aspect;

/// `namespaces/finalize`: the finalizers of a namespace's spec.
pub const FINALIZE: Aspect = Aspect {
    subresource: "finalize",
    prepare: |_, new, old| with(new, old, Namespace::prepare_for_finalize),
    validate: |_, new, old, errors| {
        compare(new, old, |new: &Namespace, _| new.validate_finalize(errors));
    },
    ignored: &["f:status"],
    internal: false,
};

/// `certificatesigningrequests/approval`: approvals and denials.
pub const APPROVAL: Aspect = Aspect {
    subresource: "approval",
    prepare: |_, new, old| with(new, old, CertificateSigningRequest::prepare_for_approval),
    validate: |row, new, old, errors| {
        (row.validate)(new, errors);
        compare(new, old, |new: &CertificateSigningRequest, old| new.validate_approval(old, errors));
    },
    ignored: &["f:spec"],
    internal: false,
};

/// `pods/ephemeralcontainers`: containers added for debugging.
pub const EPHEMERAL_CONTAINERS: Aspect = Aspect {
    subresource: "ephemeralcontainers",
    prepare: |_, new, old| with(new, old, Pod::prepare_for_ephemeral_containers),
    validate: |row, new, old, errors| {
        (row.validate)(new, errors);
        compare(new, old, |new: &Pod, old| new.validate_ephemeral_containers(old, errors));
    },
    ignored: &["f:status"],
    internal: false,
};

/// `pods/resize`: requests and limits of containers and of the pod.
pub const RESIZE: Aspect = Aspect {
    subresource: "resize",
    prepare: |_, new, old| with(new, old, Pod::prepare_for_resize),
    validate: |row, new, old, errors| {
        (row.validate)(new, errors);
        compare(new, old, |new: &Pod, old| new.validate_resize(old, errors));
    },
    ignored: &["f:status"],
    internal: false,
};

/// Both objects as what their row says they are.
fn with<T: Resource>(new: &mut dyn Object, old: &dyn Object, change: impl FnOnce(&mut T, &T)) {
    if let (Some(new), Some(old)) = (new.as_any_mut().downcast_mut::<T>(), old.as_any().downcast_ref::<T>()) {
        change(new, old);
    }
}

/// As `with`, to look only.
fn compare<T: Resource>(new: &dyn Object, old: &dyn Object, check: impl FnOnce(&T, &T)) {
    if let (Some(new), Some(old)) = (new.as_any().downcast_ref::<T>(), old.as_any().downcast_ref::<T>()) {
        check(new, old);
    }
}
