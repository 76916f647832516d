//! The server of daemons that have no other: scheduler, controller-manager (HTTPS), kube-proxy (HTTP).
//! /healthz, /livez and /readyz are always allowed, as upstream's
//! `--authorization-always-allow-paths` has them; all else asks the gate first, known path or not.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use tokio::net::TcpListener;

use super::connections::connections;
use super::{Gate, Refusal};
use crate::health::Health;
use crate::metrics::{self, Registry};
use crate::shutdown::Shutdown;
use crate::tls::ServerTls;
use crate::zpages;

/// What a status server shows.
#[derive(Clone)]
pub struct StatusServer {
    pub health: Health,
    pub registry: &'static Registry,
    pub gate: Arc<dyn Gate>,
    /// More paths, each with its media type and a function that makes the body (`/configz`, `/proxyMode`).
    pub pages: Vec<Page>,
    /// The process's name on /statusz and /flagz; empty where neither is served.
    pub component: String,
}

/// One path of [`StatusServer::pages`].
#[derive(Clone)]
pub struct Page {
    pub path: &'static str,
    pub media_type: &'static str,
    pub body: Arc<dyn Fn() -> String + Send + Sync>,
}

impl std::fmt::Debug for StatusServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StatusServer").field("health", &self.health).finish_non_exhaustive()
    }
}

impl StatusServer {
    /// With the process's metrics and no more pages.
    pub fn new(health: Health, gate: Arc<dyn Gate>) -> Self {
        Self { health, registry: metrics::global(), gate, pages: Vec::new(), component: String::new() }
    }

    /// With /statusz and /flagz of the process of this name.
    #[must_use]
    pub fn named(mut self, component: &str) -> Self {
        component.clone_into(&mut self.component);
        self
    }

    /// Adds a page.
    #[must_use]
    pub fn page(
        mut self,
        path: &'static str,
        media_type: &'static str,
        body: impl Fn() -> String + Send + Sync + 'static,
    ) -> Self {
        self.pages.push(Page { path, media_type, body: Arc::new(body) });
        self
    }

    /// Serves until shutdown. Without `tls` it is plain HTTP.
    pub async fn run(self, listener: TcpListener, tls: Option<Arc<ServerTls>>, shutdown: Shutdown) {
        if let Some(tls) = &tls {
            tls.watch(shutdown.clone());
        }
        let this = Arc::new(self);
        let service = tower::service_fn(move |request: Request<hyper::body::Incoming>| {
            let this = this.clone();
            async move { Ok::<_, Infallible>(this.answer(request).await) }
        });
        connections(listener, tls, service, shutdown).await;
    }

    async fn answer<B>(&self, request: Request<B>) -> Response<Full<Bytes>> {
        let (head, _) = request.into_parts();
        if let Some(answer) = self.health.answer(head.uri.path(), head.uri.query()).await {
            return answer.into_response();
        }
        if let Err(Refusal { status, body }) = self.gate.check(&head).await {
            return text(status, "text/plain; charset=utf-8", body);
        }
        if head.method != Method::GET && head.method != Method::HEAD {
            return text(
                StatusCode::METHOD_NOT_ALLOWED,
                "text/plain; charset=utf-8",
                "405 method not allowed\n",
            );
        }
        if let Some(answer) = self.zpage(&head) {
            return answer;
        }
        match head.uri.path() {
            "/metrics" => text(StatusCode::OK, metrics::TEXT_FORMAT, self.registry.text()),
            "/metrics/slis" => text(StatusCode::OK, metrics::TEXT_FORMAT, metrics::slis().text()),
            path => match self.pages.iter().find(|p| p.path == path) {
                Some(page) => text(StatusCode::OK, page.media_type, (page.body)()),
                None => text(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n"),
            },
        }
    }
}

impl StatusServer {
    fn zpage(&self, head: &http::request::Parts) -> Option<Response<Full<Bytes>>> {
        if self.component.is_empty() {
            return None;
        }
        let own = ["/healthz", "/livez", "/readyz", "/metrics", "/statusz", "/flagz"];
        let paths: Vec<&str> = own.into_iter().chain(self.pages.iter().map(|page| page.path)).collect();
        let accept = head.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
        Some(zpages::answer(head.uri.path(), accept, &self.component, &paths)?.into_response())
    }
}

fn text(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(media_type));
    response
}
