//! An apiserver of one process for tests: config maps in memory, over HTTP/2 and TLS.
//!
//! It keeps revisions and conflicts as the real one does, can hold watch events back, and can be
//! told to answer with a refusal or to drop its connections.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use daemon::tls::{Pem, ServerTls, ServerTlsOptions};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::connection::Client;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The server, as a test holds it.
#[derive(Clone)]
pub(crate) struct FakeServer {
    state: Arc<Mutex<State>>,
    url: String,
    ca: Pem,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    revision: u64,
    events: Vec<(u64, Value)>,
    watchers: Vec<mpsc::UnboundedSender<Bytes>>,
    /// Events wait here while they are held back.
    held: Option<VecDeque<Value>>,
    /// Answers to give before anything else.
    refusals: VecDeque<(StatusCode, &'static str)>,
    seen: Vec<String>,
    connections: CancellationToken,
}

impl FakeServer {
    pub(crate) async fn start() -> Self {
        let (cert, key) = daemon::tls::self_signed("localhost", &["127.0.0.1".to_owned()]).unwrap();
        let tls = ServerTls::load(ServerTlsOptions::new(cert.clone(), key)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let state = Arc::new(Mutex::new(State { revision: 100, ..State::default() }));
        let serving = state.clone();
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (state, config) = (serving.clone(), tls.config());
                let closed = state.lock().connections.clone();
                tokio::spawn(async move {
                    let stream = tokio_rustls::TlsAcceptor::from(config).accept(tcp).await.unwrap();
                    let service = hyper::service::service_fn(move |request| {
                        let state = state.clone();
                        async move { Ok::<_, Infallible>(answer(&state, request).await) }
                    });
                    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    tokio::select! {
                        _ = builder.serve_connection(TokioIo::new(stream), service) => {}
                        () = closed.cancelled() => {}
                    }
                });
            }
        });
        Self { state, url, ca: cert }
    }

    /// How it is reached, with no limits.
    pub(crate) fn config(&self) -> Config {
        Config { ca: Some(self.ca.clone()), qps: 0.0, ..Config::new(&self.url) }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.config()).unwrap()
    }

    /// The next request is answered with this.
    pub(crate) fn refuse(&self, code: u16, retry_after: &'static str) {
        self.state.lock().refusals.push_back((StatusCode::from_u16(code).unwrap(), retry_after));
    }

    /// Watchers hear nothing until [`FakeServer::release`].
    pub(crate) fn hold_events(&self) {
        self.state.lock().held = Some(VecDeque::new());
    }

    pub(crate) fn release(&self) {
        let mut state = self.state.lock();
        for event in state.held.take().unwrap_or_default() {
            state.send(&event);
        }
    }

    pub(crate) fn drop_connections(&self) {
        let mut state = self.state.lock();
        std::mem::take(&mut state.connections).cancel();
        state.watchers.clear();
    }

    /// `POST`, `HTTP/2.0 GET` …: what was asked.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.state.lock().seen.clone()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.state.lock().objects.keys().cloned().collect()
    }
}

impl State {
    fn put(&mut self, name: &str, mut object: Value, type_: &str) -> Value {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        if type_ == "DELETED" {
            self.objects.remove(name);
        } else {
            self.objects.insert(name.to_owned(), object.clone());
        }
        let event = json!({ "type": type_, "object": object.clone() });
        self.events.push((self.revision, event.clone()));
        match &mut self.held {
            Some(held) => held.push_back(event),
            None => self.send(&event),
        }
        object
    }

    fn send(&mut self, event: &Value) {
        let line = Bytes::from(format!("{event}\n"));
        self.watchers.retain(|watcher| watcher.send(line.clone()).is_ok());
    }
}

fn reply(code: StatusCode, body: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(body.to_string())).boxed_unsync();
    Response::builder().status(code).body(body).unwrap()
}

fn refusal(code: u16, reason: &str) -> Response<Body> {
    let code = StatusCode::from_u16(code).unwrap();
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "reason": reason, "message": reason, "code": code.as_u16(),
    });
    reply(code, &status)
}

async fn answer(state: &Mutex<State>, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let mut state = state.lock();
    state.seen.push(format!("{:?} {} {}", head.version, head.method, head.uri.path()));
    if let Some((code, retry_after)) = state.refusals.pop_front() {
        let mut response = refusal(code.as_u16(), "TooManyRequests");
        response.headers_mut().insert("Retry-After", retry_after.parse().unwrap());
        return response;
    }
    let parts: Vec<&str> = head.uri.path().trim_start_matches('/').split('/').collect();
    let query = head.uri.query().unwrap_or_default();
    match (&head.method, parts.as_slice()) {
        (&Method::GET, [.., "configmaps"]) if query.contains("watch=true") => watch(&mut state, query),
        (&Method::GET, [.., "configmaps"]) => {
            let items: Vec<&Value> = state.objects.values().collect();
            let metadata = json!({ "resourceVersion": state.revision.to_string() });
            reply(StatusCode::OK, &json!({ "kind": "ConfigMapList", "metadata": metadata, "items": items }))
        }
        (&Method::GET, [.., "configmaps", name]) => match state.objects.get(*name) {
            Some(object) => reply(StatusCode::OK, object),
            None => refusal(404, "NotFound"),
        },
        (&Method::POST, [.., "configmaps"]) => {
            let mut object: Value = serde_json::from_slice(&body).unwrap();
            let name = match object["metadata"]["generateName"].as_str() {
                Some(prefix) => format!("{prefix}{}", state.revision),
                None => object["metadata"]["name"].as_str().unwrap().to_owned(),
            };
            if state.objects.contains_key(&name) {
                return refusal(409, "AlreadyExists");
            }
            object["metadata"]["name"] = name.clone().into();
            object["metadata"]["uid"] = format!("uid-{}", state.revision).into();
            reply(StatusCode::CREATED, &state.put(&name, object, "ADDED"))
        }
        (&Method::PUT, [.., "configmaps", name]) => {
            let object: Value = serde_json::from_slice(&body).unwrap();
            match state.objects.get(*name) {
                None => refusal(404, "NotFound"),
                Some(old) if old["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] => {
                    refusal(409, "Conflict")
                }
                Some(_) => reply(StatusCode::OK, &state.put(name, object, "MODIFIED")),
            }
        }
        (&Method::DELETE, [.., "configmaps", name]) => match state.objects.get(*name).cloned() {
            None => refusal(404, "NotFound"),
            Some(object) => {
                state.put(name, object, "DELETED");
                reply(StatusCode::OK, &json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" }))
            }
        },
        _ => refusal(405, "MethodNotAllowed"),
    }
}

fn watch(state: &mut State, query: &str) -> Response<Body> {
    let from = query.split('&').find_map(|p| p.strip_prefix("resourceVersion=")).unwrap_or("0");
    let from: u64 = from.parse().unwrap();
    let (sender, receiver) = mpsc::unbounded_channel();
    let held = state.held.as_ref().map_or(0, VecDeque::len);
    let known = state.events.len() - held;
    for (_, event) in state.events[..known].iter().filter(|(revision, _)| *revision > from) {
        sender.send(Bytes::from(format!("{event}\n"))).unwrap();
    }
    state.watchers.push(sender);
    let frames = futures::StreamExt::map(stream_of(receiver), |line| Ok(Frame::data(line)));
    Response::new(StreamBody::new(frames).boxed_unsync())
}

fn stream_of<T>(receiver: mpsc::UnboundedReceiver<T>) -> impl futures::Stream<Item = T> {
    futures::stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) })
}
