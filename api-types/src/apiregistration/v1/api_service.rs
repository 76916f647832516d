//! APIService: which server answers for a group and version.

use crate::field::{Errors, Path};
use crate::kind::{Column, Kind, NameRule, Strategy, Subresource, resource};
use crate::meta::v1::{ConditionStatus, ObjectMeta};
use crate::names;
use crate::value::{ByteString, Time};
use api_types_derive::Api;

/// Says which server answers for a group and version.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1")]
pub struct APIService {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The group and version, and the server.
    #[api(2)]
    pub spec: APIServiceSpec,
    /// Whether the server is reachable.
    #[api(3)]
    pub status: APIServiceStatus,
}

/// A group and version, and the server that answers for it.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1")]
pub struct APIServiceSpec {
    /// Service of the server; none for groups that this server has itself.
    #[api(1)]
    pub service: Option<Box<ServiceReference>>,
    /// The group.
    #[api(2)]
    pub group: String,
    /// The version.
    #[api(3)]
    pub version: String,
    /// Whether the server's certificate goes unchecked.
    #[api(4, name = "insecureSkipTLSVerify")]
    pub insecure_skip_tls_verify: bool,
    /// Authorities that sign the server's certificate, PEM; the system's when empty.
    #[api(5, list = atomic)]
    pub ca_bundle: ByteString,
    /// Place of the group among groups; higher comes first.
    #[api(7, required)]
    pub group_priority_minimum: i32,
    /// Place of the version within its group; higher comes first.
    #[api(8, required)]
    pub version_priority: i32,
}

/// Names a Service.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1")]
pub struct ServiceReference {
    /// Namespace of the Service.
    #[api(1)]
    pub namespace: String,
    /// Name of the Service.
    #[api(2)]
    pub name: String,
    /// Port of the Service; 443 when not given.
    #[api(3)]
    pub port: Option<i32>,
}

/// Whether the server behind an APIService is reachable.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1")]
pub struct APIServiceStatus {
    /// Available: whether requests can be passed on.
    #[api(1, list = map("type"), patch = merge_key("type"))]
    pub conditions: Vec<APIServiceCondition>,
}

/// One statement about an APIService.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1")]
pub struct APIServiceCondition {
    /// What the statement is about.
    #[api(1, required)]
    pub type_: String,
    /// True, False or Unknown.
    #[api(2, required)]
    pub status: ConditionStatus,
    /// When the status changed last.
    #[api(3, always)]
    pub last_transition_time: Option<Time>,
    /// Why, in one CamelCase word.
    #[api(4)]
    pub reason: String,
    /// Why, for people.
    #[api(5)]
    pub message: String,
}

resource!(
    APIService,
    Kind {
        categories: &["api-extensions"],
        subresources: &[Subresource::status("APIService")],
        ..Kind::cluster_wide("apiregistration.k8s.io/v1", "APIService", "apiservices", "apiservice")
    }
);

/// Whether requests can be passed on to the server.
pub const AVAILABLE: &str = "Available";

impl APIService {
    pub fn condition(&self, ty: &str) -> Option<&APIServiceCondition> {
        self.status.conditions.iter().find(|condition| condition.type_ == ty)
    }
}

impl Strategy for APIService {
    const NAME_RULE: NameRule = NameRule::PathSegment;
    const UNCONDITIONAL_UPDATE: bool = false;

    fn set_defaults(&mut self) {
        if let Some(service) = &mut self.spec.service {
            service.port.get_or_insert(443);
        }
    }

    fn prepare_for_create(&mut self) {
        self.status = APIServiceStatus::default();
        if self.spec.service.is_none() {
            self.status.conditions.push(APIServiceCondition {
                type_: AVAILABLE.to_owned(),
                status: ConditionStatus::True,
                reason: "Local".to_owned(),
                message: "Local APIServices are always available".to_owned(),
                last_transition_time: self.metadata.creation_timestamp,
            });
        }
    }

    fn prepare_for_update(&mut self, old: &Self) {
        self.status = old.status.clone();
    }

    fn prepare_for_status_update(&mut self, old: &Self) {
        self.spec = old.spec.clone();
        self.metadata.labels.clone_from(&old.metadata.labels);
        self.metadata.annotations.clone_from(&old.metadata.annotations);
        self.metadata.finalizers.clone_from(&old.metadata.finalizers);
        self.metadata.owner_references.clone_from(&old.metadata.owner_references);
    }

