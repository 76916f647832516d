//! exec, attach, port-forward: the runtime is asked for the address of the session, and the client's
//! connection is joined to it. Neither side's protocol (SPDY or WebSocket) is looked into.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Body, parameter, parameters, text};
use crate::cri::observed::State;
use crate::cri::{CallError, v1};
use crate::kubelet::Kubelet;

/// Namespace, pod, container.
pub type Place = (String, String, String);

/// The id of a running container; an error is the response.
async fn find(
    kubelet: &Arc<Kubelet>,
    place: &(String, String, String),
) -> Result<String, Box<Response<Body>>> {
    let (namespace, name, container) = place;
    let Some(pod) = kubelet.workers.by_name(namespace, name) else {
        return Err(Box::new(text(StatusCode::NOT_FOUND, "pod does not exist\n")));
    };
    let observed = kubelet.observe(&pod.metadata.uid).await.map_err(failed)?;
    match observed.container(container).filter(|seen| seen.state == State::Running) {
        Some(seen) => Ok(seen.id.clone()),
        None => {
            let message = format!("container not found ({container:?})");
            Err(Box::new(text(StatusCode::INTERNAL_SERVER_ERROR, message)))
        }
    }
}

fn failed(error: CallError) -> Box<Response<Body>> {
    let status = if error.is_not_found() { StatusCode::NOT_FOUND } else { StatusCode::INTERNAL_SERVER_ERROR };
    Box::new(text(status, error.to_string()))
}

