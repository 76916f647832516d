//! What went wrong with a webhook in the words of Go's client, which operators know and search for.

use api_types::codec::json;
use api_types::meta::v1::Status;
use http::Uri;

use crate::stream::Error;

/// Why no answer came.
pub fn of(error: &Error, target: &Uri) -> String {
    let port = target.port_u16().unwrap_or(443);
    let host = target.host().unwrap_or_default();
    match error {
        Error::Dial(cause) if cause.kind() == std::io::ErrorKind::ConnectionRefused => {
            format!("dial tcp {host}:{port}: connect: connection refused")
        }
        Error::Dial(cause) if cause.kind() == std::io::ErrorKind::TimedOut => {
            format!("dial tcp {host}:{port}: i/o timeout")
        }
        Error::Dial(cause) => {
            let text = cause.to_string();
            if text.starts_with("failed to lookup address") {
                return format!("dial tcp: lookup {host}: no such host");
            }
            format!("dial tcp {host}:{port}: {text}")
        }
        Error::Tls(cause) => tls(cause),
        Error::Http(cause) if cause.is_incomplete_message() => "EOF".to_owned(),
        Error::Http(cause) => cause.to_string(),
        Error::Request(cause) => cause.to_string(),
        Error::Upgrade(cause) => cause.clone(),
    }
}

const UNKNOWN: &str = "certificate signed by unknown authority";

fn tls(cause: &std::io::Error) -> String {
    use rustls::CertificateError as Bad;
    let inner = cause.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::InvalidCertificate(bad)) = inner else {
        if cause.kind() == std::io::ErrorKind::UnexpectedEof {
            return "EOF".to_owned();
        }
        if matches!(inner, Some(rustls::Error::InvalidMessage(_))) {
            return "http: server gave HTTP response to HTTPS client".to_owned();
        }
        return format!("tls: {cause}");
    };
    let why = match bad {
        Bad::UnknownIssuer => UNKNOWN.to_owned(),
        // An authority's own certificate that is not among those named.
        Bad::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => UNKNOWN.to_owned(),
        Bad::Expired | Bad::ExpiredContext { .. } | Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
            "certificate has expired or is not yet valid".to_owned()
        }
        Bad::NotValidForNameContext { expected, presented } => {
            let shown: Vec<&str> =
                presented.iter().map(|name| name.split('"').nth(1).unwrap_or(name)).collect();
            format!("certificate is valid for {}, not {}", shown.join(", "), expected.to_str())
        }
        Bad::NotValidForName => "certificate is not valid for the name".to_owned(),
        other => other.to_string(),
    };
    format!("tls: failed to verify certificate: x509: {why}")
}

/// What an answer that is no success says.
pub fn refusal(code: u16, body: &[u8]) -> String {
    if let Ok(status) = json::from_slice::<Status>(body)
        && status.status == "Failure"
    {
        return status.message;
    }
    let text = String::from_utf8_lossy(body);
    let text = match text.trim() {
        "" => "unknown",
        text => text,
    };
    match code {
        400 => "the server rejected our request for an unknown reason".to_owned(),
        401 => "the server has asked for the client to provide credentials".to_owned(),
        403 => text.to_owned(),
        404 => "the server could not find the requested resource".to_owned(),
        405 => "the server does not allow this method on the requested resource".to_owned(),
        409 => "the server reported a conflict".to_owned(),
        422 => "the server rejected our request due to an error in our request".to_owned(),
        429 => "the server has received too many requests and has asked us to try again later".to_owned(),
        503 => "the server is currently unable to handle the request".to_owned(),
        504 => {
            "the server was unable to return a response in the time allotted, but may still be processing \
                the request"
                .to_owned()
        }
        500.. => format!("an error on the server ({text:?}) has prevented the request from succeeding"),
        _ => format!("the server responded with the status code {code} but did not return more information"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals() {
        assert_eq!(
            refusal(500, b"boom\n"),
            "an error on the server (\"boom\") has prevented the request from succeeding"
        );
        assert_eq!(refusal(404, b""), "the server could not find the requested resource");
        assert_eq!(
            refusal(418, b""),
            "the server responded with the status code 418 but did not return more information"
        );
        assert_eq!(refusal(403, br#"{"kind":"Status","status":"Failure","message":"no"}"#), "no");
    }

    #[test]
    fn nobody_listens() {
        let target: Uri = "https://10.0.0.1:443/x".parse().expect("a URL");
        let error = Error::Dial(std::io::ErrorKind::ConnectionRefused.into());
        assert_eq!(of(&error, &target), "dial tcp 10.0.0.1:443: connect: connection refused");
        let bad = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let error = Error::Tls(std::io::Error::new(std::io::ErrorKind::InvalidData, bad));
        assert_eq!(
            of(&error, &target),
            "tls: failed to verify certificate: x509: certificate signed by unknown authority"
        );
    }
}
