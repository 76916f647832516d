//! HorizontalPodAutoscalers of both versions are one resource: stored as autoscaling/v2, converted
//! for autoscaling/v1.

use api_types::autoscaling::{v1, v2};
use api_types::kind::{Object, Row};

/// The autoscaler in the other version; `None` for what is no autoscaler.
pub fn convert(object: &dyn Object, to: &Row) -> Option<Box<dyn Object>> {
    if let Some(own) = object.as_any().downcast_ref::<v2::HorizontalPodAutoscaler>() {
        let own = || Box::new(v1::HorizontalPodAutoscaler::from_v2(own)) as Box<dyn Object>;
        return (to.kind.version == "v1").then(own);
    }
    let own = object.as_any().downcast_ref::<v1::HorizontalPodAutoscaler>()?;
    (to.kind.version == "v2").then(|| Box::new(own.to_v2()) as Box<dyn Object>)
}
