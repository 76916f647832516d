//! TLS towards servers that a bundle of authorities is given for in the API.

use std::sync::Arc;

use daemon::tls::{ClientMaterial, ClientTls, Pem, TlsError};
use rustls::ClientConfig;

/// TLS towards a webhook; an empty bundle means the system's authorities.
pub fn config(bundle: &[u8]) -> Result<Arc<ClientConfig>, TlsError> {
    let ca = (!bundle.is_empty()).then(|| Pem::Data(bundle.to_vec()));
    let material = ClientMaterial { ca, alpn: vec!["http/1.1"], ..ClientMaterial::default() };
    Ok(ClientTls::load(material)?.config())
}
