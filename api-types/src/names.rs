//! Rules for names, labels and annotations; the texts are upstream's.
//!
//! Each check gives the list of what is wrong, empty when nothing is
//! (API docs "Object Names and IDs", "Labels and Selectors").

use crate::field::{Errors, Path};
use regex::Regex;
use std::collections::BTreeMap;
use std::sync::LazyLock;

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const LABEL_TEXT: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
const SUBDOMAIN_TEXT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
const UNDERSCORE: &str = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?";
const UNDERSCORE_TEXT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character";
const DNS1035: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const DNS1035_TEXT: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character";
const QUALIFIED: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const QUALIFIED_TEXT: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const LABEL_VALUE: &str = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";
const LABEL_VALUE_TEXT: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const ENV_NAME_TEXT: &str =
    "a valid environment variable name must consist only of printable ASCII characters other than '='";
const CONFIG_KEY: &str = "[-._a-zA-Z0-9]+";
const CONDITION_REASON: &str = "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?";
const CONDITION_REASON_TEXT: &str = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'";
const HTTP_PATH: &str = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+";
const CONFIG_KEY_TEXT: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";

/// Keys and values of all annotations together.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

fn anchored(pattern: &str) -> Regex {
    Regex::new(&format!("^(?:{pattern})$")).expect("a constant pattern")
}

macro_rules! pattern {
    ($name:ident, $pattern:expr) => {
        static $name: LazyLock<Regex> = LazyLock::new(|| anchored($pattern));
    };
}
pattern!(LABEL_RE, LABEL);
pattern!(SUBDOMAIN_RE, r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*");
pattern!(UNDERSCORE_RE, r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*");
pattern!(DNS1035_RE, DNS1035);
pattern!(QUALIFIED_RE, QUALIFIED);
pattern!(LABEL_VALUE_RE, LABEL_VALUE);
pattern!(CONFIG_KEY_RE, CONFIG_KEY);
pattern!(CONDITION_REASON_RE, CONDITION_REASON);
pattern!(HTTP_PATH_RE, HTTP_PATH);

fn regex_text(text: &str, pattern: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{text} (regex used for validation is '{pattern}')");
    }
    // COMPAT: the double space is upstream's.
    let examples: Vec<String> = examples.iter().map(|e| format!("'{e}'")).collect();
    format!("{text} (e.g. {}, regex used for validation is '{pattern}')", examples.join(",  or "))
}

// COMPAT: upstream counts label keys and values in bytes, all other names in characters.
fn length_text(max: usize) -> String {
    format!("must be no more than {max} characters")
}

fn byte_length_text(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

/// RFC 1123 label: at most 63 bytes.
pub fn dns1123_label(name: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if name.len() > 63 {
        wrong.push(length_text(63));
    }
    if !LABEL_RE.is_match(name) {
        if SUBDOMAIN_RE.is_match(name) {
            // COMPAT: upstream's more helpful text for names with dots.
            wrong.push("must not contain dots".to_owned());
        } else {
            wrong.push(regex_text(LABEL_TEXT, LABEL, &["my-name", "123-abc"]));
        }
    }
    wrong
}

/// RFC 1123 subdomain: at most 253 bytes.
pub fn dns1123_subdomain(name: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if name.len() > 253 {
        wrong.push(length_text(253));
    }
    if !SUBDOMAIN_RE.is_match(name) {
        let pattern = format!("{LABEL}(\\.{LABEL})*");
        wrong.push(regex_text(SUBDOMAIN_TEXT, &pattern, &["example.com"]));
    }
    wrong
}

/// As `dns1123_subdomain`, with underscores (search domains).
pub fn dns1123_subdomain_with_underscore(name: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if name.len() > 253 {
        wrong.push(length_text(253));
    }
    if !UNDERSCORE_RE.is_match(name) {
        let pattern = format!("{UNDERSCORE}(\\.{UNDERSCORE})*");
        wrong.push(regex_text(UNDERSCORE_TEXT, &pattern, &["example.com"]));
    }
    wrong
}

/// `*.` and a subdomain: hosts of an Ingress.
pub fn wildcard_subdomain(name: &str) -> Vec<String> {
    const TEXT: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
    let mut wrong = Vec::new();
    if name.len() > 253 {
        wrong.push(length_text(253));
    }
    if !name.strip_prefix("*.").is_some_and(|rest| SUBDOMAIN_RE.is_match(rest)) {
        let pattern = format!("\\*\\.{LABEL}(\\.{LABEL})*");
        wrong.push(regex_text(TEXT, &pattern, &["*.example.com"]));
    }
    wrong
}

/// `example.com/path`: names of controllers.
pub fn validate_prefixed_path(value: &str, path: &Path, errors: &mut Errors) {
    const PATTERN: &str = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+";
    if value.is_empty() {
        return errors.required(path, "");
    }
    let Some((host, rest)) = value.split_once('/').filter(|(h, r)| !h.is_empty() && !r.is_empty()) else {
        let text = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        return errors.invalid(path, value, text);
    };
    errors.wrong(path, host, dns1123_subdomain(host));
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte);
    if !rest.bytes().all(fits) {
        errors.invalid(path, rest, regex_text("Invalid path", PATTERN, &[]));
    }
}

/// Name of an HTTP header.
pub fn http_header(name: &str) -> Vec<String> {
    const TEXT: &str = "a valid HTTP header must consist of alphanumeric characters or '-'";
    if !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Vec::new();
    }
    vec![regex_text(TEXT, "[-A-Za-z0-9]+", &["X-Header-Name"])]
}

