//! CustomResourceDefinition: a kind that users define (KEP-95). Its versions and their schemas are read in
//! `crate::custom`.

mod schema;
mod validate;

pub use validate::schema_path;

use crate::apiextensions::v1::JSONSchemaProps;
use crate::columns::since;
use crate::field::Errors;
use crate::kind::{Column, Kind, Strategy, Subresource, resource, set_generation};
use crate::meta::v1::{ConditionStatus, ObjectMeta};
use crate::open_enum::open_enum;
use crate::value::{ByteString, Time};
use api_types_derive::Api;

/// A kind that is added to the API.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1")]
pub struct CustomResourceDefinition {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The kind.
    #[api(2, required)]
    pub spec: CustomResourceDefinitionSpec,
    /// Whether it is served, and under which names.
    #[api(3)]
    pub status: CustomResourceDefinitionStatus,
}

/// A kind and its versions.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1")]
pub struct CustomResourceDefinitionSpec {
    /// Group of the kind; part of the definition's name, `PLURAL.GROUP`.
    #[api(1, required)]
    pub group: String,
    /// Names of the kind.
    #[api(3, required)]
    pub names: CustomResourceDefinitionNames,
    /// `Cluster` or `Namespaced`.
    #[api(4, required)]
    pub scope: ResourceScope,
    /// Versions of the kind.
    #[api(7, required, list = atomic)]
    pub versions: Vec<CustomResourceDefinitionVersion>,
    /// How objects of one version become those of another.
    #[api(9)]
    pub conversion: Option<Box<CustomResourceConversion>>,
    /// Must be false: keeping what a schema does not name is said in the schema.
    #[api(10)]
    pub preserve_unknown_fields: bool,
}

/// Names of a kind.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1")]
pub struct CustomResourceDefinitionNames {
    /// Name of the resource in paths, in lower case.
    #[api(1, required)]
    pub plural: String,
    /// Name of one object, in lower case.
    #[api(2)]
    pub singular: String,
    /// Short names for the command line.
    #[api(3, list = atomic)]
    pub short_names: Vec<String>,
    /// Name of the kind, in CamelCase.
    #[api(4, required)]
    pub kind: String,
    /// Name of the kind of lists.
    #[api(5)]
    pub list_kind: String,
    /// Groups of resources that it belongs to, as `all`.
    #[api(6, list = atomic)]
    pub categories: Vec<String>,
}

open_enum! {
    /// Whether objects are in namespaces.
    pub enum ResourceScope {
        Cluster = "Cluster",
        Namespaced = "Namespaced",
    }
}

/// A version of a kind.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1")]
pub struct CustomResourceDefinitionVersion {
    /// Name of the version, as `v1`.
    #[api(1, required)]
    pub name: String,
    /// Whether it is served.
    #[api(2, required)]
    pub served: bool,
    /// Whether objects are stored in this version; exactly one is.
    #[api(3, required)]
    pub storage: bool,
    /// Whether users of the version are warned.
    #[api(7)]
    pub deprecated: bool,
    /// What they are told.
    #[api(8)]
    pub deprecation_warning: Option<String>,
    /// What objects look like.
    #[api(4)]
    pub schema: Option<Box<CustomResourceValidation>>,
    /// Subresources of the objects.
    #[api(5)]
    pub subresources: Option<Box<CustomResourceSubresources>>,
    /// Columns of `kubectl get`.
    #[api(6, list = atomic)]
    pub additional_printer_columns: Vec<CustomResourceColumnDefinition>,
    /// Fields that field selectors can ask for.
    #[api(9, list = atomic)]
    pub selectable_fields: Vec<SelectableField>,
}

/// The schema of a version.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1")]
pub struct CustomResourceValidation {
    /// An OpenAPI v3 schema.
    #[api(1, name = "openAPIV3Schema")]
    pub open_api_v3_schema: Option<JSONSchemaProps>,
}

/// Subresources of a kind.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1")]
pub struct CustomResourceSubresources {
    /// Whether `/status` is there.
    #[api(1)]
    pub status: Option<Box<CustomResourceSubresourceStatus>>,
    /// The replica count behind `/scale`.
    #[api(2)]
    pub scale: Option<Box<CustomResourceSubresourceScale>>,
}

