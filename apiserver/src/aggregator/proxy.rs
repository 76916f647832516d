//! Passing a request on to the server of its group: as it came, with the user's name in headers.

use std::sync::Arc;

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Request, Response, Uri};
use hyper::body::Incoming;

use super::{Remote, Services};
use crate::body::{self, Body};
use crate::call::Call;
use crate::request::User;
use crate::server::Server;
use crate::stream;
use crate::webhook::words;

/// Answers a request that another server answers for.
pub async fn answer(
    server: &Server,
    call: &Call,
    remote: &Arc<Remote>,
    extensions: &mut Extensions,
    body: Incoming,
) -> Response<Body> {
    if !remote.available {
        return body::text(503, "service unavailable\n");
    }
    let mut request = Request::new(body);
    *request.method_mut() = call.method.clone();
    *request.uri_mut() = call.uri.clone();
    *request.headers_mut() = call.headers.clone();
    *request.extensions_mut() = std::mem::take(extensions);
    let path = call.uri.path_and_query().map_or("/", |path| path.as_str());
    match send(server, remote, path, &call.user, request).await {
        Ok(response) => response,
        Err(why) => {
            tracing::warn!(api_service = remote.name, error = why, "Cannot pass a request on");
            body::text(503, format!("{why}\n"))
        }
    }
}

/// A GET of the aggregator's own, of what `location` gave.
pub async fn get(remote: &Remote, uri: Uri, user: &User) -> Result<Response<Body>, String> {
    let backend = remote.backend.as_ref().map_err(Clone::clone)?;
    let told = uri.clone();
    let answer = stream::pass(Request::new(body::empty()), uri, backend, &identity(user)).await;
    answer.map_err(|error| format!("Get \"{told}\": {}", words::of(&error, &told)))
}

/// Where the server answers for a path.
pub fn location(server: &Server, remote: &Remote, path: &str) -> Result<Uri, String> {
    let service = (remote.namespace.as_str(), remote.service.as_str());
    let services = Services::new(&server.storage, server.aggregator.options.to_endpoints);
    let place = services.resolve(service, remote.port)?;
    format!("https://{place}{path}").parse().map_err(|error| format!("{error}"))
}

async fn send<B>(
    server: &Server,
    remote: &Remote,
    path: &str,
    user: &User,
    request: Request<B>,
) -> Result<Response<Body>, String>
where
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<body::BoxError>,
{
    let backend = remote.backend.as_ref().map_err(Clone::clone)?;
    let uri = location(server, remote, path)?;
    let told = uri.clone();
    stream::pass(request, uri, backend, &identity(user)).await.map_err(|error| match error {
        stream::Error::Dial(_) | stream::Error::Tls(_) => {
            format!("error trying to reach service: {}", words::of(&error, &told))
        }
        other => other.to_string(),
    })
}

/// The user as extension servers are told of them.
fn identity(user: &User) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut add = |name: &str, value: &str| {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    };
    add("x-remote-user", &user.name);
    if !user.uid.is_empty() {
        add("x-remote-uid", &user.uid);
    }
    for group in &user.groups {
        add("x-remote-group", group);
    }
    for (key, values) in &user.extra {
        let name = format!("x-remote-extra-{}", escaped(key));
        for value in values {
            add(&name, value);
        }
    }
    headers
}

/// A key as part of a header's name: what such names cannot hold is percent-encoded.
fn escaped(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    for byte in key.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte);
        if plain {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_named_in_headers() {
        let user = User {
            name: "jane".into(),
            groups: vec!["a".into(), "b".into()],
            extra: [("example.org/x".to_owned(), vec!["1".to_owned()])].into(),
            ..User::default()
        };
        let headers = identity(&user);
        assert_eq!(headers["x-remote-user"], "jane");
        assert_eq!(headers.get_all("x-remote-group").iter().count(), 2);
        assert_eq!(headers["x-remote-extra-example.org%2fx"], "1");
        assert!(!headers.contains_key("x-remote-uid"));
    }
}
