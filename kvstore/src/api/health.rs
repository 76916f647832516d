//! gRPC's own health service. Serving means: a linearizable read would be answered.

use std::pin::Pin;

use futures::StreamExt;
use futures::stream::{self, Stream};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::Context;

pub struct HealthCheck(Context);

pub fn server(context: Context) -> HealthServer<HealthCheck> {
    HealthServer::new(HealthCheck(context))
}

#[tonic::async_trait]
impl Health for HealthCheck {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    /// COMPAT: the empty name is the whole server, the only one there is.
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !request.into_inner().service.is_empty() {
            return Err(Status::not_found("unknown service"));
        }
        let status = match self.0.proposer.read_barrier().await {
            Ok(()) => ServingStatus::Serving,
            Err(_) => ServingStatus::NotServing,
        };
        Ok(Response::new(HealthCheckResponse { status: status.into() }))
    }

    /// The status now, and its change to not serving at the end.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let now = self.check(request).await?.into_inner();
        let shutdown = self.0.shutdown.clone();
        let end = async move {
            shutdown.wait().await;
            Ok(HealthCheckResponse { status: ServingStatus::NotServing.into() })
        };
        Ok(Response::new(Box::pin(stream::iter([Ok(now)]).chain(stream::once(end)))))
    }
}
