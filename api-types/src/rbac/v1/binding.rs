//! RoleBinding and ClusterRoleBinding: who may do it.

use crate::field::{Errors, Path};
use crate::kind::{Column, Kind, NameRule, Strategy, resource};
use crate::meta::v1::ObjectMeta;
use crate::names;
use crate::value::Value;
use api_types_derive::Api;

/// Gives a role's permissions to subjects within a namespace.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.rbac.v1")]
pub struct RoleBinding {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// Who gets the permissions.
    #[api(2, list = atomic)]
    pub subjects: Vec<Subject>,
    /// The Role or ClusterRole; it cannot be changed.
    #[api(3, required)]
    pub role_ref: RoleRef,
}

/// Gives a ClusterRole's permissions to subjects everywhere.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.rbac.v1")]
pub struct ClusterRoleBinding {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// Who gets the permissions.
    #[api(2, list = atomic)]
    pub subjects: Vec<Subject>,
    /// The ClusterRole; it cannot be changed.
    #[api(3, required)]
    pub role_ref: RoleRef,
}

/// Points to the role of a binding.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.rbac.v1", structure = atomic)]
pub struct RoleRef {
    /// Group of the role: rbac.authorization.k8s.io.
    #[api(1, always)]
    pub api_group: String,
    /// Role or ClusterRole.
    #[api(2, required)]
    pub kind: String,
    /// Name of the role.
    #[api(3, required)]
    pub name: String,
}

/// Who is given permissions.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.rbac.v1", structure = atomic)]
pub struct Subject {
    /// User, Group or ServiceAccount.
    #[api(1, required)]
    pub kind: String,
    /// Group of the kind; empty for service accounts.
    #[api(2)]
    pub api_group: String,
    /// Name of the subject.
    #[api(3, required)]
    pub name: String,
    /// Namespace of a service account.
    #[api(4)]
    pub namespace: String,
}

const GROUP: &str = "rbac.authorization.k8s.io";

/// Role and subjects are of this API group unless they say otherwise.
fn set_defaults(role: &mut RoleRef, subjects: &mut [Subject]) {
    if role.api_group.is_empty() {
        role.api_group = GROUP.to_owned();
    }
    for subject in subjects {
        if subject.api_group.is_empty() && matches!(subject.kind.as_str(), "User" | "Group") {
            subject.api_group = GROUP.to_owned();
        }
    }
}

fn role_ref(role: &RoleRef, kinds: &[&str], errors: &mut Errors) {
    let path = Path::new("roleRef");
    errors.choice(&path.child("apiGroup"), &role.api_group, &[GROUP]);
    errors.choice(&path.child("kind"), &role.kind, kinds);
    errors.need(&path, "name", &role.name);
    errors.wrong(&path.child("name"), &role.name, names::path_segment(&role.name));
}

/// Another role takes another binding: whoever may edit this one did not thereby get that right.
fn kept_role(new: &RoleRef, old: &RoleRef, errors: &mut Errors) {
    if new != old {
        errors.invalid(&Path::new("roleRef"), new as &dyn Value, "cannot change roleRef");
    }
}

impl Subject {
    fn validate(&self, namespaced: bool, path: &Path, errors: &mut Errors) {
        errors.need(path, "name", &self.name);
        let group = path.child("apiGroup");
        match self.kind.as_str() {
            "ServiceAccount" => {
                if !self.name.is_empty() {
                    errors.wrong(&path.child("name"), &self.name, names::dns1123_subdomain(&self.name));
                }
                errors.choice(&group, &self.api_group, &[""]);
                if !namespaced {
                    errors.need(path, "namespace", &self.namespace);
                }
            }
            "User" | "Group" => errors.choice(&group, &self.api_group, &[GROUP]),
            kind => {
                errors.not_supported(&path.child("kind"), kind, &["ServiceAccount", "User", "Group"]);
            }
        }
    }
}

/// Names of the subjects of one kind; service accounts with their namespace.
fn subjects(subjects: &[Subject], kind: &str) -> serde_json::Value {
    let name = |subject: &Subject| match kind {
        "ServiceAccount" => format!("{}/{}", subject.namespace, subject.name),
        _ => subject.name.clone(),
    };
    subjects.iter().filter(|s| s.kind == kind).map(name).collect::<Vec<_>>().join(", ").into()
}

