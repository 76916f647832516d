//! The other members as this one reaches them: their addresses, connections to them, and when each was
//! last heard of.
//!
//! Each peer has two connections: one for what must not wait (heartbeats, votes, read indexes), one for
//! what is large (entries, snapshots, forwarded commands). Addresses and certificates are looked up at
//! each connecting, so that a change of either needs no restart; a connection whose peer does not answer
//! pings is dropped.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use daemon::tls::ClientTls;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Status};

use super::wire::{CLUSTER, DirectoryClient, FROM, Nothing, PeerClient, TO};
use crate::data_dir::Identity;
use crate::flags::{Url, urls};
use crate::metrics;

/// Entries of one message are limited where they are read (`log`); one entry may be this large.
pub const MESSAGE_LIMIT: usize = 64 << 20;
/// What a removed member is told, in etcd's words.
pub const REMOVED: &str = "the member has been permanently removed from the cluster";
/// For asking members of a cluster that is not ours yet.
const DIRECTORY_TIMEOUT: Duration = Duration::from_secs(3);

pub type Client = PeerClient<InterceptedService<Channel, Introduction>>;

/// Which connection a call takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    Urgent,
    Bulk,
}

pub struct Peers {
    identity: Identity,
    tls: Option<Arc<ClientTls>>,
    election: Duration,
    links: Mutex<HashMap<u64, Arc<Link>>>,
    start: Instant,
    /// When the leader was last heard, in milliseconds after `start`; 0 is never.
    heard: AtomicU64,
    /// Whether this member has been told that it was removed.
    removed: watch::Sender<bool>,
}

/// One peer.
pub struct Link {
    pub id: u64,
    /// As metrics label it.
    pub label: String,
    urls: Arc<ArcSwap<Vec<Url>>>,
    urgent: Channel,
    bulk: Channel,
    introduction: Introduction,
    active: AtomicBool,
}

impl Peers {
    pub fn new(identity: Identity, tls: Option<Arc<ClientTls>>, election: Duration) -> Arc<Self> {
        Arc::new(Self {
            identity,
            tls,
            election,
            links: Mutex::default(),
            start: Instant::now(),
            heard: AtomicU64::new(0),
            removed: watch::Sender::new(false),
        })
    }

    /// Notes where a member is to be reached: URLs with commas between them.
    pub fn note(&self, id: u64, addresses: &str) -> Arc<Link> {
        let found = urls("initial-advertise-peer-urls", addresses).unwrap_or_default();
        let mut links = self.links.lock();
        let link = links.entry(id).or_insert_with(|| Arc::new(self.link(id)));
        if **link.urls.load() != found {
            link.urls.store(Arc::new(found));
        }
        link.clone()
    }

    /// Keeps the links to these members and no others.
    pub fn retain(&self, members: &std::collections::BTreeSet<u64>) {
        self.links.lock().retain(|id, link| {
            let kept = members.contains(id);
            if !kept {
                metrics::get().peers.forget(&link.label);
            }
            kept
        });
    }

    pub fn link_to(&self, id: u64) -> Option<Arc<Link>> {
        self.links.lock().get(&id).cloned()
    }

    fn link(&self, id: u64) -> Link {
        let urls = Arc::new(ArcSwap::from_pointee(Vec::new()));
        let channel = || self.channel(urls.clone());
        Link {
            id,
            label: format!("{id:x}"),
            urgent: channel(),
            bulk: channel(),
            introduction: Introduction::new(self.identity, id),
            urls: urls.clone(),
            active: AtomicBool::new(false),
        }
    }

    fn channel(&self, urls: Arc<ArcSwap<Vec<Url>>>) -> Channel {
        let tls = self.tls.clone();
        let patience = self.election.max(Duration::from_secs(1));
        // The name is never looked up: the connector decides where to go.
        Endpoint::from_static("http://peer")
            .http2_keep_alive_interval(patience)
            .keep_alive_timeout(patience * 2)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(8 << 20)
            .connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
                let (urls, tls) = (urls.load_full(), tls.clone());
                async move { connect_any(&urls, tls.as_deref(), patience).await.map(TokioIo::new) }
            }))
    }

    /// Something came from the leader.
    pub fn hear(&self) {
        self.heard.store(self.start.elapsed().as_millis().max(1) as u64, Ordering::Relaxed);
    }

    /// How long ago that was.
    pub fn silence(&self) -> Option<Duration> {
        let heard = self.heard.load(Ordering::Relaxed);
        (heard > 0).then(|| self.start.elapsed().saturating_sub(Duration::from_millis(heard)))
    }

    /// Takes note when an answer says that this member is no member any more.
    pub fn examine(&self, status: &Status) {
        if status.code() == Code::PermissionDenied && status.message() == REMOVED {
            self.removed.send_replace(true);
        }
    }

    pub fn say_removed(&self) {
        self.removed.send_replace(true);
    }

    /// Waits until this member is known to have been removed.
    pub async fn until_removed(&self) {
        // Fails only when the sender is gone, and it is ours.
        self.removed.subscribe().wait_for(|removed| *removed).await.ok();
    }
}

