//! Static pods from a server (`staticPodURL`): a Pod or a PodList in JSON or YAML, asked for every
//! `httpCheckFrequency`. What cannot be had or read changes nothing; an answer without content takes all away.
//!
//! Plain HTTP only: there is nothing here that would vouch for a server's certificate.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use api_types::codec::yaml;
use api_types::core::v1::Pod;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
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

/// Where to ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    url: String,
    host: String,
    port: u16,
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
        if uri.scheme_str() != Some("http") {
            return Err(bad("only http is supported by this kubelet"));
        }
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
            port: uri.port_u16().unwrap_or(80),
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            headers: given,
        })
    }
}

/// The content behind the URL; errors are worded as upstream's.
async fn fetch(place: &Place) -> Result<Vec<u8>, String> {
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
        match fetch(&place).await {
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
            of("https://h/").unwrap_err(),
            "staticPodURL: \"https://h/\": only http is supported by this kubelet"
        );
        assert!(of("nonsense").is_err());
        let headers = BTreeMap::from([("a b".to_owned(), vec!["c".to_owned()])]);
        assert!(Place::new("http://h/", &headers).unwrap_err().contains("is no header"));
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
        assert_eq!(fetch(&place).await.unwrap(), b"hi");
        assert_eq!(fetch(&place).await.unwrap_err(), format!("http://{address}/pods: 404 Not Found"));
        let seen = server.await.unwrap();
        assert!(
            seen[0].starts_with("GET /pods HTTP/1.1")
                && seen[0].contains("x-a: 1")
                && seen[0].contains("x-a: 2")
        );
        let refused = Place::new("http://127.0.0.1:1/", &BTreeMap::new()).unwrap();
        let error = fetch(&refused).await.unwrap_err();
        assert_eq!(error, "Get \"http://127.0.0.1:1/\": dial tcp 127.0.0.1:1: connect: connection refused");
    }
}
