//! Nobody reads through a policy what they may not read themselves: who writes a policy with parameters must be
//! allowed to get every object of their kind, who binds one, to read what the binding names. No flag turns
//! this off; upstream has it in the storage of these kinds.

use api_types::admissionregistration::v1::{AnyBinding, AnyPolicy, ParamKind};
use api_types::field::{Errors, Path};
use api_types::kind::Object;

use super::Policies;
use super::known::Sort;
use super::mutating::Mutating;
use super::params;
use super::validating::Validating;
use crate::admission::{Operation, Request};
use crate::authz::Authorizer;
use crate::request::{Attributes, Decision, RequestInfo, User};
use crate::status::ApiError;
use crate::storage::Storage;

/// Which objects; `*` for what cannot be told.
struct Scope {
    group: String,
    version: String,
    resource: String,
    /// What keeps it from being told exactly.
    unknown: Option<String>,
}

impl Scope {
    fn all(unknown: Option<String>) -> Self {
        let star = || "*".to_owned();
        Self { group: star(), version: star(), resource: star(), unknown }
    }

    fn of(kind: &ParamKind) -> Self {
        let shown = || format!("&ParamKind{{APIVersion:{},Kind:{},}}", kind.api_version, kind.kind);
        if kind.api_version.matches('/').count() > 1 {
            return Self::all(Some(format!("unable to parse paramKind {}", shown())));
        }
        let (group, version) = kind.api_version.split_once('/').unwrap_or(("", &kind.api_version));
        let row = params::kind(Some(kind)).ok().flatten();
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            resource: row.map_or("*", |row| row.kind.resource).to_owned(),
            unknown: row.is_none().then(|| format!("unable to resolve paramKind {}", shown())),
        }
    }
}

/// Who writes, and how it is decided what they may read.
struct Reader<'a> {
    user: &'a User,
    authorizer: &'a dyn Authorizer,
}

impl Reader<'_> {
    fn may(&self, verb: &str, scope: &Scope, namespace: &str, name: &str) -> bool {
        let info = RequestInfo {
            is_resource: true,
            verb: verb.into(),
            group: scope.group.clone(),
            version: scope.version.clone(),
            resource: scope.resource.clone(),
            namespace: namespace.into(),
            name: name.into(),
            ..RequestInfo::default()
        };
        matches!(self.authorizer.authorize(Attributes { user: self.user, info: &info }), Decision::Allow(_))
    }

    /// COMPAT: as Go prints the user.
    fn shown(&self) -> String {
        let User { name, uid, groups, extra } = self.user;
        let extra: Vec<String> =
            extra.iter().map(|(key, all)| format!("{key}:[{}]", all.join(" "))).collect();
        format!("&{{{name} {uid} [{}] map[{}]}}", groups.join(" "), extra.join(" "))
    }
}

impl Policies {
    /// # Errors
    /// A 422 when the writer of a policy or binding may not read its parameters.
    pub fn check_access(&self, request: &Request<'_>, authorizer: &dyn Authorizer) -> Result<(), ApiError> {
        let is_write = matches!(request.operation, Operation::Create | Operation::Update);
        if request.kind.group != "admissionregistration.k8s.io"
            || !is_write
            || request.user.is_in(User::MASTERS)
        {
            return Ok(());
        }
        let Some(object) = request.object.get() else { return Ok(()) };
        let reader = Reader { user: request.user, authorizer };
        let mut errors = Errors::default();
        check::<Validating>(&self.storage, &reader, object, request.old, &mut errors);
        check::<Mutating>(&self.storage, &reader, object, request.old, &mut errors);
        if errors.is_empty() {
            return Ok(());
        }
        Err(ApiError::Invalid {
            group: request.kind.group.to_owned(),
            kind: request.kind.kind.to_owned(),
            name: request.name.to_owned(),
            errors,
        })
    }
}

/// Passes objects of other kinds, and changes of something else.
fn check<S: Sort>(
    storage: &Storage,
    reader: &Reader<'_>,
    new: &dyn Object,
    old: Option<&dyn Object>,
    errors: &mut Errors,
) {
    let spec = Path::new("spec");
    if let Some(policy) = new.as_any().downcast_ref::<S::Policy>() {
        let before = old.and_then(|old| old.as_any().downcast_ref::<S::Policy>());
        let Some(kind) = policy.head().param_kind else { return };
        if before.is_some_and(|before| before.head().param_kind == Some(kind)) {
            return;
        }
        if !reader.may("get", &Scope::of(kind), "*", "*") {
            errors.forbidden(
                &spec.child("paramKind"),
                format!(
                    "user {} must have \"get\" permission on all objects of the referenced paramKind (kind={}, apiVersion={})",
                    reader.shown(),
                    kind.kind,
                    kind.api_version
                ),
            );
        }
    }
    if let Some(binding) = new.as_any().downcast_ref::<S::Binding>() {
        let before = old.and_then(|old| old.as_any().downcast_ref::<S::Binding>());
        let bound = binding.head();
        let Some(reference) = bound.param_ref else { return };
        let same = |before: &S::Binding| {
            let before = before.head();
            before.param_ref == Some(reference) && before.policy == bound.policy
        };
        if before.is_some_and(same) {
            return;
        }
        let scope = scope_of_policy::<S>(storage, bound.policy);
        let verb = if reference.name.is_empty() { "list" } else { "get" };
        if !reader.may(verb, &scope, &reference.namespace, &reference.name) {
            let user = reader.shown();
            let why = match scope.unknown {
                Some(unknown) => format!(
                    "{unknown} to determine minimum required permissions and user {user} does not have {verb:?} permission for all groups, versions and resources"
                ),
                None => {
                    format!(
                        "user {user} does not have {verb:?} permission on the object referenced by paramRef"
                    )
                }
            };
            errors.forbidden(&spec.child("paramRef"), why);
        }
    }
}

/// What a policy's parameters are.
fn scope_of_policy<S: Sort>(storage: &Storage, name: &str) -> Scope {
    let unknown = || Scope::all(Some(format!("unable to get policy {name}")));
    let Some(entry) = storage.of::<S::Policy>().get(name) else { return unknown() };
    let Ok(policy) = entry.typed::<S::Policy>() else { return unknown() };
    policy.head().param_kind.map_or_else(|| Scope::all(None), Scope::of)
}
