//! Subresources that open a connection: logs, exec, attach, port-forward to a pod's kubelet; proxy to
//! nodes, pods and services. Where to is decided here and in `stream::location`; how in `stream`.

use std::sync::Arc;

use anyhow::Context;
use api_types::core::v1::{Endpoints, Node, Pod, Service};
use api_types::field::{Errors, Path};
use api_types::kind::Resource;
use api_types::meta::v1::Status;
use daemon::shutdown::Shutdown;
use daemon::tls::{ClientMaterial, ClientTls, Pem};
use http::{Extensions, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use hyper::body::Incoming;

use crate::admission::Connection;
use crate::answer::Answer;
use crate::body::{self, Body};
use crate::call::{Call, Target};
use crate::flags::Misc;
use crate::registry::admit::{self, Operation, Write};
use crate::registry::fresh;
use crate::server::Server;
use crate::status::ApiError;
use crate::stream::{self, Backend, location};

/// Where kubelets listen unless their node says otherwise.
const KUBELET_PORT: u16 = 10250;

/// How kubelets, pods and services are connected to.
pub struct Kubelets {
    /// With our client certificate, verified against `--kubelet-certificate-authority`.
    kubelet: Backend,
    /// COMPAT: as upstream's, proxies to pods and services show no certificate and verify none.
    workload: Backend,
    preferred: Vec<String>,
}

impl Kubelets {
    /// # Errors
    /// For files that cannot be used.
    pub fn new(flags: &Misc, background: &Shutdown) -> anyhow::Result<Self> {
        let pem = |path: &Option<std::path::PathBuf>| path.clone().map(Pem::File);
        let material = ClientMaterial {
            ca: pem(&flags.kubelet_certificate_authority),
            cert: pem(&flags.kubelet_client_certificate),
            key: pem(&flags.kubelet_client_key),
            // COMPAT: without an authority upstream does not verify kubelets.
            insecure_skip_verify: flags.kubelet_certificate_authority.is_none(),
            alpn: vec!["http/1.1"],
        };
        let kubelet = ClientTls::load(material).context("TLS towards kubelets")?;
        kubelet.watch(background.clone());
        let open = ClientMaterial {
            insecure_skip_verify: true,
            alpn: vec!["http/1.1"],
            ..ClientMaterial::default()
        };
        let open = ClientTls::load(open).context("TLS towards pods and services")?;
        Ok(Self {
            kubelet: Backend::new(Arc::new(move || kubelet.config())),
            workload: Backend::new(Arc::new(move || open.config())),
            preferred: flags.kubelet_preferred_address_types.clone(),
        })
    }
}

/// Handles the request.
///
/// # Errors
/// 400 and 404 when there is nowhere to go; 500 and 503 when nobody answers there.
pub async fn answer(
    server: &Arc<Server>,
    call: &Call,
    target: &Target,
    subresource: &str,
    extensions: &mut Extensions,
    body: Incoming,
) -> Result<Answer, ApiError> {
    let (asked, connection) = admitted(server, call, target, subresource).await?;
    let mount = match subresource {
        "proxy" => {
            let (prefix, behind) = split_path(call.uri.path(), &target.namespace);
            // COMPAT: links relative to the server's root need a root that ends in a slash.
            let asks = matches!(call.method, Method::GET | Method::HEAD);
            if behind.is_empty() && asks && !stream::is_upgrade(&call.headers) {
                return Ok(Answer::Raw(root_redirect(&call.uri)?));
            }
            Some(prefix.to_owned())
        }
        _ => None,
    };
    let pairs: Vec<(String, String)> = match &connection {
        Some(connection) => connection.pairs(),
        None => call.query.pairs().map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
    };
    // As the client wrote it, unless admission asks for another.
    let other_path = connection.as_ref().map(Connection::path).filter(|path| *path != asked);
    let behind = rest(call, target, other_path);
    let bad = |e: location::Error| ApiError::BadRequest(e.to_string());
    let (place, backend) = match (target.row.kind.resource, subresource) {
        ("nodes", _) => (node_proxy(server, target, &behind).await?, &server.kubelets.kubelet),
        ("services", _) => (service_proxy(server, target, &behind).await?, &server.kubelets.workload),
        ("pods", "proxy") => (pod_proxy(server, target, &behind).await?, &server.kubelets.workload),
        _ => {
            let pod: Pod = named(server, target).await?;
            if subresource == "log" {
                check_log_options(call, target)?;
            }
            if subresource == "log" && pod.spec.node_name.is_empty() {
                location::log(&pod, &pairs).map_err(bad)?;
                // Nothing has run yet, so there is nothing to show.
                return Ok(Answer::Raw(body::response(204, "text/plain", body::empty())));
            }
            let path = match subresource {
                "log" => location::log(&pod, &pairs).map_err(bad)?,
                "portforward" => location::port_forward(&pod, &pairs),
                verb => location::remote_command(verb, &pod, &pairs).map_err(bad)?,
            };
            let node = location::node_of(&pod).map_err(bad)?;
            let base = kubelet(server, node).await?;
            (format!("{base}{path}"), &server.kubelets.kubelet)
        }
    };
    let uri: Uri = place.parse().map_err(|e| ApiError::BadRequest(format!("{e}: {place}")))?;
    let mut request = Request::new(body);
    *request.method_mut() = call.method.clone();
    *request.uri_mut() = call.uri.clone();
    *request.headers_mut() = call.headers.clone();
    // The connection's upgrade, if one was asked for, travels here.
    *request.extensions_mut() = std::mem::take(extensions);
    let mount = mount.map(|prefix| {
        let host = call.headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
        let mount = stream::Mount::new(&prefix, uri.authority().map_or("", |a| a.as_str()), host);
        mount.announce(&mut request);
        mount
    });
    let answer =
        stream::proxy(request, subresource, uri, backend).await.map_err(|error| unreachable(&error))?;
    if subresource == "log" {
        return log(answer).await;
    }
    Ok(Answer::Raw(match mount {
        Some(mount) => mount.rewrite(answer),
        None => answer,
    }))
}

/// What the connection is asked for: the path behind `/proxy` as it came, and what admission leaves of it all.
async fn admitted(
    server: &Server,
    call: &Call,
    target: &Target,
    subresource: &str,
) -> Result<(String, Option<Connection>), ApiError> {
    let Some(mut connection) = Connection::asked(&call.info, &call.query)? else {
        return Ok((String::new(), None));
    };
    if call.query.get("dryRun").is_some() {
        return Err(ApiError::BadRequest("dryRun is not supported".into()));
    }
    let write = Write {
        call,
        row: target.row,
        operation: Operation::Connect,
        namespace: &target.namespace,
        name: &target.name,
        subresource,
        dry_run: false,
        deletion: None,
    };
    let asked = connection.path().to_owned();
    admit::connect(server, write, &mut connection).await?;
    Ok((asked, Some(connection)))
}

/// What of a log is asked for.
fn check_log_options(call: &Call, target: &Target) -> Result<(), ApiError> {
    let (query, mut errors) = (&call.query, Errors::default());
    if let Some(lines @ ..0) = query.number("tailLines")? {
        errors.invalid(&Path::new("tailLines"), lines, "must be greater than or equal to 0");
    }
    if let Some(bytes @ ..1) = query.number("limitBytes")? {
        errors.invalid(&Path::new("limitBytes"), bytes, "must be greater than 0");
    }
    match query.number("sinceSeconds")? {
        Some(_) if !query.text("sinceTime").is_empty() => errors.forbidden(
            // COMPAT: an empty name is written so.
            &Path::new("[]"),
            "at most one of `sinceTime` or `sinceSeconds` may be specified",
        ),
        Some(seconds @ ..1) => {
            errors.invalid(&Path::new("sinceSeconds"), seconds, "must be greater than 0");
        }
        _ => {}
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::Invalid {
        group: String::new(),
        kind: "PodLogOptions".to_owned(),
        name: target.name.clone(),
        errors,
    })
}

/// To the same path with a slash behind it.
fn root_redirect(uri: &Uri) -> Result<Response<Body>, ApiError> {
    let query = uri.query().map_or(String::new(), |query| format!("?{query}"));
    let location = HeaderValue::try_from(format!("{}/{query}", uri.path())).map_err(ApiError::internal)?;
    let mut redirect = Response::new(body::empty());
    *redirect.status_mut() = StatusCode::MOVED_PERMANENTLY;
    redirect.headers_mut().insert(header::LOCATION, location);
    Ok(redirect)
}

fn unreachable(error: &stream::Error) -> ApiError {
    match error {
        stream::Error::Http(_) | stream::Error::Request(_) => ApiError::Unavailable(error.to_string()),
        _ => ApiError::internal(error),
    }
}

/// A log as plain text; the kubelet's refusals as statuses.
async fn log(answer: Response<stream::Body>) -> Result<Answer, ApiError> {
    let status = answer.status();
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Answer::Raw(answer));
    }
    if status.is_success() {
        let mut response: Response<Body> = answer;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        return Ok(Answer::Raw(response));
    }
    let text = body::collected(answer.into_body()).await?;
    let text = String::from_utf8_lossy(&text).trim_end().to_owned();
    Err(match status {
        StatusCode::BAD_REQUEST => ApiError::BadRequest(text),
        StatusCode::INTERNAL_SERVER_ERROR => ApiError::Internal(text),
        other => {
            let mut said: Status = match other {
                StatusCode::NOT_FOUND => ApiError::NoSuchPath,
                StatusCode::FORBIDDEN => ApiError::ForbiddenPath(text.clone()),
                _ => ApiError::Unavailable(text.clone()),
            }
            .status();
            said.code = i32::from(other.as_u16());
            if other == StatusCode::NOT_FOUND && !text.is_empty() {
                said.message = format!("{} ({text})", said.message);
            }
            ApiError::Said(Box::new(said))
        }
    })
}