/// DNS-1035 label, which starts with a letter.
pub fn dns1035_label(name: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if name.len() > 63 {
        wrong.push(length_text(63));
    }
    if !DNS1035_RE.is_match(name) {
        wrong.push(regex_text(DNS1035_TEXT, DNS1035, &["my-name", "abc-123"]));
    }
    wrong
}

/// A name that fits into a path segment (RBAC).
pub fn path_segment(name: &str) -> Vec<String> {
    if matches!(name, "." | "..") {
        return vec![format!("may not be '{name}'")];
    }
    ["/", "%"]
        .iter()
        .filter(|bad| name.contains(**bad))
        .map(|bad| format!("may not contain '{bad}'"))
        .collect()
}

/// `prefix/name`, prefix a DNS subdomain, or a name alone: keys of labels, annotations, taints.
pub fn qualified_name(value: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let parts: Vec<&str> = value.split('/').collect();
    let name = match parts.as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                wrong.push("prefix part must be non-empty".to_owned());
            } else {
                wrong.extend(dns1123_subdomain(prefix).into_iter().map(|w| format!("prefix part {w}")));
            }
            *name
        }
        _ => {
            let text = regex_text(QUALIFIED_TEXT, QUALIFIED, &["MyName", "my.name", "123-abc"]);
            wrong.push(format!(
                "a valid label key {text} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            ));
            return wrong;
        }
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        wrong.push(format!("name part {}", byte_length_text(63)));
    }
    if !QUALIFIED_RE.is_match(name) {
        let text = regex_text(QUALIFIED_TEXT, QUALIFIED, &["MyName", "my.name", "123-abc"]);
        wrong.push(format!("name part {text}"));
    }
    wrong
}

/// A label's value: at most 63 bytes, or empty.
pub fn label_value(value: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if value.len() > 63 {
        wrong.push(byte_length_text(63));
    }
    if !LABEL_VALUE_RE.is_match(value) {
        wrong.push(regex_text(LABEL_VALUE_TEXT, LABEL_VALUE, &["MyValue", "my_value", "12345"]));
    }
    wrong
}

/// A key of a ConfigMap or Secret: a file name.
pub fn config_key(key: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if key.len() > 253 {
        wrong.push(length_text(253));
    }
    if !CONFIG_KEY_RE.is_match(key) {
        wrong.push(regex_text(CONFIG_KEY_TEXT, CONFIG_KEY, &["key.name", "KEY_NAME", "key-name"]));
    }
    match key {
        "." => wrong.push("must not be '.'".to_owned()),
        ".." => wrong.push("must not be '..'".to_owned()),
        _ if key.starts_with("..") => wrong.push("must not start with '..'".to_owned()),
        _ => {}
    }
    wrong
}

/// An environment variable's name: printable ASCII without `=`.
pub fn env_name(name: &str) -> Vec<String> {
    if !name.is_empty() && name.bytes().all(|b| (0x20..0x7F).contains(&b) && b != b'=') {
        return Vec::new();
    }
    vec![ENV_NAME_TEXT.to_owned()]
}

/// A container port's or service port's name (IANA service name): at most 15 of `a-z0-9-`.
pub fn port_name(name: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if name.len() > 15 {
        wrong.push(length_text(15));
    }
    if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        wrong.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !name.bytes().any(|b| b.is_ascii_lowercase()) {
        wrong.push("must contain at least one letter (a-z)".to_owned());
    }
    if name.contains("--") {
        wrong.push("must not contain consecutive hyphens".to_owned());
    }
    if name.starts_with('-') || name.ends_with('-') {
        wrong.push("must not begin or end with a hyphen".to_owned());
    }
    wrong
}

