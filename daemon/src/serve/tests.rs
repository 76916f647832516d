//! A status server on loopback, asked by a plain hyper client.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http::request::Parts;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::*;
use crate::health::Health;
use crate::shutdown::Shutdown;
use crate::tls::{ClientMaterial, ClientTls, ServerTls, ServerTlsOptions, self_signed};

struct TokenGate;

impl Gate for TokenGate {
    fn check<'a>(&'a self, head: &'a Parts) -> GateFuture<'a> {
        assert!(head.extensions.get::<RemoteAddr>().is_some());
        let known = head.headers.get("authorization").is_some_and(|v| v == "Bearer yes");
        let answer = if known { Ok(()) } else { Err(Refusal::unauthorized()) };
        Box::pin(std::future::ready(answer))
    }
}

async fn loopback() -> (tokio::net::TcpListener, SocketAddr) {
    let listener = bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn request(path: &str, token: Option<&str>) -> Request<Empty<bytes::Bytes>> {
    let mut request = Request::get(format!("https://localhost{path}"));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    request.body(Empty::new()).unwrap()
}

#[tokio::test]
async fn health_is_open_and_metrics_ask_the_gate() {
    crate::tls::install_default_provider();
    let (listener, address) = loopback().await;
    let (cert, key) = self_signed("localhost", &[]).unwrap();
    let tls = ServerTls::load(ServerTlsOptions::new(cert.clone(), key)).unwrap();
    let shutdown = Shutdown::new();
    let server =
        StatusServer::new(Health::new(), Arc::new(TokenGate))
            .page("/configz", "application/json", || "{}".into());
    let server = tokio::spawn(server.run(listener, Some(tls), shutdown.clone()));

    let client =
        ClientTls::load(ClientMaterial { ca: Some(cert), alpn: vec!["h2"], ..Default::default() }).unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(client.config()).connect(name, stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut get = async |path, token| {
        let response = sender.send_request(request(path, token)).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    };
    assert_eq!(get("/healthz", None).await, (StatusCode::OK, "ok".into()));
    assert_eq!(get("/metrics", None).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(get("/nothing", None).await.0, StatusCode::UNAUTHORIZED);
    assert!(get("/metrics", Some("yes")).await.1.contains("kubernetes_build_info"));
    assert_eq!(get("/configz", Some("yes")).await.1, "{}");
    assert_eq!(get("/nothing", Some("yes")).await.0, StatusCode::NOT_FOUND);
    let mut head = request("/configz", Some("yes"));
    *head.method_mut() = http::Method::HEAD;
    let response = sender.send_request(head).await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()["content-length"]),
        (StatusCode::OK, &"2".parse().unwrap())
    );
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), 0);

    // Returns because the idle connection is closed and the listener too.
    shutdown.trigger();
    server.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn plain_http_serves_http1() {
    let (listener, address) = loopback().await;
    let shutdown = Shutdown::new();
    let server =
        tokio::spawn(StatusServer::new(Health::new(), Arc::new(Open)).run(listener, None, shutdown.clone()));
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let response = sender.send_request(request("/metrics", None)).await.unwrap();
    assert_eq!(response.headers()["content-type"], crate::metrics::TEXT_FORMAT);
    drop(response);
    shutdown.trigger();
    server.await.unwrap();
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let (_listener, address) = loopback().await;
    let error = bind(address).await.unwrap_err();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}
