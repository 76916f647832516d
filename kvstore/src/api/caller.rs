//! Who a request comes from: a token in its metadata, or the common name of its client certificate.

use daemon::serve::PeerCertificates;
use daemon::tls::Subject;
use tonic::Request;

use super::Context;
use crate::auth::{Caller, tokens};
use crate::error::Error;

/// Metadata that carries a token; the second name is for gateways.
const TOKEN_KEYS: [&str; 2] = ["token", "authorization"];
/// COMPAT: a JSON gateway speaks with its own certificate, which says nothing about its clients.
const GATEWAY_KEY: &str = "grpcgateway-accept";

/// What a request shows about who sends it.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    token: Option<String>,
    common_name: Option<String>,
}

impl Credentials {
    pub fn of<T>(request: &Request<T>) -> Self {
        let metadata = request.metadata();
        let token = TOKEN_KEYS.into_iter().find_map(|key| metadata.get(key));
        let certificates = request.extensions().get::<PeerCertificates>();
        let certificate = certificates.filter(|_| !metadata.contains_key(GATEWAY_KEY));
        let subject = certificate.and_then(|chain| Subject::of(chain.0.first()?).ok());
        Self {
            token: token.map(|token| token.to_str().unwrap_or_default().to_owned()),
            common_name: subject.map(|subject| subject.common_name),
        }
    }
}

impl Context {
    /// Who sends a request; `None` when nobody is told, or while authentication is off.
    pub(super) async fn caller<T>(&self, request: &Request<T>) -> Result<Option<Caller>, Error> {
        if !self.shared.auth.load().enabled() {
            return Ok(None);
        }
        self.identify(&Credentials::of(request)).await
    }

    pub(super) async fn identify(&self, credentials: &Credentials) -> Result<Option<Caller>, Error> {
        let mut table = self.shared.auth.load_full();
        if !table.enabled() {
            return Ok(None);
        }
        let Some(token) = &credentials.token else {
            let name = credentials.common_name.clone().filter(|_| self.client_cert_auth);
            return Ok(name.map(|name| Caller { name, revision: table.revision() }));
        };
        // Given by an entry of the log that has not come here yet.
        if tokens::index(token).is_some_and(|index| index > self.shared.applied_index()) {
            self.proposer.read_barrier().await?;
            table = self.shared.auth.load_full();
        }
        let caller = tokens::caller(&self.tokens, &self.shared.tokens, token, &table);
        caller.map(Some).ok_or(Error::InvalidAuthToken)
    }

    /// Whether the sender of a request may administer.
    pub(super) async fn admin<T>(&self, request: &Request<T>) -> Result<(), Error> {
        let caller = self.caller(request).await?.unwrap_or_default();
        self.shared.auth.load().admin(&caller)
    }
}
