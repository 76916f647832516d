//! Where clients' requests come in. Calls about keys, which are nearly all of them, go straight to their
//! service; others by way of a router, whose layers cost each call some microseconds. Either way a call
//! passes the gate and is counted.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use axum::http::{Request, Response};
use bytes::Bytes;
use etcd_protocol::etcdserverpb::kv_server::KvServer;
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use super::calls::Unary;
use super::kv::Kv;
use super::{Context, frames, gate};

/// Paths of the calls about keys.
const KEYS: &str = "/etcdserverpb.KV/";

#[derive(Clone)]
pub struct Entry {
    context: Arc<Context>,
    keys: KvServer<Kv>,
    rest: axum::Router,
}

impl Entry {
    /// All of gRPC, and what is served beside it.
    pub fn new(context: &Context, http: Option<axum::Router>) -> Self {
        let keys = context.keys();
        let context = Arc::new(context.clone());
        let gate = axum::middleware::from_fn_with_state(context.clone(), gate::admit);
        let grpc = context.routes().into_axum_router().layer(gate);
        let rest = match http {
            Some(http) => grpc.merge(http),
            None => grpc,
        };
        Self { context, keys, rest }
    }
}

impl<B> Service<Request<B>> for Entry
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if !request.uri().path().starts_with(KEYS) {
            let answer = self.rest.call(request);
            return Box::pin(async move { Ok(answer.await?.map(Body::new)) });
        }
        if let Some(error) = gate::refusal(&self.context, &request) {
            return Box::pin(std::future::ready(Ok(Status::from(error).into_http())));
        }
        let call = Unary::begin(request.uri().path());
        let answer = self.keys.call(request);
        Box::pin(async move {
            let answer = frames::too_large(answer.await?);
            if let Some(call) = call {
                call.answered(answer.headers());
            }
            Ok(answer)
        })
    }
}
