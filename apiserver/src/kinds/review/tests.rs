//! Reviews against a small authorizer: what is asked, what is refused, what is answered.

use super::*;
use crate::authn::AuthnError;
use crate::authz::Rules;
use crate::request::{Attributes, Decision};
use api_types::authorization::v1::{
    FieldSelectorAttributes, NonResourceAttributes, ResourceAttributes, ResourceRule, SubjectAccessReviewSpec,
};
use api_types::kind::Resource;
use api_types::meta::v1::FieldSelectorRequirement;

/// Allows carol to get pods of n1, denies dave everything.
struct Fixed;

impl Authorizer for Fixed {
    fn authorize(&self, Attributes { user, info }: Attributes<'_>) -> Decision {
        match user.name.as_str() {
            "carol" if info.verb == "get" && info.resource == "pods" => {
                Decision::Allow(format!("fields {:?} version {:?}", info.field_selector, info.version))
            }
            "carol" if info.path == "/metrics" => Decision::Allow("path".into()),
            "dave" => Decision::Deny("never".into()),
            _ => Decision::NoOpinion("who?".into()),
        }
    }
    fn rules_for(&self, _: &User, namespace: &str) -> Rules {
        let rule = ResourceRule { verbs: vec![namespace.to_owned()], ..ResourceRule::default() };
        Rules {
            resource: vec![rule],
            incomplete: true,
            errors: vec!["a".into(), "b".into()],
            ..Rules::default()
        }
    }
}

fn user(name: &str) -> User {
    User { name: name.into(), ..User::default() }
}

fn pods() -> Option<Box<ResourceAttributes>> {
    Some(Box::new(ResourceAttributes { verb: "get".into(), resource: "pods".into(), ..Default::default() }))
}

/// The message of a refusal.
fn answer<T: Resource>(review: &mut T, caller: &str, namespace: &str) -> Result<(), String> {
    access_review(review, &user(caller), namespace, &Fixed).map_err(|e| e.status().message)
}

