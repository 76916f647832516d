//! Tolerations, and the effects that they share with taints.

use crate::core::v1::*;
use crate::field::{Errors, Path};
use crate::names;

/// An effect that is given; `Required` where it must be.
pub(crate) fn taint_effect(effect: &TaintEffect, path: &Path, errors: &mut Errors) {
    errors.required_choice(path, effect.as_str(), &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
}

pub(crate) fn tolerations(tolerations: &[Toleration], path: &Path, errors: &mut Errors) {
    for (place, toleration) in tolerations.iter().enumerate() {
        let path = path.index(place);
        let operator = path.child("operator");
        if !toleration.key.is_empty() {
            errors.wrong(&path.child("key"), &toleration.key, names::qualified_name(&toleration.key));
        } else if toleration.operator != TolerationOperator::Exists {
            errors.invalid(
                &operator,
                toleration.operator.as_str(),
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            );
        }
        if toleration.toleration_seconds.is_some() && toleration.effect != TaintEffect::NoExecute {
            errors.invalid(
                &path.child("effect"),
                toleration.effect.as_str(),
                "effect must be 'NoExecute' when `tolerationSeconds` is set",
            );
        }
        match &toleration.operator {
            TolerationOperator::Equal | TolerationOperator::Unset => {
                let wrong = names::label_value(&toleration.value);
                if !wrong.is_empty() {
                    errors.invalid(&operator, &toleration.value, wrong.join(";"));
                }
            }
            TolerationOperator::Exists => {
                if !toleration.value.is_empty() {
                    let text = "value must be empty when `operator` is 'Exists'";
                    errors.invalid(&operator, &toleration.value, text);
                }
            }
            // TaintTolerationComparisonOperators is off in this version.
            TolerationOperator::Lt | TolerationOperator::Gt => errors.not_supported(
                &operator,
                toleration.operator.as_str(),
                &["Equal", "Exists", "Lt", "Gt"],
            ),
            TolerationOperator::Other(other) => {
                errors.not_supported(&operator, &**other, &["Equal", "Exists"]);
            }
        }
        if !toleration.effect.is_unset() {
            taint_effect(&toleration.effect, &path.child("effect"), errors);
        }
    }
}
