//! Whether the server behind an APIService can be reached, as its condition says it. What the objects
//! tell is decided by `seen`, which is pure; then the server itself is asked.

use api_types::apiregistration::v1::{APIService, APIServiceCondition, AVAILABLE};
use api_types::core::v1::Service;
use api_types::discovery::v1::EndpointSlice;
use api_types::meta::v1::ConditionStatus;

/// What is known: status, reason, message.
pub type Verdict = (ConditionStatus, &'static str, String);

pub fn passed() -> Verdict {
    (ConditionStatus::True, "Passed", "all checks passed".to_owned())
}

/// What keeps the server from being asked.
pub fn seen(own: &APIService, service: Option<&Service>, slices: &[EndpointSlice]) -> Option<Verdict> {
    let reference = own.spec.service.as_ref()?;
    let (namespace, name) = (&reference.namespace, &reference.name);
    let no = |reason, message| Some((ConditionStatus::False, reason, message));
    let Some(service) = service else {
        return no("ServiceNotFound", format!("service/{name} in {namespace:?} is not present"));
    };
    if service.spec.type_ != "ClusterIP" {
        return None;
    }
    let wanted = reference.port.unwrap_or(443);
    let Some(port) = service.spec.ports.iter().find(|port| port.port == wanted) else {
        let text = format!("service/{name} in {namespace:?} is not listening on port {wanted}");
        return no("ServicePortError", text);
    };
    if slices.is_empty() {
        let text = format!("cannot find endpointslices for service/{name} in {namespace:?}");
        return no("EndpointsNotFound", text);
    }
    let has_port = |slice: &EndpointSlice| {
        slice.ports.iter().any(|own| own.name.as_deref() == Some(port.name.as_str()) && own.port.is_some())
    };
    let ready = slices.iter().any(|slice| slice.endpoints.iter().any(super::is_ready) && has_port(slice));
    if !ready {
        let text = format!(
            "endpointslices for service/{name} in {namespace:?} have no addresses with port name {:?}",
            port.name
        );
        return no("MissingEndpoints", text);
    }
    None
}

/// The object with this verdict; `None` when it says so already.
pub fn told(
    own: &APIService,
    (status, reason, message): &Verdict,
    now: jiff::Timestamp,
) -> Option<APIService> {
    let old = own.condition(AVAILABLE);
    if old.is_some_and(|old| old.status == *status && old.reason == *reason && old.message == *message) {
        return None;
    }
    let since = old.filter(|old| old.status == *status).and_then(|old| old.last_transition_time);
    let mut own = own.clone();
    own.status.conditions.retain(|condition| condition.type_ != AVAILABLE);
    own.status.conditions.push(APIServiceCondition {
        type_: AVAILABLE.to_owned(),
        status: status.clone(),
        last_transition_time: since.or(Some(api_types::value::Time(now))),
        reason: (*reason).to_owned(),
        message: message.clone(),
    });
    Some(own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::apiregistration::v1::ServiceReference;
    use api_types::core::v1::ServicePort;
    use api_types::discovery::v1::{Endpoint, EndpointPort};

    #[test]
    fn what_the_objects_tell() {
        let mut own = APIService::default();
        let reference = ServiceReference { namespace: "n".into(), name: "s".into(), port: Some(443) };
        own.spec.service = Some(Box::new(reference));
        let mut service = Service::default();
        service.spec.type_ = "ClusterIP".into();
        let reason = |service: Option<&Service>, slices: &[EndpointSlice]| {
            seen(&own, service, slices).map(|(_, reason, _)| reason)
        };
        assert_eq!(reason(None, &[]), Some("ServiceNotFound"));
        assert_eq!(reason(Some(&service), &[]), Some("ServicePortError"));
        service.spec.ports = vec![ServicePort { name: "https".into(), port: 443, ..Default::default() }];
        assert_eq!(reason(Some(&service), &[]), Some("EndpointsNotFound"));
        let mut slice = EndpointSlice::default();
        assert_eq!(reason(Some(&service), &[slice.clone()]), Some("MissingEndpoints"));
        let mut endpoint = Endpoint { addresses: vec!["10.0.0.1".into()], ..Default::default() };
        endpoint.conditions.ready = Some(false);
        slice.endpoints = vec![endpoint];
        slice.ports =
            vec![EndpointPort { name: Some("https".into()), port: Some(8443), ..Default::default() }];
        assert_eq!(reason(Some(&service), &[slice.clone()]), Some("MissingEndpoints"));
        slice.endpoints[0].conditions.ready = None;
        assert_eq!(reason(Some(&service), &[slice]), None);
    }

    #[test]
    fn the_same_is_not_told_twice() {
        let now = jiff::Timestamp::UNIX_EPOCH;
        let once = told(&APIService::default(), &passed(), now).expect("news");
        assert_eq!(told(&once, &passed(), now), None);
        let lost = (ConditionStatus::False, "MissingEndpoints", "none".to_owned());
        assert_eq!(told(&once, &lost, now).expect("news").status.conditions.len(), 1);
    }
}
