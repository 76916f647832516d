//! DefaultIngressClass and DefaultStorageClass: an Ingress or a claim that names no class gets the default
//! one.

use super::{Context, Operation, Plugin, Refusal, Request};
use crate::views::{DefaultClassView, Lister};
use api_types::core::v1::PersistentVolumeClaim;
use api_types::networking::v1::{CLASS_ANNOTATION, Ingress};
use std::cmp::Reverse;

pub struct DefaultIngressClass;
pub struct DefaultStorageClass;

/// The older way to name the class of a claim.
const STORAGE_CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

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
            ingress.spec.ingress_class_name = newest(&context.views.ingress_classes);
        }
        Ok(())
    }
}

impl Plugin for DefaultStorageClass {
    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    fn admit(&self, request: &mut Request<'_>, context: Context<'_>) -> Result<(), Refusal> {
        if !request.is_about("", "persistentvolumeclaims", "") {
            return Ok(());
        }
        let Some(claim) = request.object_mut::<PersistentVolumeClaim>() else { return Ok(()) };
        let says = claim.metadata.annotations.contains_key(STORAGE_CLASS_ANNOTATION);
        if claim.spec.storage_class_name.is_none() && !says {
            claim.spec.storage_class_name = newest(&context.views.storage_classes);
        }
        Ok(())
    }
}

/// The newest default class; of several of the same age, the first by name.
fn newest(classes: &Lister<DefaultClassView>) -> Option<String> {
    let all = classes.keys().into_iter();
    all.filter_map(|(_, name)| classes.get("", &name).map(|class| (name, class)))
        .filter(|(_, class)| class.is_default)
        .min_by_key(|(name, class)| (Reverse(class.created), name.clone()))
        .map(|(name, _)| name)
}
