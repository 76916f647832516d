//! CustomResourceDefinitions and their objects, as far as the verbs need to know of them.

use api_types::apiextensions::v1::{
    CLEANUP_FINALIZER, CustomResourceDefinition, CustomResourceDefinitionCondition,
    CustomResourceDefinitionConditionType as Type,
};
use api_types::custom::Custom;
use api_types::kind::{Object, Row};
use api_types::meta::v1::ConditionStatus;
use api_types::value::Time;

/// A definition whose deletion begins stays until its objects are gone.
pub fn hold(object: &mut dyn Object) {
    let Some(crd) = object.as_any_mut().downcast_mut::<CustomResourceDefinition>() else { return };
    if crd.metadata.deletion_timestamp.is_some() {
        return;
    }
    if !crd.metadata.finalizers.iter().any(|finalizer| finalizer == CLEANUP_FINALIZER) {
        crd.metadata.finalizers.push(CLEANUP_FINALIZER.to_owned());
    }
    let condition = CustomResourceDefinitionCondition {
        type_: Type::Terminating,
        status: ConditionStatus::True,
        reason: "InstanceDeletionPending".into(),
        message: "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
            .into(),
        ..CustomResourceDefinitionCondition::default()
    };
    crd.set_condition(condition, Time::whole(jiff::Timestamp::now()));
}

/// A custom object in another version; `None` for what is none.
pub fn convert(object: &dyn Object, to: &Row) -> Option<Box<dyn Object>> {
    let custom = Custom::of(object)?;
    let mut converted: Box<dyn Object> = Box::new(custom.in_version(to.custom?.definition()));
    to.default(&mut *converted);
    Some(converted)
}