/// The same columns for both kinds of binding.
macro_rules! columns {
    () => {
        [
            Column::name(),
            Column::text("Role", "Role that is given.", |binding: &Self, _| {
                format!("{}/{}", binding.role_ref.kind, binding.role_ref.name).into()
            }),
            Column::age(),
            Column::text("Users", "Users who get the role.", |b: &Self, _| subjects(&b.subjects, "User"))
                .wide(),
            Column::text("Groups", "Groups that get the role.", |b: &Self, _| subjects(&b.subjects, "Group"))
                .wide(),
            Column::text("ServiceAccounts", "Service accounts that get the role.", |b: &Self, _| {
                subjects(&b.subjects, "ServiceAccount")
            })
            .wide(),
        ]
    };
}

resource!(
    ClusterRoleBinding,
    Kind::cluster_wide(
        "rbac.authorization.k8s.io/v1",
        "ClusterRoleBinding",
        "clusterrolebindings",
        "clusterrolebinding"
    )
);

impl Strategy for ClusterRoleBinding {
    const NAME_RULE: NameRule = NameRule::PathSegment;
    const CREATE_ON_UPDATE: bool = true;

    fn set_defaults(&mut self) {
        set_defaults(&mut self.role_ref, &mut self.subjects);
    }

    fn validate(&self, errors: &mut Errors) {
        role_ref(&self.role_ref, &["ClusterRole"], errors);
        for (place, subject) in self.subjects.iter().enumerate() {
            subject.validate(false, &Path::new("subjects").index(place), errors);
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        kept_role(&self.role_ref, &old.role_ref, errors);
    }

    fn columns() -> &'static [Column<Self>] {
        const { &columns!() }
    }
}

resource!(
    RoleBinding,
    Kind::namespaced("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings", "rolebinding")
);

impl Strategy for RoleBinding {
    const NAME_RULE: NameRule = NameRule::PathSegment;
    const CREATE_ON_UPDATE: bool = true;

    fn set_defaults(&mut self) {
        set_defaults(&mut self.role_ref, &mut self.subjects);
    }

    fn validate(&self, errors: &mut Errors) {
        role_ref(&self.role_ref, &["Role", "ClusterRole"], errors);
        for (place, subject) in self.subjects.iter().enumerate() {
            subject.validate(true, &Path::new("subjects").index(place), errors);
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        kept_role(&self.role_ref, &old.role_ref, errors);
    }

    fn columns() -> &'static [Column<Self>] {
        const { &columns!() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::{defaulted, refused, refused_update};

    fn role(kind: &str, name: &str) -> RoleRef {
        RoleRef { kind: kind.into(), name: name.into(), ..RoleRef::default() }
    }

    fn subject(kind: &str, name: &str) -> Subject {
        Subject { kind: kind.into(), name: name.into(), ..Subject::default() }
    }

    #[test]
    fn groups_are_filled_in() {
        let own = defaulted(RoleBinding {
            role_ref: role("Role", "reader"),
            subjects: vec![subject("User", "ann"), subject("ServiceAccount", "web")],
            ..RoleBinding::default()
        });
        assert_eq!(own.role_ref.api_group, GROUP);
        assert_eq!((own.subjects[0].api_group.as_str(), own.subjects[1].api_group.as_str()), (GROUP, ""));
    }

    #[test]
    fn what_is_refused() {
        let own = ClusterRoleBinding {
            role_ref: role("Role", ""),
            subjects: vec![subject("ServiceAccount", "web"), subject("Robot", "x")],
            ..ClusterRoleBinding::default()
        };
        assert_eq!(
            refused(own),
            [
                r#"roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole""#,
                "roleRef.name: Required value",
                "subjects[0].namespace: Required value",
                r#"subjects[1].kind: Unsupported value: "Robot": supported values: "ServiceAccount", "User", "Group""#,
            ]
        );
    }

    #[test]
    fn the_role_stays() {
        let binding = |name: &str| RoleBinding { role_ref: role("Role", name), ..RoleBinding::default() };
        assert_eq!(
            refused_update(binding("writer"), binding("reader")),
            [
                r#"roleRef: Invalid value: {"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"writer"}: cannot change roleRef"#
            ]
        );
    }
}
