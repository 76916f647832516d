//! Answers TokenRequests: `POST …/serviceaccounts/NAME/token`.
//!
//! The registry has found the account and what the token is to be bound to; `decide` says what goes
//! into the token, `answer` signs it.

use super::claims::{Claims, Kubernetes, Reference};
use super::keys::SigningKey;
use super::user_name;
use crate::status::{ApiError, Qualified};
use api_types::authentication::v1::{TokenRequest, TokenRequestStatus};
use api_types::core::v1::{Node, Pod, Secret, ServiceAccount};
use api_types::field::{Errors, Path};
use api_types::meta::Time;
use api_types::meta::v1::ObjectMeta;
use jiff::Timestamp;

const GROUP: &str = "authentication.k8s.io";
/// What a kubelet's volume asks for; such tokens may live longer, so that old clients, which read
/// them once, keep working.
const WATCHED_LIFETIME: i64 = 3607;
const EXTENDED_LIFETIME: i64 = 24 * 365 * 60 * 60;

/// The flags that shape tokens.
#[derive(Debug, Clone)]
pub struct IssueOptions {
    /// The first `--service-account-issuer`.
    pub issuer: String,
    /// `--api-audiences`
    pub audiences: Vec<String>,
    /// `--service-account-max-token-expiration` in seconds; 0 for none.
    pub max_lifetime: i64,
    /// `--service-account-extend-token-expiration`
    pub extend: bool,
}

/// Makes tokens.
pub struct Issuer {
    pub key: SigningKey,
    pub options: IssueOptions,
}

/// What a token is to be bound to.
pub enum Bound {
    None,
    /// With the pod's node, if it has one and that is known.
    Pod(Box<Pod>, Option<Box<Node>>),
    Node(Box<Node>),
    Secret(Box<Secret>),
}

impl Issuer {
    /// Completes and checks what was sent, before anything is looked up. `account` and `namespace`
    /// are those of the path.
    ///
    /// # Errors
    /// 422 and 409, as upstream.
    pub fn prepare(
        &self,
        request: &mut TokenRequest,
        account: &ServiceAccount,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let of = &account.metadata;
        let meta = &mut request.metadata;
        let mut errors = Errors::default();
        let path = Path::new("metadata");
        if !meta.name.is_empty() && meta.name != of.name {
            errors.invalid(
                &path.child("name"),
                &meta.name,
                "must match the service account name if specified",
            );
        } else if !meta.namespace.is_empty() && meta.namespace != of.namespace {
            errors.invalid(
                &path.child("namespace"),
                &meta.namespace,
                "must match the service account namespace if specified",
            );
        }
        if !errors.is_empty() {
            return Err(invalid(&of.name, errors));
        }
        if !meta.uid.is_empty() && meta.uid != of.uid {
            return Err(ApiError::Conflict {
                of: Qualified::new(GROUP, "TokenRequest"),
                name: of.name.clone(),
                why: format!(
                    "the UID in the token request ({}) does not match the UID of the service account ({})",
                    meta.uid, of.uid
                ),
            });
        }
        meta.name.clone_from(&of.name);
        meta.namespace.clone_from(&of.namespace);
        meta.uid.clone_from(&of.uid);
        meta.creation_timestamp = Some(Time::whole(now));
        if request.spec.audiences.is_empty() {
            request.spec.audiences.clone_from(&self.options.audiences);
        }
        request.status = TokenRequestStatus::default();

        let path = Path::new("spec").child("expirationSeconds");
        let seconds = *request.spec.expiration_seconds.get_or_insert(3600);
        if seconds < 600 {
            errors.invalid(&path, seconds, "may not specify a duration less than 10 minutes");
        }
        if seconds > 1 << 32 {
            errors.invalid(&path, seconds, "may not specify a duration larger than 2^32 seconds");
        }
        if errors.is_empty() { Ok(()) } else { Err(invalid("", errors)) }
    }

    /// Fills in the token. `prepare` has run on `request`. Gives warnings for the client.
    ///
    /// # Errors
    /// When the token may not be bound to what was found, or signing fails.
    pub fn answer(
        &self,
        request: &mut TokenRequest,
        account: &ServiceAccount,
        bound: &Bound,
        now: Timestamp,
    ) -> Result<Vec<String>, ApiError> {
        check_bound(request, account, bound)?;
        let mut warnings = Vec::new();
        let asked = request.spec.expiration_seconds.unwrap_or(3600);
        let max = self.options.max_lifetime;
        let seconds = if max > 0 && asked > max {
            warnings.push(format!("requested expiration of {asked} seconds shortened to {max} seconds"));
            max
        } else {
            asked
        };
        request.spec.expiration_seconds = Some(seconds);
        let claims = self.claims(request, account, bound, now, seconds);
        let text = serde_json::to_vec(&claims).map_err(ApiError::internal)?;
        let token = self
            .key
            .sign(&text)
            .map_err(|error| ApiError::Internal(format!("failed to generate token: {error}")))?;
        request.status =
            TokenRequestStatus { token, expiration_timestamp: Some(Time::whole(after(now, seconds))) };
        Ok(warnings)
    }

