//! `aggregator_unavailable_apiservice`: which groups of other servers, and of this one, cannot be asked. Names and
//! labels are upstream's; what is deleted is told of no longer.

use std::collections::BTreeSet;

use api_types::apiregistration::v1::{APIService, AVAILABLE};
use api_types::meta::v1::ConditionStatus;
use daemon::metrics::{self, IntCounterVec, IntGaugeVec};
use parking_lot::Mutex;

pub struct Availability {
    unavailable: IntGaugeVec,
    lost: IntCounterVec,
    known: Mutex<BTreeSet<String>>,
}

impl Default for Availability {
    fn default() -> Self {
        let all = metrics::global();
        Self {
            unavailable: all.int_gauge_vec(
                "aggregator_unavailable_apiservice",
                "[ALPHA] Gauge of APIServices which are marked as unavailable broken down by APIService name.",
                &["name"],
            ),
            lost: all.counter_vec(
                "aggregator_unavailable_apiservice_total",
                "[ALPHA] Counter of APIServices which are marked as unavailable broken down by APIService name and \
                 reason.",
                &["name", "reason"],
            ),
            known: Mutex::default(),
        }
    }
}

impl Availability {
    /// What the conditions of all APIServices say.
    pub fn looked(&self, all: &[APIService]) {
        let names: BTreeSet<String> = all.iter().map(|own| own.metadata.name.clone()).collect();
        for own in all {
            let up = own.condition(AVAILABLE).is_some_and(|found| found.status == ConditionStatus::True);
            self.unavailable.with_label_values(&[&own.metadata.name]).set(i64::from(!up));
        }
        let mut known = self.known.lock();
        for gone in known.difference(&names) {
            // Only one that is not there cannot be removed.
            let _ = self.unavailable.remove_label_values(&[gone]);
        }
        *known = names;
    }

    /// One that was available is so no longer.
    pub fn changed(&self, old: &APIService, new: &APIService) {
        let is_up = |own: &APIService| {
            own.condition(AVAILABLE).is_some_and(|found| found.status == ConditionStatus::True)
        };
        if is_up(old) && !is_up(new) {
            let reason = new.condition(AVAILABLE).map_or("UnknownReason", |found| &found.reason);
            self.lost.with_label_values(&[&new.metadata.name, reason]).inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::apiregistration::v1::APIServiceCondition;

    fn service(name: &str, status: ConditionStatus, reason: &str) -> APIService {
        let mut own = APIService::default();
        own.metadata.name = name.into();
        own.status.conditions = vec![APIServiceCondition {
            type_: AVAILABLE.into(),
            status,
            reason: reason.into(),
            ..APIServiceCondition::default()
        }];
        own
    }

    #[test]
    fn what_is_lost_is_counted_and_what_is_gone_forgotten() {
        let availability = Availability::default();
        let up = service("v1.up.test", ConditionStatus::True, "Passed");
        let down = service("v1.up.test", ConditionStatus::False, "MissingEndpoints");
        availability
            .looked(&[up.clone(), service("v1.gone.test", ConditionStatus::False, "ServiceNotFound")]);
        availability.changed(&up, &down);
        availability.changed(&down, &down);
        let shown = || String::from_utf8(metrics::global().text()).expect("UTF-8");
        assert!(shown().contains(r#"aggregator_unavailable_apiservice{name="v1.up.test"} 0"#));
        assert!(shown().contains(r#"aggregator_unavailable_apiservice{name="v1.gone.test"} 1"#));
        availability.looked(&[down]);
        assert!(shown().contains(r#"aggregator_unavailable_apiservice{name="v1.up.test"} 1"#));
        assert!(!shown().contains("v1.gone.test"));
        assert!(shown().contains(
            r#"aggregator_unavailable_apiservice_total{name="v1.up.test",reason="MissingEndpoints"} 1"#
        ));
    }
}
