//! The streams of an HTTP/2 connection, in the connection's own task.
//!
//! hyper wants a task for each stream. Where a connection carries hundreds of watches and all of them hear of a
//! change, hundreds of tasks are then queued, on any thread, and each locks the connection that another thread
//! writes. Here a connection polls its streams itself: one task is woken, all that is ready is said in its turn
//! and leaves together.
//!
//! Nothing that takes long may be done there: requests are worked on [`in_a_task`], what is left
//! for a stream is writing the answer's body. A stream that panics ends alone.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::task::AtomicWaker;
use hyper::rt::Executor;
use parking_lot::Mutex;
use slab::Slab;
use tokio::task::JoinHandle;
use tokio::task::coop::unconstrained;

/// Where hyper leaves the streams that clients open: with the connection, or each in a task.
#[derive(Clone, Default)]
pub struct Opened(Option<Arc<Mutex<Vec<BoxFuture<'static, ()>>>>>);

impl Opened {
    /// For a connection that is polled as [`Together`].
    pub fn together() -> Self {
        Self(Some(Arc::default()))
    }
}

impl<F> Executor<F> for Opened
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        match &self.0 {
            Some(opened) => opened.lock().push(AssertUnwindSafe(stream).catch_unwind().map(drop).boxed()),
            None => drop(tokio::spawn(stream)),
        }
    }
}

/// A connection and its streams as one future. In each turn the streams that have something to do are polled, each
/// once, and then the connection: what they have to say is there before it writes.
pub struct Together<C> {
    pub connection: C,
    opened: Opened,
    streams: Slab<Stream>,
    ready: Arc<Ready>,
}

struct Stream {
    work: BoxFuture<'static, ()>,
    bell: Arc<Bell>,
    waker: Waker,
}

/// Streams with something to do.
#[derive(Default)]
struct Ready {
    places: Mutex<Vec<usize>>,
    connection: AtomicWaker,
}

/// Wakes the stream at a place; a later one there, once this is gone, is polled in vain.
struct Bell {
    place: usize,
    rung: AtomicBool,
    ready: Arc<Ready>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.ready.places.lock().push(self.place);
            self.ready.connection.wake();
        }
    }
}

impl<C> Together<C> {
    /// `opened` is the executor of `connection`.
    pub fn new(connection: C, opened: Opened) -> Self {
        Self { connection, opened, streams: Slab::new(), ready: Arc::default() }
    }

    /// Takes in what the client has opened; whether there was any.
    fn take_opened(&mut self) -> bool {
        let Some(opened) = &self.opened.0 else { return false };
        let opened = std::mem::take(&mut *opened.lock());
        let any = !opened.is_empty();
        for work in opened {
            let place = self.streams.vacant_key();
            let bell = Arc::new(Bell { place, rung: AtomicBool::new(true), ready: self.ready.clone() });
            self.streams.insert(Stream { work, waker: bell.clone().into(), bell });
            self.ready.places.lock().push(place);
        }
        any
    }

    fn poll_streams(&mut self) {
        let places = std::mem::take(&mut *self.ready.places.lock());
        for place in places {
            let Some(stream) = self.streams.get_mut(place) else { continue };
            // Sees what was there before a ring that came too late to be noted.
            stream.bell.rung.swap(false, Ordering::AcqRel);
            // Each is as a task of its own: one budget for all of them would leave most for further turns.
            let mut work = unconstrained(&mut stream.work);
            if work.poll_unpin(&mut Context::from_waker(&stream.waker)).is_ready() {
                self.streams.remove(place);
            }
        }
    }
}

impl<C: Future + Unpin> Future for Together<C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        self.ready.connection.register(cx.waker());
        self.poll_streams();
        loop {
            if let Poll::Ready(ended) = self.connection.poll_unpin(cx) {
                return Poll::Ready(ended);
            }
            if !self.take_opened() {
                return Poll::Pending;
            }
            self.poll_streams();
        }
    }
}

/// Works in a task of its own, which ends when what is returned is dropped.
pub fn in_a_task<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Work<T> {
    Work(tokio::spawn(work))
}

/// Work under way in a task; given up when dropped.
pub struct Work<T>(JoinHandle<T>);

impl<T> Future for Work<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match ready!(self.0.poll_unpin(cx)) {
            Ok(done) => Poll::Ready(done),
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime ends.
                Err(_) => Poll::Pending,
            },
        }
    }
}

