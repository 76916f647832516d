//! Who may write which part of a claim's status (KEP-5677): its allocation and its users need
//! `resourceclaims/binding`, what a driver says of its devices needs `resourceclaims/driver` by the driver's
//! name, for the claims of one's own node (`associated-node:update`) or of any (`arbitrary-node:update`).
//!
//! Neither is a subresource that anybody serves: they are names for rules. `questions` is pure; `check` asks the
//! authorizer. The right to `resourceclaims/status` was asked for before.

use std::collections::BTreeSet;

use api_types::field::{Errors, Path};
use api_types::kind::Object;
use api_types::resource::v1::{AllocatedDeviceStatus, AllocationResult, ResourceClaim, ResourceClaimStatus};

use crate::authz::{Authorizer, forbidden};
use crate::request::{Attributes, Decision, RequestInfo, User};

/// In the tokens of pods: where they run.
const NODE: &str = "authentication.kubernetes.io/node-name";

/// Rights of which one is needed, and what the lack of all of them is called.
struct Question {
    path: Path,
    any_of: Vec<RequestInfo>,
    needs: String,
}

/// Holds a change of a claim's status against the rights of who makes it. `new` is as it will be stored.
pub fn check(
    authorizer: &dyn Authorizer,
    (user, info): (&User, &RequestInfo),
    (new, old): (&dyn Object, &dyn Object),
    errors: &mut Errors,
) {
    let (Some(new), Some(old)) = (status(new), status(old)) else { return };
    for question in questions(user, info, new, old) {
        let mut first = None;
        let allowed = question.any_of.iter().any(|info| {
            let attributes = Attributes { user, info };
            match authorizer.authorize(attributes) {
                Decision::Allow(_) => true,
                Decision::Deny(reason) | Decision::NoOpinion(reason) => {
                    first.get_or_insert_with(|| forbidden(attributes, &reason).status().message);
                    false
                }
            }
        });
        if let Some(why) = first.filter(|_| !allowed) {
            errors.forbidden(&question.path, format!("{} permission: {why}", question.needs));
        }
    }
}

fn status(object: &dyn Object) -> Option<&ResourceClaimStatus> {
    object.as_any().downcast_ref::<ResourceClaim>().map(|claim| &claim.status)
}

fn questions(
    user: &User,
    info: &RequestInfo,
    new: &ResourceClaimStatus,
    old: &ResourceClaimStatus,
) -> Vec<Question> {
    let (status, verb) = (Path::new("status"), info.verb.as_str());
    let mut all = Vec::new();
    if new.allocation != old.allocation || new.reserved_for != old.reserved_for {
        let needed = RequestInfo {
            subresource: "binding".into(),
            namespace: String::new(),
            name: String::new(),
            ..info.clone()
        };
        all.push(Question {
            path: status.child("allocation"),
            any_of: vec![needed],
            needs: format!(
                "changing status.allocation or status.reservedFor requires resource=\"resourceclaims/binding\", verb={verb:?}"
            ),
        });
    }
    // What is given back takes along what drivers said of it.
    let Some(allocation) = &new.allocation else { return all };
    let near = node_of(allocation).is_some_and(|node| runs_on(user, node));
    let verbs: Vec<String> = [("associated-node", near), ("arbitrary-node", true)]
        .into_iter()
        .filter(|(_, may)| *may)
        .map(|(prefix, _)| format!("{prefix}:{verb}"))
        .collect();
    let listed = verbs.join(" ");
    all.extend(drivers(new, old).into_iter().map(|driver| {
        Question {
            path: status.child("devices"),
            any_of: verbs
                .iter()
                .map(|verb| RequestInfo {
                    subresource: "driver".into(),
                    name: driver.to_owned(),
                    verb: verb.clone(),
                    ..info.clone()
                })
                .collect(),
            needs: format!(
                "changing status.devices requires resource=\"resourceclaims/driver\", verb=\"[{listed}]\""
            ),
        }
    }));
    all
}

/// The drivers of what came, went or changed.
fn drivers<'a>(new: &'a ResourceClaimStatus, old: &'a ResourceClaimStatus) -> BTreeSet<&'a str> {
    let unlike = |all: &'a [AllocatedDeviceStatus], others: &'a [AllocatedDeviceStatus]| {
        let same =
            |one: &AllocatedDeviceStatus| others.iter().any(|other| other.id() == one.id() && other == one);
        all.iter().filter(move |one| !same(one)).map(|one| one.driver.as_str())
    };
    unlike(&new.devices, &old.devices).chain(unlike(&old.devices, &new.devices)).collect()
}

/// The one node that an allocation is for, in the way that allocations say it.
fn node_of(allocation: &AllocationResult) -> Option<&str> {
    let [term] = allocation.node_selector.as_ref()?.node_selector_terms.as_slice() else { return None };
    let [field] = term.match_fields.as_slice() else { return None };
    let [node] = field.values.as_slice() else { return None };
    let named =
        term.match_expressions.is_empty() && field.key == "metadata.name" && field.operator.as_str() == "In";
    (named && !node.is_empty()).then_some(node)
}

/// Whether the user is a service account whose pod runs on the node.
fn runs_on(user: &User, node: &str) -> bool {
    let is_account =
        user.name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':')).is_some_and(
            |(namespace, name)| !namespace.is_empty() && !name.is_empty() && !name.contains(':'),
        );
    is_account && user.extra.get(NODE).is_some_and(|names| matches!(names.as_slice(), [own] if own == node))
}

#[cfg(test)]
mod tests {
    use api_types::codec::json;

    use super::*;
    use crate::authz::Rules;

