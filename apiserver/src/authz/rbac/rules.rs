//! Whether one rule allows one request.

use crate::request::RequestInfo;
use api_types::rbac::v1::PolicyRule;

/// Whether `rule` allows what `info` describes.
pub fn rule_allows(info: &RequestInfo, rule: &PolicyRule) -> bool {
    if !has_or_all(&rule.verbs, &info.verb) {
        return false;
    }
    if info.is_resource {
        has_or_all(&rule.api_groups, &info.group)
            && rule.resources.iter().any(|r| resource_matches(r, &info.resource, &info.subresource))
            && (rule.resource_names.is_empty() || rule.resource_names.contains(&info.name))
    } else {
        rule.non_resource_urls.iter().any(|url| url_matches(url, &info.path))
    }
}

fn has_or_all(allowed: &[String], asked: &str) -> bool {
    allowed.iter().any(|a| a == "*" || a == asked)
}

/// `pods`, `pods/log`, `*/scale` or `*`. `*` includes subresources; `pods` does not.
fn resource_matches(allowed: &str, resource: &str, subresource: &str) -> bool {
    if allowed == "*" {
        return true;
    }
    match allowed.split_once('/') {
        None => subresource.is_empty() && allowed == resource,
        Some((of, sub)) => !subresource.is_empty() && sub == subresource && (of == "*" || of == resource),
    }
}

/// A path, or the start of paths with `*` at the end.
pub(super) fn url_matches(allowed: &str, path: &str) -> bool {
    allowed == path || (allowed.ends_with('*') && path.starts_with(allowed.trim_end_matches('*')))
}