/// The streams that the client wants: standard input, output, error, and a terminal.
struct Streams {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

impl Streams {
    fn read(query: Option<&str>) -> Result<Self, Box<Response<Body>>> {
        // COMPAT: the kubelet's own parameter names; the API server's are stdin, stdout, stderr.
        let wanted =
            |name: &str| parameter(query, name).is_some_and(|value| matches!(value.as_str(), "1" | "true"));
        let streams = Self {
            stdin: wanted("input"),
            stdout: wanted("output"),
            // With a terminal there is one output only.
            stderr: wanted("error") && !wanted("tty"),
            tty: wanted("tty"),
        };
        if streams.stdin || streams.stdout || streams.stderr {
            Ok(streams)
        } else {
            let message = "you must specify at least 1 of stdin, stdout, stderr";
            Err(Box::new(text(StatusCode::BAD_REQUEST, message)))
        }
    }
}

/// Runs a command in a container, connected to the client.
pub async fn exec(kubelet: &Arc<Kubelet>, place: Place, request: Request<Incoming>) -> Response<Body> {
    let session = async {
        let streams = Streams::read(request.uri().query())?;
        let call = v1::ExecRequest {
            container_id: find(kubelet, &place).await?,
            cmd: parameters(request.uri().query(), "command"),
            tty: streams.tty,
            stdin: streams.stdin,
            stdout: streams.stdout,
            stderr: streams.stderr,
        };
        kubelet.runtime.exec_url(call).await.map_err(failed)
    };
    match session.await {
        Ok(url) => join(request, &url).await,
        Err(response) => *response,
    }
}

/// Connects the client to a container's own streams.
pub async fn attach(kubelet: &Arc<Kubelet>, place: Place, request: Request<Incoming>) -> Response<Body> {
    let session = async {
        let streams = Streams::read(request.uri().query())?;
        let id = find(kubelet, &place).await?;
        // Whether there is a terminal was decided when the container was made.
        let pod = kubelet.workers.by_name(&place.0, &place.1);
        let tty = pod
            .and_then(|pod| crate::sync_pod::kill::spec_of(&pod, &place.2).map(|spec| spec.tty))
            .unwrap_or(streams.tty);
        let call = v1::AttachRequest {
            container_id: id,
            stdin: streams.stdin,
            tty,
            stdout: streams.stdout,
            stderr: streams.stderr && !tty,
        };
        kubelet.runtime.attach_url(call).await.map_err(failed)
    };
    match session.await {
        Ok(url) => join(request, &url).await,
        Err(response) => *response,
    }
}

/// Connects the client to ports of a pod.
pub async fn port_forward(
    kubelet: &Arc<Kubelet>,
    namespace: &str,
    name: &str,
    request: Request<Incoming>,
) -> Response<Body> {
    let session = async {
        let Some(pod) = kubelet.workers.by_name(namespace, name) else {
            return Err(Box::new(text(StatusCode::NOT_FOUND, "pod does not exist\n")));
        };
        let observed = kubelet.observe(&pod.metadata.uid).await.map_err(failed)?;
        let Some(sandbox) = observed.ready_sandbox() else {
            let message =
                format!("failed to find sandboxes for pod {name}_{namespace}({})", pod.metadata.uid);
            return Err(Box::new(text(StatusCode::INTERNAL_SERVER_ERROR, message)));
        };
        // WebSocket clients name the ports in the query, SPDY ones in each stream.
        let port = parameters(request.uri().query(), "port")
            .iter()
            .chain(&parameters(request.uri().query(), "ports"))
            .flat_map(|list| list.split(',').filter_map(|port| port.parse().ok()).collect::<Vec<i32>>())
            .collect();
        let call = v1::PortForwardRequest { pod_sandbox_id: sandbox.id.clone(), port };
        kubelet.runtime.port_forward_url(call).await.map_err(failed)
    };
    match session.await {
        Ok(url) => join(request, &url).await,
        Err(response) => *response,
    }
}

/// /run: a command, and its output when it has ended.
pub async fn run(
    kubelet: &Arc<Kubelet>,
    namespace: &str,
    pod: &str,
    container: &str,
    query: Option<&str>,
) -> Response<Body> {
    let place = (namespace.to_owned(), pod.to_owned(), container.to_owned());
    let id = match find(kubelet, &place).await {
        Ok(id) => id,
        Err(response) => return *response,
    };
    let cmd: Vec<String> =
        parameter(query, "cmd").unwrap_or_default().split_whitespace().map(String::from).collect();
    match kubelet.runtime.exec_sync(&id, cmd.clone(), Duration::ZERO).await {
        Ok(answer) => {
            let output = [answer.stdout, answer.stderr].concat();
            match answer.exit_code {
                0 => text(StatusCode::OK, output),
                code => {
                    let output = String::from_utf8_lossy(&output);
                    let message = format!("command '{}' exited with {code}: {output}", cmd.join(" "));
                    text(StatusCode::INTERNAL_SERVER_ERROR, message)
                }
            }
        }
        Err(error) => *failed(error),
    }
}

/// Passes the request on to `url`, and when that switches protocols, joins the two connections.
async fn join(mut request: Request<Incoming>, url: &str) -> Response<Body> {
    match connect(&mut request, url).await {
        Ok(response) => response,
        Err(error) => {
            tracing::warn!(error, "cannot reach the runtime's streaming server");
            text(StatusCode::BAD_GATEWAY, error)
        }
    }
}

async fn connect(request: &mut Request<Incoming>, url: &str) -> Result<Response<Body>, String> {
    let target: Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
    let (Some(host), Some(path)) = (target.host(), target.path_and_query()) else {
        return Err(format!("{url}: no address"));
    };
    let port = target.port_u16().unwrap_or(80);
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port))
        .await
        .map_err(|error| crate::http_get::dial_error(&crate::http_get::authority(host, port), &error))?;
    // Keystrokes are not worth waiting for.
    let _ = stream.set_nodelay(true);
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a streaming connection ended");
        }
    });
    let mut onward = Request::builder()
        .method(request.method())
        .uri(path.as_str())
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    *onward.headers_mut() = request.headers().clone();
    // Whoever the client is was checked here; the runtime's address is a secret in itself.
    onward.headers_mut().remove(header::AUTHORIZATION);
    let authority = target.authority().map(ToString::to_string).unwrap_or_default();
    onward.headers_mut().insert(header::HOST, authority.parse().map_err(|_| format!("{url}: bad host"))?);
    let mut response = sender.send_request(onward).await.map_err(|error| error.to_string())?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(response.map(|body| body.map_err(std::io::Error::other).boxed_unsync()));
    }
    let (client, runtime) = (hyper::upgrade::on(&mut *request), hyper::upgrade::on(&mut response));
    tokio::spawn(async move {
        let (client, runtime) = match tokio::try_join!(client, runtime) {
            Ok(both) => both,
            Err(error) => {
                tracing::debug!(%error, "an upgrade did not happen");
                return;
            }
        };
        // An end without a goodbye is the usual end here.
        let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(runtime)).await;
    });
    let (parts, _) = response.into_parts();
    Ok(Response::from_parts(parts, super::full(Bytes::new())))
}
