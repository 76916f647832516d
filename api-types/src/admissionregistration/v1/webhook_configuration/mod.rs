//! MutatingWebhookConfiguration and ValidatingWebhookConfiguration: servers that are asked about writes
//! (KEP-492). What a request goes through is in the API server.

mod validate;

use super::{FailurePolicyType, MatchCondition, MatchPolicyType, ReinvocationPolicyType, RuleWithOperations};
use crate::field::Errors;
use crate::kind::{Column, Kind, Strategy, resource, set_generation};
use crate::meta::v1::{LabelSelector, ObjectMeta};
use crate::open_enum::open_enum;
use crate::value::ByteString;
use api_types_derive::Api;

/// Webhooks that may change what is written, or refuse it.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.admissionregistration.v1")]
pub struct MutatingWebhookConfiguration {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The webhooks, asked one after another.
    #[api(2, list = map("name"), patch = merge_key("name"))]
    pub webhooks: Vec<MutatingWebhook>,
}

/// Webhooks that may refuse what is written.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.admissionregistration.v1")]
pub struct ValidatingWebhookConfiguration {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The webhooks, asked all at once.
    #[api(2, list = map("name"), patch = merge_key("name"))]
    pub webhooks: Vec<ValidatingWebhook>,
}

/// A webhook that may change what is written, and the requests that it is asked about.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.admissionregistration.v1")]
pub struct MutatingWebhook {
    /// Fully qualified name, as `imagepolicy.example.com`.
    #[api(1, required)]
    pub name: String,
    /// Where the webhook is.
    #[api(2, required)]
    pub client_config: WebhookClientConfig,
    /// Operations and resources that it is asked about; one of the rules has to match.
    #[api(3, list = atomic)]
    pub rules: Vec<RuleWithOperations>,
    /// What becomes of a request when the webhook cannot be asked; `Fail` when not given.
    #[api(4)]
    pub failure_policy: Option<FailurePolicyType>,
    /// Whether the rules match other versions of the same resources, too; `Equivalent` when not given.
    #[api(9)]
    pub match_policy: Option<MatchPolicyType>,
    /// Labels of the object's namespace, or of the object where it is one.
    #[api(5)]
    pub namespace_selector: Option<Box<LabelSelector>>,
    /// Labels of the object, as it is or as it was.
    #[api(11)]
    pub object_selector: Option<Box<LabelSelector>>,
    /// Whether asking has effects beside the answer: `None` or `NoneOnDryRun`.
    #[api(6, required)]
    pub side_effects: Option<SideEffectClass>,
    /// Seconds to wait for the answer, 1 to 30; 10 when not given.
    #[api(7)]
    pub timeout_seconds: Option<i32>,
    /// Versions of AdmissionReview that it understands, the best one first.
    #[api(8, required, list = atomic)]
    pub admission_review_versions: Vec<String>,
    /// Whether it is asked again when others have changed the object since; `Never` when not given.
    #[api(10)]
    pub reinvocation_policy: Option<ReinvocationPolicyType>,
    /// Conditions in CEL that a request has to meet, beside the rules.
    #[api(12, list = map("name"), patch = merge_key("name"))]
    pub match_conditions: Vec<MatchCondition>,
}

/// A webhook that may refuse what is written, and the requests that it is asked about.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.admissionregistration.v1")]
pub struct ValidatingWebhook {
    /// Fully qualified name, as `imagepolicy.example.com`.
    #[api(1, required)]
    pub name: String,
    /// Where the webhook is.
    #[api(2, required)]
    pub client_config: WebhookClientConfig,
    /// Operations and resources that it is asked about; one of the rules has to match.
    #[api(3, list = atomic)]
    pub rules: Vec<RuleWithOperations>,
    /// What becomes of a request when the webhook cannot be asked; `Fail` when not given.
    #[api(4)]
    pub failure_policy: Option<FailurePolicyType>,
    /// Whether the rules match other versions of the same resources, too; `Equivalent` when not given.
    #[api(9)]
    pub match_policy: Option<MatchPolicyType>,
    /// Labels of the object's namespace, or of the object where it is one.
    #[api(5)]
    pub namespace_selector: Option<Box<LabelSelector>>,
    /// Labels of the object, as it is or as it was.
    #[api(10)]
    pub object_selector: Option<Box<LabelSelector>>,
    /// Whether asking has effects beside the answer: `None` or `NoneOnDryRun`.
    #[api(6, required)]
    pub side_effects: Option<SideEffectClass>,
    /// Seconds to wait for the answer, 1 to 30; 10 when not given.
    #[api(7)]
    pub timeout_seconds: Option<i32>,
    /// Versions of AdmissionReview that it understands, the best one first.
    #[api(8, required, list = atomic)]
    pub admission_review_versions: Vec<String>,
    /// Conditions in CEL that a request has to meet, beside the rules.
    #[api(11, list = map("name"), patch = merge_key("name"))]
    pub match_conditions: Vec<MatchCondition>,
}

open_enum! {
    /// Whether asking a webhook has effects beside its answer.
    pub enum SideEffectClass {
        Unknown = "Unknown",
        None = "None",
        Some = "Some",
        NoneOnDryRun = "NoneOnDryRun",
    }
}

