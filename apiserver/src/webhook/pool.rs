//! Connections to one webhook's server that are kept for its next call: dialling and TLS cost more than most
//! answers, and every write of a cluster with webhooks waits for them.
//!
//! A connection carries one exchange at a time (HTTP/1.1). It is kept once its answer was read whole, for a
//! minute at most; one that has gone meanwhile is passed over, and a request that never left on it
//! is sent on the next. What was sent and not answered is not sent twice: webhooks may count.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri, response};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::words;
use crate::stream::{Backend, Body, Error, Sender};

/// Answers are no larger than this.
const LONGEST: usize = 64 << 20;
/// A connection that nobody needs is closed after this time. Go's clients wait for 90 seconds, and so do most of its
/// servers: whoever sends just then is not answered. We hang up first.
const IDLE: Duration = Duration::from_secs(60);
/// So many wait for use in one place.
const MOST: usize = 25;

/// Connections of one trust.
pub struct Pool {
    backend: Backend,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// By host and port; those used last are at the end.
    places: HashMap<String, Vec<Idle>>,
    /// Whether somebody looks for those that have waited too long.
    swept: bool,
}

struct Idle {
    sender: Sender,
    since: Instant,
}

impl Pool {
    pub fn new(backend: Backend) -> Arc<Self> {
        Arc::new(Self { backend, kept: Mutex::default() })
    }

    /// Sends what `ask` makes to `target`, and gives the answer with its whole body.
    ///
    /// # Errors
    /// Why there is none, in the words of Go's client.
    pub async fn exchange(
        self: &Arc<Self>,
        target: &Uri,
        ask: impl Fn() -> Request<Body>,
    ) -> Result<(response::Parts, Bytes), String> {
        let place = target.authority().map_or("", |own| own.as_str());
        let worded = |error: Error| words::of(&error, target);
        while let Some(mut sender) = self.take(place) {
            if sender.ready().await.is_err() {
                continue;
            }
            match sender.try_send_request(ask()).await {
                Ok(answer) => return self.read(place, sender, answer).await,
                // It comes back unless some of it has left.
                Err(mut error) => {
                    if error.take_message().is_none() {
                        return Err(worded(Error::Http(error.into_error())));
                    }
                }
            }
        }
        let mut sender = self.backend.connect(target).await.map_err(worded)?;
        let answer = sender.send_request(ask()).await.map_err(|error| worded(Error::Http(error)))?;
        self.read(place, sender, answer).await
    }

    /// Lets go of all that wait for use: the way there has shown itself broken.
    pub fn clear(&self) {
        self.kept.lock().places.clear();
    }