/// Name of a signer of certificates: `example.com/name`, at most 571 bytes.
pub fn validate_signer(name: &str, path: &Path, errors: &mut Errors) {
    /// A domain, `/`, a namespace, `.`, a name.
    const LIMIT: usize = 253 + 1 + 63 + 1 + 253;
    if name.is_empty() {
        return errors.required(path, "");
    }
    let Some((domain, rest)) = name.split_once('/').filter(|(_, rest)| !rest.contains('/')) else {
        let text = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return errors.invalid(path, name, text);
    };
    if domain.len() > 253 {
        errors.too_long(path, 253);
    }
    // The first bad part of either is enough: the others would read the same.
    if let Some(label) = domain.split('.').find(|label| !dns1123_label(label).is_empty()) {
        for wrong in dns1123_label(label) {
            errors.invalid(path, domain, format!("validating label {label:?}: {wrong}"));
        }
    }
    if !domain.contains('.') {
        errors.invalid(path, domain, "should be a domain with at least two segments separated by dots");
    }
    if let Some(label) = rest.split('.').find(|label| !dns1123_subdomain(label).is_empty()) {
        for wrong in dns1123_subdomain(label) {
            errors.invalid(path, rest, format!("validating label {label:?}: {wrong}"));
        }
    }
    if name.len() > LIMIT {
        errors.too_long(path, LIMIT);
    }
}

/// The reason of a condition: one CamelCase word, or several joined.
pub fn condition_reason(reason: &str) -> Vec<String> {
    if CONDITION_REASON_RE.is_match(reason) {
        return Vec::new();
    }
    vec![regex_text(
        CONDITION_REASON_TEXT,
        CONDITION_REASON,
        &["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"],
    )]
}

/// A domain and a path, `example.com/thing`: names of controllers outside of the project.
pub fn validate_domain_path(value: &str, path: &Path, errors: &mut Errors) {
    if value.is_empty() {
        return errors.required(path, "");
    }
    let parts = value.split_once('/').filter(|(domain, rest)| !domain.is_empty() && !rest.is_empty());
    let Some((domain, rest)) = parts else {
        let text = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        return errors.invalid(path, value, text);
    };
    errors.wrong(path, domain, dns1123_subdomain(domain));
    if !HTTP_PATH_RE.is_match(rest) {
        errors.invalid(path, rest, regex_text("Invalid path", HTTP_PATH, &[]));
    }
}

/// A port number.
pub fn port_number(port: i32) -> Vec<String> {
    if (1..=65535).contains(&port) {
        Vec::new()
    } else {
        vec!["must be between 1 and 65535, inclusive".to_owned()]
    }
}

/// Checks a labels map.
pub fn validate_labels(labels: &BTreeMap<String, String>, path: &Path, errors: &mut Errors) {
    for (key, value) in labels {
        for wrong in qualified_name(key) {
            errors.invalid(path, key, wrong);
        }
        for wrong in label_value(value) {
            errors.invalid(path, value, wrong);
        }
    }
}

/// Checks an annotations map: keys, and the size of all.
pub fn validate_annotations(annotations: &BTreeMap<String, String>, path: &Path, errors: &mut Errors) {
    for key in annotations.keys() {
        for wrong in qualified_name(&key.to_lowercase()) {
            errors.invalid(path, key, wrong);
        }
    }
    let size: usize = annotations.iter().map(|(k, v)| k.len() + v.len()).sum();
    if size > ANNOTATIONS_LIMIT {
        errors.too_long(path, ANNOTATIONS_LIMIT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        assert!(dns1123_label("a-1").is_empty());
        assert_eq!(dns1123_label("a.b"), ["must not contain dots"]);
        assert!(dns1123_label("A")[0].starts_with("a lowercase RFC 1123 label must consist of"));
        assert!(dns1123_subdomain("a.b-c").is_empty());
        assert_eq!(dns1123_subdomain(&"a".repeat(254)), ["must be no more than 253 characters"]);
        assert!(!dns1035_label("1a").is_empty());
        assert_eq!(path_segment("a/b"), ["may not contain '/'"]);
    }

    #[test]
    fn keys_and_values_of_labels() {
        assert!(qualified_name("example.com/App_1").is_empty());
        assert_eq!(qualified_name("/a"), ["prefix part must be non-empty"]);
        assert_eq!(qualified_name("a/b/c").len(), 1);
        assert!(label_value("").is_empty());
        assert!(!label_value("-a").is_empty());
    }

    #[test]
    fn port_names_need_a_letter() {
        assert!(port_name("http-2").is_empty());
        assert_eq!(port_name("80"), ["must contain at least one letter (a-z)"]);
    }
}
