//! What happens to a ResourceQuota on its way to the store.

use super::*;
use crate::core::v1::pod::defaults::round_up;
use crate::kind::Strategy;

impl Strategy for ResourceQuota {
    fn set_defaults(&mut self) {
        round_up(&mut self.spec.hard);
        round_up(&mut self.status.hard);
        round_up(&mut self.status.used);
    }

    fn prepare_for_create(&mut self) {
        self.status = ResourceQuotaStatus::default();
    }

    fn prepare_for_update(&mut self, old: &Self) {
        self.status = old.status.clone();
    }

    fn prepare_for_status_update(&mut self, old: &Self) {
        self.spec = old.spec.clone();
    }
}
