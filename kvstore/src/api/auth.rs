//! Users and roles. What changes them goes through the log; passwords are hashed and checked here, off
//! the path of everything else.

use base64::Engine as _;
use etcd_protocol::etcdserverpb as pb;
use tonic::{Request, Response, Status};

use super::{Context, unexpected};
use crate::auth::command::Authenticate;
use crate::auth::table::no_password;
use crate::auth::tokens::{self, Provider};
use crate::auth::{AuthCommand, Caller, Change, password};
use crate::error::Error;
use crate::raft::command::{Answer, Kind};

pub struct Auth(pub Context);

type Header = Option<pb::ResponseHeader>;

impl Auth {
    /// Has the log carry out what a request asks for.
    async fn change<T>(&self, request: Request<T>, change: fn(T) -> Change) -> Result<Header, Error> {
        let caller = self.0.caller(&request).await?;
        self.propose(change(request.into_inner()), caller).await
    }

    async fn propose(&self, change: Change, caller: Option<Caller>) -> Result<Header, Error> {
        let command = Kind::Auth(AuthCommand { change: Some(change) });
        match self.0.proposer.propose_by(command, caller).await? {
            Answer::Revision(revision) => Ok(self.0.header(revision)),
            other => Err(unexpected(&other)),
        }
    }

    /// Who reads users and roles; every change acknowledged before is seen.
    async fn reader<T>(&self, request: &Request<T>) -> Result<Caller, Error> {
        self.0.proposer.read_barrier().await?;
        Ok(self.0.caller(request).await?.unwrap_or_default())
    }

    /// A password's hash as the log carries it. Hashing takes long: it is done for administrators alone.
    async fn hash<T>(&self, request: &Request<T>, password: String) -> Result<String, Error> {
        self.0.proposer.read_barrier().await?;
        self.0.admin(request).await?;
        let cost = self.0.bcrypt_cost;
        let hashed = blocking(move || password::hash(&password, cost)).await??;
        Ok(base64::engine::general_purpose::STANDARD.encode(hashed))
    }

    /// Whether a password is right, and the revision of the table that says so.
    async fn check_password(&self, name: &str, password: String) -> Result<u64, Error> {
        let table = self.0.shared.auth.load_full();
        if !table.enabled() {
            return Err(Error::AuthNotEnabled);
        }
        let user = table.user(name).ok_or(Error::AuthFailed)?;
        if no_password(user) {
            return Err(Error::NoPasswordUser);
        }
        let hashed = user.password.clone();
        let right = blocking(move || password::matches(&password, &hashed)).await?;
        if right { Ok(table.revision()) } else { Err(Error::AuthFailed) }
    }

    async fn token(&self, request: pb::AuthenticateRequest) -> Result<String, Error> {
        self.0.proposer.read_barrier().await?;
        loop {
            let checked = self.check_password(&request.name, request.password.clone()).await?;
            let token = match self.0.tokens.as_ref() {
                Provider::Off => return Err(Error::AuthFailed),
                Provider::Jwt(jwt) => jwt.sign(&request.name, checked)?,
                Provider::Simple => {
                    let authenticate = Authenticate { name: request.name.clone(), prefix: tokens::prefix()? };
                    let change = Some(Change::Authenticate(authenticate));
                    match self.0.proposer.propose(Kind::Auth(AuthCommand { change })).await? {
                        Answer::Token(token) => token,
                        other => return Err(unexpected(&other)),
                    }
                }
            };
            // The password may have changed while it was checked.
            if self.0.shared.auth.load().revision() == checked {
                return Ok(token);
            }
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::Internal(error.to_string()))
}

#[tonic::async_trait]
impl pb::auth_server::Auth for Auth {
    async fn auth_enable(
        &self,
        request: Request<pb::AuthEnableRequest>,
    ) -> Result<Response<pb::AuthEnableResponse>, Status> {
        let header = self.change(request, Change::Enable).await?;
        tracing::info!("authentication is on");
        Ok(Response::new(pb::AuthEnableResponse { header }))
    }

    async fn auth_disable(
        &self,
        request: Request<pb::AuthDisableRequest>,
    ) -> Result<Response<pb::AuthDisableResponse>, Status> {
        let header = self.change(request, Change::Disable).await?;
        tracing::info!("authentication is off");
        Ok(Response::new(pb::AuthDisableResponse { header }))
    }

    async fn auth_status(
        &self,
        request: Request<pb::AuthStatusRequest>,
    ) -> Result<Response<pb::AuthStatusResponse>, Status> {
        let caller = self.reader(&request).await?;
        let table = self.0.shared.auth.load();
        table.admin(&caller)?;
        Ok(Response::new(pb::AuthStatusResponse {
            header: self.0.header_now(),
            enabled: table.enabled(),
            auth_revision: table.revision(),
        }))
    }

    async fn authenticate(
        &self,
        request: Request<pb::AuthenticateRequest>,
    ) -> Result<Response<pb::AuthenticateResponse>, Status> {
        let request = request.into_inner();
        let user = request.name.clone();
        match self.token(request).await {
            Ok(token) => Ok(Response::new(pb::AuthenticateResponse { header: self.0.header_now(), token })),
            Err(error) => {
                if error != Error::AuthNotEnabled {
                    tracing::warn!(user, %error, "a user could not be authenticated");
                }
                Err(error.into())
            }
        }
    }

