//! What happens to a PodDisruptionBudget on its way to the store.

use super::*;
use crate::kind::{Strategy, set_generation};

impl Strategy for PodDisruptionBudget {
    const UNCONDITIONAL_UPDATE: bool = false;

    fn prepare_for_create(&mut self) {
        self.status = PodDisruptionBudgetStatus::default();
        self.metadata.generation = 1;
    }

    fn prepare_for_update(&mut self, old: &Self) {
        self.status = old.status.clone();
        set_generation(&mut self.metadata, &old.metadata, self.spec != old.spec);
    }

    fn prepare_for_status_update(&mut self, old: &Self) {
        self.spec = old.spec.clone();
        self.metadata.generation = old.metadata.generation;
    }
}
