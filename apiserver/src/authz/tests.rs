//! The union of authorizers, its flag, and the texts of refusals.

use super::*;
use crate::request::RequestInfo;
use std::sync::Arc;

struct Fixed(Decision);

impl Authorizer for Fixed {
    fn authorize(&self, _: Attributes<'_>) -> Decision {
        self.0.clone()
    }
    fn rules_for(&self, _: &User, _: &str) -> Rules {
        Rules { incomplete: true, ..Rules::default() }
    }
}

fn union(decisions: &[Decision]) -> Union {
    Union::new(decisions.iter().map(|d| Arc::new(Fixed(d.clone())) as Arc<dyn Authorizer>).collect())
}

#[test]
fn the_first_with_an_opinion_decides() {
    let none = |reason: &str| Decision::NoOpinion(reason.into());
    let allow = || Decision::Allow("a".into());
    let deny = || Decision::Deny("d".into());
    let cases = [
        (vec![none("one"), allow(), deny()], allow()),
        (vec![none("one"), deny(), allow()], Decision::Deny("one\nd".into())),
        (vec![none("one"), none(""), none("two")], none("one\ntwo")),
        (vec![], none("")),
    ];
    let (user, info) = (User::default(), RequestInfo::default());
    for (given, expected) in cases {
        assert_eq!(union(&given).authorize(Attributes { user: &user, info: &info }), expected, "{given:?}");
    }
}

#[test]
fn masters_pass_before_anyone_is_asked() {
    let user = User { groups: vec![User::MASTERS.into()], ..User::default() };
    let attributes = Attributes { user: &user, info: &RequestInfo::default() };
    let decision = union(&[Decision::Deny("no".into())]).authorize(attributes);
    assert_eq!(decision, Decision::Allow(String::new()));
}

#[test]
fn the_flag_keeps_its_order() {
    assert_eq!(parse_modes(&["Node", "RBAC"]), Ok(vec![Mode::Node, Mode::Rbac]));
    let cases = [
        (vec![], "at least one authorization-mode must be passed"),
        (vec!["Nodes"], r#"authorization-mode "Nodes" is not a valid mode"#),
        (vec!["RBAC", "RBAC"], r#"authorization-mode "RBAC" has mode specified more than once"#),
        (vec!["RBAC", "Webhook"], r#"authorization-mode "Webhook" is not supported yet"#),
    ];
    for (given, text) in cases {
        assert_eq!(parse_modes(&given).expect_err(text).to_string(), text);
    }
}

#[test]
fn refusals_read_as_upstreams() {
    let info = |verb: &str, group: &str, resource: &str, sub: &str, ns: &str, name: &str| RequestInfo {
        is_resource: true,
        verb: verb.into(),
        group: group.into(),
        resource: resource.into(),
        subresource: sub.into(),
        namespace: ns.into(),
        name: name.into(),
        ..RequestInfo::default()
    };
    let path = RequestInfo { verb: "get".into(), path: "/metrics".into(), ..RequestInfo::default() };
    let cases = [
        (
            info("list", "", "pods", "", "default", ""),
            "",
            r#"pods is forbidden: User "x" cannot list resource "pods" in API group "" in the namespace "default""#,
        ),
        (
            info("get", "apps", "deployments", "scale", "", "web"),
            "RBAC: no",
            concat!(
                r#"deployments.apps "web" is forbidden: User "x" cannot get resource "deployments/scale" "#,
                r#"in API group "apps" at the cluster scope: RBAC: no"#
            ),
        ),
        (path, "", r#"forbidden: User "x" cannot get path "/metrics""#),
    ];
    let user = User { name: "x".into(), ..User::default() };
    for (info, reason, expected) in cases {
        let status = forbidden(Attributes { user: &user, info: &info }, reason).status();
        assert_eq!((status.code, status.message.as_str()), (403, expected));
    }
}
