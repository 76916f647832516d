//! Members: who they are, and changes of them, which the leader makes (`raft::members`).

use etcd_protocol::etcdserverpb as pb;
use tonic::{Request, Response, Status};

use super::Context;
use crate::raft::wire::{Change, ChangeReply};

pub struct Cluster(pub Context);

impl Cluster {
    async fn change<T>(
        &self,
        request: Request<T>,
        change: impl FnOnce(T) -> Change,
    ) -> Result<ChangeReply, Status> {
        self.0.admin(&request).await?;
        self.0.proposer.members().change(change(request.into_inner())).await
    }

    /// COMPAT: answers about members carry no revision.
    fn header(&self) -> Option<pb::ResponseHeader> {
        self.0.header(0)
    }
}

#[tonic::async_trait]
impl pb::cluster_server::Cluster for Cluster {
    async fn member_add(
        &self,
        request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        let ChangeReply { member, members } = self.change(request, Change::Add).await?;
        Ok(Response::new(pb::MemberAddResponse { header: self.header(), member, members }))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        let members = self.change(request, Change::Remove).await?.members;
        Ok(Response::new(pb::MemberRemoveResponse { header: self.header(), members }))
    }

    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        let members = self.change(request, Change::Update).await?.members;
        Ok(Response::new(pb::MemberUpdateResponse { header: self.header(), members }))
    }

    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        if request.into_inner().linearizable {
            self.0.proposer.read_barrier().await?;
        }
        let members = self.0.proposer.members().list();
        Ok(Response::new(pb::MemberListResponse { header: self.header(), members }))
    }

    async fn member_promote(
        &self,
        request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        let members = self.change(request, Change::Promote).await?.members;
        Ok(Response::new(pb::MemberPromoteResponse { header: self.header(), members }))
    }
}