impl<T> Drop for Work<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::combinators::UnsyncBoxBody;
    use http_body_util::{BodyExt as _, Empty, StreamBody};
    use hyper::body::{Frame, Incoming};
    use hyper::client::conn::http2::SendRequest;
    use hyper::service::service_fn;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::net::TcpStream;
    use tokio::sync::{broadcast, mpsc};

    use super::*;
    use crate::serve::{HttpOptions, bind, connections_each};
    use crate::shutdown::Shutdown;

    type Sender = SendRequest<Empty<Bytes>>;

    /// What the service below hears of and tells.
    #[derive(Clone)]
    struct World {
        news: broadcast::Sender<Bytes>,
        given_up: mpsc::UnboundedSender<()>,
    }

    struct GivenUp(mpsc::UnboundedSender<()>);
    impl Drop for GivenUp {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }

    async fn answer(
        world: World,
        request: Request<Incoming>,
    ) -> Result<Response<UnsyncBoxBody<Bytes, Infallible>>, Infallible> {
        let path = request.uri().path();
        if path == "/never" {
            let _told = GivenUp(world.given_up);
            return std::future::pending().await;
        }
        assert_ne!(path, "/broken", "as asked");
        let broken = path == "/broken-body";
        let news = futures::stream::unfold(world.news.subscribe(), move |mut news| async move {
            assert!(!broken, "as asked");
            Some((Ok(Frame::data(news.recv().await.ok()?)), news))
        });
        Ok(Response::new(StreamBody::new(news).boxed_unsync()))
    }

    /// One connection to a server whose answers' bodies are the news.
    async fn connected() -> (Sender, World, mpsc::UnboundedReceiver<()>, Shutdown) {
        let listener = bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (given_up, told) = mpsc::unbounded_channel();
        let world = World { news: broadcast::Sender::new(64), given_up };
        let (shutdown, theirs) = (Shutdown::new(), world.clone());
        let options = HttpOptions { together: true, max_streams: Some(500), ..Default::default() };
        let service = move |_| {
            let world = theirs.clone();
            service_fn(move |request| in_a_task(answer(world.clone(), request)))
        };
        tokio::spawn(connections_each(listener, None, options, service, shutdown.clone()));
        let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        (sender, world, told, shutdown)
    }

    async fn get(sender: &mut Sender, path: &str) -> hyper::Result<Incoming> {
        let request = Request::get(format!("http://localhost{path}")).body(Empty::new()).unwrap();
        sender.send_request(request).await.map(Response::into_body)
    }

    async fn read(body: &mut Incoming, size: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < size {
            all.extend_from_slice(body.frame().await.unwrap().unwrap().data_ref().unwrap());
        }
        all
    }

    #[tokio::test]
    async fn all_streams_of_a_connection_hear_all_of_it() {
        let (mut sender, world, _, _shutdown) = connected().await;
        let mut bodies = Vec::new();
        for _ in 0..300 {
            bodies.push(get(&mut sender, "/news").await.unwrap());
        }
        // More than a stream may keep unsent: each waits for its reader.
        let large = Bytes::from(vec![b'x'; 300_000]);
        let expected = [&b"first"[..], &large, b"last"].concat();
        for news in [Bytes::from_static(b"first"), large, Bytes::from_static(b"last")] {
            world.news.send(news).unwrap();
        }
        // All at once: what nobody reads holds up the connection.
        let size = expected.len();
        let read = futures::future::join_all(bodies.iter_mut().map(|body| read(body, size))).await;
        assert!(read.iter().all(|read| *read == expected));
    }

    #[tokio::test]
    async fn what_panics_ends_alone() {
        let (mut sender, world, _, _shutdown) = connected().await;
        let mut body = get(&mut sender, "/news").await.unwrap();
        assert!(get(&mut sender, "/broken").await.is_err());
        let mut broken = get(&mut sender, "/broken-body").await.unwrap();
        assert!(broken.frame().await.unwrap().is_err());
        world.news.send(Bytes::from_static(b"still there")).unwrap();
        assert_eq!(read(&mut body, 11).await, b"still there");
    }

    #[tokio::test]
    async fn work_is_given_up_when_the_client_no_longer_wants_it() {
        let (mut sender, _, mut given_up, _shutdown) = connected().await;
        let asked = tokio::time::timeout(Duration::from_millis(200), get(&mut sender, "/never"));
        assert!(asked.await.is_err());
        given_up.recv().await.unwrap();
    }
}
