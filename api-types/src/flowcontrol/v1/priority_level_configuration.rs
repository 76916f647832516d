//! PriorityLevelConfiguration: how many requests of a level may run, and what the others do.

use super::standard;
use crate::field::{Errors, Path};
use crate::kind::{Column, Kind, Strategy, Subresource, resource, set_generation};
use crate::meta::v1::{ConditionStatus, ObjectMeta};
use crate::open_enum::open_enum;
use crate::value::{Time, Value};
use api_types_derive::Api;
use serde_json::Value as Json;

/// How many requests of one importance may run at a time, and what becomes of the others.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.flowcontrol.v1")]
pub struct PriorityLevelConfiguration {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The level's limits.
    #[api(2)]
    pub spec: PriorityLevelConfigurationSpec,
    /// What the server says of the level.
    #[api(3)]
    pub status: PriorityLevelConfigurationStatus,
}

/// The limits of a priority level.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.flowcontrol.v1")]
pub struct PriorityLevelConfigurationSpec {
    /// Limited, or Exempt from limits.
    #[api(1, required)]
    pub type_: PriorityLevelEnablement,
    /// The limits, for that type.
    #[api(2)]
    pub limited: Option<Box<LimitedPriorityLevelConfiguration>>,
    /// What an exempt level lends, for that type.
    #[api(3)]
    pub exempt: Option<Box<ExemptPriorityLevelConfiguration>>,
}

open_enum! {
    /// Whether a priority level is limited.
    pub enum PriorityLevelEnablement {
        Exempt = "Exempt",
        Limited = "Limited",
    }
}

/// A level's part of the server's concurrency, and what becomes of requests beyond it.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.flowcontrol.v1")]
pub struct LimitedPriorityLevelConfiguration {
    /// Part of the server's concurrency, beside the shares of other levels; 30 when not given.
    #[api(1, always)]
    pub nominal_concurrency_shares: Option<i32>,
    /// What becomes of requests that cannot run at once.
    #[api(2)]
    pub limit_response: LimitResponse,
    /// How much of the part other levels may use while it is free, in percent.
    #[api(3)]
    pub lendable_percent: Option<i32>,
    /// How much may be borrowed from others, in percent of the own part; without limit when not given.
    #[api(4)]
    pub borrowing_limit_percent: Option<i32>,
}

/// What an exempt level reserves and lends.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.flowcontrol.v1")]
pub struct ExemptPriorityLevelConfiguration {
    /// Part of the server's concurrency that is set aside; 0 when not given.
    #[api(1)]
    pub nominal_concurrency_shares: Option<i32>,
    /// How much of that part other levels may use, in percent.
    #[api(2)]
    pub lendable_percent: Option<i32>,
}

/// What becomes of requests that cannot run at once.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.flowcontrol.v1")]
pub struct LimitResponse {
    /// Queue or Reject.
    #[api(1, required)]
    pub type_: LimitResponseType,
    /// The queues, for that type.
    #[api(2)]
    pub queuing: Option<Box<QueuingConfiguration>>,
}

open_enum! {
    /// Whether requests wait or are refused.
    pub enum LimitResponseType {
        Queue = "Queue",
        Reject = "Reject",
    }
}

/// The queues of a priority level.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.flowcontrol.v1")]
pub struct QueuingConfiguration {
    /// Number of queues; 64 when not given.
    #[api(1, always)]
    pub queues: i32,
    /// Queues that one flow is dealt; it waits in the shortest. 8 when not given.
    #[api(2, always)]
    pub hand_size: i32,
    /// Requests that a queue holds; 50 when not given.
    #[api(3, always)]
    pub queue_length_limit: i32,
}

/// What the server says of a priority level.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.flowcontrol.v1")]
pub struct PriorityLevelConfigurationStatus {
    /// Statements about the level.
    #[api(1, list = map("type"), patch = merge_key("type"))]
    pub conditions: Vec<PriorityLevelConfigurationCondition>,
}

/// One statement about a priority level.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.flowcontrol.v1")]
pub struct PriorityLevelConfigurationCondition {
    /// What the statement is about.
    #[api(1)]
    pub type_: String,
    /// True, False or Unknown.
    #[api(2)]
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
    PriorityLevelConfiguration,
    Kind {
        subresources: &[Subresource::status("PriorityLevelConfiguration")],
        ..Kind::cluster_wide(
            "flowcontrol.apiserver.k8s.io/v1",
            "PriorityLevelConfiguration",
            "prioritylevelconfigurations",
            "prioritylevelconfiguration",
        )
    }
);

/// What an older version kept a zero by; forbidden in this one.
const ROUND_TRIP: &str = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares";
/// Queues that a level can have at most.
const MAX_QUEUES: i32 = 10 * 1000 * 1000;
/// Bits of a flow's hash: what dealing a hand can use.
const HASH_BITS: u32 = 60;

