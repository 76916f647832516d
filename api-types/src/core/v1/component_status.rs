//! ComponentStatus: how the control plane's other processes are, asked when somebody reads it. Deprecated since 1.19;
//! it is answered and never stored.

use crate::kind::{Column, Kind, Strategy, resource};
use crate::meta::v1::{ConditionStatus, ObjectMeta};
use api_types_derive::Api;

/// How a process of the control plane is.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ComponentStatus {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// What was seen.
    #[api(2, list = map("type"), patch = merge_key("type"))]
    pub conditions: Vec<ComponentCondition>,
}

/// One thing that was seen of a process.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ComponentCondition {
    /// What is told. There is `Healthy` only.
    #[api(1, required)]
    pub type_: String,
    /// Whether it is so.
    #[api(2, required)]
    pub status: ConditionStatus,
    /// What the process answered.
    #[api(3)]
    pub message: String,
    /// Why it could not be asked.
    #[api(4)]
    pub error: String,
}

resource!(
    ComponentStatus,
    Kind {
        short_names: &["cs"],
        verbs: &["get", "list"],
        ..Kind::cluster_wide("v1", "ComponentStatus", "componentstatuses", "componentstatus")
    }
);

impl ComponentStatus {
    fn healthy(&self) -> Option<&ComponentCondition> {
        self.conditions.iter().find(|condition| condition.type_ == "Healthy")
    }
}

impl Strategy for ComponentStatus {
    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::text("Status", "Status of the component conditions", |own, _| {
                    match own.healthy().map(|condition| &condition.status) {
                        Some(ConditionStatus::True) => "Healthy".into(),
                        Some(_) => "Unhealthy".into(),
                        None => "Unknown".into(),
                    }
                }),
                Column::text("Message", "Message of the component conditions", |own, _| {
                    own.healthy().map_or_else(String::new, |condition| condition.message.clone()).into()
                }),
                Column::text("Error", "Error of the component conditions", |own, _| {
                    own.healthy().map_or_else(String::new, |condition| condition.error.clone()).into()
                }),
            ]
        }
    }
}
