//! Asking webhooks, of admission and of conversion alike: one POST of JSON over HTTPS, to a URL or to a
//! Service, checked against the bundle of its configuration. Webhooks of one server and one bundle share
//! connections, which are kept (`pool`); another bundle makes others.
//!
//! What goes wrong is told in the words of upstream's client: people search for them. What is asked, and
//! what an answer means, is with those who ask.

mod pool;
pub mod trust;
pub(crate) mod words;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use parking_lot::Mutex;

pub use self::pool::Pool;
use crate::aggregator::Services;
use crate::stream::{Backend, Body};

/// Connections are kept to so many servers at a time, as upstream has clients for them.
const SERVERS: usize = 200;
/// A webhook that says when to come again is asked so many times more.
const AGAIN: u32 = 10;

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
    pools: Mutex<HashMap<Server, Known>>,
}

/// Whose connections may be used for one another: the same server, checked alike.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Server {
    /// Scheme, host and port.
    base: String,
    ca_bundle: Vec<u8>,
}

struct Known {
    /// Why there can be no connection, if the bundle is of no use.
    pool: Result<Arc<Pool>, String>,
    used: Instant,
}

/// A place's URL as messages show it, its scheme and host, and the name that its certificate has to be for.
struct Address {
    url: Uri,
    base: String,
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
        Ok(Address { url, base, name })
    }
}

impl Caller {
    pub fn new(services: Services) -> Self {
        Self { services, pools: Mutex::default() }
    }

    /// Sends `body` and gives what the webhook answered with a 2xx.
    ///
    /// # Errors
    /// When there is no such answer in time.
    pub async fn post(&self, place: &Place, body: Vec<u8>, timeout: Duration) -> Result<Bytes, Failure> {
        let address = place.address(timeout)?;
        let broken = |why: String| Failure::unanswered(format!("Post {:?}: {why}", address.url.to_string()));
        let pool = self.pool(place, &address).map_err(broken)?;
        let exchange = self.exchange(&pool, place, &address, Bytes::from(body));
        let (code, answer) = match tokio::time::timeout(timeout, exchange).await {
            Err(_) => {
                // Whoever answered there may have gone without a word; the next call finds its way anew.
                pool.clear();
                return Err(broken("context deadline exceeded".into()));
            }
            Ok(answered) => answered.map_err(broken)?,
        };
        if code.is_success() {
            return Ok(answer);
        }
        Err(Failure { message: words::refusal(code.as_u16(), &answer), code: i32::from(code.as_u16()) })
    }

    async fn exchange(
        &self,
        pool: &Arc<Pool>,
        place: &Place,
        address: &Address,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), String> {
        let target = match &place.at {
            At::Url(_) => address.url.clone(),
            At::Service { namespace, name, port, .. } => {
                let at = self.services.resolve((namespace, name), *port)?;
                let path = address.url.path_and_query().map_or("/", |path| path.as_str());
                format!("https://{at}{path}").parse().map_err(|error| format!("{error}"))?
            }
        };
        let mut asked = 0;
        loop {
            let (head, answer) = pool.exchange(&target, || question(&address.url, body.clone())).await?;
            asked += 1;
            match again_after(head.status, &head.headers) {
                Some(wait) if asked <= AGAIN => tokio::time::sleep(wait).await,
                _ => return Ok((head.status, answer)),
            }
        }
    }

    fn pool(&self, place: &Place, address: &Address) -> Result<Arc<Pool>, String> {
        let server = Server { base: address.base.clone(), ca_bundle: place.ca_bundle.clone() };
        let mut pools = self.pools.lock();
        if let Some(known) = pools.get_mut(&server) {
            known.used = Instant::now();
            return known.pool.clone();
        }
        if pools.len() >= SERVERS
            && let Some(oldest) = pools.iter().min_by_key(|(_, known)| known.used).map(|(of, _)| of.clone())
        {
            pools.remove(&oldest);
        }
        let pool = trust::config(&place.ca_bundle)
            .map(|config| {
                let backend = Backend::new(Arc::new(move || config.clone()));
                Pool::new(backend.named(Some(address.name.clone())))
            })
            .map_err(|error| error.to_string());
        pools.insert(server, Known { pool: pool.clone(), used: Instant::now() });
        pool
    }
}

fn question(url: &Uri, body: Bytes) -> Request<Body> {
    let length = body.len();
    let body = Full::new(body).map_err(|never| match never {}).boxed_unsync();
    Request::builder()
        .method(Method::POST)
        .uri(url.path_and_query().map_or("/", |path| path.as_str()))
        .header(header::HOST, url.authority().map_or("", |own| own.as_str()))
        .header(header::USER_AGENT, concat!("kube-apiserver-admission/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, "application/json, */*")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONTENT_LENGTH, length)
        .body(body)
        .expect("parts of a URL make a path and a host")
}

/// COMPAT: upstream's client comes again when a busy server says when (`Retry-After` in seconds).
fn again_after(code: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if code != StatusCode::TOO_MANY_REQUESTS && !code.is_server_error() {
        return None;
    }
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok().map(Duration::from_secs)
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

    #[test]
    fn busy_servers_say_when_to_come_again() {
        let check = |code: u16, header: Option<&str>, expected: Option<u64>| {
            let code = StatusCode::from_u16(code).expect("a code");
            let value = |text| http::HeaderValue::from_str(text).expect("a value");
            let headers = header.map(|text| (header::RETRY_AFTER, value(text))).into_iter().collect();
            assert_eq!(again_after(code, &headers), expected.map(Duration::from_secs), "{code} {header:?}");
        };
        check(503, Some("1"), Some(1));
        check(429, Some("0"), Some(0));
        check(500, None, None);
        check(500, Some("Wed, 21 Oct 2015 07:28:00 GMT"), None);
        check(404, Some("1"), None);
        check(200, Some("1"), None);
    }
}
