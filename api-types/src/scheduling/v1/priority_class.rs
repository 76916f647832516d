//! PriorityClass: a name for how important a pod is.

use crate::core::v1::PreemptionPolicy;
use crate::field::{Errors, Path};
use crate::kind::{Column, Kind, Strategy, resource};
use crate::meta::v1::ObjectMeta;
use crate::meta::v1::validate::immutable;
use api_types_derive::Api;

/// A name for how important pods are.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.scheduling.v1")]
pub struct PriorityClass {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The importance; larger is more important.
    #[api(2, always)]
    pub value: i32,
    /// Whether pods that name no class get this one.
    #[api(3)]
    pub global_default: bool,
    /// When to use the class, for people.
    #[api(4)]
    pub description: String,
    /// Whether such pods may push out less important ones.
    #[api(5)]
    pub preemption_policy: Option<PreemptionPolicy>,
}

resource!(
    PriorityClass,
    Kind {
        short_names: &["pc"],
        ..Kind::cluster_wide("scheduling.k8s.io/v1", "PriorityClass", "priorityclasses", "priorityclass")
    }
);

/// The highest value that users may give; the system's own classes lie above.
pub const HIGHEST_USER_VALUE: i32 = 1_000_000_000;

impl PriorityClass {
    /// Why this is not one of the two built-in classes.
    fn is_known_system_class(&self) -> Result<(), String> {
        let name = self.metadata.name.as_str();
        let value = match name {
            "system-cluster-critical" => 2 * HIGHEST_USER_VALUE,
            "system-node-critical" => 2 * HIGHEST_USER_VALUE + 1000,
            _ => return Err(format!("{name} is not a known system priority class")),
        };
        if self.value != value {
            return Err(format!("value of {name} PriorityClass must be {value}"));
        }
        if self.global_default {
            return Err(format!("globalDefault of {name} PriorityClass must be false"));
        }
        Ok(())
    }
}

impl Strategy for PriorityClass {
    fn set_defaults(&mut self) {
        self.preemption_policy.get_or_insert(PreemptionPolicy::PreemptLowerPriority);
    }

    fn prepare_for_create(&mut self) {
        self.metadata.generation = 1;
    }

    fn prepare_for_update(&mut self, old: &Self) {
        self.metadata.generation = old.metadata.generation;
    }

    fn validate(&self, errors: &mut Errors) {
        let name = self.metadata.name.as_str();
        if name.starts_with("system-") {
            if let Err(why) = self.is_known_system_class() {
                let text = format!(
                    "priority class names with 'system-' prefix are reserved for system use only. error: {why}"
                );
                errors.forbidden(&Path::new("metadata").child("name"), text);
            }
        } else if self.value > HIGHEST_USER_VALUE {
            let text = format!("maximum allowed value of a user defined priority is {HIGHEST_USER_VALUE}");
            errors.forbidden(&Path::new("value"), text);
        }
        if let Some(policy) = &self.preemption_policy {
            let known = ["PreemptLowerPriority", "Never"];
            errors.required_choice(&Path::new("preemptionPolicy"), policy.as_str(), &known);
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        if self.value != old.value {
            errors.forbidden(&Path::new("value"), "may not be changed in an update.");
        }
        let path = Path::new("preemptionPolicy");
        immutable(&self.preemption_policy, &old.preemption_policy, &path, errors);
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::integer("Value", "How important pods of the class are.", |class, _| {
                    class.value.into()
                }),
                Column {
                    ty: "boolean",
                    ..Column::text(
                        "Global-Default",
                        "Whether pods without a class get this one.",
                        |class, _| class.global_default.into(),
                    )
                },
                Column::age(),
                Column::text(
                    "PreemptionPolicy",
                    "Whether pods may push out less important ones.",
                    |class, _| class.preemption_policy.as_ref().map_or("", PreemptionPolicy::as_str).into(),
                ),
            ]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::{refused, refused_update};

    fn class(name: &str, value: i32) -> PriorityClass {
        let mut own = PriorityClass { value, ..PriorityClass::default() };
        own.metadata.name = name.into();
        own
    }

    #[test]
    fn what_is_refused() {
        assert!(refused(class("high", 1000)).is_empty());
        assert!(refused(class("system-node-critical", 2_000_001_000)).is_empty());
        assert_eq!(
            refused(class("high", 1_000_000_001)),
            ["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"]
        );
        assert_eq!(
            refused(class("system-mine", 1)),
            [
                "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-mine is not a known system priority class"
            ]
        );
        assert_eq!(
            refused_update(class("high", 2), class("high", 1)),
            ["value: Forbidden: may not be changed in an update."]
        );
    }
}
