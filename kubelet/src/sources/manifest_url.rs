//! Static pods from a server (`staticPodURL`): a Pod or a PodList in JSON or YAML, asked for every
//! `httpCheckFrequency`. What cannot be had or read changes nothing; an answer without content takes all away.
//!
//! By HTTPS the server's certificate must be vouched for by an authority that the node trusts.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api_types::codec::yaml;
use api_types::core::v1::Pod;
use bytes::Bytes;
use daemon::tls::Pem;
use http::{HeaderName, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::static_pods::{Origin, decode};
use crate::http_get;
use crate::kubelet::Kubelet;
use crate::pod_worker::Source;

/// COMPAT: how long the server may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longer answers are no manifests.
const LONGEST: usize = 10 << 20;
/// How soon a pod that must go first is looked for again.
const SOON: Duration = Duration::from_secs(1);

/// A connection, secured or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Where to ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    url: String,
    host: String,
    port: u16,
    tls: bool,
    path: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Place {
    /// What the configuration says.
    ///
    /// # Errors
    /// What cannot be asked.
    pub fn new(url: &str, headers: &BTreeMap<String, Vec<String>>) -> Result<Self, String> {
        let bad = |what: &str| format!("staticPodURL: {url:?}: {what}");
        let uri: Uri = url.parse().map_err(|_| bad("is no URL"))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(bad("only http and https are supported by this kubelet")),
        };
        let host = uri.host().ok_or_else(|| bad("names no host"))?;
        let mut given = Vec::new();
        for (name, values) in headers {
            for value in values {
                let pair =
                    (HeaderName::try_from(name.as_str()).ok(), HeaderValue::try_from(value.as_str()).ok());
                let (Some(name), Some(value)) = pair else {
                    return Err(format!("staticPodURLHeader: {name}: is no header"));
                };
                given.push((name, value));
            }
        }
        Ok(Self {
            url: url.to_owned(),
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            tls,
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            headers: given,
        })
    }
}

/// COMPAT: where Go looks for the authorities that a Linux machine trusts; the first file that is there.
const AUTHORITIES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The node's authorities.
fn authorities() -> Option<PathBuf> {
    // COMPAT: as in Go, the environment may name another file.
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    named.or_else(|| AUTHORITIES.iter().map(PathBuf::from).find(|path| path.exists()))
}