    async fn read(
        self: &Arc<Self>,
        place: &str,
        sender: Sender,
        answer: http::Response<Incoming>,
    ) -> Result<(response::Parts, Bytes), String> {
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, LONGEST).collect().await.map_err(|error| error.to_string())?;
        self.keep(place, sender);
        Ok((head, body.to_bytes()))
    }

    fn take(&self, place: &str) -> Option<Sender> {
        let mut kept = self.kept.lock();
        let all = kept.places.get_mut(place)?;
        while let Some(idle) = all.pop() {
            if !idle.sender.is_closed() && idle.since.elapsed() < IDLE {
                return Some(idle.sender);
            }
        }
        kept.places.remove(place);
        None
    }

    fn keep(self: &Arc<Self>, place: &str, sender: Sender) {
        if sender.is_closed() {
            return;
        }
        let mut kept = self.kept.lock();
        let all = kept.places.entry(place.to_owned()).or_default();
        if all.len() < MOST {
            all.push(Idle { sender, since: Instant::now() });
        }
        if !std::mem::replace(&mut kept.swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Closes what has waited too long, or has gone; when to look again, if anything is left.
    fn expire(&self, now: Instant) -> Option<Instant> {
        let mut kept = self.kept.lock();
        kept.places.retain(|_, all| {
            all.retain(|idle| !idle.sender.is_closed() && now.duration_since(idle.since) < IDLE);
            !all.is_empty()
        });
        let oldest = kept.places.values().flatten().map(|idle| idle.since).min();
        kept.swept = oldest.is_some();
        oldest.map(|since| since + IDLE)
    }
}

async fn sweep(pool: Weak<Pool>) {
    let mut next = Instant::now() + IDLE;
    loop {
        tokio::time::sleep_until(next).await;
        match pool.upgrade().and_then(|pool| pool.expire(Instant::now())) {
            Some(then) => next = then,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http_body_util::Full;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::net::TcpListener;
    use tokio::sync::watch;

    use super::*;

    /// A server that counts its connections and drops them all when it is told to.
    struct Server {
        target: Uri,
        connections: Arc<AtomicUsize>,
        hang_up: watch::Sender<u32>,
    }

    impl Server {
        async fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let port = listener.local_addr().expect("an address").port();
            let connections = Arc::new(AtomicUsize::new(0));
            let (hang_up, told) = watch::channel(0);
            let counted = connections.clone();
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    counted.fetch_add(1, Ordering::SeqCst);
                    let mut told = told.clone();
                    told.mark_unchanged();
                    tokio::spawn(async move {
                        let service = service_fn(|request: Request<Incoming>| async move {
                            let last = request.uri().path() == "/last";
                            let body = request.into_body().collect().await?.to_bytes();
                            let answer = http::Response::builder();
                            let answer = if last { answer.header("connection", "close") } else { answer };
                            Ok::<_, hyper::Error>(answer.body(Full::new(body)).expect("an answer"))
                        });
                        let connection = hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service);
                        tokio::select! {
                            _ = connection => {}
                            _ = told.changed() => {}
                        }
                    });
                }
            });
            let target = format!("http://127.0.0.1:{port}/").parse().expect("a URL");
            Self { target, connections, hang_up }
        }

        fn connections(&self) -> usize {
            self.connections.load(Ordering::SeqCst)
        }
    }

    fn pool() -> Arc<Pool> {
        Pool::new(Backend::new(Arc::new(|| unreachable!("no TLS in these tests"))))
    }

    async fn ask(pool: &Arc<Pool>, server: &Server, path: &str) -> Result<Bytes, String> {
        let request = || {
            let body =
                Full::new(Bytes::from_static(b"question")).map_err(|never| match never {}).boxed_unsync();
            Request::post(path).header("host", "test").body(body).expect("a request")
        };
        pool.exchange(&server.target, request).await.map(|(_, body)| body)
    }

    fn waiting(pool: &Pool) -> usize {
        pool.kept.lock().places.values().map(Vec::len).sum()
    }

    #[tokio::test]
    async fn one_connection_carries_one_call_after_the_other() {
        let (server, pool) = (Server::start().await, pool());
        for _ in 0..5 {
            assert_eq!(ask(&pool, &server, "/").await.expect("an answer"), "question");
        }
        assert_eq!((server.connections(), waiting(&pool)), (1, 1));
    }

    #[tokio::test]
    async fn calls_at_one_time_have_connections_of_their_own() {
        let (server, pool) = (Server::start().await, pool());
        let all = futures::future::join_all((0..MOST + 5).map(|_| ask(&pool, &server, "/"))).await;
        assert!(all.iter().all(Result::is_ok));
        assert!(waiting(&pool) <= MOST, "no more than that wait for use");
        assert!(server.connections() <= MOST + 5);
    }

    #[tokio::test]
    async fn a_connection_that_the_server_ends_is_not_kept() {
        let (server, pool) = (Server::start().await, pool());
        for expected in 1..=3 {
            assert!(ask(&pool, &server, "/last").await.is_ok());
            assert_eq!(server.connections(), expected);
        }
    }

    #[tokio::test]
    async fn a_connection_that_has_gone_is_passed_over() {
        let (server, pool) = (Server::start().await, pool());
        assert!(ask(&pool, &server, "/").await.is_ok());
        server.hang_up.send_replace(1);
        while !pool.kept.lock().places.values().flatten().all(|idle| idle.sender.is_closed()) {
            tokio::task::yield_now().await;
        }
        assert!(ask(&pool, &server, "/").await.is_ok());
        assert_eq!(server.connections(), 2);
    }

    #[tokio::test]
    async fn what_nobody_uses_is_closed() {
        let (server, pool) = (Server::start().await, pool());
        assert!(ask(&pool, &server, "/").await.is_ok());
        let now = Instant::now();
        assert!(pool.expire(now).is_some_and(|then| then <= now + IDLE));
        assert_eq!(waiting(&pool), 1);
        assert_eq!(pool.expire(now + IDLE), None);
        assert_eq!(waiting(&pool), 0);
        assert!(!pool.kept.lock().swept, "the next one that is kept is looked after anew");
        assert!(ask(&pool, &server, "/").await.is_ok());
        pool.clear();
        assert_eq!((waiting(&pool), server.connections()), (0, 2));
    }
}
