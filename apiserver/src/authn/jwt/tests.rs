//! What a configuration may be, and whom tokens are for.

use std::path::Path;

use serde_json::{Value as Json, json};

use super::config::{ClaimRule, Configuration, Extra, Jwt, Prefixed, UserRule};
use super::{check, user};
use crate::request::User;

fn jwt() -> Jwt {
    let mut own = Jwt::default();
    own.issuer.url = "https://issuer.example.com".into();
    own.issuer.audiences = vec!["kubernetes".into()];
    own.claim_mappings.username = claim("sub", "");
    own
}

fn claim(name: &str, prefix: &str) -> Prefixed {
    Prefixed { claim: name.into(), prefix: Some(prefix.into()), ..Prefixed::default() }
}

fn expression(text: &str) -> Prefixed {
    Prefixed { expression: text.into(), ..Prefixed::default() }
}

fn told(change: impl FnOnce(&mut Jwt)) -> String {
    let mut own = jwt();
    change(&mut own);
    let own = Configuration { jwt: vec![own], anonymous: None };
    check(&own, &["https://kubernetes.default.svc".into()])
        .err()
        .map(|errors| errors.to_string())
        .unwrap_or_default()
}

#[test]
fn mistakes_are_told_as_upstream_tells_them() {
    assert_eq!(told(|_| ()), "");
    assert_eq!(told(|own| own.issuer.url.clear()), "jwt[0].issuer.url: Required value");
    assert_eq!(
        told(|own| own.issuer.url = "http://a".into()),
        "jwt[0].issuer.url: Invalid value: \"http://a\": URL scheme must be https"
    );
    assert_eq!(
        told(|own| own.issuer.url = "https://kubernetes.default.svc".into()),
        "jwt[0].issuer.url: Invalid value: \"https://kubernetes.default.svc\": URL must not overlap with disallowed \
         issuers: [https://kubernetes.default.svc]"
    );
    assert_eq!(
        told(|own| own.issuer.audiences.clear()),
        "jwt[0].issuer.audiences: Required value: at least one jwt[0].issuer.audiences is required"
    );
    assert_eq!(
        told(|own| own.issuer.audiences.push("b".into())),
        "jwt[0].issuer.audienceMatchPolicy: Invalid value: \"\": audienceMatchPolicy must be MatchAny for multiple \
         audiences"
    );
    assert_eq!(
        told(|own| own.claim_mappings.username.prefix = None),
        "jwt[0].claimMappings.username.prefix: Required value: prefix is required when claim is set. It can be set to \
         an empty string to disable prefixing"
    );
    assert_eq!(
        told(|own| own.claim_mappings.username = Prefixed::default()),
        "jwt[0].claimMappings.username: Required value: claim or expression is required"
    );
    assert!(
        told(|own| own.claim_mappings.username = expression("claims.email"))
            .contains("claims.email_verified must be")
    );
    let verified = "claims.email_verified ? claims.email : ''";
    assert_eq!(told(|own| own.claim_mappings.username = expression(verified)), "");
    let rule = |expression: &str| ClaimRule { expression: expression.into(), ..ClaimRule::default() };
    assert_eq!(
        told(|own| own.claim_validation_rules = vec![rule("claims.hd")]),
        "jwt[0].claimValidationRules[0].expression: Invalid value: \"claims.hd\": must evaluate to bool"
    );
    let extra = |key: &str| Extra { key: key.into(), value_expression: "claims.sub".into() };
    assert_eq!(
        told(|own| own.claim_mappings.extra = vec![extra("a.k8s.io/b")]),
        "jwt[0].claimMappings.extra[0].key: Invalid value: \"a.k8s.io/b\": k8s.io, kubernetes.io and their subdomains \
         are reserved for Kubernetes use"
    );
    let rule = |expression: &str| UserRule { expression: expression.into(), ..UserRule::default() };
    assert!(told(|own| own.user_validation_rules = vec![rule("user.nope")]).starts_with(
        "jwt[0].userValidationRules[0].expression: Invalid value: \"user.nope\": compilation failed: "
    ));
}

