//! PriorityClass: a name for how important a pod is.

use crate::core::v1::PreemptionPolicy;
use crate::kind::{Column, Kind, Strategy, resource};
use crate::meta::v1::ObjectMeta;
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