/// Asks for `/status`.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1")]
pub struct CustomResourceSubresourceStatus {}

/// Where a replica count is in an object.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1")]
pub struct CustomResourceSubresourceScale {
    /// JSON path below `.spec` of the number wanted.
    #[api(1, required)]
    pub spec_replicas_path: String,
    /// JSON path below `.status` of the number seen.
    #[api(2, required)]
    pub status_replicas_path: String,
    /// JSON path of a label selector in its text form.
    #[api(3)]
    pub label_selector_path: Option<String>,
}

/// A column of `kubectl get`.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1")]
pub struct CustomResourceColumnDefinition {
    /// Name of the column.
    #[api(1, required)]
    pub name: String,
    /// integer, number, string, boolean or date.
    #[api(2, required)]
    pub type_: String,
    /// Format of the type.
    #[api(3)]
    pub format: String,
    /// What the column shows.
    #[api(4)]
    pub description: String,
    /// 0 is always shown, more only with `-o wide`.
    #[api(5)]
    pub priority: i32,
    /// JSON path of the cell.
    #[api(6, required)]
    pub json_path: String,
}

/// A field that field selectors can ask for.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1")]
pub struct SelectableField {
    /// Simple JSON path of a string, boolean or integer.
    #[api(1, required)]
    pub json_path: String,
}

/// How objects of one version become those of another.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1")]
pub struct CustomResourceConversion {
    /// `None` only changes the version; `Webhook` asks a webhook.
    #[api(1, required)]
    pub strategy: ConversionStrategyType,
    /// The webhook.
    #[api(2)]
    pub webhook: Option<Box<WebhookConversion>>,
}

open_enum! {
    /// A way of conversion.
    pub enum ConversionStrategyType {
        None = "None",
        Webhook = "Webhook",
    }
}

/// A webhook that converts.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1")]
pub struct WebhookConversion {
    /// Where the webhook is.
    #[api(2)]
    pub client_config: Option<Box<WebhookClientConfig>>,
    /// Versions of ConversionReview that it understands.
    #[api(3, required, list = atomic)]
    pub conversion_review_versions: Vec<String>,
}

/// Where a webhook is: at a URL or behind a Service.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1")]
pub struct WebhookClientConfig {
    /// The URL.
    #[api(3)]
    pub url: Option<String>,
    /// The Service.
    #[api(1)]
    pub service: Option<Box<ServiceReference>>,
    /// Authorities that its certificate is checked against.
    #[api(2)]
    pub ca_bundle: ByteString,
}

/// A Service in front of a webhook.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1")]
pub struct ServiceReference {
    /// Namespace of the Service.
    #[api(1, required)]
    pub namespace: String,
    /// Name of the Service.
    #[api(2, required)]
    pub name: String,
    /// Path of the requests.
    #[api(3)]
    pub path: Option<String>,
    /// Port of the Service; 443 when not given.
    #[api(4)]
    pub port: Option<i32>,
}

/// Whether a kind is served, and under which names.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1")]
pub struct CustomResourceDefinitionStatus {
    /// Latest observations: names accepted, established, terminating.
    #[api(1, always, list = map("type"))]
    pub conditions: Vec<CustomResourceDefinitionCondition>,
    /// Names under which it is served.
    #[api(2, always)]
    pub accepted_names: CustomResourceDefinitionNames,
    /// Versions in which objects have ever been stored.
    #[api(3, always, list = atomic)]
    pub stored_versions: Vec<String>,
    /// Generation of the spec that this status speaks of.
    #[api(4)]
    pub observed_generation: i64,
}

/// One observation about a definition.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1")]
pub struct CustomResourceDefinitionCondition {
    /// What is observed.
    #[api(1, required)]
    pub type_: CustomResourceDefinitionConditionType,
    /// Whether it holds.
    #[api(2, required)]
    pub status: ConditionStatus,
    /// When the status last changed.
    #[api(3, always)]
    pub last_transition_time: Option<Time>,
    /// Cause of the last change in one CamelCase word.
    #[api(4)]
    pub reason: String,
    /// The same for people.
    #[api(5)]
    pub message: String,
    /// Generation of the spec that it speaks of.
    #[api(6)]
    pub observed_generation: i64,
}

