//! StorageObjectInUseProtection: claims and volumes get a finalizer that keeps them while they are in
//! use. The protection controllers take it off again.

use super::{Context, Operation, Plugin, Refusal, Request};
use api_types::core::v1::well_known::finalizer;

pub struct StorageObjectInUseProtection;

impl Plugin for StorageObjectInUseProtection {
    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    fn admit(&self, request: &mut Request<'_>, _: Context<'_>) -> Result<(), Refusal> {
        let name = if request.is_about("", "persistentvolumeclaims", "") {
            finalizer::PVC_PROTECTION
        } else if request.is_about("", "persistentvolumes", "") {
            finalizer::PV_PROTECTION
        } else {
            return Ok(());
        };
        if let super::Payload::Open(object) = &mut request.object {
            let finalizers = &mut object.meta_mut().finalizers;
            if !finalizers.iter().any(|present| present == name) {
                finalizers.push(name.to_owned());
            }
        }
        Ok(())
    }
}
