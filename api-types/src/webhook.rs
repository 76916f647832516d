//! Where a webhook is: the checks that webhooks of admission and of conversion share.

use crate::field::{Errors, Path};
use crate::names;

const FORM: &str = "; desired format: https://host[/path]";

/// Checks the URL of a webhook.
pub fn validate_url(url: &str, path: &Path, errors: &mut Errors) {
    let parts = match Parts::of(url) {
        Ok(parts) => parts,
        Err(why) => {
            errors.required(path, format!("url must be a valid URL: parse {url:?}: {why}{FORM}"));
            return;
        }
    };
    if parts.scheme != "https" {
        errors.invalid(path, &parts.scheme, format!("'https' is the only allowed URL scheme{FORM}"));
    }
    if parts.host.is_empty() {
        errors.invalid(path, "", format!("host must be specified{FORM}"));
    }
    if let Some(user) = parts.user {
        errors.invalid(path, user, "user information is not permitted in the URL");
    }
    if !parts.fragment.is_empty() {
        errors.invalid(path, parts.fragment, "fragments are not permitted in the URL");
    }
    if !parts.query.is_empty() {
        errors.invalid(path, parts.query, "query parameters are not permitted in the URL");
    }
}

/// A URL in its parts; as lenient as clients expect.
struct Parts<'a> {
    scheme: String,
    user: Option<&'a str>,
    host: &'a str,
    query: &'a str,
    fragment: &'a str,
}

impl<'a> Parts<'a> {
    fn of(url: &'a str) -> Result<Self, &'static str> {
        if url.chars().any(|c| c.is_ascii_control()) {
            return Err("net/url: invalid control character in URL");
        }
        let (rest, fragment) = url.split_once('#').unwrap_or((url, ""));
        let (scheme, rest) = match rest.find(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c)) {
            Some(0) if rest.starts_with(':') => return Err("missing protocol scheme"),
            Some(at)
                if rest[at..].starts_with(':') && rest.starts_with(|c: char| c.is_ascii_alphabetic()) =>
            {
                (rest[..at].to_ascii_lowercase(), &rest[at + 1..])
            }
            _ => (String::new(), rest),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let authority = rest.strip_prefix("//").map(|rest| rest.split('/').next().unwrap_or_default());
        if authority.is_none() && scheme.is_empty() && rest.split('/').next().is_some_and(|s| s.contains(':'))
        {
            return Err("first path segment in URL cannot contain colon");
        }
        let authority = authority.unwrap_or_default();
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        if host.contains(' ') {
            return Err("invalid character \" \" in host name");
        }
        Ok(Self { scheme, user, host, query, fragment })
    }
}

/// Checks the Service of a webhook.
pub fn validate_service(
    namespace: &str,
    name: &str,
    url_path: Option<&str>,
    port: i32,
    path: &Path,
    errors: &mut Errors,
) {
    errors.need(path, "name", name);
    errors.need(path, "namespace", namespace);
    let wrong = names::port_number(port);
    if !wrong.is_empty() {
        errors.invalid(&path.child("port"), port, format!("port is not valid: {}", wrong.join(", ")));
    }
    let path = path.child("path");
    let text = match url_path {
        None | Some("" | "/") => return,
        Some(text) => text,
    };
    if text == "//" {
        errors.invalid(&path, text, "segment[0] may not be empty");
        return;
    }
    if !text.starts_with('/') {
        errors.invalid(&path, text, "must start with a '/'");
    }
    let mut rest = text.chars();
    rest.next();
    let rest = rest.as_str();
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    for (n, step) in rest.split('/').enumerate() {
        if step.is_empty() {
            errors.invalid(&path, text, format!("segment[{n}] may not be empty"));
            continue;
        }
        for wrong in names::dns1123_subdomain(step) {
            errors.invalid(&path, text, format!("segment[{n}]: {wrong}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Vec<String> {
        let mut errors = Errors::default();
        validate_url(text, &Path::new("url"), &mut errors);
        errors.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn urls() {
        assert!(url("https://hooks.example.com:8443/a/b").is_empty());
        let scheme = |text: &str| {
            format!(
                "url: Invalid value: {text:?}: 'https' is the only allowed URL scheme; desired format: https://host[/path]"
            )
        };
        let host = "url: Invalid value: \"\": host must be specified; desired format: https://host[/path]"
            .to_owned();
        assert_eq!(url("http://a"), [scheme("http")]);
        assert_eq!(url(""), [scheme(""), host.clone()]);
        assert_eq!(url("https:///path"), [host]);
        assert_eq!(
            url("https://u:p@a/b?c=d#e"),
            [
                "url: Invalid value: \"u:p\": user information is not permitted in the URL",
                "url: Invalid value: \"e\": fragments are not permitted in the URL",
                "url: Invalid value: \"c=d\": query parameters are not permitted in the URL",
            ]
        );
        assert_eq!(
            url(":x"),
            [
                "url: Required value: url must be a valid URL: parse \":x\": missing protocol scheme; desired format: https://host[/path]"
            ]
        );
    }

    fn service(namespace: &str, name: &str, url_path: &str, port: i32) -> Vec<String> {
        let mut errors = Errors::default();
        validate_service(namespace, name, Some(url_path), port, &Path::new("s"), &mut errors);
        errors.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn services() {
        assert!(service("a", "b", "/one/two/", 443).is_empty());
        assert_eq!(
            service("", "", "x//", 0),
            [
                "s.name: Required value",
                "s.namespace: Required value",
                "s.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
                "s.path: Invalid value: \"x//\": must start with a '/'",
                "s.path: Invalid value: \"x//\": segment[0] may not be empty",
                "s.path: Invalid value: \"x//\": segment[1] may not be empty",
            ]
        );
    }
}
