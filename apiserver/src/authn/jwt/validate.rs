//! Whether an AuthenticationConfiguration can be used, in upstream's words; its expressions, compiled.

use std::sync::LazyLock;

use api_types::field::{Errors, Path};
use api_types::names;
use daemon::tls::Pem;

use super::config::{ClaimRule, Configuration, Issuer, Jwt, Mappings, Prefixed, UserRule};
use crate::cel::types::Decl;
use crate::cel::{CompileError, Env, Program, Type};

/// Expressions about the claims of a token.
static CLAIMS: LazyLock<Env> =
    LazyLock::new(|| Env::default().with("claims", Type::map(Type::String, Type::Any)));

/// Expressions about the user that a token is for.
static USER: LazyLock<Env> = LazyLock::new(|| {
    let text = Decl::string;
    let fields = [
        ("username", text()),
        ("uid", text()),
        ("groups", Decl::list(text(), None)),
        ("extra", Decl::map(Decl::list(text(), None), None)),
    ];
    let fields = fields.into_iter().map(|(name, decl)| (name.to_owned(), decl.into())).collect();
    Env::default().with_decl("user", &Decl::object("kubernetes.UserInfo", fields, 2).into(), false)
});

/// A condition, and what is said where it does not hold.
#[derive(Debug)]
pub struct Rule {
    pub expression: String,
    pub message: String,
    pub program: Program,
}

/// The expressions of one issuer.
#[derive(Debug, Default)]
pub struct Compiled {
    pub username: Option<Program>,
    pub groups: Option<Program>,
    pub uid: Option<Program>,
    /// Key, expression, program.
    pub extra: Vec<(String, String, Program)>,
    pub claim_rules: Vec<Rule>,
    pub user_rules: Vec<Rule>,
}

/// Checks all of it. `disallowed` are the issuers of service accounts.
///
/// # Errors
/// All mistakes.
pub fn check(own: &Configuration, disallowed: &[String]) -> Result<Vec<Compiled>, Errors> {
    const MOST: usize = 64;
    let mut errors = Errors::default();
    let root = Path::new("jwt");
    if own.jwt.len() > MOST {
        errors.too_many(&root, own.jwt.len(), MOST);
        return Err(errors);
    }
    let mut compiled = Vec::new();
    for (place, jwt) in own.jwt.iter().enumerate() {
        let path = root.index(place);
        compiled.push(one(jwt, &path, disallowed, &mut errors));
        let before = &own.jwt[..place];
        if before.iter().any(|other| other.issuer.url == jwt.issuer.url) {
            errors.duplicate(&path.child("issuer").child("url"), jwt.issuer.url.as_str());
        }
        let discovery = &jwt.issuer.discovery_url;
        if !discovery.is_empty() && before.iter().any(|other| other.issuer.discovery_url == *discovery) {
            errors.duplicate(&path.child("issuer").child("discoveryURL"), discovery.as_str());
        }
    }
    if let Some(anonymous) = &own.anonymous
        && !anonymous.enabled
        && !anonymous.conditions.is_empty()
    {
        let paths: Vec<&str> = anonymous.conditions.iter().map(|own| own.path.as_str()).collect();
        let text = "enabled should be set to true when conditions are defined";
        errors.invalid(&Path::new("anonymous").child("conditions"), paths.as_slice(), text);
    }
    if errors.is_empty() { Ok(compiled) } else { Err(errors) }
}

fn one(own: &Jwt, path: &Path, disallowed: &[String], errors: &mut Errors) -> Compiled {
    let mut compiled = Compiled::default();
    issuer(&own.issuer, disallowed, &path.child("issuer"), errors);
    claim_rules(&own.claim_validation_rules, &path.child("claimValidationRules"), errors, &mut compiled);
    mappings(&own.claim_mappings, &path.child("claimMappings"), errors, &mut compiled);
    user_rules(&own.user_validation_rules, &path.child("userValidationRules"), errors, &mut compiled);
    compiled
}

fn issuer(own: &Issuer, disallowed: &[String], path: &Path, errors: &mut Errors) {
    let at = path.child("url");
    if own.url.is_empty() {
        errors.required(&at, "");
    } else {
        url(&own.url, disallowed, &at, errors);
    }
    if !own.discovery_url.is_empty() {
        let at = path.child("discoveryURL");
        if !own.url.is_empty() && own.url.trim_end_matches('/') == own.discovery_url.trim_end_matches('/') {
            errors.invalid(&at, own.discovery_url.as_str(), "discoveryURL must be different from URL");
        }
        url(&own.discovery_url, &[], &at, errors);
    }
    audiences(own, path, errors);
    if !own.certificate_authority.is_empty() {
        let pem = Pem::Data(own.certificate_authority.clone().into_bytes());
        if pem.certificates().map_or(true, |found| found.is_empty()) {
            let text = "data does not contain any valid RSA or ECDSA certificates";
            errors.invalid(&path.child("certificateAuthority"), "<omitted>", text);
        }
    }
    if !matches!(own.egress_selector_type.as_str(), "" | "controlplane" | "cluster") {
        let text = "egress selector must be either controlplane or cluster";
        errors.invalid(&path.child("egressSelectorType"), own.egress_selector_type.as_str(), text);
    }
}

