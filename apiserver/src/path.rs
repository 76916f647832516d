//! Reads what a request is about out of its method, path and query.
//!
//! `/api/v1/namespaces/NS/pods/NAME/log`, `/apis/apps/v1/deployments`, `/healthz` …: resource paths
//! are parsed by hand, since the kinds behind them are data. Follows upstream's rules, old
//! `/watch/` prefixes included (API doc "API concepts").

use http::Method;

use crate::query::{Query, percent_decode};
use crate::request::RequestInfo;

/// What the request is about. Paths without a resource have the HTTP method as their verb.
pub fn request_info(method: &Method, path: &str, query: &Query) -> RequestInfo {
    let mut info = RequestInfo {
        path: path.to_owned(),
        verb: method.as_str().to_ascii_lowercase(),
        ..RequestInfo::default()
    };
    let parts: Vec<String> = path.split('/').filter(|p| !p.is_empty()).map(percent_decode).collect();
    let mut rest = match parts.split_first() {
        Some((api, rest)) if api == "api" && rest.len() >= 2 => {
            info.version = rest[0].clone();
            &rest[1..]
        }
        Some((apis, rest)) if apis == "apis" && rest.len() >= 3 => {
            info.group = rest[0].clone();
            info.version = rest[1].clone();
            &rest[2..]
        }
        _ => return info,
    };
    info.is_resource = true;
    let verb = match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    };
    info.verb = verb.to_owned();
    if let [prefix, more @ ..] = rest
        && matches!(prefix.as_str(), "watch" | "proxy")
        && !more.is_empty()
    {
        info.verb = prefix.clone();
        rest = more;
    }
    // `namespaces/NS/RESOURCE`; but `namespaces/NS` and its own subresources are about the namespace.
    if let [first, namespace, more @ ..] = rest
        && first == "namespaces"
    {
        info.namespace = namespace.clone();
        if !more.is_empty() && !matches!(more[0].as_str(), "status" | "finalize") {
            rest = more;
        }
    }
    let part = |at: usize| rest.get(at).cloned().unwrap_or_default();
    info.resource = part(0);
    info.name = part(1);
    info.subresource = part(2);
    if rest.len() > 3 {
        info.rest = rest[3..].join("/");
    }
    // COMPAT: only a list or watch reads the selectors; a watch by ?watch=1 names one object if the
    // field selector does.
    if info.name.is_empty() && info.verb == "get" {
        info.verb = if query.flag("watch") { "watch" } else { "list" }.to_owned();
    }
    if info.name.is_empty() && info.verb == "delete" {
        info.verb = "deletecollection".to_owned();
    }
    if matches!(info.verb.as_str(), "list" | "watch" | "deletecollection") {
        info.field_selector = query.text("fieldSelector").to_owned();
        info.label_selector = query.text("labelSelector").to_owned();
        if info.name.is_empty()
            && let Ok(fields) = api_types::selector::Fields::parse(&info.field_selector)
            && let Some(name) = fields.exact("metadata.name")
            && !name.is_empty()
            && !name.contains(['/', '%'])
        {
            info.name = name.to_owned();
        }
    }
    info
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, url: &str, expected: &str) {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let i = request_info(&method, path, &Query::parse(query));
        let found = format!(
            "{} {}/{} ns={} {}/{} name={} rest={}",
            i.verb, i.group, i.version, i.namespace, i.resource, i.subresource, i.name, i.rest
        );
        assert_eq!(found, expected, "{method} {url}");
    }

    #[test]
    fn paths_read_as_upstreams() {
        check(Method::GET, "/api/v1/namespaces", "list /v1 ns= namespaces/ name= rest=");
        check(Method::GET, "/api/v1/namespaces/a", "get /v1 ns=a namespaces/ name=a rest=");
        check(
            Method::PUT,
            "/api/v1/namespaces/a/finalize",
            "update /v1 ns=a namespaces/finalize name=a rest=",
        );
        check(Method::GET, "/api/v1/namespaces/a/pods?watch=1", "watch /v1 ns=a pods/ name= rest=");
        check(
            Method::GET,
            "/api/v1/pods?watch=true&fieldSelector=metadata.name%3Dx",
            "watch /v1 ns= pods/ name=x rest=",
        );
        check(
            Method::DELETE,
            "/apis/apps/v1/namespaces/a/deployments",
            "deletecollection apps/v1 ns=a deployments/ name= rest=",
        );
        check(
            Method::PATCH,
            "/apis/apps/v1/namespaces/a/deployments/d/scale",
            "patch apps/v1 ns=a deployments/scale name=d rest=",
        );
        check(
            Method::POST,
            "/api/v1/namespaces/a/pods/p/proxy/x/y",
            "create /v1 ns=a pods/proxy name=p rest=x/y",
        );
        check(Method::GET, "/api/v1/watch/namespaces/a/pods", "watch /v1 ns=a pods/ name= rest=");
        check(Method::GET, "/apis/apps/v1", "get / ns= / name= rest=");
        check(Method::GET, "/healthz/etcd", "get / ns= / name= rest=");
    }
}
