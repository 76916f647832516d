//! `x-kubernetes-validations`: rules in CEL. Refused: this server has no CEL.

use super::structural::Structural;
use crate::field::{Errors, Path};

/// What is wrong with the rules of a node.
pub(crate) fn rules_errors(node: &Structural, path: &Path, errors: &mut Errors) {
    for place in 0..node.rules.len() {
        errors.forbidden(&path.index(place), "rules in CEL are not supported by this server");
    }
}