    fn claims(
        &self,
        request: &TokenRequest,
        account: &ServiceAccount,
        bound: &Bound,
        now: Timestamp,
        seconds: i64,
    ) -> Claims {
        let of = &account.metadata;
        let start = now.as_second();
        let for_api = request.spec.audiences.iter().all(|a| self.options.audiences.contains(a));
        let extend =
            self.options.extend && matches!(bound, Bound::Pod(..)) && seconds == WATCHED_LIFETIME && for_api;
        let lifetime = if extend {
            // Never beyond what the administrator allows at all.
            if self.options.max_lifetime > 0 {
                EXTENDED_LIFETIME.min(self.options.max_lifetime)
            } else {
                EXTENDED_LIFETIME
            }
        } else {
            seconds
        };
        let mut kubernetes = Kubernetes {
            namespace: of.namespace.clone(),
            serviceaccount: reference(of),
            warn_after: extend.then_some(start + seconds),
            ..Kubernetes::default()
        };
        match bound {
            Bound::None => {}
            Bound::Pod(pod, node) => {
                kubernetes.pod = Some(reference(&pod.metadata));
                // A node that is gone is still named.
                kubernetes.node = match (node, pod.spec.node_name.as_str()) {
                    (_, "") => None,
                    (Some(node), _) => Some(reference(&node.metadata)),
                    (None, name) => Some(Reference { name: name.to_owned(), uid: String::new() }),
                };
            }
            Bound::Node(node) => kubernetes.node = Some(reference(&node.metadata)),
            Bound::Secret(secret) => kubernetes.secret = Some(reference(&secret.metadata)),
        }
        Claims {
            audiences: request.spec.audiences.clone(),
            expires: Some(start + lifetime),
            issued: Some(start),
            issuer: self.options.issuer.clone(),
            id: uuid::Uuid::new_v4().to_string(),
            kubernetes,
            not_before: Some(start),
            subject: user_name(&of.namespace, &of.name),
        }
    }
}

fn check_bound(request: &TokenRequest, account: &ServiceAccount, bound: &Bound) -> Result<(), ApiError> {
    let Some(wanted) = &request.spec.bound_object_ref else { return Ok(()) };
    let (uid, resource) = match bound {
        Bound::None => return Ok(()),
        Bound::Pod(pod, _) => {
            let name = &account.metadata.name;
            if *name != pod.spec.service_account_name {
                return Err(ApiError::BadRequest(format!(
                    "cannot bind token for serviceaccount {name:?} to pod running with different serviceaccount name."
                )));
            }
            (&pod.metadata.uid, "Pod")
        }
        Bound::Node(node) => (&node.metadata.uid, "Node"),
        Bound::Secret(secret) => (&secret.metadata.uid, "Secret"),
    };
    if !wanted.uid.is_empty() && wanted.uid != *uid {
        return Err(ApiError::Conflict {
            of: Qualified::new("", resource),
            name: wanted.name.clone(),
            why: format!(
                "the UID in the bound object reference ({}) does not match the UID in record. The object might \
                 have been deleted and then recreated",
                wanted.uid
            ),
        });
    }
    Ok(())
}

/// The error for a kind that tokens cannot be bound to.
pub fn cannot_bind(api_version: &str, kind: &str) -> ApiError {
    let gvk = match api_version.split_once('/') {
        Some((group, version)) => format!("{group}/{version}, Kind={kind}"),
        None => format!("/{api_version}, Kind={kind}"),
    };
    ApiError::BadRequest(format!("cannot bind token to object of type {gvk}"))
}

fn reference(meta: &ObjectMeta) -> Reference {
    Reference { name: meta.name.clone(), uid: meta.uid.clone() }
}

fn invalid(name: &str, errors: Errors) -> ApiError {
    ApiError::Invalid { group: GROUP.into(), kind: "TokenRequest".into(), name: name.into(), errors }
}

fn after(now: Timestamp, seconds: i64) -> Timestamp {
    now.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}
