//! MutatingAdmissionPolicy and ValidatingAdmissionPolicy: the plugins' names turn policies on. The chain asks them (`crate::policies`), since
//! they read objects of any kind.

use super::{Operation, Plugin};

/// Does nothing itself.
pub struct Switch;

impl Plugin for Switch {
    fn handles(&self, _: Operation) -> bool {
        false
    }
}