    /// Allows what is written as `verb subresource namespace name`.
    struct Allows(&'static [&'static str]);

    impl Authorizer for Allows {
        fn authorize(&self, attributes: Attributes<'_>) -> Decision {
            let info = attributes.info;
            let asked = format!("{} {} {:?} {:?}", info.verb, info.subresource, info.namespace, info.name);
            match self.0.contains(&asked.as_str()) {
                true => Decision::Allow(String::new()),
                false => Decision::NoOpinion("no rule".into()),
            }
        }
        fn rules_for(&self, _: &User, _: &str) -> Rules {
            Rules::default()
        }
    }

    const ALLOCATED: &str = r#""allocation":{"devices":{"results":[]},"nodeSelector":{"nodeSelectorTerms":[
        {"matchFields":[{"key":"metadata.name","operator":"In","values":["n1"]}]}]}}"#;

    fn claim(status: &str) -> ResourceClaim {
        json::from_slice(
            format!(r#"{{"metadata":{{"name":"c","namespace":"ns"}},"status":{{{status}}}}}"#).as_bytes(),
        )
        .expect("a claim")
    }

    fn device(driver: &str, more: &str) -> String {
        format!(r#"{{"driver":"{driver}","pool":"p","device":"d"{more}}}"#)
    }

    fn devices(all: &[String]) -> ResourceClaim {
        claim(&format!(r#"{ALLOCATED},"devices":[{}]"#, all.join(",")))
    }

    fn found(
        node: Option<&str>,
        may: &'static [&'static str],
        new: &ResourceClaim,
        old: &ResourceClaim,
    ) -> Vec<String> {
        let mut user = User { name: "system:serviceaccount:ns:driver".into(), ..User::default() };
        if let Some(node) = node {
            user.extra.insert(NODE.into(), vec![node.into()]);
        }
        let info = RequestInfo {
            is_resource: true,
            verb: "update".into(),
            group: "resource.k8s.io".into(),
            resource: "resourceclaims".into(),
            subresource: "status".into(),
            namespace: "ns".into(),
            name: "c".into(),
            ..RequestInfo::default()
        };
        let mut errors = Errors::default();
        check(&Allows(may), (&user, &info), (new, old), &mut errors);
        errors.0.iter().map(ToString::to_string).collect()
    }

    const NONE: [String; 0] = [];

    #[test]
    fn allocations_and_users_need_the_right_to_bind() {
        let (free, allocated) = (claim(""), claim(ALLOCATED));
        let reserved = claim(r#""reservedFor":[{"resource":"pods","name":"p","uid":"u"}]"#);
        let refused = "status.allocation: Forbidden: changing status.allocation or status.reservedFor requires \
            resource=\"resourceclaims/binding\", verb=\"update\" permission: resourceclaims.resource.k8s.io is \
            forbidden: User \"system:serviceaccount:ns:driver\" cannot update resource \
            \"resourceclaims/binding\" in API group \"resource.k8s.io\" at the cluster scope: no rule";
        for changed in [&allocated, &reserved] {
            assert_eq!(found(None, &[], changed, &free), [refused]);
            assert_eq!(found(None, &[], &free, changed), [refused]);
            assert_eq!(found(None, &[r#"update binding "" """#], changed, &free), NONE);
            assert_eq!(found(None, &[], changed, changed), NONE);
        }
    }

    #[test]
    fn what_drivers_say_needs_a_right_by_driver_and_node() {
        let (before, after) = (devices(&[device("a", "")]), devices(&[device("a", r#","data":{"k":1}"#)]));
        let refused = |verbs: &str, first: &str| {
            format!(
                "status.devices: Forbidden: changing status.devices requires resource=\"resourceclaims/driver\", \
                verb=\"[{verbs}]\" permission: resourceclaims.resource.k8s.io \"a\" is forbidden: User \
                \"system:serviceaccount:ns:driver\" cannot {first} resource \"resourceclaims/driver\" in API group \
                \"resource.k8s.io\" in the namespace \"ns\": no rule"
            )
        };
        let any = "arbitrary-node:update";
        assert_eq!(found(None, &[], &after, &before), [refused(any, any)]);
        assert_eq!(found(Some("n2"), &[], &after, &before), [refused(any, any)]);
        let both = "associated-node:update arbitrary-node:update";
        assert_eq!(found(Some("n1"), &[], &after, &before), [refused(both, "associated-node:update")]);
        let near: &[&str] = &[r#"associated-node:update driver "ns" "a""#];
        assert_eq!(found(Some("n1"), near, &after, &before), NONE);
        assert_eq!(found(Some("n2"), near, &after, &before), [refused(any, any)]);
        assert_eq!(found(None, &[r#"arbitrary-node:update driver "ns" "a""#], &after, &before), NONE);
    }

    #[test]
    fn each_driver_whose_devices_differ_is_asked_about() {
        let check = |new: &[String], old: &[String], expected: &[&str]| {
            let (new, old) = (devices(new), devices(old));
            assert_eq!(drivers(&new.status, &old.status).into_iter().collect::<Vec<_>>(), expected);
        };
        let (a, b) = (device("a", ""), device("b", ""));
        check(&[a.clone(), b.clone()], &[b.clone(), a.clone()], &[]);
        check(&[a.clone(), b.clone()], std::slice::from_ref(&a), &["b"]);
        check(std::slice::from_ref(&a), &[a.clone(), b.clone()], &["b"]);
        check(&[device("a", r#","shareID":"s""#)], std::slice::from_ref(&a), &["a"]);
        check(&[device("a", r#","data":{}"#)], &[b], &["a", "b"]);
        // Without an allocation nothing is asked about devices.
        assert_eq!(found(None, &[r#"update binding "" """#], &claim(""), &devices(&[a])), NONE);
    }
}
