//! DefaultIngressClass: an Ingress that names no class gets the default one.

use super::{Context, Operation, Plugin, Refusal, Request};
use crate::views::Views;
use api_types::networking::v1::{CLASS_ANNOTATION, Ingress};
use std::cmp::Reverse;

pub struct DefaultIngressClass;

impl Plugin for DefaultIngressClass {
    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    fn admit(&self, request: &mut Request<'_>, context: Context<'_>) -> Result<(), Refusal> {
        if !request.is_about("networking.k8s.io", "ingresses", "") {
            return Ok(());
        }
        let Some(ingress) = request.object_mut::<Ingress>() else { return Ok(()) };
        let says = ingress.metadata.annotations.contains_key(CLASS_ANNOTATION);
        if ingress.spec.ingress_class_name.is_none() && !says {
            ingress.spec.ingress_class_name = default_class(context.views);
        }
        Ok(())
    }
}

/// The newest default class; of several of the same age, the first by name.
fn default_class(views: &Views) -> Option<String> {
    let all = views.ingress_classes.keys().into_iter();
    all.filter_map(|(_, name)| views.ingress_classes.get("", &name).map(|class| (name, class)))
        .filter(|(_, class)| class.is_default)
        .min_by_key(|(name, class)| (Reverse(class.created), name.clone()))
        .map(|(name, _)| name)
}
