//! LimitRanges on their way to the store.

use super::*;
use crate::kind::testing::{defaulted, refused};
use crate::value::Quantity;

fn list(items: &[(&str, &str)]) -> ResourceList {
    let amount = |text: &str| Quantity::parse(text).expect("an amount");
    items.iter().map(|(name, text)| ((*name).to_owned(), amount(text))).collect()
}

fn range(item: LimitRangeItem) -> LimitRange {
    LimitRange { spec: LimitRangeSpec { limits: vec![item] }, ..LimitRange::default() }
}

#[test]
fn limits_of_containers_follow_from_the_bounds() {
    let own = defaulted(range(LimitRangeItem {
        type_: LimitType::Container,
        max: list(&[("cpu", "2")]),
        min: list(&[("memory", "1Mi")]),
        ..LimitRangeItem::default()
    }));
    assert_eq!(own.spec.limits[0].default, list(&[("cpu", "2")]));
    assert_eq!(own.spec.limits[0].default_request, list(&[("cpu", "2"), ("memory", "1Mi")]));
}

#[test]
fn what_is_refused() {
    let check = |item: LimitRangeItem, expected: &[&str]| assert_eq!(refused(range(item)), expected);
    check(
        LimitRangeItem {
            type_: LimitType::Pod,
            min: list(&[("cpu", "2")]),
            max: list(&[("cpu", "1")]),
            default: list(&[("cpu", "1")]),
            ..Default::default()
        },
        &[
            "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'",
            r#"spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1"#,
        ],
    );
    check(
        LimitRangeItem { type_: LimitType::PersistentVolumeClaim, ..Default::default() },
        &[
            "spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided",
        ],
    );
    check(
        LimitRangeItem {
            type_: LimitType::Container,
            min: list(&[("cpu", "100m")]),
            max: list(&[("cpu", "200m")]),
            max_limit_request_ratio: list(&[("cpu", "3")]),
            default_request: list(&[("cpu", "50m")]),
            ..Default::default()
        },
        &[
            r#"spec.limits[0].defaultRequest[cpu]: Invalid value: "50m": min value 100m is greater than default request value 50m"#,
            r#"spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "3": ratio 3 is greater than max/min = 2.000000"#,
        ],
    );
    check(
        LimitRangeItem { type_: "Node".into(), ..Default::default() },
        &[r#"spec.limits[0].type: Invalid value: "Node": must be a standard limit type or fully qualified"#],
    );
}
