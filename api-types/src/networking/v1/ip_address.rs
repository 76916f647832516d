//! IPAddress: one address that is taken; its name is the address (KEP-1880).

use crate::field::{Errors, Path};
use crate::kind::{Column, Kind, NameRule, Strategy, resource};
use crate::meta::v1::ObjectMeta;
use crate::meta::v1::validate::immutable;
use crate::names;
use api_types_derive::Api;

/// An address that is taken, named by itself in canonical form.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.networking.v1")]
pub struct IPAddress {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// Whom it belongs to.
    #[api(2, required, omitempty)]
    pub spec: IPAddressSpec,
}

/// Whom an address belongs to.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.networking.v1")]
pub struct IPAddressSpec {
    /// The object that uses the address.
    #[api(1, required, omitempty)]
    pub parent_ref: Option<Box<ParentReference>>,
}

/// Points to the object that uses an address.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.networking.v1")]
pub struct ParentReference {
    /// Group of the object.
    #[api(1)]
    pub group: String,
    /// Resource of the object.
    #[api(2, required, omitempty)]
    pub resource: String,
    /// Namespace of the object.
    #[api(3)]
    pub namespace: String,
    /// Name of the object.
    #[api(4, required, omitempty)]
    pub name: String,
}

resource!(
    IPAddress,
    Kind {
        short_names: &["ip"],
        ..Kind::cluster_wide("networking.k8s.io/v1", "IPAddress", "ipaddresses", "ipaddress")
    }
);

/// Label with the family of an address.
pub const FAMILY_LABEL: &str = "ipaddress.kubernetes.io/ip-family";
/// Label with the name of whoever looks after an address.
pub const MANAGED_BY_LABEL: &str = "ipaddress.kubernetes.io/managed-by";
/// The value of `MANAGED_BY_LABEL` for addresses of Services.
pub const ALLOCATOR: &str = "ipallocator.k8s.io";

impl Strategy for IPAddress {
    const NAME_RULE: NameRule = NameRule::Address;

    fn prepare_for_update(&mut self, old: &Self) {
        self.metadata.generation = old.metadata.generation;
    }

    fn validate(&self, errors: &mut Errors) {
        let path = Path::new("spec").child("parentRef");
        let Some(parent) = &self.spec.parent_ref else { return errors.required(&path, "") };
        if !parent.group.is_empty() {
            errors.wrong(&path.child("group"), &parent.group, names::dns1123_subdomain(&parent.group));
        }
        for (name, value) in [("resource", &parent.resource), ("name", &parent.name)] {
            errors.need(&path, name, value);
            errors.wrong(&path.child(name), value, names::path_segment(value));
        }
        errors.wrong(&path.child("namespace"), &parent.namespace, names::path_segment(&parent.namespace));
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        let path = Path::new("spec").child("parentRef");
        immutable(&self.spec.parent_ref, &old.spec.parent_ref, &path, errors);
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::text("ParentRef", "The object that uses the address.", |address: &Self, _| {
                    address.spec.parent_ref.as_ref().map_or_else(|| "<none>".to_owned(), |p| p.text()).into()
                }),
            ]
        }
    }
}

impl ParentReference {
    /// `services/default/kubernetes`
    fn text(&self) -> String {
        let mut text = self.resource.to_lowercase();
        for (separator, part) in [('.', self.group.to_lowercase()), ('/', self.namespace.clone())] {
            if !part.is_empty() {
                text.push(separator);
                text.push_str(&part);
            }
        }
        format!("{text}/{}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::{refused, refused_update};

    fn address(resource: &str, name: &str) -> IPAddress {
        let parent =
            ParentReference { resource: resource.into(), name: name.into(), ..ParentReference::default() };
        IPAddress { spec: IPAddressSpec { parent_ref: Some(Box::new(parent)) }, ..IPAddress::default() }
    }

    #[test]
    fn what_is_refused() {
        assert!(refused(address("services", "web")).is_empty());
        assert_eq!(refused(IPAddress::default()), ["spec.parentRef: Required value"]);
        assert_eq!(
            refused(address("", "a/b")),
            [
                "spec.parentRef.resource: Required value",
                r#"spec.parentRef.name: Invalid value: "a/b": may not contain '/'"#
            ]
        );
        assert_eq!(
            refused_update(address("services", "b"), address("services", "a")),
            [r#"spec.parentRef: Invalid value: {"resource":"services","name":"b"}: field is immutable"#]
        );
    }

    #[test]
    fn a_name_is_a_canonical_address() {
        assert!(NameRule::Address.check("10.0.0.1").is_empty());
        assert_eq!(NameRule::Address.check("2001:DB8::1"), [r#"must be in canonical form ("2001:db8::1")"#]);
        assert_eq!(
            NameRule::Address.check("web"),
            ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
        );
    }

    #[test]
    fn parents_in_columns() {
        let mut parent =
            ParentReference { resource: "Services".into(), name: "web".into(), ..Default::default() };
        assert_eq!(parent.text(), "services/web");
        parent.namespace = "default".into();
        parent.group = "x.io".into();
        assert_eq!(parent.text(), "services.x.io/default/web");
    }
}