    fn validate(&self, errors: &mut Errors) {
        let (spec, path) = (&self.spec, Path::new("spec"));
        let wanted = format!("{}.{}", spec.version, spec.group);
        if self.metadata.name != wanted {
            let text = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
            errors.invalid(&Path::new("metadata").child("name"), &self.metadata.name, text);
        }
        if spec.group.is_empty() && spec.version != "v1" {
            let text = "only v1 may have an empty group and it better be legacy kube";
            errors.required(&path.child("group"), text);
        }
        if !spec.group.is_empty() {
            errors.wrong(&path.child("group"), &spec.group, names::dns1123_subdomain(&spec.group));
        }
        errors.wrong(&path.child("version"), &spec.version, names::dns1035_label(&spec.version));
        for (name, value, most) in [
            ("groupPriorityMinimum", spec.group_priority_minimum, 20000),
            ("versionPriority", spec.version_priority, 1000),
        ] {
            if !(1..=most).contains(&value) {
                errors.invalid(&path.child(name), value, format!("must be positive and less than {most}"));
            }
        }
        let skip = path.child("insecureSkipTLSVerify");
        let Some(service) = &spec.service else {
            if !spec.ca_bundle.0.is_empty() {
                let size = format!("{} bytes", spec.ca_bundle.0.len());
                errors.invalid(&path.child("caBundle"), size, "local APIServices may not have a caBundle");
            }
            if spec.insecure_skip_tls_verify {
                errors.invalid(&skip, true, "local APIServices may not have insecureSkipTLSVerify");
            }
            return;
        };
        let path = path.child("service");
        errors.need(&path, "namespace", &service.namespace);
        errors.need(&path, "name", &service.name);
        let port = service.port.unwrap_or_default();
        let wrong = names::port_number(port);
        if !wrong.is_empty() {
            errors.invalid(&path.child("port"), port, format!("port is not valid: {}", wrong.join(", ")));
        }
        if spec.insecure_skip_tls_verify && !spec.ca_bundle.0.is_empty() {
            errors.invalid(&skip, true, "may not be true if caBundle is present");
        }
    }

    fn validate_status_update(&self, _old: &Self, errors: &mut Errors) {
        let path = Path::new("status").child("conditions");
        for (n, condition) in self.status.conditions.iter().enumerate() {
            let path = path.index(n).child("status");
            errors.choice(&path, condition.status.as_str(), &["True", "False", "Unknown"]);
        }
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::text("Service", "Service of the server, or Local.", |own, _| {
                    let service = own.spec.service.as_ref();
                    service.map_or("Local".into(), |s| format!("{}/{}", s.namespace, s.name).into())
                }),
                Column::text("Available", "Whether requests can be passed on.", |own, _| {
                    let condition = own.condition(AVAILABLE);
                    match condition {
                        None => "Unknown".into(),
                        Some(c) if c.status == ConditionStatus::True => "True".into(),
                        Some(c) => format!("{} ({})", c.status.as_str(), c.reason).into(),
                    }
                }),
                Column::age(),
            ]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::refused;

    fn service(name: &str, group: &str, version: &str) -> APIService {
        let mut own = APIService::default();
        own.metadata.name = name.into();
        own.spec.group = group.into();
        own.spec.version = version.into();
        own.spec.group_priority_minimum = 100;
        own.spec.version_priority = 100;
        own
    }

    #[test]
    fn what_is_refused() {
        assert!(refused(service("v1.", "", "v1")).is_empty());
        let mut own = service("x", "metrics.k8s.io", "v1beta1");
        own.spec.version_priority = 0;
        own.spec.service = Some(Box::new(ServiceReference { name: "m".into(), ..Default::default() }));
        assert_eq!(
            refused(own),
            [
                r#"metadata.name: Invalid value: "x": must be `spec.version+"."+spec.group`: "v1beta1.metrics.k8s.io""#,
                "spec.versionPriority: Invalid value: 0: must be positive and less than 1000",
                "spec.service.namespace: Required value",
            ]
        );
        let mut local = service("v1.apps", "apps", "v1");
        local.spec.insecure_skip_tls_verify = true;
        assert_eq!(
            refused(local.clone()),
            [
                "spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify"
            ]
        );
        local.prepare_for_create();
        assert_eq!(local.condition(AVAILABLE).map(|c| c.reason.as_str()), Some("Local"));
    }
}
