//! Version v1 of the group flowcontrol.apiserver.k8s.io.

pub mod flow_schema;
pub mod priority_level_configuration;
pub mod standard;

pub use flow_schema::*;
pub use priority_level_configuration::*;

use crate::field::{Errors, Path};

/// Conditions have types, each one once.
fn validate_conditions<'a>(types: impl Iterator<Item = &'a str>, errors: &mut Errors) {
    let mut seen = std::collections::BTreeSet::new();
    for (n, ty) in types.enumerate() {
        let path = Path::new("status").child("conditions").index(n).child("type");
        if !seen.insert(ty) {
            errors.duplicate(&path, ty);
        }
        if ty.is_empty() {
            errors.required(&path, "");
        }
    }
}
