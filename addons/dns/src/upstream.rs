//! Names that are not the cluster's: asked of other name servers, and kept for as long as they allow.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context as _;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{Resolver, TokioResolver};

/// For how long one of the other name servers is waited for: a client asks again after five seconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// What other name servers say.
#[derive(Debug)]
pub struct Reply {
    pub code: ResponseCode,
    pub answers: Vec<Record>,
    pub authority: Option<Record>,
}

impl Reply {
    fn of(code: ResponseCode) -> Self {
        Self { code, answers: Vec::new(), authority: None }
    }
}

/// The other name servers.
#[derive(Debug)]
pub struct Upstream {
    /// `None` when there are none: every other name is refused.
    resolver: Option<TokioResolver>,
}

impl Upstream {
    /// Asks `servers`, or those of /etc/resolv.conf when there are none.
    ///
    /// # Errors
    /// When /etc/resolv.conf cannot be read.
    pub fn new(servers: &[IpAddr]) -> anyhow::Result<Self> {
        let servers: Vec<NameServerConfig> = if servers.is_empty() {
            let (system, _) = hickory_resolver::system_conf::read_system_conf()
                .context("no --upstream was given, and /etc/resolv.conf cannot be used")?;
            system.name_servers().to_vec()
        } else {
            servers.iter().map(|server| NameServerConfig::udp_and_tcp(*server)).collect()
        };
        if servers.is_empty() {
            return Ok(Self { resolver: None });
        }
        let mut options = ResolverOpts::default();
        // A chain of aliases is handed on whole, search lists are the client's business.
        options.preserve_intermediates = true;
        options.ndots = 0;
        options.timeout = PATIENCE;
        options.attempts = 1;
        options.use_hosts_file = ResolveHosts::Never;
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        let resolver = Resolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .build()
            .context("cannot set up the resolver")?;
        Ok(Self { resolver: Some(resolver) })
    }

    /// Looks a name up.
    pub async fn ask(&self, mut name: Name, kind: RecordType) -> Reply {
        let Some(resolver) = &self.resolver else { return Reply::of(ResponseCode::Refused) };
        name.set_fqdn(true);
        match resolver.lookup(name.clone(), kind).await {
            Ok(found) => {
                Reply { code: ResponseCode::NoError, answers: found.answers().to_vec(), authority: None }
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => Reply {
                code: none.response_code,
                answers: Vec::new(),
                authority: none.soa.map(|soa| Record::from_rdata(soa.name, soa.ttl, RData::SOA(soa.data))),
            },
            Err(error) => {
                tracing::debug!(%name, %kind, error = daemon::logging::error_chain(&error), "No answer from upstream");
                Reply::of(ResponseCode::ServFail)
            }
        }
    }
}