/// Where a webhook is: at a URL or behind a Service.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.admissionregistration.v1")]
pub struct WebhookClientConfig {
    /// The URL, `https://host:port/path`.
    #[api(3)]
    pub url: Option<String>,
    /// The Service.
    #[api(1)]
    pub service: Option<Box<ServiceReference>>,
    /// Authorities that its certificate is checked against, PEM; those of the system when empty.
    #[api(2)]
    pub ca_bundle: ByteString,
}

/// A Service in front of a webhook.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.admissionregistration.v1")]
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

/// What both sorts of webhooks have.
#[derive(Clone, Copy, Debug)]
pub struct Webhook<'a> {
    pub name: &'a str,
    pub client_config: &'a WebhookClientConfig,
    pub rules: &'a [RuleWithOperations],
    pub failure_policy: Option<&'a FailurePolicyType>,
    pub match_policy: Option<&'a MatchPolicyType>,
    pub namespace_selector: Option<&'a LabelSelector>,
    pub object_selector: Option<&'a LabelSelector>,
    pub side_effects: Option<&'a SideEffectClass>,
    pub timeout_seconds: Option<i32>,
    pub admission_review_versions: &'a [String],
    /// Always none for one that only refuses.
    pub reinvocation_policy: Option<&'a ReinvocationPolicyType>,
    pub match_conditions: &'a [MatchCondition],
}

macro_rules! webhook_configuration {
    ($config:ident, $hook:ident, $resource:literal, $singular:literal, $reinvocation:expr) => {
        resource!(
            $config,
            Kind {
                categories: &["api-extensions"],
                ..Kind::cluster_wide(
                    "admissionregistration.k8s.io/v1",
                    stringify!($config),
                    $resource,
                    $singular
                )
            }
        );

        impl $hook {
            /// What it has in common with the other sort.
            pub fn common(&self) -> Webhook<'_> {
                let reinvocation: fn(&Self) -> Option<&ReinvocationPolicyType> = $reinvocation;
                Webhook {
                    name: &self.name,
                    client_config: &self.client_config,
                    rules: &self.rules,
                    failure_policy: self.failure_policy.as_ref(),
                    match_policy: self.match_policy.as_ref(),
                    namespace_selector: self.namespace_selector.as_deref(),
                    object_selector: self.object_selector.as_deref(),
                    side_effects: self.side_effects.as_ref(),
                    timeout_seconds: self.timeout_seconds,
                    admission_review_versions: &self.admission_review_versions,
                    reinvocation_policy: reinvocation(self),
                    match_conditions: &self.match_conditions,
                }
            }

            fn set_defaults(&mut self) {
                self.failure_policy.get_or_insert(FailurePolicyType::Fail);
                self.match_policy.get_or_insert(MatchPolicyType::Equivalent);
                self.namespace_selector.get_or_insert_default();
                self.object_selector.get_or_insert_default();
                self.timeout_seconds.get_or_insert(10);
                self.rules.iter_mut().for_each(RuleWithOperations::set_defaults);
                if let Some(service) = &mut self.client_config.service {
                    service.port.get_or_insert(443);
                }
            }
        }

        impl $config {
            /// Its webhooks, in order.
            pub fn hooks(&self) -> Vec<Webhook<'_>> {
                self.webhooks.iter().map($hook::common).collect()
            }
        }

        impl Strategy for $config {
            const UNCONDITIONAL_UPDATE: bool = false;

            fn set_defaults(&mut self) {
                self.webhooks.iter_mut().for_each($hook::set_defaults_of);
            }

            fn prepare_for_create(&mut self) {
                self.metadata.generation = 1;
            }

            fn prepare_for_update(&mut self, old: &Self) {
                set_generation(&mut self.metadata, &old.metadata, self.webhooks != old.webhooks);
            }

            fn validate_create(&self, errors: &mut Errors) {
                validate::create(&self.hooks(), errors);
            }

            fn validate_update(&self, old: &Self, errors: &mut Errors) {
                validate::update(&self.hooks(), &old.hooks(), errors);
            }

            fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
                validate::warnings(&self.metadata.name)
            }

            fn columns() -> &'static [Column<Self>] {
                const {
                    &[
                        Column::name(),
                        Column::integer("Webhooks", "Number of webhooks.", |own, _| {
                            own.webhooks.len().into()
                        }),
                        Column::age(),
                    ]
                }
            }
        }
    };
}

webhook_configuration!(
    MutatingWebhookConfiguration,
    MutatingWebhook,
    "mutatingwebhookconfigurations",
    "mutatingwebhookconfiguration",
    |hook| hook.reinvocation_policy.as_ref()
);
webhook_configuration!(
    ValidatingWebhookConfiguration,
    ValidatingWebhook,
    "validatingwebhookconfigurations",
    "validatingwebhookconfiguration",
    |_| None
);

impl MutatingWebhook {
    fn set_defaults_of(&mut self) {
        self.set_defaults();
        self.reinvocation_policy.get_or_insert(ReinvocationPolicyType::Never);
    }
}

impl ValidatingWebhook {
    fn set_defaults_of(&mut self) {
        self.set_defaults();
    }
}

#[cfg(test)]
mod tests;
