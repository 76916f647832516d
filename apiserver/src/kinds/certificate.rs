//! Certificate signing requests say who asks, which the requester may not: the server writes it in,
//! and gives conditions their times (API doc "Certificates and Certificate Signing Requests").

use api_types::certificates::v1::CertificateSigningRequest;
use api_types::kind::Object;
use api_types::value::Time;

use crate::request::User;

/// A new request is its user's.
pub fn settle(object: &mut dyn Object, user: &User) {
    if let Some(request) = object.as_any_mut().downcast_mut::<CertificateSigningRequest>() {
        request.spec.username.clone_from(&user.name);
        request.spec.uid.clone_from(&user.uid);
        request.spec.groups.clone_from(&user.groups);
        request.spec.extra = user.extra.iter().map(|(k, v)| (k.clone(), v.clone().into())).collect();
    }
}

pub fn stamp(new: &mut dyn Object, old: &dyn Object, now: Time) {
    if let (Some(new), Some(old)) = (
        new.as_any_mut().downcast_mut::<CertificateSigningRequest>(),
        old.as_any().downcast_ref::<CertificateSigningRequest>(),
    ) {
        new.set_condition_times(old, now);
    }
}
