//! Stands between the kubelet and its runtime and holds one call: before the runtime has it, or when the
//! runtime has answered and the kubelet has not heard of it. Whoever holds it kills what is to be killed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Collected, Either};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

/// The calls that change something.
const CHANGES: [&str; 9] = [
    "RunPodSandbox",
    "StopPodSandbox",
    "RemovePodSandbox",
    "CreateContainer",
    "StartContainer",
    "StopContainer",
    "RemoveContainer",
    "ExecSync",
    "PullImage",
];

/// Where a call is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The runtime does not have it yet.
    Asked,
    /// The runtime has done it, and the kubelet does not know.
    Answered,
}

/// What becomes of the call that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    PassOn,
    /// Who asked is no more: nobody hears of it again.
    Drop,
}

#[derive(Debug, Default)]
struct State {
    /// Counted from 0 among the calls since; none any more once it was held.
    awaited: Option<(usize, Moment)>,
    seen: usize,
    held: Option<String>,
    fate: Option<Fate>,
}

struct Shared {
    runtime: PathBuf,
    state: watch::Sender<State>,
}

/// The listener; ends when dropped.
pub struct Between {
    shared: Arc<Shared>,
    _threads: tokio::runtime::Runtime,
}

impl Between {
    /// Listens at `socket` for a kubelet, and asks the runtime at `runtime`.
    pub fn listen(socket: &Path, runtime: &Path) -> Result<Self> {
        let shared = Arc::new(Shared { runtime: runtime.to_owned(), state: watch::Sender::default() });
        let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let _ = std::fs::remove_file(socket);
        let listener = {
            let _guard = threads.enter();
            UnixListener::bind(socket).with_context(|| socket.display().to_string())?
        };
        let served = Arc::clone(&shared);
        threads.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(Arc::clone(&served), stream));
            }
        });
        Ok(Self { shared, _threads: threads })
    }

    /// The `nth` call from now on is to be held; one that was to be held before is not any more.
    pub fn hold(&self, nth: usize, moment: Moment) {
        self.shared.state.send_replace(State { awaited: Some((nth, moment)), ..State::default() });
    }

    /// The call that is held now.
    pub fn held(&self) -> Option<String> {
        self.shared.state.borrow().held.clone()
    }

    /// Lets go of the call that is held.
    pub fn release(&self, fate: Fate) {
        self.shared.state.send_modify(|state| (state.held, state.fate) = (None, Some(fate)));
    }
}

impl Shared {
    /// The number of a call that has come.
    fn count(&self) -> usize {
        let mut number = 0;
        self.state.send_modify(|state| {
            number = state.seen;
            state.seen += 1;
        });
        number
    }

    /// Holds the call if it is the one.
    async fn pass(&self, call: &str, number: usize, moment: Moment) -> Result<()> {
        let mut waits = self.state.subscribe();
        let is_it = self.state.send_if_modified(|state| {
            let is_it = state.awaited == Some((number, moment));
            if is_it {
                (state.awaited, state.held) = (None, Some(call.to_owned()));
            }
            is_it
        });
        if is_it && waits.wait_for(|state| state.fate.is_some()).await?.fate == Some(Fate::Drop) {
            bail!("{call} is dropped");
        }
        Ok(())
    }
}

type Answer = Response<Either<Incoming, Collected<Bytes>>>;

async fn exchange(
    shared: Arc<Shared>,
    mut to: SendRequest<Incoming>,
    request: Request<Incoming>,
) -> Result<Answer> {
    let call = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    if !CHANGES.contains(&call.as_str()) {
        return Ok(to.send_request(request).await?.map(Either::Left));
    }
    let number = shared.count();
    shared.pass(&call, number, Moment::Asked).await?;
    let (head, body) = to.send_request(request).await?.into_parts();
    let body = body.collect().await?;
    shared.pass(&call, number, Moment::Answered).await?;
    Ok(Response::from_parts(head, Either::Right(body)))
}

/// One connection of a kubelet: it ends with the runtime's, as if there were nothing in between.
async fn serve(shared: Arc<Shared>, from: UnixStream) -> Result<()> {
    let to = UnixStream::connect(&shared.runtime).await?;
    let (sender, runtime) = handshake(TokioExecutor::new(), TokioIo::new(to)).await?;
    let service = service_fn(|request| exchange(Arc::clone(&shared), sender.clone(), request));
    let kubelet = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(from), service);
    tokio::select! {
        ended = runtime => ended?,
        ended = kubelet => ended?,
    }
    Ok(())
}
