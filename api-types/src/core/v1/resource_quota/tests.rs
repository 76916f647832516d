//! ResourceQuotas on their way to the store.

use super::*;
use crate::kind::Strategy;
use crate::kind::testing::{refused, refused_update};
use crate::value::Quantity;

fn quota(hard: &[(&str, &str)], scopes: &[&str]) -> ResourceQuota {
    let amount = |text: &str| Quantity::parse(text).expect("an amount");
    let mut own = ResourceQuota::default();
    own.spec.hard = hard.iter().map(|(name, text)| ((*name).to_owned(), amount(text))).collect();
    own.spec.scopes = scopes.iter().map(|scope| (*scope).into()).collect();
    own
}

#[test]
fn what_is_refused() {
    assert!(
        refused(quota(&[("pods", "5"), ("count/jobs.batch", "2"), ("requests.storage", "1Gi")], &[]))
            .is_empty()
    );
    assert_eq!(
        refused(quota(&[("pods", "1500m"), ("storage", "1Gi"), ("cpu", "-1")], &[])),
        [
            r#"spec.hard[cpu]: Invalid value: "-1": must be greater than or equal to 0"#,
            r#"spec.hard[pods]: Invalid value: "1500m": must be an integer"#,
            r#"spec.hard[storage]: Invalid value: "storage": must be a standard resource for quota"#,
        ]
    );
    assert_eq!(
        refused(quota(&[("services", "1")], &["Terminating", "NotTerminating"])),
        [
            r#"spec.scopes: Invalid value: ["Terminating","NotTerminating"]: unsupported scope applied to resource"#,
            r#"spec.scopes: Invalid value: ["Terminating","NotTerminating"]: unsupported scope applied to resource"#,
            r#"spec.scopes: Invalid value: ["Terminating","NotTerminating"]: conflicting scopes"#,
        ]
    );
    let mut own = quota(&[("pods", "1")], &[]);
    own.spec.scope_selector = Some(Box::new(ScopeSelector {
        match_expressions: vec![ScopedResourceSelectorRequirement {
            scope_name: "PriorityClass".into(),
            operator: "In".into(),
            values: Vec::new(),
        }],
    }));
    assert_eq!(
        refused(own),
        [
            "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
        ]
    );
}

#[test]
fn scopes_stay() {
    let old = quota(&[("pods", "1")], &["BestEffort"]);
    assert!(refused_update(quota(&[("pods", "2")], &["BestEffort"]), old.clone()).is_empty());
    assert_eq!(
        refused_update(quota(&[("pods", "2")], &[]), old),
        ["spec.scopes: Invalid value: null: field is immutable"]
    );
}

#[test]
fn what_cannot_be_reached_is_warned_of() {
    assert_eq!(
        quota(&[("cpu", "2"), ("limits.cpu", "1")], &[]).warnings(None),
        ["ResourceQuota cpu (2) should be less than limits.cpu (1)"]
    );
}

#[test]
fn requests_and_limits_are_shown_apart() {
    let mut own = ResourceQuota::default();
    own.status.hard = quota(&[("limits.cpu", "1"), ("pods", "5")], &[]).spec.hard;
    own.status.used = quota(&[("pods", "2")], &[]).spec.hard;
    let now = jiff::Timestamp::UNIX_EPOCH;
    let cell = |place: usize| (ResourceQuota::columns()[place].cell)(&own, now);
    assert_eq!((cell(1), cell(2)), ("pods: 2/5".into(), "limits.cpu: 0/1".into()));
}