/// The object behind the target, as the store has it now.
async fn named<T: Resource>(server: &Server, target: &Target) -> Result<T, ApiError> {
    let entry = fresh(server.storage.of::<T>(), target).await?;
    let entry = entry.ok_or_else(|| ApiError::not_found(T::facts(), &target.name))?;
    entry.typed().map_err(ApiError::internal)
}

async fn kubelet(server: &Server, node: &str) -> Result<String, ApiError> {
    let row = server.storage.of::<Node>().row;
    let target = Target { row, namespace: String::new(), name: node.to_owned() };
    let node: Node = named(server, &target).await?;
    let preferred: Vec<&str> = server.kubelets.preferred.iter().map(String::as_str).collect();
    location::kubelet(&node, &preferred, KUBELET_PORT).map_err(ApiError::internal)
}

/// A proxy's path up to `/proxy` and the server's behind it: both raw, so that what the client escaped
/// stays so.
fn split_path<'a>(path: &'a str, namespace: &str) -> (&'a str, &'a str) {
    // /api/v1/nodes/NAME/proxy, /api/v1/namespaces/NAMESPACE/RESOURCE/NAME/proxy
    let segments = if namespace.is_empty() { 5 } else { 7 };
    let end = path.match_indices('/').nth(segments).map_or(path.len(), |(at, _)| at);
    path.split_at(end)
}

