//! A message that is larger than the server takes is refused before a service sees it. tonic words and
//! codes that in its own way; clients of etcd match on Go's.

use axum::http::HeaderValue;
use axum::response::Response;
use tonic::Code;

/// What tonic says, with its spaces encoded as they are on the wire.
const TONIC: &str = "Error, decoded message length too large: found ";

/// Puts Go's text in the place of tonic's: `grpc: received message larger than max (3 vs. 2)`.
pub fn too_large<B>(mut response: Response<B>) -> Response<B> {
    let headers = response.headers_mut();
    let status = headers.get("grpc-status").and_then(|status| status.to_str().ok()).map(str::parse::<i32>);
    if status != Some(Ok(Code::OutOfRange as i32)) {
        return response;
    }
    let message = headers.get("grpc-message").and_then(|message| message.to_str().ok());
    if let Some((found, limit)) = message.and_then(sizes)
        && let Ok(text) = HeaderValue::from_str(&format!(
            "grpc:%20received%20message%20larger%20than%20max%20({found}%20vs.%20{limit})"
        ))
    {
        headers.insert("grpc-status", HeaderValue::from(Code::ResourceExhausted as i32));
        headers.insert("grpc-message", text);
    }
    response
}

fn sizes(message: &str) -> Option<(u64, u64)> {
    let message = message.replace("%20", " ");
    let rest = message.strip_prefix(TONIC)?;
    let mut numbers = rest.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tonics_text_is_understood() {
        let text = "Error,%20decoded%20message%20length%20too%20large:%20found%2031%20bytes,%20the%20limit%20is:%2020%20bytes";
        assert_eq!(sizes(text), Some((31, 20)));
        assert_eq!(sizes("etcdserver: mvcc: required revision has been compacted"), None);
    }
}
