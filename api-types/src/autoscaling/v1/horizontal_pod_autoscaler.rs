//! HorizontalPodAutoscaler as version 1 has it: CPU only; the rest travels in annotations.

use crate::autoscaling::v2;
use crate::autoscaling::v2::horizontal_pod_autoscaler::columns::targets;
use crate::field::Errors;
use crate::kind::{Column, Kind, Strategy, Subresource, resource};
use crate::meta::v1::ObjectMeta;
use crate::value::Time;
use api_types_derive::Api;

/// Fits the replica count of a workload to metrics.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v1")]
pub struct HorizontalPodAutoscaler {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The workload, the bounds and the aims.
    #[api(2, required, omitempty)]
    pub spec: HorizontalPodAutoscalerSpec,
    /// What was last measured and decided.
    #[api(3)]
    pub status: HorizontalPodAutoscalerStatus,
}

/// The workload that is scaled, and by what.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v1")]
pub struct HorizontalPodAutoscalerSpec {
    /// The workload.
    #[api(1, required)]
    pub scale_target_ref: CrossVersionObjectReference,
    /// The fewest replicas; 1 when not given.
    #[api(2)]
    pub min_replicas: Option<i32>,
    /// The most replicas.
    #[api(3, required)]
    pub max_replicas: i32,
    /// CPU use aimed at, as a percentage of what is requested.
    #[api(4, name = "targetCPUUtilizationPercentage")]
    pub target_cpu_utilization_percentage: Option<i32>,
}

/// What the autoscaler last measured and decided.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v1")]
pub struct HorizontalPodAutoscalerStatus {
    /// Generation of the spec that this status speaks of.
    #[api(1)]
    pub observed_generation: Option<i64>,
    /// When the replica count was last changed.
    #[api(2)]
    pub last_scale_time: Option<Time>,
    /// Replicas last seen.
    #[api(3, required)]
    pub current_replicas: i32,
    /// Replicas last decided on.
    #[api(4, required)]
    pub desired_replicas: i32,
    /// CPU use over all pods, as a percentage of what is requested.
    #[api(5, name = "currentCPUUtilizationPercentage")]
    pub current_cpu_utilization_percentage: Option<i32>,
}

/// Points to an object of any kind in the same namespace.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v1", structure = atomic)]
pub struct CrossVersionObjectReference {
    /// Kind of the object.
    #[api(1, required)]
    pub kind: String,
    /// Name of the object.
    #[api(2, required)]
    pub name: String,
    /// API version of the object.
    #[api(3)]
    pub api_version: String,
}

resource!(
    HorizontalPodAutoscaler,
    Kind {
        short_names: &["hpa"],
        categories: &["all"],
        subresources: &[Subresource::status("HorizontalPodAutoscaler")],
        ..Kind::namespaced(
            "autoscaling/v1",
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
            "horizontalpodautoscaler"
        )
    }
);

/// All rules are those of version 2, of which this is another form.
impl Strategy for HorizontalPodAutoscaler {
    fn set_defaults(&mut self) {
        self.spec.min_replicas.get_or_insert(1);
        self.through_v2(|_| ());
    }

    fn prepare_for_create(&mut self) {
        self.through_v2(Strategy::prepare_for_create);
    }

    fn prepare_for_update(&mut self, old: &Self) {
        self.through_v2(|own| own.prepare_for_update(&old.to_v2()));
    }

    fn prepare_for_status_update(&mut self, old: &Self) {
        self.through_v2(|own| own.prepare_for_status_update(&old.to_v2()));
    }

    fn validate_create(&self, errors: &mut Errors) {
        self.to_v2().validate_create(errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        self.to_v2().validate_update(&old.to_v2(), errors);
    }

    fn validate_status_update(&self, old: &Self, errors: &mut Errors) {
        self.to_v2().validate_status_update(&old.to_v2(), errors);
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::text("Reference", "The workload that is scaled.", |own: &Self, _| {
                    let target = &own.spec.scale_target_ref;
                    format!("{}/{}", target.kind, target.name).into()
                }),
                Column::text("Targets", "What was measured over what is aimed at.", |own: &Self, _| {
                    let own = own.to_v2();
                    targets(&own.spec, &own.status).into()
                }),
                Column::text("MinPods", "The fewest replicas.", |own: &Self, _| {
                    own.spec.min_replicas.map_or("<unset>".to_owned(), |n| n.to_string()).into()
                }),
                Column::text("MaxPods", "The most replicas.", |own: &Self, _| own.spec.max_replicas.into()),
                Column::text("Replicas", "Replicas last seen.", |own: &Self, _| {
                    own.status.current_replicas.into()
                }),
                Column::age(),
            ]
        }
    }
}

impl HorizontalPodAutoscaler {
    fn through_v2(&mut self, change: impl FnOnce(&mut v2::HorizontalPodAutoscaler)) {
        let mut own = self.to_v2();
        change(&mut own);
        *self = Self::from_v2(&own);
    }
}
