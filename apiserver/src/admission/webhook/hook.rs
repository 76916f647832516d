//! `Hook`: one webhook of a configuration, read once: its place, its selectors, what follows from it.

use std::sync::LazyLock;
use std::time::Duration;

use api_types::admissionregistration::v1::{
    FailurePolicyType, MatchPolicyType, MutatingWebhookConfiguration, ReinvocationPolicyType,
    RuleWithOperations, SideEffectClass, ValidatingWebhookConfiguration, Webhook, WebhookClientConfig,
};
use api_types::meta::v1::LabelSelector;
use api_types::selector::Labels;

use crate::cel::Env;
use crate::cel::admission::{MatchConditions, Names, env};
use crate::webhook::{At, Place};

/// What match conditions can name.
static ENV: LazyLock<Env> = LazyLock::new(|| env(Names::WEBHOOK));

/// The webhooks of one configuration, in order.
#[derive(Debug, Default)]
pub struct Hooks(pub Vec<Hook>);

#[derive(Debug)]
pub struct Hook {
    pub configuration: String,
    /// Tells it from others: configurations may have webhooks of the same name.
    pub uid: String,
    pub name: String,
    pub place: Place,
    pub rules: Vec<RuleWithOperations>,
    /// Whether requests pass when it cannot be asked.
    pub ignores_failures: bool,
    /// Whether its rules match other versions of the same objects, too.
    pub equivalent: bool,
    pub namespace_selector: Result<Labels, String>,
    pub object_selector: Result<Labels, String>,
    /// Whether it may be asked about what is only tried.
    pub takes_dry_runs: bool,
    pub timeout: Duration,
    pub reviews: Vec<String>,
    pub reinvoked: bool,
    pub conditions: MatchConditions,
}

impl From<MutatingWebhookConfiguration> for Hooks {
    fn from(own: MutatingWebhookConfiguration) -> Self {
        Self(all(&own.metadata.name, &own.hooks()))
    }
}

impl From<ValidatingWebhookConfiguration> for Hooks {
    fn from(own: ValidatingWebhookConfiguration) -> Self {
        Self(all(&own.metadata.name, &own.hooks()))
    }
}

fn all(configuration: &str, hooks: &[Webhook<'_>]) -> Vec<Hook> {
    let of = |(n, hook): (usize, &Webhook<'_>)| {
        // Webhooks of the same name are told apart by a number.
        let before = hooks[..n].iter().filter(|other| other.name == hook.name).count();
        Hook::of(configuration, before, *hook)
    };
    hooks.iter().enumerate().map(of).collect()
}

impl Hook {
    fn of(configuration: &str, number: usize, own: Webhook<'_>) -> Self {
        let selector = |selector: Option<&LabelSelector>| match selector {
            None => Labels::from_spec(Some(&LabelSelector::default())).map_err(|error| error.to_string()),
            given => Labels::from_spec(given).map_err(|error| error.to_string()),
        };
        Self {
            configuration: configuration.to_owned(),
            uid: format!("{configuration}/{}/{number}", own.name),
            name: own.name.to_owned(),
            place: place(own.client_config),
            rules: own.rules.to_vec(),
            ignores_failures: own.failure_policy == Some(&FailurePolicyType::Ignore),
            equivalent: own.match_policy == Some(&MatchPolicyType::Equivalent),
            namespace_selector: selector(own.namespace_selector),
            object_selector: selector(own.object_selector),
            takes_dry_runs: matches!(
                own.side_effects,
                Some(SideEffectClass::None | SideEffectClass::NoneOnDryRun)
            ),
            timeout: Duration::from_secs(own.timeout_seconds.and_then(|s| s.try_into().ok()).unwrap_or(10)),
            reviews: own.admission_review_versions.to_vec(),
            conditions: MatchConditions::new(
                &ENV,
                own.match_conditions.iter().map(|one| (one.name.as_str(), one.expression.trim())),
            ),
            reinvoked: own.reinvocation_policy == Some(&ReinvocationPolicyType::IfNeeded),
        }
    }
}

fn place(client: &WebhookClientConfig) -> Place {
    let at = match (&client.service, &client.url) {
        (Some(service), _) => At::Service {
            namespace: service.namespace.clone(),
            name: service.name.clone(),
            path: service.path.clone().unwrap_or_default(),
            port: service.port.unwrap_or(443),
        },
        (None, url) => At::Url(url.clone().unwrap_or_default()),
    };
    Place { at, ca_bundle: client.ca_bundle.0.clone() }
}