open_enum! {
    /// What a condition of a definition speaks of.
    pub enum CustomResourceDefinitionConditionType {
        Established = "Established",
        NamesAccepted = "NamesAccepted",
        NonStructuralSchema = "NonStructuralSchema",
        Terminating = "Terminating",
        KubernetesAPIApprovalPolicyConformant = "KubernetesAPIApprovalPolicyConformant",
        StorageMigrating = "StorageMigrating",
    }
}

resource!(
    CustomResourceDefinition,
    Kind {
        short_names: &["crd", "crds"],
        categories: &["api-extensions"],
        subresources: &[Subresource::status("CustomResourceDefinition")],
        ..Kind::cluster_wide(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            "customresourcedefinitions",
            "customresourcedefinition"
        )
    }
);

/// Keeps a definition until all its objects are gone.
pub const CLEANUP_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

impl CustomResourceDefinition {
    pub fn condition(
        &self,
        type_: &CustomResourceDefinitionConditionType,
    ) -> Option<&CustomResourceDefinitionCondition> {
        self.status.conditions.iter().find(|condition| condition.type_ == *type_)
    }

    pub fn is(&self, type_: &CustomResourceDefinitionConditionType) -> bool {
        self.condition(type_).is_some_and(|condition| condition.status == ConditionStatus::True)
    }

    /// Sets a condition; the time stays where the status does.
    pub fn set_condition(&mut self, mut condition: CustomResourceDefinitionCondition, now: Time) {
        let conditions = &mut self.status.conditions;
        match conditions.iter_mut().find(|present| present.type_ == condition.type_) {
            Some(present) => {
                let kept =
                    if present.status == condition.status { present.last_transition_time } else { None };
                condition.last_transition_time = kept.or(Some(now));
                *present = condition;
            }
            None => {
                condition.last_transition_time = Some(now);
                conditions.push(condition);
            }
        }
    }

    /// The version that objects are stored in.
    pub fn storage_version(&self) -> Option<&CustomResourceDefinitionVersion> {
        self.spec.versions.iter().find(|version| version.storage)
    }

    fn remember_storage_version(&mut self) {
        if let Some(name) = self.storage_version().map(|version| version.name.clone())
            && !self.status.stored_versions.contains(&name)
        {
            self.status.stored_versions.push(name);
        }
    }
}

impl Strategy for CustomResourceDefinition {
    const UNCONDITIONAL_UPDATE: bool = false;

    fn set_defaults(&mut self) {
        let names = &mut self.spec.names;
        if names.singular.is_empty() {
            names.singular = names.kind.to_lowercase();
        }
        if names.list_kind.is_empty() && !names.kind.is_empty() {
            names.list_kind = format!("{}List", names.kind);
        }
        let conversion = self.spec.conversion.get_or_insert_with(|| {
            Box::new(CustomResourceConversion {
                strategy: ConversionStrategyType::None,
                ..CustomResourceConversion::default()
            })
        });
        let client = conversion.webhook.as_mut().and_then(|webhook| webhook.client_config.as_mut());
        if let Some(service) = client.and_then(|client| client.service.as_mut()) {
            service.port.get_or_insert(443);
        }
        if self.status.stored_versions.is_empty() {
            self.remember_storage_version();
        }
    }

    fn prepare_for_create(&mut self) {
        self.status = CustomResourceDefinitionStatus::default();
        self.metadata.generation = 1;
        self.remember_storage_version();
    }

    fn prepare_for_update(&mut self, old: &Self) {
        self.status = old.status.clone();
        set_generation(&mut self.metadata, &old.metadata, self.spec != old.spec);
        self.remember_storage_version();
    }

    fn prepare_for_status_update(&mut self, old: &Self) {
        self.spec = old.spec.clone();
        self.metadata.keep_for_status(&old.metadata);
    }

    fn validate_create(&self, errors: &mut Errors) {
        validate::create(self, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        validate::update(self, old, errors);
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        validate::warnings(self, old)
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column {
                    ty: "date",
                    cell: |crd: &Self, _| {
                        crd.metadata
                            .creation_timestamp
                            .map_or(serde_json::Value::Null, |at| at.to_string().into())
                    },
                    ..Column::text("Created At", "When the definition was created.", |crd, now| {
                        since(crd.metadata.creation_timestamp, now).into()
                    })
                },
            ]
        }
    }
}

#[cfg(test)]
mod tests;
