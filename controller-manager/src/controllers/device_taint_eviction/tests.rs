//! Who leaves its devices, and when.

use std::sync::Arc;
use std::time::Duration;

use api_types::resource::v1::{DeviceTaint, DeviceTaintEffect, DeviceToleration};
use api_types::value::Time;
use client::Key;
use client::controller::{Controller as _, Step};
use jiff::Timestamp;

use super::plan::{eviction, eviction_time};
use super::*;
use crate::cached::PodFacts;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn taint(key: &str, second: i64) -> DeviceTaint {
    DeviceTaint {
        key: key.into(),
        value: "v".into(),
        effect: DeviceTaintEffect::NoExecute,
        time_added: Some(Time(at(second))),
    }
}

fn toleration(key: &str, seconds: Option<i64>) -> DeviceToleration {
    DeviceToleration {
        key: key.into(),
        operator: "Exists".into(),
        effect: DeviceTaintEffect::NoExecute,
        toleration_seconds: seconds,
        ..DeviceToleration::default()
    }
}

#[test]
fn the_earliest_moment_counts() {
    let check = |affected: &[(DeviceTaint, Vec<DeviceToleration>)], expected: Option<i64>| {
        assert_eq!(eviction_time(affected), expected.map(at), "{affected:?}");
    };
    check(&[], None);
    check(&[(taint("a", 10), vec![])], Some(10));
    check(&[(taint("a", 10), vec![toleration("a", None)])], None);
    check(&[(taint("a", 10), vec![toleration("b", None)])], Some(10));
    check(&[(taint("a", 10), vec![toleration("a", Some(60)), toleration("", Some(30))])], Some(40));
    check(&[(taint("a", 10), vec![toleration("a", Some(-5))])], Some(10));
    check(&[(taint("a", 10), vec![toleration("a", Some(60))]), (taint("b", 20), vec![])], Some(20));
    let equal =
        |value: &str| DeviceToleration { operator: "".into(), value: value.into(), ..toleration("a", None) };
    check(&[(taint("a", 10), vec![equal("v")])], None);
    check(&[(taint("a", 10), vec![equal("w")])], Some(10));
    let no_effect = DeviceToleration { effect: DeviceTaintEffect::Unset, ..toleration("a", None) };
    check(&[(taint("a", 10), vec![no_effect])], Some(10));
}

fn view(affected: Vec<(DeviceTaint, Vec<DeviceToleration>)>, due: bool) -> View {
    let pod = Arc::new(PodFacts { uid: "u".into(), node: "n".into(), ..PodFacts::default() });
    View { key: Key::new("ns", "p"), pod, affected, due }
}

#[test]
fn a_pod_goes_when_its_seconds_are_over() {
    let view_of = view(vec![(taint("a", 10), vec![toleration("a", Some(50))])], false);
    let early = DeviceTaintEviction::plan(&view_of, at(20));
    assert!(matches!(&early.steps[..], [Step::Own(Own::Due(_))]), "{early:?}");
    assert_eq!(early.again, Some(Duration::from_secs(40)));
    let late = DeviceTaintEviction::plan(&view_of, at(60));
    assert!(matches!(&late.steps[..], [Step::Own(Own::Evict { .. })]), "{late:?}");
    let done = eviction(&view_of.key, "u", at(60));
    let done: Vec<String> = done.actions().iter().map(|a| a.effect.describe()).collect();
    assert_eq!(done, ["patch/status Pod ns/p", "delete Pod ns/p"]);
}

#[test]
fn when_the_taints_are_gone_it_stays() {
    let plan = DeviceTaintEviction::plan(&view(Vec::new(), true), at(0));
    assert!(matches!(&plan.steps[..], [Step::Tell(_), Step::Own(Own::Stays(_))]), "{plan:?}");
    assert!(DeviceTaintEviction::plan(&view(Vec::new(), false), at(0)).is_nothing());
}