impl Strategy for PriorityLevelConfiguration {
    fn set_defaults(&mut self) {
        if let Some(exempt) = &mut self.spec.exempt {
            exempt.nominal_concurrency_shares.get_or_insert(0);
            exempt.lendable_percent.get_or_insert(0);
        }
        let Some(limited) = &mut self.spec.limited else { return };
        limited.nominal_concurrency_shares.get_or_insert(30);
        limited.lendable_percent.get_or_insert(0);
        let Some(queuing) = &mut limited.limit_response.queuing else { return };
        for (value, default) in
            [(&mut queuing.queues, 64), (&mut queuing.hand_size, 8), (&mut queuing.queue_length_limit, 50)]
        {
            if *value == 0 {
                *value = default;
            }
        }
    }

    fn prepare_for_create(&mut self) {
        self.status = PriorityLevelConfigurationStatus::default();
        self.metadata.generation = 1;
    }

    fn prepare_for_update(&mut self, old: &Self) {
        self.status = old.status.clone();
        set_generation(&mut self.metadata, &old.metadata, self.spec != old.spec);
    }

    fn prepare_for_status_update(&mut self, old: &Self) {
        self.spec = old.spec.clone();
    }

    fn validate(&self, errors: &mut Errors) {
        if self.metadata.annotations.contains_key(ROUND_TRIP) {
            let text = format!("annotation '{ROUND_TRIP}' is forbidden");
            errors.forbidden(&Path::new("metadata").child("annotations"), text);
        }
        self.validate_spec(&Path::new("spec"), errors);
        self.validate_status(errors);
    }

    fn validate_status_update(&self, _old: &Self, errors: &mut Errors) {
        self.validate_status(errors);
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::text("Type", "Limited, or Exempt from limits.", |level, _| {
                    level.spec.type_.as_str().into()
                }),
                Column::text("NominalConcurrencyShares", "Part of the server's concurrency.", |level, _| {
                    let limited = level.spec.limited.as_ref();
                    number(limited.map(|limited| limited.nominal_concurrency_shares.unwrap_or_default()))
                }),
                Column::text("Queues", "Number of queues.", |level, _| {
                    number(level.queuing().map(|q| q.queues))
                }),
                Column::text("HandSize", "Queues that one flow is dealt.", |level, _| {
                    number(level.queuing().map(|q| q.hand_size))
                }),
                Column::text("QueueLengthLimit", "Requests that a queue holds.", |level, _| {
                    number(level.queuing().map(|q| q.queue_length_limit))
                }),
                Column::age(),
            ]
        }
    }
}

fn number(value: Option<i32>) -> Json {
    value.map_or("<none>".into(), Json::from)
}

impl PriorityLevelConfiguration {
    fn queuing(&self) -> Option<&QueuingConfiguration> {
        self.spec.limited.as_ref()?.limit_response.queuing.as_deref()
    }

    fn validate_status(&self, errors: &mut Errors) {
        let types = self.status.conditions.iter().map(|condition| condition.type_.as_str());
        super::validate_conditions(types, errors);
    }

    fn validate_spec(&self, path: &Path, errors: &mut Errors) {
        let (spec, name) = (&self.spec, self.metadata.name.as_str());
        if (name == "exempt") != (spec.type_ == PriorityLevelEnablement::Exempt) {
            let text = "must be 'Exempt' if and only if `name` is 'exempt'";
            errors.invalid(&path.child("type"), spec.type_.as_str(), text);
        }
        match &spec.type_ {
            PriorityLevelEnablement::Exempt => {
                if spec.limited.is_some() {
                    errors.forbidden(&path.child("limited"), "must be nil if the type is not Limited");
                }
                if let Some(exempt) = &spec.exempt {
                    let path = path.child("exempt");
                    shares(exempt.nominal_concurrency_shares, &path, errors);
                    lendable(exempt.lendable_percent, &path, errors);
                }
            }
            PriorityLevelEnablement::Limited => {
                if spec.exempt.is_some() {
                    errors.forbidden(&path.child("exempt"), "must be nil if the type is Limited");
                }
                match &spec.limited {
                    Some(limited) => limited.validate(&path.child("limited"), errors),
                    None => errors.required(&path.child("limited"), "must not be empty when type is Limited"),
                }
            }
            other => errors.not_supported(&path.child("type"), other.as_str(), &["Exempt", "Limited"]),
        }
        let Some(fixed) = standard::mandatory_levels().into_iter().find(|fixed| fixed.metadata.name == name)
        else {
            return;
        };
        let (mut own, exempt) = (spec.clone(), name == "exempt");
        if exempt {
            own.exempt.clone_from(&fixed.spec.exempt);
        }
        if own != fixed.spec {
            let besides = if exempt { " except the 'spec.exempt' field" } else { "" };
            let text = format!("spec of '{name}'{besides} must equal the fixed value");
            errors.invalid(path, spec as &dyn Value, text);
        }
    }
}

