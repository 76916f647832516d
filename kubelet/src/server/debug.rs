//! /debug/flags/v: how much is logged, changed while the kubelet runs. There is nothing under /debug/pprof: profiles are
//! in Go's format, of Go's runtime.

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;

use super::{Body, text, typed};
use crate::kubelet::Kubelet;

/// A number takes less.
const LONGEST: usize = 1024;

/// `PUT` with a number as the body.
pub async fn flags(kubelet: &Arc<Kubelet>, request: Request<Incoming>) -> Response<Body> {
    if kubelet.config.enable_debug_flags_handler == Some(false) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "flags endpoint is disabled.\n");
    }
    if request.method() != Method::PUT {
        return typed(StatusCode::NOT_ACCEPTABLE, "text/plain", "unsupported http method\n");
    }
    let set = match Limited::new(request.into_body(), LONGEST).collect().await {
        Ok(body) => daemon::logging::set_verbosity(&String::from_utf8_lossy(&body.to_bytes())),
        Err(error) => Err(format!("error reading request body: {error}")),
    };
    match set {
        Ok(done) => typed(StatusCode::OK, "text/plain", done + "\n"),
        Err(error) => typed(StatusCode::BAD_REQUEST, "text/plain", error + "\n"),
    }
}