/// The path behind `/proxy`, or another one in its place, with the client's query.
fn rest(call: &Call, target: &Target, other: Option<&str>) -> String {
    let (_, behind) = split_path(call.uri.path(), &target.namespace);
    let behind = other.map_or(std::borrow::Cow::Borrowed(behind), location::escaped);
    let behind = match behind.as_ref() {
        "" => "/".to_owned(),
        path if path.starts_with('/') => path.to_owned(),
        path => format!("/{path}"),
    };
    match call.uri.query() {
        Some(query) => format!("{behind}?{query}"),
        None => behind,
    }
}

/// `[SCHEME:]NAME[:PORT]`
fn split_name(text: &str) -> (&str, &str, &str) {
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        [name] => ("", name, ""),
        [name, port] => ("", name, port),
        [scheme, name, port] => (scheme, name, port),
        _ => ("", text, ""),
    }
}

async fn node_proxy(server: &Server, target: &Target, rest: &str) -> Result<String, ApiError> {
    let (_, name, port) = split_name(&target.name);
    let base = kubelet(server, name).await?;
    let base = match port.parse::<u16>() {
        Ok(port) => {
            let host = base.rsplit_once(':').map_or(base.as_str(), |(host, _)| host);
            format!("{host}:{port}")
        }
        Err(_) => base,
    };
    Ok(format!("{base}{rest}"))
}