fn shares(value: Option<i32>, path: &Path, errors: &mut Errors) {
    if let Some(value) = value.filter(|value| *value < 0) {
        errors.invalid(&path.child("nominalConcurrencyShares"), value, "must be a non-negative integer");
    }
}

fn lendable(value: Option<i32>, path: &Path, errors: &mut Errors) {
    if let Some(value) = value.filter(|value| !(0..=100).contains(value)) {
        errors.invalid(&path.child("lendablePercent"), value, "must be between 0 and 100, inclusive");
    }
}

impl LimitedPriorityLevelConfiguration {
    fn validate(&self, path: &Path, errors: &mut Errors) {
        shares(self.nominal_concurrency_shares, path, errors);
        let response = path.child("limitResponse");
        let queuing = self.limit_response.queuing.as_ref();
        match (&self.limit_response.type_, queuing) {
            (LimitResponseType::Reject, Some(_)) => errors.forbidden(
                &response.child("queuing"),
                "must be nil if limited.limitResponse.type is not Limited",
            ),
            (LimitResponseType::Reject, None) => {}
            (LimitResponseType::Queue, None) => errors.required(
                &response.child("queuing"),
                "must not be empty if limited.limitResponse.type is Limited",
            ),
            (LimitResponseType::Queue, Some(queuing)) => queuing.validate(&response.child("queuing"), errors),
            (other, _) => errors.not_supported(&response.child("type"), other.as_str(), &["Queue", "Reject"]),
        }
        lendable(self.lendable_percent, path, errors);
        if let Some(value) = self.borrowing_limit_percent.filter(|value| *value < 0) {
            let text = "if specified, must be a non-negative integer";
            errors.invalid(&path.child("borrowingLimitPercent"), value, text);
        }
    }
}

impl QueuingConfiguration {
    fn validate(&self, path: &Path, errors: &mut Errors) {
        let (queues, hand) = (self.queues, self.hand_size);
        if self.queue_length_limit <= 0 {
            errors.invalid(&path.child("queueLengthLimit"), self.queue_length_limit, "must be positive");
        }
        if queues <= 0 {
            errors.invalid(&path.child("queues"), queues, "must be positive");
        } else if queues > MAX_QUEUES {
            let text = format!("must not be greater than {MAX_QUEUES}");
            errors.invalid(&path.child("queues"), queues, text);
        }
        let path = path.child("handSize");
        if hand <= 0 {
            errors.invalid(&path, hand, "must be positive");
        } else if hand > queues {
            errors.invalid(&path, hand, format!("should not be greater than queues ({queues})"));
        } else {
            let bits = entropy_bits(queues, hand);
            if bits > HASH_BITS {
                let text = format!(
                    "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than \
                     {HASH_BITS}"
                );
                errors.invalid(&path, hand, text);
            }
        }
    }
}

/// Bits that it takes to deal a hand.
fn entropy_bits(queues: i32, hand: i32) -> u32 {
    let bits = f64::from(queues).log2() * f64::from(hand);
    // At most 31 bits for each of 10 million cards: far from the type's limit where it matters.
    bits.ceil().min(f64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::{defaulted, refused};

    #[test]
    fn what_every_cluster_has_is_accepted_as_it_is() {
        for level in standard::mandatory_levels().into_iter().chain(standard::suggested_levels()) {
            assert_eq!(defaulted(level.clone()), level);
            assert!(refused(level.clone()).is_empty(), "{:?}", refused(level));
        }
    }

    #[test]
    fn what_is_refused() {
        let mut level = standard::suggested_levels().remove(0);
        level.metadata.name = "mine".into();
        let limited = level.spec.limited.as_mut().expect("limited");
        limited.lendable_percent = Some(101);
        limited.limit_response.queuing.as_mut().expect("queues").hand_size = 20;
        assert_eq!(
            refused(level.clone()),
            [
                "spec.limited.limitResponse.queuing.handSize: Invalid value: 20: required entropy bits of deckSize 64 \
                 and handSize 20 should not be greater than 60",
                "spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive",
            ]
        );
        level.spec.type_ = PriorityLevelEnablement::Exempt;
        assert_eq!(
            refused(level),
            [
                "spec.type: Invalid value: \"Exempt\": must be 'Exempt' if and only if `name` is 'exempt'",
                "spec.limited: Forbidden: must be nil if the type is not Limited",
            ]
        );
        let mut fixed = standard::mandatory_levels().remove(1);
        fixed.spec.limited.as_mut().expect("limited").nominal_concurrency_shares = Some(6);
        assert!(refused(fixed)[0].ends_with("spec of 'catch-all' must equal the fixed value"));
    }
}
