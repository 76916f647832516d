//! Who a controller is: with `--use-service-account-credentials` a service account of its own in
//! kube-system, by a token that is asked for and renewed here; otherwise the controller manager.

use std::time::Duration;

use anyhow::Context as _;
use api_types::authentication::v1::{TokenRequest, TokenRequestSpec};
use api_types::core::v1::ServiceAccount;
use api_types::core::v1::well_known::namespace;
use api_types::meta::v1::ObjectMeta;
use client::{Client, Config, Error, TokenCell, TokenSource};
use daemon::clock::SharedClock;
use daemon::logging::error_chain;
use daemon::shutdown::Shutdown;

/// How long a token is asked to be valid (upstream's), and the part of it after which it is renewed.
const LIFETIME_SECONDS: i64 = 3600;
const RENEW_AFTER: f64 = 0.8;
/// Between tries to get one.
const RETRY: Duration = Duration::from_secs(2);

/// Makes the controllers' clients.
#[derive(Clone, Debug)]
pub struct Identities {
    /// The controller manager's own.
    pub root: Client,
    pub config: Config,
    pub separate: bool,
    pub clock: SharedClock,
    pub shutdown: Shutdown,
}

impl Identities {
    /// A client that acts as the account, or as the controller manager itself (an empty name). Waits until
    /// the account and its first token are there. Its limits are multiples of the configured ones.
    ///
    /// # Errors
    /// When the configuration cannot be used, or shutdown comes first.
    pub async fn client(&self, account: &str, (qps, burst): (f64, u32)) -> anyhow::Result<Client> {
        let agent = Some(account).filter(|account| !account.is_empty());
        let config = self.config.clone().with_agent("kube-controller-manager", agent);
        let (qps, burst) = (config.qps * qps, config.burst.saturating_mul(burst));
        let config = config.with_limits(qps, burst);
        if !self.separate || account.is_empty() {
            return Ok(Client::new(config)?);
        }
        let cell = TokenCell::default();
        let client = Client::new(config.with_token(TokenSource::Cell(cell.clone())))?;
        let first = self.shutdown.unless(self.renew(account, &cell)).await;
        let lifetime = first.context("shut down before the first token came")?;
        let (this, account) = (self.clone(), account.to_owned());
        tokio::spawn(async move {
            let mut lifetime = lifetime;
            loop {
                let wait = this.clock.sleep(lifetime.mul_f64(RENEW_AFTER));
                if this.shutdown.unless(wait).await.is_none() {
                    return;
                }
                match this.shutdown.unless(this.renew(&account, &cell)).await {
                    Some(next) => lifetime = next,
                    None => return,
                }
            }
        });
        Ok(client)
    }

    /// Puts a new token into the cell, however long that takes; gives its lifetime.
    async fn renew(&self, account: &str, cell: &TokenCell) -> Duration {
        loop {
            match self.token(account).await {
                Ok((token, lifetime)) => {
                    cell.set(token);
                    return lifetime;
                }
                Err(error) => {
                    tracing::warn!(account, error = error_chain(&error), "Cannot get a token, trying again");
                    self.clock.sleep(RETRY).await;
                }
            }
        }
    }

    async fn token(&self, account: &str) -> Result<(String, Duration), Error> {
        let accounts = self.root.api::<ServiceAccount>().namespace(namespace::SYSTEM);
        let spec = TokenRequestSpec { expiration_seconds: Some(LIFETIME_SECONDS), ..Default::default() };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let ask = || accounts.create_subresource::<_, TokenRequest>(account, "token", &request);
        let answer = match ask().await {
            // The first time in this cluster.
            Err(error) if error.is_not_found() => {
                self.create(account).await?;
                ask().await?
            }
            answer => answer?,
        };
        // The server may have decided on another lifetime.
        let expires = answer.status.expiration_timestamp.map_or(0, |t| t.0.as_second());
        let left = u64::try_from(expires - self.clock.now().as_second()).unwrap_or(0);
        Ok((answer.status.token, Duration::from_secs(left.max(60))))
    }

    async fn create(&self, account: &str) -> Result<(), Error> {
        let metadata =
            ObjectMeta { name: account.into(), namespace: namespace::SYSTEM.into(), ..ObjectMeta::default() };
        let account = ServiceAccount { metadata, ..ServiceAccount::default() };
        match self.root.api().create(&account).await {
            Err(error) if !error.is_already_exists() => Err(error),
            _ => Ok(()),
        }
    }
}
