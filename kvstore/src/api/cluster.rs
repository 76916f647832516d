//! Members. There is one; what would change that answers that it is not supported.

use etcd_protocol::etcdserverpb as pb;
use tonic::{Request, Response, Status};

use super::Context;
use crate::error::Error;

pub struct Cluster(pub Context);

const ONE_MEMBER: Error = Error::Unsupported("clusters of several members");

impl Cluster {
    fn members(&self) -> Vec<pb::Member> {
        let machine = self.0.shared.machine.lock();
        let membership = machine.membership.membership();
        let mut members = Vec::new();
        for (id, node) in membership.nodes() {
            let published = machine.members.get(id).cloned().unwrap_or_default();
            members.push(pb::Member {
                id: *id,
                peer_urls: node.addr.split(',').map(str::to_owned).collect(),
                is_learner: membership.learner_ids().any(|learner| learner == *id),
                ..published
            });
        }
        members
    }

    fn known(&self, id: u64) -> Result<(), Error> {
        let known = self.members().iter().any(|member| member.id == id);
        if known { Ok(()) } else { Err(Error::MemberNotFound) }
    }
}

#[tonic::async_trait]
impl pb::cluster_server::Cluster for Cluster {
    async fn member_add(
        &self,
        _request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        Err(ONE_MEMBER.into())
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        self.known(request.into_inner().id)?;
        // The last member: the cluster would be left without a quorum.
        Err(Error::MemberNotEnoughStarted.into())
    }

    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        self.known(request.into_inner().id)?;
        Err(ONE_MEMBER.into())
    }

    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        if request.into_inner().linearizable {
            self.0.proposer.read_barrier().await?;
        }
        Ok(Response::new(pb::MemberListResponse { header: self.0.header(0), members: self.members() }))
    }

    async fn member_promote(
        &self,
        request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        self.known(request.into_inner().id)?;
        Err(Error::MemberNotLearner.into())
    }
}
