//! ResourceQuota: on or off. What it does writes to the store, and stands with the writes it is part
//! of (`registry/quota.rs`).

use super::{Operation, Plugin};

pub const NAME: &str = "ResourceQuota";

pub struct ResourceQuota;

impl Plugin for ResourceQuota {
    fn handles(&self, _: Operation) -> bool {
        false
    }
}