/// Trusts these authorities; read each time, so that a changed file needs no restart.
fn trust(authorities: Option<&Path>) -> Result<Arc<rustls::ClientConfig>, String> {
    let Some(path) = authorities else {
        return Err("x509: certificate signed by unknown authority: this node trusts none".into());
    };
    let certificates = Pem::File(path.to_owned()).certificates().map_err(|error| error.to_string())?;
    let mut roots = rustls::RootCertStore::empty();
    // One that cannot be read must not take the others away.
    roots.add_parsable_certificates(certificates);
    Ok(Arc::new(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

/// The content behind the URL; errors are worded as upstream's.
async fn fetch(place: &Place, authorities: Option<&Path>) -> Result<Vec<u8>, String> {
    let authority = http_get::authority(&place.host, place.port);
    let failed = |cause: String| format!("Get {:?}: {cause}", place.url);
    let exchange = async {
        let stream = TcpStream::connect((place.host.as_str(), place.port))
            .await
            .map_err(|error| failed(http_get::dial_error(&authority, &error)))?;
        let mut request = Request::get(&place.path)
            .header(header::HOST, &authority)
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(|error| failed(error.to_string()))?;
        for (name, value) in &place.headers {
            request.headers_mut().append(name, value.clone());
        }
        let stream: Box<dyn Stream> = match place.tls {
            false => Box::new(stream),
            true => {
                let connector = tokio_rustls::TlsConnector::from(trust(authorities).map_err(failed)?);
                let name =
                    ServerName::try_from(place.host.clone()).map_err(|error| failed(error.to_string()))?;
                let secured = connector.connect(name, stream).await;
                Box::new(secured.map_err(|error| failed(format!("tls: {error}")))?)
            }
        };
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(error.to_string()))?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(|error| failed(error.to_string()))?;
            if response.status() != StatusCode::OK {
                return Err(format!("{}: {}", place.url, response.status()));
            }
            let body = Limited::new(response.into_body(), LONGEST).collect().await;
            Ok(body.map_err(|error| failed(error.to_string()))?.to_bytes().to_vec())
        };
        let (answer, _) = tokio::join!(answer, connection);
        answer
    };
    let late = || failed("context deadline exceeded (Client.Timeout exceeded while awaiting headers)".into());
    tokio::time::timeout(PATIENCE, exchange).await.unwrap_or_else(|_| Err(late()))
}

/// The pods that an answer describes, by uid.
fn pods(text: &str, url: &str, node: &str, seen: &str) -> Result<HashMap<String, Pod>, String> {
    let origin = Origin::Url(url);
    let bytes = yaml::to_json(text).map_err(|error| error.to_string())?;
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    let field = |name: &str| value.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
    let mut found = HashMap::new();
    if (field("apiVersion"), field("kind")) != ("v1", "PodList") {
        let pod = decode(text, &origin, node, seen)?;
        found.insert(pod.metadata.uid.clone(), pod);
        return Ok(found);
    }
    for item in value.get("items").and_then(serde_json::Value::as_array).into_iter().flatten() {
        let mut item = item.clone();
        if let Some(fields) = item.as_object_mut() {
            fields.insert("apiVersion".into(), "v1".into());
            fields.insert("kind".into(), "Pod".into());
        }
        let pod = decode(&item.to_string(), &origin, node, seen)?;
        found.insert(pod.metadata.uid.clone(), pod);
    }
    Ok(found)
}

/// Follows the URL; never ends while there is one.
pub async fn run(kubelet: Arc<Kubelet>, place: Place) {
    let every = kubelet.config.http_check_frequency.unwrap_or(Duration::from_secs(20));
    let mut last: Option<Vec<u8>> = None;
    loop {
        let mut complete = true;
        match fetch(&place, authorities().as_deref()).await {
            Ok(body) if last.as_ref() == Some(&body) => {}
            Ok(body) => {
                let text = String::from_utf8_lossy(&body);
                let found = match body.is_empty() {
                    true => {
                        tracing::error!(url = place.url, "zero-length data received from the manifest URL");
                        Ok(HashMap::new())
                    }
                    false => pods(&text, &place.url, &kubelet.node_name, &Timestamp::now().to_string()),
                };
                match found {
                    Ok(found) => {
                        complete = kubelet.manifests.take(&kubelet, "http", found);
                        kubelet.workers.source_ready(Source::Url);
                        last = complete.then_some(body);
                    }
                    Err(error) => {
                        tracing::error!(error, url = place.url, "cannot read the manifest of a URL")
                    }
                }
            }
            Err(error) => tracing::warn!(error, "cannot read the static pods of a URL"),
        }
        tokio::time::sleep(if complete { every } else { SOON.min(every) }).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const POD: &str =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: c, image: i}]}\n";

    #[test]
    fn one_pod_or_a_list_of_them() {
        let names = |text: &str| {
            pods(text, "http://x/", "n", "now").map(|found| {
                let mut names: Vec<String> = found.into_values().map(|pod| pod.metadata.name).collect();
                names.sort();
                names.join(" ")
            })
        };
        assert_eq!(names(POD).unwrap(), "a-n");
        let list = r#"{"apiVersion":"v1","kind":"PodList","items":[
            {"metadata":{"name":"a"},"spec":{"containers":[{"name":"c","image":"i"}]}},
            {"metadata":{"name":"b"},"spec":{"containers":[{"name":"c","image":"i"}]}}]}"#;
        assert_eq!(names(list).unwrap(), "a-n b-n");
        assert!(names("apiVersion: v1\nkind: Service\n").is_err());
        let pod = pods(POD, "http://x/", "n", "now").unwrap().into_values().next().unwrap();
        assert_eq!(pod.metadata.annotations["kubernetes.io/config.source"], "http");
    }

    #[test]
    fn places_that_cannot_be_asked() {
        let of = |url: &str| Place::new(url, &BTreeMap::new());
        assert_eq!(
            of("http://h:8/p?q").map(|place| (place.host, place.port, place.path)),
            Ok(("h".into(), 8, "/p?q".into()))
        );
        assert_eq!(
            of("ftp://h/").unwrap_err(),
            "staticPodURL: \"ftp://h/\": only http and https are supported by this kubelet"
        );
        assert!(of("nonsense").is_err());
        let headers = BTreeMap::from([("a b".to_owned(), vec!["c".to_owned()])]);
        assert!(Place::new("http://h/", &headers).unwrap_err().contains("is no header"));
    }

    #[tokio::test]
    async fn a_server_whom_nobody_vouches_for_is_not_believed() {
        daemon::tls::install_default_provider();
        let (cert, key) = daemon::tls::self_signed("localhost", &["127.0.0.1".to_owned()]).unwrap();
        let server = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(cert.certificates().unwrap(), key.private_key().unwrap())
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await;
            }
        });
        let place = Place::new(&format!("https://{address}/"), &BTreeMap::new()).unwrap();
        let dir = std::env::temp_dir().join(format!("kubelet-authorities-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&dir).unwrap();
        let (known, other) = (dir.join("known.pem"), dir.join("other.pem"));
        std::fs::write(&known, cert.bytes().unwrap()).unwrap();
        let (stranger, _) = daemon::tls::self_signed("else", &[]).unwrap();
        std::fs::write(&other, stranger.bytes().unwrap()).unwrap();
        assert_eq!(fetch(&place, Some(&known)).await.unwrap(), b"hi");
        let refused = fetch(&place, Some(&other)).await.unwrap_err();
        assert!(refused.starts_with(&format!("Get \"https://{address}/\": tls: ")), "{refused}");
        assert!(fetch(&place, None).await.unwrap_err().contains("unknown authority"));
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[tokio::test]
    async fn the_server_sees_the_headers_and_only_200_counts() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let mut seen = Vec::new();
            for answer in [
                "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
                "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            ] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 4096];
                let count = stream.read(&mut request).await.unwrap();
                seen.push(String::from_utf8_lossy(&request[..count]).into_owned());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            seen
        });
        let headers = BTreeMap::from([("X-A".to_owned(), vec!["1".to_owned(), "2".to_owned()])]);
        let place = Place::new(&format!("http://{address}/pods"), &headers).unwrap();
        assert_eq!(fetch(&place, None).await.unwrap(), b"hi");
        assert_eq!(fetch(&place, None).await.unwrap_err(), format!("http://{address}/pods: 404 Not Found"));
        let seen = server.await.unwrap();
        assert!(
            seen[0].starts_with("GET /pods HTTP/1.1")
                && seen[0].contains("x-a: 1")
                && seen[0].contains("x-a: 2")
        );
        let refused = Place::new("http://127.0.0.1:1/", &BTreeMap::new()).unwrap();
        let error = fetch(&refused, None).await.unwrap_err();
        assert_eq!(error, "Get \"http://127.0.0.1:1/\": dial tcp 127.0.0.1:1: connect: connection refused");
    }
}