async fn pod_proxy(server: &Server, target: &Target, rest: &str) -> Result<String, ApiError> {
    let (scheme, name, port) = split_name(&target.name);
    let pod: Pod = named(server, &Target { name: name.to_owned(), ..target.clone() }).await?;
    let ip = pod.status.pod_ip.as_str();
    if ip.is_empty() {
        return Err(ApiError::BadRequest("address not allowed".into()));
    }
    let declared = || pod.spec.containers.iter().flat_map(|c| &c.ports);
    let port = if port.is_empty() {
        declared().next().map(|p| p.container_port.to_string()).unwrap_or_default()
    } else {
        declared().find(|p| p.name == port).map_or(port.to_owned(), |p| p.container_port.to_string())
    };
    Ok(url(scheme, ip, &port, rest))
}

fn url(scheme: &str, ip: &str, port: &str, rest: &str) -> String {
    let scheme = if scheme == "https" { "https" } else { "http" };
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    let port = if port.is_empty() { String::new() } else { format!(":{port}") };
    format!("{scheme}://{host}{port}{rest}")
}

async fn service_proxy(server: &Server, target: &Target, rest: &str) -> Result<String, ApiError> {
    let (scheme, name, port) = split_name(&target.name);
    let target = Target { name: name.to_owned(), ..target.clone() };
    let service: Service = named(server, &target).await?;
    let ports = &service.spec.ports;
    let wanted = if port.is_empty() {
        // COMPAT: a service of one port needs none named; with several, the nameless one is meant.
        match ports.as_slice() {
            [one] => Some(one),
            _ => ports.iter().find(|p| p.name.is_empty()),
        }
    } else {
        ports.iter().find(|p| p.name == port || p.port.to_string() == port)
    };
    let none = || ApiError::Unavailable(format!("no endpoints available for service {:?}", target.name));
    let wanted = wanted.ok_or_else(|| {
        ApiError::Unavailable(format!("no service port {port:?} found for service {:?}", target.name))
    })?;
    let endpoints: Endpoints = named(server, &target).await.map_err(|_| none())?;
    let mut addresses = Vec::new();
    for subset in &endpoints.subsets {
        for port in subset.ports.iter().filter(|p| p.name == wanted.name) {
            addresses.extend(subset.addresses.iter().map(|a| (a.ip.as_str(), port.port)));
        }
    }
    if addresses.is_empty() {
        return Err(none());
    }
    let (ip, port) = addresses[fastrand::usize(..addresses.len())];
    Ok(url(scheme, ip, &port.to_string(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_path_begins_behind_the_subresource() {
        let path = "/api/v1/namespaces/proxy-1/pods/proxy/proxy/a%20b/proxy/";
        assert_eq!(
            split_path(path, "proxy-1"),
            ("/api/v1/namespaces/proxy-1/pods/proxy/proxy", "/a%20b/proxy/")
        );
        assert_eq!(split_path("/api/v1/nodes/n/proxy", ""), ("/api/v1/nodes/n/proxy", ""));
        assert_eq!(split_path("/api/v1/nodes/n/proxy/", "").1, "/");
    }

    #[test]
    fn names_may_carry_scheme_and_port() {
        assert_eq!(split_name("web"), ("", "web", ""));
        assert_eq!(split_name("web:http"), ("", "web", "http"));
        assert_eq!(split_name("https:web:8443"), ("https", "web", "8443"));
        assert_eq!(url("https", "fd00::1", "8443", "/x?y=1"), "https://[fd00::1]:8443/x?y=1");
        assert_eq!(url("", "10.0.0.1", "", "/"), "http://10.0.0.1/");
    }
}
