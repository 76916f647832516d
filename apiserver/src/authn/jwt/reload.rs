//! Follows the file of `--authentication-config`: what has changed takes effect once all issuers of it are found, and
//! what cannot be used changes nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api_types::field::{Errors, Path};
use daemon::shutdown::Shutdown;

use super::config::{AnonymousConfig, Configuration};
use super::{Issuer, JwtTokens, Terms, check, issuers, metrics};

/// Between two looks at the file.
const EVERY: Duration = Duration::from_secs(1);
/// What could not be used for reasons that may pass is tried again after so long.
const AGAIN: Duration = Duration::from_secs(60);
/// So long all issuers have to be found, looked at as often.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_secs(1);

/// The file as it was at start.
pub struct Followed {
    pub path: PathBuf,
    pub text: String,
    pub anonymous: Option<AnonymousConfig>,
    /// The issuers of service accounts.
    pub disallowed: Vec<String>,
    pub terms: Terms,
}

/// What is wrong with a new file.
#[derive(Debug)]
enum Wrong {
    /// It never will be right.
    File(String),
    /// It may be, later.
    Passing(String),
}

impl Followed {
    /// Follows the file until shutdown.
    pub async fn follow(mut self, tokens: Arc<JwtTokens>, shutdown: Shutdown) {
        metrics::in_force(&self.text);
        let clock = self.terms.clock.clone();
        let mut pause = EVERY;
        while shutdown.unless(clock.sleep(pause)).await.is_some() {
            pause = EVERY;
            let text = match tokio::fs::read_to_string(&self.path).await {
                Ok(text) if text == self.text => continue,
                Ok(text) => text,
                Err(error) => {
                    tracing::error!(%error, "failed to read authentication config file");
                    metrics::reloaded(None);
                    pause = AGAIN;
                    continue;
                }
            };
            match self.made(&text).await {
                Ok(new) => {
                    tokens.replace(new);
                    metrics::reloaded(Some(&text));
                    self.text = text;
                    tracing::info!("reloaded authentication config");
                }
                Err(Wrong::File(why)) => {
                    tracing::error!(error = why, "failed to validate authentication config");
                    metrics::reloaded(None);
                    self.text = text;
                }
                Err(Wrong::Passing(why)) => {
                    tracing::error!(error = why, "failed to update authentication config");
                    metrics::reloaded(None);
                    pause = AGAIN;
                }
            }
        }
    }

    async fn made(&self, text: &str) -> Result<Vec<Issuer>, Wrong> {
        let own = Configuration::parse(text, &self.path).map_err(|error| Wrong::File(error.to_string()))?;
        let mut errors = check(&own, &self.disallowed).err().unwrap_or_default();
        if own.anonymous != self.anonymous {
            changed(&mut errors);
        }
        if !errors.is_empty() {
            return Err(Wrong::File(errors.to_string()));
        }
        let new =
            issuers(&own, &self.disallowed, &self.terms).map_err(|why| Wrong::Passing(why.to_string()))?;
        let mut waited = Duration::ZERO;
        loop {
            let trouble: Vec<String> = new.iter().filter_map(Issuer::trouble).collect();
            if trouble.is_empty() {
                return Ok(new);
            }
            if waited >= PATIENCE {
                return Err(Wrong::Passing(format!("[{}, context deadline exceeded]", trouble.join(", "))));
            }
            self.terms.clock.sleep(LOOK).await;
            waited += LOOK;
        }
    }
}

fn changed(errors: &mut Errors) {
    errors.forbidden(&Path::new("anonymous"), "changed from initial configuration file");
}
