//! The services as clients see them: each checks a request, proposes it or reads a view, and puts the
//! header on the answer. What a request means is decided below this folder.

mod auth;
mod caller;
pub mod calls;
mod checks;
mod cluster;
mod election;
pub mod entry;
mod frames;
pub mod gate;
mod health;
pub mod http;
mod kv;
mod lease;
mod line;
mod lock;
mod maintenance;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use daemon::shutdown::Shutdown;
use etcd_protocol::etcdserverpb as pb;
use tonic::service::Routes;

use crate::auth::tokens::Provider;
use crate::auth::{Caller, ROOT};
use crate::error::Error;
use crate::raft::Shared;
use crate::raft::command::{Answer, Kind};
use crate::raft::proposer::Proposer;

/// The etcd release whose API this is: what clients decide by.
pub const SERVER_VERSION: &str = "3.6.8";
pub const CLUSTER_VERSION: &str = "3.6.0";
pub const STORAGE_VERSION: &str = "3.6";

/// Room in a frame beside the request itself, as etcd grants it.
const FRAME_OVERHEAD: usize = 512 << 10;

/// What all services share.
#[derive(Clone)]
pub struct Context {
    pub proposer: Proposer,
    pub shared: Arc<Shared>,
    pub cluster_id: u64,
    pub member_id: u64,
    /// Bytes; `None` for no quota.
    pub quota: Option<u64>,
    pub max_txn_ops: usize,
    pub max_request_bytes: usize,
    pub progress_interval: Duration,
    /// Shortest lease, in seconds.
    pub min_lease_ttl: i64,
    /// How users get tokens.
    pub tokens: Arc<Provider>,
    pub bcrypt_cost: u32,
    /// Whether the common name of a client certificate is a user.
    pub client_cert_auth: bool,
    pub shutdown: Shutdown,
}

impl Context {
    fn header(&self, revision: i64) -> Option<pb::ResponseHeader> {
        Some(pb::ResponseHeader {
            cluster_id: self.cluster_id,
            member_id: self.member_id,
            revision,
            raft_term: self.shared.term(),
        })
    }

    /// A header for an answer that says nothing about keys.
    fn header_now(&self) -> Option<pb::ResponseHeader> {
        self.header(self.shared.reader.view().revision)
    }

    /// The header that the state machine began.
    fn completed(&self, header: Option<pb::ResponseHeader>) -> Option<pb::ResponseHeader> {
        self.header(header.map_or(0, |header| header.revision))
    }

    /// Proposes a command that stores something: refused when the quota is used up, which raises the
    /// alarm for every member.
    async fn propose_growth(
        &self,
        kind: Kind,
        bytes: usize,
        caller: Option<Caller>,
    ) -> Result<Answer, Error> {
        let used = self.shared.live_bytes() + bytes as u64;
        if self.quota.is_some_and(|quota| used > quota) {
            if !self.shared.machine.lock().no_space() {
                tracing::warn!(used, quota = self.quota, "the quota is used up: raising NOSPACE");
                self.proposer
                    .propose(Kind::Alarm(pb::AlarmRequest {
                        action: pb::alarm_request::AlarmAction::Activate.into(),
                        member_id: self.member_id,
                        alarm: pb::AlarmType::Nospace.into(),
                    }))
                    .await?;
            }
            return Err(Error::NoSpace);
        }
        let answer = self.proposer.propose_by(kind, caller).await;
        if answer == Err(Error::NoSpace) {
            self.shared.shed_log();
        }
        answer
    }

    /// Ends a lease in the name of the store itself, as the leader of this term.
    pub async fn expire_lease(&self, id: i64, term: u64) -> Result<Answer, Error> {
        let caller = Caller { name: ROOT.to_owned(), revision: self.shared.auth.load().revision() };
        let revoke = Kind::LeaseRevoke(pb::LeaseRevokeRequest { id });
        self.proposer.propose_as_leader(revoke, caller, term).await
    }

    /// The service that nearly all calls are for.
    fn keys(&self) -> pb::kv_server::KvServer<kv::Kv> {
        let limit = self.max_request_bytes + FRAME_OVERHEAD;
        pb::kv_server::KvServer::new(kv::Kv(self.clone())).max_decoding_message_size(limit)
    }

    /// Every other service.
    fn routes(&self) -> Routes {
        let watch = pb::watch_server::WatchServer::new(watch::Watch(self.clone()));
        let lease = pb::lease_server::LeaseServer::new(lease::Lease(self.clone()));
        let cluster = pb::cluster_server::ClusterServer::new(cluster::Cluster(self.clone()));
        let maintenance =
            pb::maintenance_server::MaintenanceServer::new(maintenance::Maintenance(self.clone()));
        let auth = pb::auth_server::AuthServer::new(auth::Auth(self.clone()));
        // Under both names: grpcurl and others ask for the newer first, older ones know the older alone.
        let described = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(etcd_protocol::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let built = "the descriptors were made when this was built";
        Routes::new(watch)
            .add_service(described().build_v1().expect(built))
            .add_service(described().build_v1alpha().expect(built))
            .add_service(health::server(self.clone()))
            .add_service(lease)
            .add_service(cluster)
            .add_service(maintenance)
            .add_service(auth)
            .add_service(lock::server(self.clone()))
            .add_service(election::server(self.clone()))
            .into_axum_router()
            .layer(axum::middleware::map_response(|answer: Response| async { frames::too_large(answer) }))
            .into()
    }
}

/// An answer of another kind than the command's: a bug in the state machine.
fn unexpected(answer: &Answer) -> Error {
    Error::Internal(format!("unexpected answer {answer:?}"))
}