    async fn user_add(
        &self,
        mut request: Request<pb::AuthUserAddRequest>,
    ) -> Result<Response<pb::AuthUserAddResponse>, Status> {
        let inner = request.get_mut();
        let password = std::mem::take(&mut inner.password);
        if !inner.options.is_some_and(|options| options.no_password) {
            let hashed = self.hash(&request, password).await?;
            request.get_mut().hashed_password = hashed;
        }
        let header = self.change(request, Change::UserAdd).await?;
        Ok(Response::new(pb::AuthUserAddResponse { header }))
    }

    async fn user_get(
        &self,
        request: Request<pb::AuthUserGetRequest>,
    ) -> Result<Response<pb::AuthUserGetResponse>, Status> {
        let caller = self.reader(&request).await?;
        let name = request.into_inner().name;
        let table = self.0.shared.auth.load();
        // COMPAT: users may look at themselves.
        if name != caller.name {
            table.admin(&caller)?;
        }
        let user = table.user(&name).ok_or(Error::UserNotFound)?;
        Ok(Response::new(pb::AuthUserGetResponse { header: self.0.header_now(), roles: user.roles.clone() }))
    }

    async fn user_list(
        &self,
        request: Request<pb::AuthUserListRequest>,
    ) -> Result<Response<pb::AuthUserListResponse>, Status> {
        let caller = self.reader(&request).await?;
        let table = self.0.shared.auth.load();
        table.admin(&caller)?;
        let users = table.users().map(str::to_owned).collect();
        Ok(Response::new(pb::AuthUserListResponse { header: self.0.header_now(), users }))
    }

    async fn user_delete(
        &self,
        request: Request<pb::AuthUserDeleteRequest>,
    ) -> Result<Response<pb::AuthUserDeleteResponse>, Status> {
        let header = self.change(request, Change::UserDelete).await?;
        Ok(Response::new(pb::AuthUserDeleteResponse { header }))
    }

    async fn user_change_password(
        &self,
        mut request: Request<pb::AuthUserChangePasswordRequest>,
    ) -> Result<Response<pb::AuthUserChangePasswordResponse>, Status> {
        let password = std::mem::take(&mut request.get_mut().password);
        // COMPAT: no password is none that anybody could give.
        if !password.is_empty() {
            let hashed = self.hash(&request, password).await?;
            request.get_mut().hashed_password = hashed;
        }
        let header = self.change(request, Change::UserChangePassword).await?;
        Ok(Response::new(pb::AuthUserChangePasswordResponse { header }))
    }

    async fn user_grant_role(
        &self,
        request: Request<pb::AuthUserGrantRoleRequest>,
    ) -> Result<Response<pb::AuthUserGrantRoleResponse>, Status> {
        let header = self.change(request, Change::UserGrantRole).await?;
        Ok(Response::new(pb::AuthUserGrantRoleResponse { header }))
    }

    async fn user_revoke_role(
        &self,
        request: Request<pb::AuthUserRevokeRoleRequest>,
    ) -> Result<Response<pb::AuthUserRevokeRoleResponse>, Status> {
        let header = self.change(request, Change::UserRevokeRole).await?;
        Ok(Response::new(pb::AuthUserRevokeRoleResponse { header }))
    }

    async fn role_add(
        &self,
        request: Request<pb::AuthRoleAddRequest>,
    ) -> Result<Response<pb::AuthRoleAddResponse>, Status> {
        let header = self.change(request, Change::RoleAdd).await?;
        Ok(Response::new(pb::AuthRoleAddResponse { header }))
    }

    async fn role_get(
        &self,
        request: Request<pb::AuthRoleGetRequest>,
    ) -> Result<Response<pb::AuthRoleGetResponse>, Status> {
        let caller = self.reader(&request).await?;
        let name = request.into_inner().role;
        let table = self.0.shared.auth.load();
        // COMPAT: users may look at the roles they have.
        if !table.has_role(&caller.name, &name) {
            table.admin(&caller)?;
        }
        let perm = table.role(&name).ok_or(Error::RoleNotFound)?;
        Ok(Response::new(pb::AuthRoleGetResponse { header: self.0.header_now(), perm }))
    }

    async fn role_list(
        &self,
        request: Request<pb::AuthRoleListRequest>,
    ) -> Result<Response<pb::AuthRoleListResponse>, Status> {
        let caller = self.reader(&request).await?;
        let table = self.0.shared.auth.load();
        table.admin(&caller)?;
        let roles = table.roles().map(str::to_owned).collect();
        Ok(Response::new(pb::AuthRoleListResponse { header: self.0.header_now(), roles }))
    }

    async fn role_delete(
        &self,
        request: Request<pb::AuthRoleDeleteRequest>,
    ) -> Result<Response<pb::AuthRoleDeleteResponse>, Status> {
        let header = self.change(request, Change::RoleDelete).await?;
        Ok(Response::new(pb::AuthRoleDeleteResponse { header }))
    }

    async fn role_grant_permission(
        &self,
        request: Request<pb::AuthRoleGrantPermissionRequest>,
    ) -> Result<Response<pb::AuthRoleGrantPermissionResponse>, Status> {
        let header = self.change(request, Change::RoleGrantPermission).await?;
        Ok(Response::new(pb::AuthRoleGrantPermissionResponse { header }))
    }

    async fn role_revoke_permission(
        &self,
        request: Request<pb::AuthRoleRevokePermissionRequest>,
    ) -> Result<Response<pb::AuthRoleRevokePermissionResponse>, Status> {
        let header = self.change(request, Change::RoleRevokePermission).await?;
        Ok(Response::new(pb::AuthRoleRevokePermissionResponse { header }))
    }
}