fn url(text: &str, disallowed: &[String], path: &Path, errors: &mut Errors) {
    if disallowed.iter().any(|other| other == text) {
        let mut all = disallowed.to_vec();
        all.sort();
        let why = format!("URL must not overlap with disallowed issuers: [{}]", all.join(" "));
        errors.invalid(path, text, why);
    }
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    if !scheme.eq_ignore_ascii_case("https") {
        errors.invalid(path, text, "URL scheme must be https");
    }
    let (before, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (before, query) = before.split_once('?').unwrap_or((before, ""));
    if before.split('/').next().is_some_and(|authority| authority.contains('@')) {
        errors.invalid(path, text, "URL must not contain a username or password");
    }
    if !query.is_empty() {
        errors.invalid(path, text, "URL must not contain a query");
    }
    if !fragment.is_empty() {
        errors.invalid(path, text, "URL must not contain a fragment");
    }
}

fn audiences(own: &Issuer, path: &Path, errors: &mut Errors) {
    let at = path.child("audiences");
    if own.audiences.is_empty() {
        errors.required(&at, format!("at least one {} is required", at.as_str()));
        return;
    }
    for (place, audience) in own.audiences.iter().enumerate() {
        let at = at.index(place);
        if audience.is_empty() {
            errors.required(&at, "");
        }
        if own.audiences[..place].contains(audience) {
            errors.duplicate(&at, audience.as_str());
        }
    }
    let policy = own.audience_match_policy.as_str();
    let at = path.child("audienceMatchPolicy");
    if own.audiences.len() > 1 && policy != "MatchAny" {
        errors.invalid(&at, policy, "audienceMatchPolicy must be MatchAny for multiple audiences");
    }
    if own.audiences.len() == 1 && !matches!(policy, "" | "MatchAny") {
        errors.invalid(&at, policy, "audienceMatchPolicy must be empty or MatchAny for single audience");
    }
}

fn claim_rules(rules: &[ClaimRule], path: &Path, errors: &mut Errors, compiled: &mut Compiled) {
    for (place, rule) in rules.iter().enumerate() {
        let (path, before) = (path.index(place), &rules[..place]);
        match (rule.claim.as_str(), rule.expression.as_str()) {
            ("", "") => errors.required(&path, "claim or expression is required"),
            (claim, "") => {
                if !rule.message.is_empty() {
                    let text = "may not be specified when claim is set";
                    errors.invalid(&path.child("message"), rule.message.as_str(), text);
                }
                if before.iter().any(|other| other.claim == claim) {
                    errors.duplicate(&path.child("claim"), claim);
                }
            }
            ("", expression) => {
                if !rule.required_value.is_empty() {
                    let text = "may not be specified when expression is set";
                    errors.invalid(&path.child("requiredValue"), rule.required_value.as_str(), text);
                }
                let at = path.child("expression");
                if before.iter().any(|other| other.expression == expression) {
                    errors.duplicate(&at, expression);
                    continue;
                }
                let program = compile(&CLAIMS, expression, true, &at, errors);
                compiled.claim_rules.extend(program.map(|program| Rule {
                    expression: expression.to_owned(),
                    message: rule.message.clone(),
                    program,
                }));
            }
            (claim, _) => errors.invalid(&path, claim, "claim and expression can't both be set"),
        }
    }
}

fn mappings(own: &Mappings, path: &Path, errors: &mut Errors, compiled: &mut Compiled) {
    const BOTH: &str = "claim and expression can't both be set";
    let before = errors.0.len();
    compiled.username = prefixed(&own.username, &path.child("username"), true, errors);
    let username_fits = errors.0.len() == before;
    compiled.groups = prefixed(&own.groups, &path.child("groups"), false, errors);
    let at = path.child("uid");
    match (own.uid.claim.is_empty(), own.uid.expression.is_empty()) {
        (false, false) => errors.invalid(&at, "", BOTH),
        (_, false) => {
            compiled.uid = compile(&CLAIMS, &own.uid.expression, false, &at.child("expression"), errors);
        }
        _ => {}
    }
    for (place, extra) in own.extra.iter().enumerate() {
        let path = path.child("extra").index(place);
        let (at, key) = (path.child("key"), extra.key.as_str());
        domain_prefixed(key, &at, errors);
        if key != key.to_lowercase() {
            errors.invalid(&at, key, "must be lowercase");
        }
        let domain = key.split_once('/').map_or("", |(domain, _)| domain);
        let is_ours =
            |of: &str| domain.strip_suffix(of).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        if is_ours("kubernetes.io") || is_ours("k8s.io") {
            let text = "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use";
            errors.invalid(&at, key, text);
        }
        if own.extra[..place].iter().any(|other| other.key == key) {
            errors.duplicate(&at, key);
            continue;
        }
        let (at, expression) = (path.child("valueExpression"), extra.value_expression.as_str());
        if expression.is_empty() {
            errors.required(&at, "");
            continue;
        }
        let program = compile(&CLAIMS, expression, false, &at, errors);
        compiled.extra.extend(program.map(|program| (key.to_owned(), expression.to_owned(), program)));
    }
    let email = compiled.username.as_ref().is_some_and(|program| program.selects("claims", "email"));
    let verified = |program: &Program| program.selects("claims", "email_verified");
    let is_verified = compiled.username.as_ref().is_some_and(verified)
        || compiled.extra.iter().any(|(_, _, program)| verified(program))
        || compiled.claim_rules.iter().any(|rule| verified(&rule.program));
    if username_fits && email && !is_verified {
        let text = "claims.email_verified must be used in claimMappings.username.expression or \
                    claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is \
                    used in claimMappings.username.expression";
        let at = path.child("username").child("expression");
        errors.invalid(&at, own.username.expression.as_str(), text);
    }
}

fn prefixed(own: &Prefixed, path: &Path, required: bool, errors: &mut Errors) -> Option<Program> {
    match (own.claim.as_str(), own.expression.as_str()) {
        ("", "") if required => errors.required(path, "claim or expression is required"),
        ("", "") => {}
        ("", expression) => {
            if let Some(prefix) = &own.prefix {
                let text = "may not be specified when expression is set";
                errors.invalid(&path.child("prefix"), prefix.as_str(), text);
            }
            return compile(&CLAIMS, expression, false, &path.child("expression"), errors);
        }
        (_, "") => {
            if own.prefix.is_none() {
                let text = "prefix is required when claim is set. It can be set to an empty string to disable prefixing";
                errors.required(&path.child("prefix"), text);
            }
        }
        _ => errors.invalid(path, "", "claim and expression can't both be set"),
    }
    None
}

fn user_rules(rules: &[UserRule], path: &Path, errors: &mut Errors, compiled: &mut Compiled) {
    for (place, rule) in rules.iter().enumerate() {
        let (at, expression) = (path.index(place).child("expression"), rule.expression.as_str());
        if expression.is_empty() {
            errors.required(&at, "");
            continue;
        }
        if rules[..place].iter().any(|other| other.expression == expression) {
            errors.duplicate(&at, expression);
            continue;
        }
        let program = compile(&USER, expression, true, &at, errors);
        compiled.user_rules.extend(program.map(|program| Rule {
            expression: expression.to_owned(),
            message: rule.message.clone(),
            program,
        }));
    }
}

/// `bool` says that it has to be a condition.
fn compile(env: &Env, expression: &str, bool: bool, path: &Path, errors: &mut Errors) -> Option<Program> {
    let program = env
        .compile(expression)
        .map_err(|error: CompileError| format!("compilation failed: {error}"))
        .and_then(|program| match bool && *program.ty() != Type::Bool {
            true => Err("must evaluate to bool".to_owned()),
            false => Ok(program),
        });
    program.map_err(|text| errors.invalid(path, expression, text)).ok()
}

fn domain_prefixed(key: &str, path: &Path, errors: &mut Errors) {
    const PATH: &str = r#"^[A-Za-z0-9/\-._~%!$&'()*+,;=:]+$"#;
    if key.is_empty() {
        errors.required(path, "");
        return;
    }
    let Some((domain, rest)) =
        key.split_once('/').filter(|(domain, rest)| !domain.is_empty() && !rest.is_empty())
    else {
        errors.invalid(path, key, "must be a domain-prefixed path (such as \"acme.io/foo\")");
        return;
    };
    errors.wrong(path, domain, names::dns1123_subdomain(domain));
    let fits = |c: char| c.is_ascii_alphanumeric() || "/-._~%!$&'()*+,;=:".contains(c);
    if !rest.chars().all(fits) {
        errors.invalid(path, rest, format!("Invalid path (regex used for validation is '{PATH}')"));
    }
}