#[test]
fn callers_ask_for_themselves() {
    for (name, expected) in [
        ("carol", (true, false, r#"fields "" version "*""#)),
        ("dave", (false, true, "never")),
        ("erin", (false, false, "who?")),
    ] {
        let mut review = SelfSubjectAccessReview::default();
        review.spec.resource_attributes = pods();
        answer(&mut review, name, "").unwrap();
        let status = review.status;
        assert_eq!((status.allowed, status.denied, status.reason.as_str()), expected, "{name}");
    }
    let mut review = SelfSubjectAccessReview::default();
    let path = NonResourceAttributes { path: "/metrics".into(), verb: "get".into() };
    review.spec.non_resource_attributes = Some(Box::new(path));
    answer(&mut review, "carol", "").unwrap();
    assert!(review.status.allowed);
    review.spec.resource_attributes = pods();
    assert_eq!(
        answer(&mut review, "carol", "").unwrap_err(),
        concat!(
            r#".authorization.k8s.io "" is invalid: spec.nonResourceAttributes: Invalid value: "#,
            r#"{"path":"/metrics","verb":"get"}: cannot be specified in combination with resourceAttributes"#
        )
    );
}

#[test]
fn questions_about_others_name_them() {
    let mut review = SubjectAccessReview::default();
    assert_eq!(
        answer(&mut review, "x", "").unwrap_err(),
        concat!(
            r#".authorization.k8s.io "" is invalid: [spec.resourceAttributes: Invalid value: null: exactly one "#,
            r#"of nonResourceAttributes or resourceAttributes must be specified, spec.user: Invalid value: "": "#,
            "at least one of user or group must be specified]"
        )
    );
    review.spec = SubjectAccessReviewSpec {
        user: "carol".into(),
        resource_attributes: pods(),
        ..SubjectAccessReviewSpec::default()
    };
    answer(&mut review, "x", "").unwrap();
    assert!(review.status.allowed);
    review.metadata.name = "n".into();
    assert!(answer(&mut review, "x", "").unwrap_err().ends_with("must be empty"));
}

#[test]
fn local_reviews_stay_in_their_namespace() {
    let mut review = LocalSubjectAccessReview::default();
    review.metadata.namespace = "web".into();
    review.spec.user = "carol".into();
    review.spec.resource_attributes = pods();
    assert_eq!(
        answer(&mut review, "x", "web").unwrap_err(),
        concat!(
            r#".authorization.k8s.io "" is invalid: spec.resourceAttributes.namespace: Invalid value: "": "#,
            "must match metadata.namespace"
        )
    );
    review.spec.resource_attributes.as_mut().unwrap().namespace = "web".into();
    answer(&mut review, "x", "web").unwrap();
    assert!(review.status.allowed);
}

#[test]
fn selectors_reach_the_authorizers() {
    let ask = |raw: &str, requirements: &[(&str, &str)]| {
        let requirements = requirements.iter().map(|(operator, value)| FieldSelectorRequirement {
            key: "spec.nodeName".into(),
            operator: (*operator).into(),
            values: vec![(*value).to_owned()],
        });
        let selector =
            FieldSelectorAttributes { raw_selector: raw.into(), requirements: requirements.collect() };
        let mut review = SelfSubjectAccessReview::default();
        review.spec.resource_attributes = pods();
        review.spec.resource_attributes.as_mut().unwrap().field_selector = Some(Box::new(selector));
        answer(&mut review, "carol", "").map(|()| (review.status.reason, review.status.evaluation_error))
    };
    let fields = |text: &str| format!("fields {text:?} version \"*\"");
    let ignored = |how: &str| format!("spec.resourceAttributes.fieldSelector {how} due to parse error");
    assert_eq!(ask("spec.nodeName=n1", &[]), Ok((fields("spec.nodeName=n1"), String::new())));
    assert_eq!(ask("", &[("In", "n1")]), Ok((fields("spec.nodeName=n1"), String::new())));
    assert_eq!(
        ask("", &[("In", "n1"), ("Near", "n2")]),
        Ok((fields("spec.nodeName=n1"), ignored("partially ignored")))
    );
    assert_eq!(ask("nonsense", &[]), Ok((fields(""), ignored("ignored"))));
    assert!(ask("", &[]).unwrap_err().contains("requirements or rawSelector is required"));
}

#[test]
fn rules_are_listed_as_far_as_known() {
    let mut review = SelfSubjectRulesReview::default();
    assert_eq!(answer(&mut review, "carol", "").unwrap_err(), "no namespace on request");
    review.spec.namespace = "web".into();
    answer(&mut review, "carol", "").unwrap();
    assert_eq!(review.status.resource_rules[0].verbs, ["web"]);
    assert!(review.status.incomplete);
    assert_eq!(review.status.evaluation_error, "[a, b]");
}

/// Knows one token.
struct OneToken;

#[async_trait::async_trait]
impl crate::authn::TokenAuthenticator for OneToken {
    async fn authenticate(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<Option<crate::authn::Identity>, AuthnError> {
        let identity = crate::authn::Identity { user: user("robot"), audiences: audiences.to_vec() };
        Ok((token == "good").then_some(identity))
    }
}

#[tokio::test]
async fn tokens_are_told_apart() {
    let authenticator = Authenticator {
        front_proxy: None,
        x509: None,
        tokens: Some(std::sync::Arc::new(OneToken)),
        anonymous: crate::authn::Anonymous::everywhere(true),
        audiences: vec!["api".into()],
    };
    let review = async |text: &str| {
        let mut review = TokenReview::default();
        review.spec.token = text.into();
        token(&mut review, &authenticator).await.map(|()| review.status).map_err(|e| e.status().message)
    };
    let good = review("good").await.unwrap();
    assert!(good.authenticated && good.error.is_empty());
    assert_eq!(good.user.username, "robot");
    assert_eq!(good.user.groups, [User::AUTHENTICATED]);
    assert_eq!(good.audiences, ["api"]);
    let bad = review("bad").await.unwrap();
    assert!(!bad.authenticated);
    assert_eq!(bad.error, "invalid bearer token");
    assert_eq!(review("").await.unwrap_err(), "token is required for TokenReview in authentication");
}
