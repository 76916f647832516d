//! Asking webhooks, of admission and of conversion alike: one POST of JSON over HTTPS, to a URL or to a
//! Service, checked against the bundle of its configuration.
//!
//! What goes wrong is told in the words of upstream's client: people search for them. What is asked, and
//! what an answer means, is with those who ask.

mod trust;
mod words;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use parking_lot::Mutex;

use crate::aggregator::Services;
use crate::stream::Backend;

/// Answers are no larger than this.
const LONGEST: usize = 64 << 20;
/// Connections are set up for so many places at a time, as upstream keeps them.
const PLACES: usize = 200;

/// Where a webhook is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    pub at: At,
    /// PEM; the system's authorities when empty.
    pub ca_bundle: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum At {
    Url(String),
    Service { namespace: String, name: String, path: String, port: i32 },
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub message: String,
    /// The webhook's own status code, or 503 where it has not answered.
    pub code: i32,
}

impl Failure {
    fn unanswered(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 503 }
    }
}

/// Asks webhooks.
pub struct Caller {
    services: Services,
    backends: Mutex<HashMap<Place, Result<Backend, String>>>,
}

/// A place's URL as messages show it, and the name that its certificate has to be for.
struct Address {
    url: Uri,
    name: String,
}

impl Place {
    fn address(&self, timeout: Duration) -> Result<Address, Failure> {
        let (base, path, name) = match &self.at {
            At::Url(url) => {
                let uri: Uri =
                    url.parse().map_err(|error| Failure::unanswered(format!("Unparsable URL: {error}")))?;
                let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
                let base = format!("https://{}", uri.authority().map_or("", |own| own.as_str()));
                (base, uri.path().to_owned(), host)
            }
            At::Service { namespace, name, path, port } => {
                let name = format!("{name}.{namespace}.svc");
                (format!("https://{name}:{port}"), path.clone(), name)
            }
        };
        let path = format!("/{}", path.trim_matches('/'));
        let url = format!("{base}{path}?timeout={}s", timeout.as_secs());
        let url = url.parse().map_err(|error| Failure::unanswered(format!("Unparsable URL: {error}")))?;
        Ok(Address { url, name })
    }
}

impl Caller {
    pub fn new(services: Services) -> Self {
        Self { services, backends: Mutex::default() }
    }

    /// Sends `body` and gives what the webhook answered with a 2xx.
    ///
    /// # Errors
    /// When there is no such answer in time.
    pub async fn post(&self, place: &Place, body: Vec<u8>, timeout: Duration) -> Result<Bytes, Failure> {
        let address = place.address(timeout)?;
        let posted = tokio::time::timeout(timeout, self.exchange(place, &address, body)).await;
        let broken = |why: String| Failure::unanswered(format!("Post {:?}: {why}", address.url.to_string()));
        let (code, answer) = match posted {
            Err(_) => return Err(broken("context deadline exceeded".into())),
            Ok(Err(why)) => return Err(broken(why)),
            Ok(Ok(answered)) => answered,
        };
        if (200..300).contains(&code) {
            return Ok(answer);
        }
        Err(Failure { message: words::refusal(code, &answer), code: i32::from(code) })
    }

    async fn exchange(
        &self,
        place: &Place,
        address: &Address,
        body: Vec<u8>,
    ) -> Result<(u16, Bytes), String> {
        let backend = self.backend(place)?.named(Some(address.name.clone()));
        let target = match &place.at {
            At::Url(_) => address.url.clone(),
            At::Service { namespace, name, port, .. } => {
                let at = self.services.resolve((namespace, name), *port)?;
                let path = address.url.path_and_query().map_or("/", |path| path.as_str());
                format!("https://{at}{path}").parse().map_err(|error| format!("{error}"))?
            }
        };
        let host = address.url.authority().map_or("", |own| own.as_str());
        let path = address.url.path_and_query().map_or("/", |path| path.as_str());
        let length = body.len();
        let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync();
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::HOST, host)
            .header(header::USER_AGENT, concat!("kube-apiserver-admission/", env!("CARGO_PKG_VERSION")))
            .header(header::ACCEPT, "application/json, */*")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONTENT_LENGTH, length)
            .body(body)
            .map_err(|error| error.to_string())?;
        let answer = backend.send(&target, request).await.map_err(|error| words::of(&error, &target))?;
        let code = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), LONGEST).collect().await;
        Ok((code, body.map_err(|error| error.to_string())?.to_bytes()))
    }

    fn backend(&self, place: &Place) -> Result<Backend, String> {
        let mut known = self.backends.lock();
        if let Some(backend) = known.get(place) {
            return backend.clone();
        }
        if known.len() >= PLACES {
            known.clear();
        }
        let backend = trust::config(&place.ca_bundle)
            .map(|config| Backend::new(Arc::new(move || config.clone())))
            .map_err(|error| error.to_string());
        known.insert(place.clone(), backend.clone());
        backend
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(at: At) -> String {
        let place = Place { at, ca_bundle: Vec::new() };
        place.address(Duration::from_secs(10)).map(|own| own.url.to_string()).unwrap_or_else(|e| e.message)
    }

    #[test]
    fn addresses() {
        let service = |path: &str| At::Service {
            namespace: "ns".into(),
            name: "hook".into(),
            path: path.into(),
            port: 8443,
        };
        assert_eq!(url(service("")), "https://hook.ns.svc:8443/?timeout=10s");
        assert_eq!(url(service("/a/b/")), "https://hook.ns.svc:8443/a/b?timeout=10s");
        assert_eq!(url(At::Url("https://h:1/x".into())), "https://h:1/x?timeout=10s");
        assert_eq!(url(At::Url("https://[::1]".into())), "https://[::1]/?timeout=10s");
    }
}
