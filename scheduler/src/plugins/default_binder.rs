//! DefaultBinder: binds a pod by the API's Binding.

use std::sync::Arc;

use crate::api::Api;
use crate::framework::{Bind, Plugin, Rejection, Wait};
use crate::pod::PodView;

pub struct DefaultBinder;

impl Plugin for DefaultBinder {
    fn name(&self) -> &'static str {
        "DefaultBinder"
    }
}

impl Bind for DefaultBinder {
    fn bind(&self, api: &Arc<dyn Api>, pod: &Arc<PodView>, node: &str) -> Wait {
        let (api, pod, node) = (api.clone(), pod.clone(), node.to_owned());
        Box::pin(async move { api.bind(&pod, &node).await.map_err(|e| Rejection::error(e.to_string())) })
    }
}
