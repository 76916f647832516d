//! Locks: a place in a line, waited for by the server.

use bytes::Bytes;
use etcd_protocol::etcdserverpb as pb;
use etcd_protocol::v3lockpb::lock_server::{Lock, LockServer};
use etcd_protocol::v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse};
use tonic::{Request, Response, Status};

use super::Context;
use super::line::Line;

pub struct Locks(Context);

pub fn server(context: Context) -> LockServer<Locks> {
    LockServer::new(Locks(context))
}

#[tonic::async_trait]
impl Lock for Locks {
    async fn lock(&self, request: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
        let line = Line::of(&self.0, &request, &request.get_ref().name);
        let place = line.join(request.get_ref().lease, Bytes::new()).await?;
        line.wait(&place).await?;
        // Its own lease may have ended while it waited.
        let held = line.range(pb::RangeRequest { key: place.key.clone(), ..Default::default() }).await?;
        if held.kvs.is_empty() {
            return Err(Status::unknown("mutex: session is expired"));
        }
        Ok(Response::new(LockResponse { header: held.header, key: place.key }))
    }

    async fn unlock(&self, request: Request<UnlockRequest>) -> Result<Response<UnlockResponse>, Status> {
        let line = Line::of(&self.0, &request, b"");
        let header = line.delete(request.into_inner().key).await?.header;
        Ok(Response::new(UnlockResponse { header }))
    }
}
