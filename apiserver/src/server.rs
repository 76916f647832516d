//! What all requests share: the store, who may do what, limits, health.

use std::sync::Arc;
use std::time::Duration;

use daemon::health::Health;
use tokio::sync::Semaphore;

use crate::admission::Chain;
use crate::aggregator::Aggregator;
use crate::audit::Audit;
use crate::authn::Authenticator;
use crate::authn::service_account::{Issuer, OpenIdDocuments};
use crate::authz::Authorizer;
use crate::flow_control::FlowControl;
use crate::kinds::component::Components;
use crate::kinds::service::ServiceRanges;
use crate::metrics::Metrics;
use crate::storage::Storage;
use crate::subresource::Kubelets;
use crate::views::CatchUp;

/// The server's parts, made once in `main`.
pub struct Server {
    pub storage: Arc<Storage>,
    pub authenticator: Authenticator,
    pub authorizer: Arc<dyn Authorizer>,
    /// Lets what access is decided from reach the store's state.
    pub fresh: Arc<dyn CatchUp>,
    pub admission: Chain,
    /// Groups that other servers answer for.
    pub aggregator: Aggregator,
    /// `None` without --audit-policy-file and --audit-log-path.
    pub audit: Option<Arc<Audit>>,
    /// /.well-known/openid-configuration and its keys; `None` where the issuer is no URL.
    pub open_id: Option<OpenIdDocuments>,
    /// Makes the tokens of service accounts.
    pub issuer: Issuer,
    pub health: Health,
    pub metrics: Metrics,
    /// `None` with --enable-priority-and-fairness=false: the two limits below hold then.
    pub flow_control: Option<Arc<FlowControl>>,
    /// `--max-requests-inflight`; `None` without a limit.
    pub reading: Option<Semaphore>,
    /// `--max-mutating-requests-inflight`
    pub writing: Option<Semaphore>,
    /// `--request-timeout`, for all but watches and connections.
    pub request_timeout: Duration,
    /// `--min-request-timeout`: watches last between this and twice this.
    pub min_request_timeout: Duration,
    /// `--goaway-chance`
    pub goaway_chance: f64,
    /// `--event-ttl`
    pub event_ttl: Duration,
    /// `--allow-privileged`
    pub allow_privileged: bool,
    pub kubelets: Kubelets,
    /// What ComponentStatus tells of.
    pub components: Components,
    pub service_ranges: ServiceRanges,
    /// HOST:PORT that discovery tells clients.
    pub address: String,
}
