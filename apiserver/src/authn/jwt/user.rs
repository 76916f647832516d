//! The user that a token's claims speak of, and whether claims and user are such as the rules ask for. Pure; errors
//! are upstream's.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::config::Jwt;
use super::validate::{Compiled, Rule};
use crate::cel::{Activation, Program, Value};
use crate::request::User;

/// Tells one token of a user from another.
const CREDENTIAL: &str = "authentication.kubernetes.io/credential-id";

/// The user of verified claims.
///
/// # Errors
/// When a claim is missing, or a rule does not hold.
pub fn of(own: &Jwt, compiled: &Compiled, claims: &Json) -> Result<User, String> {
    let user = User {
        name: name(own, compiled, claims)?,
        groups: groups(own, compiled, claims)?,
        uid: uid(own, compiled, claims)?,
        extra: extra(compiled, claims)?,
    };
    for rule in own.claim_validation_rules.iter().filter(|rule| !rule.claim.is_empty()) {
        let (claim, wanted) = (&rule.claim, &rule.required_value);
        if claims.get(claim).is_none() {
            return Err(format!("oidc: required claim {claim} not present in ID token"));
        }
        let got = text(claims, claim).map_err(|why| format!("oidc: parse claim {claim}: {why}"))?;
        if got != *wanted {
            return Err(format!(
                "oidc: required claim {claim} value does not match. Got = {got}, want = {wanted}"
            ));
        }
    }
    hold(&compiled.claim_rules, claims)
        .map_err(|why| format!("oidc: error evaluating claim validation expression: {why}"))?;
    let shown = json!({"username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra});
    hold(&compiled.user_rules, &shown)
        .map_err(|why| format!("oidc: error evaluating user info validation rule: {why}"))?;
    Ok(user)
}

/// A claim that has to be a text.
fn text(claims: &Json, name: &str) -> Result<String, String> {
    match claims.get(name) {
        None => Err("claim not present".to_owned()),
        Some(Json::String(text)) => Ok(text.clone()),
        // COMPAT: null is a text without letters.
        Some(Json::Null) => Ok(String::new()),
        Some(other) => Err(unfit(other, "string")),
    }
}

/// As Go's decoder words it.
fn unfit(value: &Json, wanted: &str) -> String {
    let kind = match value {
        Json::Bool(_) => "bool",
        Json::Number(_) => "number",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
        Json::String(_) => "string",
        Json::Null => "null",
    };
    format!("json: cannot unmarshal {kind} into Go value of type {wanted}")
}

fn eval<'p>(program: &'p Program, seen: &'p Json) -> Result<Value<'p>, String> {
    program.eval(&Activation::new(vec![Value::plain(seen)], &[])).0.map_err(|error| error.to_string())
}

fn name(own: &Jwt, compiled: &Compiled, claims: &Json) -> Result<String, String> {
    if let Some(program) = &compiled.username {
        let wrong = |why: String| format!("oidc: error evaluating username claim expression: {why}");
        return match eval(program, claims).map_err(wrong)? {
            Value::String(text) if text.is_empty() => {
                Err("oidc: empty username via CEL expression is not allowed".to_owned())
            }
            Value::String(text) => Ok(text.to_string()),
            _ => Err(wrong("username claim expression must return a string".to_owned())),
        };
    }
    let own = &own.claim_mappings.username;
    let claim = &own.claim;
    let name = text(claims, claim).map_err(|why| format!("oidc: parse username claims {claim:?}: {why}"))?;
    if claim == "email" {
        match claims.get("email_verified") {
            None | Some(Json::Bool(true)) => {}
            Some(Json::Bool(false) | Json::Null) => return Err("oidc: email not verified".to_owned()),
            Some(other) => {
                return Err(format!("oidc: parse 'email_verified' claim: {}", unfit(other, "bool")));
            }
        }
    }
    Ok(format!("{}{name}", own.prefix.as_deref().unwrap_or_default()))
}

fn groups(own: &Jwt, compiled: &Compiled, claims: &Json) -> Result<Vec<String>, String> {
    let mapping = &own.claim_mappings.groups;
    if let Some(value) = claims.get(&mapping.claim).filter(|_| !mapping.claim.is_empty()) {
        let one = |value: &Json| match value {
            Json::String(text) => Ok(text.clone()),
            Json::Null => Ok(String::new()),
            other => Err(unfit(other, "string")),
        };
        let all = match value {
            Json::Array(all) => all.iter().map(one).collect(),
            Json::Null => Ok(Vec::new()),
            other => one(other).map(|group| vec![group]),
        };
        let all: Vec<String> =
            // COMPAT: what is no list of texts is held to be one text.
            all.map_err(|_| format!("oidc: parse groups claim {:?}: {}", mapping.claim, unfit(value, "string")))?;
        let prefix = mapping.prefix.as_deref().unwrap_or_default();
        return Ok(all.into_iter().map(|group| format!("{prefix}{group}")).collect());
    }
    let Some(program) = &compiled.groups else { return Ok(Vec::new()) };
    eval(program, claims)
        .and_then(|value| texts(&value))
        .map_err(|why| format!("oidc: error evaluating group claim expression: {why}"))
}

fn uid(own: &Jwt, compiled: &Compiled, claims: &Json) -> Result<String, String> {
    let claim = &own.claim_mappings.uid.claim;
    if !claim.is_empty() {
        return text(claims, claim).map_err(|why| format!("oidc: parse uid claim {claim:?}: {why}"));
    }
    let Some(program) = &compiled.uid else { return Ok(String::new()) };
    let wrong = |why: String| format!("oidc: error evaluating uid claim expression: {why}");
    match eval(program, claims).map_err(wrong)? {
        Value::String(text) => Ok(text.to_string()),
        _ => Err(wrong("uid claim expression must return a string".to_owned())),
    }
}

fn extra(compiled: &Compiled, claims: &Json) -> Result<BTreeMap<String, Vec<String>>, String> {
    let mut extra = BTreeMap::new();
    if let Some(id) = claims.get("jti").and_then(Json::as_str).filter(|id| !id.is_empty()) {
        extra.insert(CREDENTIAL.to_owned(), vec![format!("JTI={id}")]);
    }
    for (key, expression, program) in &compiled.extra {
        let values = texts(&eval(program, claims)?)
            .map_err(|why| format!("oidc: error evaluating extra claim expression: {expression}: {why}"))?;
        if !values.is_empty() {
            extra.insert(key.clone(), values);
        }
    }
    Ok(extra)
}

/// A text or several; those without letters count as not there.
fn texts(value: &Value<'_>) -> Result<Vec<String>, String> {
    let wrong = || "expression must return a string or a list of strings".to_owned();
    let all = match value {
        Value::Null => Vec::new(),
        Value::String(text) => vec![text.to_string()],
        list => {
            let items = list.elements().ok_or_else(wrong)?;
            let text = |item: Value<'_>| match item {
                Value::String(text) => Ok(text.to_string()),
                _ => Err(wrong()),
            };
            items.into_iter().map(text).collect::<Result<_, _>>()?
        }
    };
    Ok(all.into_iter().filter(|text: &String| !text.is_empty()).collect())
}

fn hold(rules: &[Rule], seen: &Json) -> Result<(), String> {
    for rule in rules {
        match eval(&rule.program, seen)? {
            Value::Bool(true) => {}
            Value::Bool(false) => {
                let (expression, message) = (&rule.expression, &rule.message);
                return Err(format!("validation expression '{expression}' failed: {message}"));
            }
            _ => return Err("validation expression must return a boolean".to_owned()),
        }
    }
    Ok(())
}
