//! The roles and bindings of the cluster, and the rules that apply to a user.

use crate::request::User;
use crate::views::Lister;
use api_types::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject};
use std::fmt;
use std::ops::ControlFlow;

/// All RBAC objects, as last seen.
#[derive(Debug, Default)]
pub struct Policy {
    pub roles: Lister<Role>,
    pub role_bindings: Lister<RoleBinding>,
    pub cluster_roles: Lister<ClusterRole>,
    pub cluster_role_bindings: Lister<ClusterRoleBinding>,
}

/// Where a rule comes from; Display is how reasons name it.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    binding: &'a str,
    /// Empty for a ClusterRoleBinding.
    namespace: &'a str,
    role: &'a RoleRef,
    subject: &'a Subject,
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "ClusterRoleBinding {:?}", self.binding)?;
        } else {
            write!(f, "RoleBinding {:?}", format!("{}/{}", self.binding, self.namespace))?;
        }
        write!(f, " of {} {:?} to ", self.role.kind, self.role.name)?;
        let Subject { kind, name, namespace, .. } = self.subject;
        if kind == "ServiceAccount" {
            // COMPAT: name first, namespace second.
            let namespace = if namespace.is_empty() { self.namespace } else { namespace };
            write!(f, "{kind} {:?}", format!("{name}/{namespace}"))
        } else {
            write!(f, "{kind} {name:?}")
        }
    }
}

/// A rule that applies, or why the rules of a binding could not be found.
pub type Found<'a> = Result<(Source<'a>, &'a PolicyRule), String>;

impl Policy {
    /// Shows every rule that applies to `user` in `namespace` (cluster-wide when empty) until
    /// `visit` breaks. A missing role is shown as an error; the others still count.
    pub fn visit<B>(
        &self,
        user: &User,
        namespace: &str,
        mut visit: impl FnMut(Found<'_>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        self.cluster_role_bindings.visit("", |binding| {
            let Some(subject) = subject_of(user, &binding.subjects, "") else {
                return ControlFlow::Continue(());
            };
            let source =
                Source { binding: &binding.metadata.name, namespace: "", role: &binding.role_ref, subject };
            self.visit_role(source, &mut visit)
        })?;
        if namespace.is_empty() {
            return ControlFlow::Continue(());
        }
        self.role_bindings.visit(namespace, |binding| {
            let Some(subject) = subject_of(user, &binding.subjects, namespace) else {
                return ControlFlow::Continue(());
            };
            let source =
                Source { binding: &binding.metadata.name, namespace, role: &binding.role_ref, subject };
            self.visit_role(source, &mut visit)
        })
    }

    fn visit_role<B>(
        &self,
        source: Source<'_>,
        visit: &mut impl FnMut(Found<'_>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        match self.with_role(source.role, source.namespace, |rules| {
            rules.iter().try_for_each(|rule| visit(Ok((source, rule))))
        }) {
            Ok(flow) => flow,
            Err(missing) => visit(Err(missing)),
        }
    }

    /// Runs `f` on the rules of the role that a binding in `namespace` (empty: cluster-wide) refers to.
    fn with_role<R>(
        &self,
        role: &RoleRef,
        namespace: &str,
        f: impl FnOnce(&[PolicyRule]) -> R,
    ) -> Result<R, String> {
        match role.kind.as_str() {
            "Role" => match self.roles.get(namespace, &role.name) {
                Some(role) => Ok(f(&role.rules)),
                None => Err(format!("role.rbac.authorization.k8s.io {:?} not found", role.name)),
            },
            "ClusterRole" => match self.cluster_roles.get("", &role.name) {
                Some(role) => Ok(f(&role.rules)),
                None => Err(format!("clusterrole.rbac.authorization.k8s.io {:?} not found", role.name)),
            },
            other => Err(format!("unsupported role reference kind: {other:?}")),
        }
    }

    /// The rules of the role that a binding in `namespace` refers to.
    ///
    /// # Errors
    /// When there is no such role, in upstream's words.
    pub fn rules_of_role(&self, role: &RoleRef, namespace: &str) -> Result<Vec<PolicyRule>, String> {
        self.with_role(role, namespace, <[PolicyRule]>::to_vec)
    }

    /// All rules that apply to `user` in `namespace`, and the errors met while looking for them.
    pub fn rules_for(&self, user: &User, namespace: &str) -> (Vec<PolicyRule>, Vec<String>) {
        let (mut rules, mut errors) = (Vec::new(), Vec::new());
        let _: ControlFlow<()> = self.visit(user, namespace, |found| {
            match found {
                Ok((_, rule)) => rules.push(rule.clone()),
                Err(error) => errors.push(error),
            }
            ControlFlow::Continue(())
        });
        (rules, errors)
    }
}

/// The first of `subjects` that is the user. `namespace` is that of the binding.
fn subject_of<'a>(user: &User, subjects: &'a [Subject], namespace: &str) -> Option<&'a Subject> {
    subjects.iter().find(|subject| match subject.kind.as_str() {
        "User" => user.name == subject.name,
        "Group" => user.is_in(&subject.name),
        "ServiceAccount" => {
            // A service account without a namespace is one of the binding's own.
            let home = if subject.namespace.is_empty() { namespace } else { &subject.namespace };
            !home.is_empty() && is_service_account(&user.name, home, &subject.name)
        }
        _ => false,
    })
}

/// Whether a user name is `system:serviceaccount:NAMESPACE:NAME`, without making that text.
fn is_service_account(user: &str, namespace: &str, name: &str) -> bool {
    user.strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.strip_prefix(namespace))
        .and_then(|rest| rest.strip_prefix(':'))
        == Some(name)
}