#[test]
fn files_are_read_strictly() {
    let parse = |body: &str| {
        let text =
            format!("apiVersion: apiserver.config.k8s.io/v1beta1\nkind: AuthenticationConfiguration\n{body}");
        Configuration::parse(&text, Path::new("a.yaml")).map_err(|error| error.to_string())
    };
    let own = parse(
        "anonymous: {enabled: true, conditions: [{path: /livez}]}\njwt: [{issuer: {url: u, discoveryURL: d}}]",
    );
    let own = own.expect("a configuration");
    assert_eq!((own.jwt[0].issuer.url.as_str(), own.jwt[0].issuer.discovery_url.as_str()), ("u", "d"));
    assert_eq!(own.anonymous.expect("anonymous").conditions[0].path, "/livez");
    assert!(parse("jwt: [{isuer: {}}]").expect_err("refused").contains("unknown field \"isuer\""));
}

fn of(change: impl FnOnce(&mut Jwt), claims: Json) -> Result<User, String> {
    let mut own = jwt();
    change(&mut own);
    let all = Configuration { jwt: vec![own.clone()], anonymous: None };
    let compiled = check(&all, &[]).unwrap_or_else(|errors| panic!("{errors}"));
    user::of(&own, &compiled[0], &claims)
}

#[test]
fn claims_make_a_user() {
    let user = of(
        |own| {
            own.claim_mappings.username = claim("email", "o:");
            own.claim_mappings.groups = claim("groups", "g:");
            own.claim_mappings.uid.claim = "sub".into();
        },
        json!({"sub": "1", "email": "jane@example.com", "email_verified": true, "groups": ["a", "b"], "jti": "x"}),
    );
    let user = user.expect("a user");
    assert_eq!((user.name.as_str(), user.uid.as_str()), ("o:jane@example.com", "1"));
    assert_eq!(user.groups, ["g:a", "g:b"]);
    assert_eq!(user.extra["authentication.kubernetes.io/credential-id"], ["JTI=x"]);

    let one =
        of(|own| own.claim_mappings.groups = claim("groups", ""), json!({"sub": "1", "groups": "solo"}));
    assert_eq!(one.expect("a user").groups, ["solo"]);
    let refused = of(
        |own| own.claim_mappings.username = claim("email", ""),
        json!({"email": "a@b", "email_verified": false}),
    );
    assert_eq!(refused, Err("oidc: email not verified".into()));
    assert_eq!(of(|_| (), json!({})), Err("oidc: parse username claims \"sub\": claim not present".into()));
}

#[test]
fn expressions_make_a_user_and_rules_judge() {
    let change = |own: &mut Jwt| {
        own.claim_mappings.username = expression("'u:' + claims.sub");
        own.claim_mappings.groups = expression("claims.roles.split(',')");
        own.claim_mappings.uid.expression = "claims.?uid.orValue('none')".into();
        own.claim_mappings.extra =
            vec![Extra { key: "example.com/tenant".into(), value_expression: "claims.tenant".into() }];
        own.claim_validation_rules = vec![
            ClaimRule { claim: "hd".into(), required_value: "example.com".into(), ..ClaimRule::default() },
            ClaimRule {
                expression: "claims.exp - claims.iat <= 86400".into(),
                message: "too long".into(),
                ..ClaimRule::default()
            },
        ];
        own.user_validation_rules = vec![UserRule {
            expression: "!user.username.startsWith('u:system:') && user.groups.all(g, g != 'root')".into(),
            message: "reserved".into(),
        }];
    };
    let claims = |sub: &str, roles: &str, iat: i64, hd: &str| json!({"sub": sub, "roles": roles, "tenant": "t", "hd": hd, "iat": iat, "exp": 100_000});
    let user = of(change, claims("jane", "a,,b", 50_000, "example.com")).expect("a user");
    assert_eq!((user.name.as_str(), user.uid.as_str()), ("u:jane", "none"));
    assert_eq!(user.groups, ["a", "b"]);
    assert_eq!(user.extra["example.com/tenant"], ["t"]);
    assert_eq!(
        of(change, claims("jane", "a", 0, "example.com")),
        Err("oidc: error evaluating claim validation expression: validation expression 'claims.exp - claims.iat <= \
             86400' failed: too long"
            .into())
    );
    assert_eq!(
        of(change, claims("jane", "a", 50_000, "other")),
        Err("oidc: required claim hd value does not match. Got = other, want = example.com".into())
    );
    let reserved = of(change, claims("system:x", "a", 50_000, "example.com")).expect_err("refused");
    assert!(reserved.ends_with("failed: reserved"), "{reserved}");
}
