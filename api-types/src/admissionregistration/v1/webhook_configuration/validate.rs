//! What is refused in a configuration of webhooks. What an older one was allowed stays allowed in an update.

use super::Webhook;
use crate::field::{Errors, Path};
use crate::meta::v1::LabelSelector;
use crate::names;
use crate::selector;
use crate::value::Value;
use crate::webhook::{validate_service, validate_url};

const REVIEWS: [&str; 2] = ["v1", "v1beta1"];
const RESERVED_SUFFIX: &str = ".static.k8s.io";
const MOST_CONDITIONS: usize = 64;

/// What an old object has and a new one may not.
struct Lenient {
    side_effects: bool,
    reviews: bool,
    names: bool,
    label_values: bool,
    conditions: bool,
}

pub(super) fn create(hooks: &[Webhook<'_>], errors: &mut Errors) {
    let strict =
        Lenient { side_effects: false, reviews: false, names: false, label_values: false, conditions: false };
    check(hooks, &strict, errors);
}

pub(super) fn update(hooks: &[Webhook<'_>], old: &[Webhook<'_>], errors: &mut Errors) {
    let mut seen = std::collections::BTreeSet::new();
    let lenient = Lenient {
        side_effects: !old.iter().all(|hook| {
            hook.side_effects.is_some_and(|class| matches!(class.as_str(), "None" | "NoneOnDryRun"))
        }),
        reviews: old.iter().any(|hook| {
            let versions = hook.admission_review_versions;
            !versions.is_empty() && !versions.iter().any(|version| REVIEWS.contains(&version.as_str()))
        }),
        names: !old.iter().all(|hook| seen.insert(hook.name)),
        label_values: old.iter().flat_map(selectors).any(|(_, selector)| {
            let mut errors = Errors::default();
            selector::validate(selector, &Path::new("selector"), &mut errors);
            !errors.is_empty()
        }),
        conditions: hooks.len() == old.len()
            && hooks.iter().zip(old).all(|(new, old)| new.match_conditions == old.match_conditions),
    };
    check(hooks, &lenient, errors);
}

pub(super) fn warnings(name: &str) -> Vec<String> {
    if !name.ends_with(RESERVED_SUFFIX) {
        return Vec::new();
    }
    vec![format!(
        "metadata.name: names ending with {RESERVED_SUFFIX:?} are reserved for static manifest-based configurations and cannot be managed via the API"
    )]
}

fn selectors<'a>(hook: &Webhook<'a>) -> impl Iterator<Item = (&'static str, &'a LabelSelector)> + use<'a> {
    let both = [("namespaceSelector", hook.namespace_selector), ("objectSelector", hook.object_selector)];
    both.into_iter().filter_map(|(name, selector)| Some((name, selector?)))
}

fn check(hooks: &[Webhook<'_>], lenient: &Lenient, errors: &mut Errors) {
    let mut seen = std::collections::BTreeSet::new();
    for (n, hook) in hooks.iter().enumerate() {
        let path = Path::new("webhooks").index(n);
        one(hook, lenient, &path, errors);
        reviews(hook.admission_review_versions, lenient, &path.child("admissionReviewVersions"), errors);
        if !lenient.names && !hook.name.is_empty() && !seen.insert(hook.name) {
            errors.duplicate(&path.child("name"), hook.name);
        }
    }
}

fn one(hook: &Webhook<'_>, lenient: &Lenient, path: &Path, errors: &mut Errors) {
    name(hook.name, &path.child("name"), errors);
    for (n, rule) in hook.rules.iter().enumerate() {
        rule.validate(&path.child("rules").index(n), errors);
    }
    if let Some(policy) = hook.failure_policy {
        errors.choice(&path.child("failurePolicy"), policy.as_str(), &["Fail", "Ignore"]);
    }
    if let Some(policy) = hook.match_policy {
        errors.choice(&path.child("matchPolicy"), policy.as_str(), &["Equivalent", "Exact"]);
    }
    let allowed: &[&str] = match lenient.side_effects {
        true => &["None", "NoneOnDryRun", "Some", "Unknown"],
        false => &["None", "NoneOnDryRun"],
    };
    let side_effects = path.child("sideEffects");
    match hook.side_effects {
        None => errors.required(&side_effects, format!("must specify one of {}", allowed.join(", "))),
        Some(class) => errors.choice(&side_effects, class.as_str(), allowed),
    }
    if let Some(seconds) = hook.timeout_seconds.filter(|seconds| !(1..=30).contains(seconds)) {
        let text = "the timeout value must be between 1 and 30 seconds";
        errors.invalid(&path.child("timeoutSeconds"), seconds, text);
    }
    for (name, selector) in selectors(hook) {
        let mut found = Errors::default();
        selector::validate(selector, &path.child(name), &mut found);
        let kept =
            found.0.into_iter().filter(|e| !(lenient.label_values && e.path.as_str().contains(".values[")));
        errors.0.extend(kept);
    }
    if let Some(policy) = hook.reinvocation_policy {
        errors.choice(&path.child("reinvocationPolicy"), policy.as_str(), &["IfNeeded", "Never"]);
    }
    let client = path.child("clientConfig");
    match (&hook.client_config.url, &hook.client_config.service) {
        (Some(url), None) => validate_url(url, &client.child("url"), errors),
        (None, Some(service)) => validate_service(
            &service.namespace,
            &service.name,
            service.path.as_deref(),
            service.port.unwrap_or_default(),
            &client.child("service"),
            errors,
        ),
        _ => errors.required(&client, "exactly one of url or service is required"),
    }
    if !lenient.conditions {
        conditions(hook, &path.child("matchConditions"), errors);
    }
}

fn name(name: &str, path: &Path, errors: &mut Errors) {
    if name.is_empty() {
        errors.required(path, "");
        return;
    }
    let wrong = names::dns1123_subdomain(name);
    if !wrong.is_empty() {
        errors.invalid(path, name, wrong.join(","));
    } else if name.split('.').count() < 3 {
        errors.invalid(path, name, "should be a domain with at least three segments separated by dots");
    }
}

fn reviews(versions: &[String], lenient: &Lenient, path: &Path, errors: &mut Errors) {
    if versions.is_empty() {
        errors.required(path, format!("must specify one of {}", REVIEWS.join(", ")));
        return;
    }
    for (n, version) in versions.iter().enumerate() {
        if versions[..n].contains(version) {
            errors.invalid(&path.index(n), version, "duplicate version");
            continue;
        }
        errors.wrong(&path.index(n), version, names::dns1035_label(version));
    }
    if !lenient.reviews && !versions.iter().any(|version| REVIEWS.contains(&version.as_str())) {
        let text = format!("must include at least one of {}", REVIEWS.join(", "));
        errors.invalid(path, &versions.to_vec() as &dyn Value, text);
    }
}

/// Whether expressions compile is the server's to say.
fn conditions(hook: &Webhook<'_>, path: &Path, errors: &mut Errors) {
    let conditions = hook.match_conditions;
    if conditions.len() > MOST_CONDITIONS {
        errors.too_many(path, conditions.len(), MOST_CONDITIONS);
    }
    for (n, condition) in conditions.iter().enumerate() {
        let path = path.index(n);
        if condition.expression.trim().is_empty() {
            errors.required(&path.child("expression"), "");
        }
        let name = path.child("name");
        if condition.name.is_empty() {
            errors.required(&name, "");
            continue;
        }
        errors.wrong(&name, &condition.name, names::qualified_name(&condition.name));
        if conditions[..n].iter().any(|other| other.name == condition.name) {
            errors.duplicate(&name, &condition.name);
        }
    }
}
