//! ValidatingAdmissionPolicy: the plugin's name turns policies on. They are asked once all that check have been
//! (`crate::policies`), since they read objects of any kind.

use super::{Operation, Plugin};

/// Does nothing itself.
pub struct Switch;

impl Plugin for Switch {
    fn handles(&self, _: Operation) -> bool {
        false
    }
}