impl Link {
    /// It answered.
    pub fn answered(&self, took: Option<Duration>) {
        metrics::get().peers.answered(&self.label, took);
        if !self.active.swap(true, Ordering::Relaxed) {
            metrics::get().peers.set_active(&self.label, true);
            tracing::info!(peer = self.label, "peer became active");
        }
    }

    /// It did not.
    pub fn failed(&self, reason: &str) {
        metrics::get().peers.failed(&self.label);
        if self.active.swap(false, Ordering::Relaxed) {
            metrics::get().peers.set_active(&self.label, false);
            tracing::warn!(
                peer = self.label,
                error = reason,
                "peer became inactive (message send to peer failed)"
            );
        }
    }

    pub fn client(&self, lane: Lane) -> Client {
        let channel = if lane == Lane::Urgent { &self.urgent } else { &self.bulk };
        PeerClient::new(InterceptedService::new(channel.clone(), self.introduction.clone()))
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(usize::MAX)
    }
}

/// Says in each call who speaks to whom, and in which cluster.
#[derive(Clone)]
pub struct Introduction {
    cluster: MetadataValue<tonic::metadata::Ascii>,
    from: MetadataValue<tonic::metadata::Ascii>,
    to: MetadataValue<tonic::metadata::Ascii>,
}

impl Introduction {
    fn new(identity: Identity, to: u64) -> Self {
        let hex = |id: u64| format!("{id:x}").parse().expect("hex digits are a header's value");
        Self { cluster: hex(identity.cluster_id), from: hex(identity.member_id), to: hex(to) }
    }
}

impl Interceptor for Introduction {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let headers = request.metadata_mut();
        headers.insert(CLUSTER, self.cluster.clone());
        headers.insert(FROM, self.from.clone());
        headers.insert(TO, self.to.clone());
        Ok(request)
    }
}

/// Asks whoever listens on a peer URL for the members of its cluster.
pub async fn members_at(url: &Url, tls: Option<Arc<ClientTls>>) -> Result<super::wire::MembersReply, Status> {
    let urls = vec![url.clone()];
    let channel =
        Endpoint::from_static("http://peer").connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
            let (urls, tls) = (urls.clone(), tls.clone());
            async move { connect_any(&urls, tls.as_deref(), DIRECTORY_TIMEOUT).await.map(TokioIo::new) }
        }));
    let mut client = DirectoryClient::new(channel);
    let asked = tokio::time::timeout(DIRECTORY_TIMEOUT, client.members(Nothing {}));
    let answer = asked.await.map_err(|_| Status::deadline_exceeded("no answer in time"))?;
    Ok(answer?.into_inner())
}

pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

type Connected = Pin<Box<dyn Stream>>;

/// Connects to the first of several addresses that takes it.
async fn connect_any(urls: &[Url], tls: Option<&ClientTls>, patience: Duration) -> io::Result<Connected> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "no address is known");
    for url in urls {
        match tokio::time::timeout(patience, connect(url, tls)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failed = error,
            Err(_) => failed = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(failed)
}

async fn connect(url: &Url, tls: Option<&ClientTls>) -> io::Result<Connected> {
    let stream = TcpStream::connect(url.authority.as_str()).await?;
    stream.set_nodelay(true)?;
    if !url.secure {
        return Ok(Box::pin(stream));
    }
    let tls = tls.ok_or_else(|| io::Error::other(format!("{url} needs --peer-trusted-ca-file")))?;
    let host = url.authority.rsplit_once(':').map_or(url.authority.as_str(), |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    Ok(Box::pin(TlsConnector::from(tls.config()).connect(name, stream).await?))
}
